"""Template errors: smooth deviations of stellar population synthesis from galaxies, in the rest frame.

They are linear in ln(wavelength) between knots, flat beyond the first and the last. Colors of optical
templates are known to 0.02 to 0.05 mag (Conroy, Gunn & White 2009, ApJ 699, 486). Those of old populations
are known worst, and in the ultraviolet: at equal g-r, E-MILES (Vazdekis et al. 2016, MNRAS 463, 3409) has
them redder in u-g than BC03 by 0.06 mag. So quenched galaxies may have an error of their own on top, free at
knots of its own and zero from 6200 Angstrom on:

    m -> m + knots(wavelength) + quiescence(sSFR) old_knots(wavelength).
"""

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import declared_params
from popinfer.errors import InputError
from popinfer.params import Declaration, Prior
from popinfer.population.roles import GalaxyProperties, TemplateOffset, quiescence
from popinfer.sps.band_table import z_weights

KNOTS = (3200.0, 4300.0, 5700.0, 6900.0, 8300.0)  # Angstrom: between and beyond the optical bands
OLD_KNOTS, OLD_END = (3550.0, 4700.0), 6200.0  # rest-frame u and g; nothing from r on
_BLUE = 4000.0  # below the break libraries differ by a tenth of a magnitude, above by some hundredths
# from the Lyman continuum to where dust and not stars shines
_SHORTEST, _LONGEST = 500.0, 100_000.0


class TemplateKnots(TemplateOffset):
    """An error of all galaxies and one of quenched ones; parameters are called by their wavelengths.

    Attributes
    ----------
    knots_angstrom : increasing wavelengths [Angstrom].
    old_knots_angstrom : the same of quenched galaxies' error, below 6200 Angstrom; none where it is empty.
    """

    knots_angstrom: tuple[float, ...] = KNOTS
    old_knots_angstrom: tuple[float, ...] = OLD_KNOTS

    def __check_init__(self) -> None:
        """Refuse knots that can't be told apart or where no band is."""
        for key, knots, least, longest in (
            ("knots_angstrom", self.knots_angstrom, 2, _LONGEST),
            ("old_knots_angstrom", self.old_knots_angstrom, 0, OLD_END),
        ):
            if len(knots) < least or np.any(np.diff(knots) <= 0):
                raise InputError(f"{key}: {'at least two ' if least else ''}wavelengths, increasing")
            if knots and not (knots[0] >= _SHORTEST and knots[-1] <= longest):
                raise InputError(f"{key}: from {_SHORTEST:g} to {longest:g} Angstrom")
            if len({f"{knot:g}" for knot in knots}) < len(knots):
                raise InputError(f"{key}: knots have to differ in their first six digits")

    @property
    def Params(self) -> type:  # noqa: N802 (a class)
        """Type of the parameters, a field a knot."""
        return _knot_params(self.knots_angstrom, self.old_knots_angstrom)

    def __call__(
        self, params: Any, wave: Float[Array, "band"], galaxy: GalaxyProperties
    ) -> Float[Array, "band"]:
        """Errors at the bands [mag]; see `TemplateOffset`."""
        values = jnp.stack([jnp.asarray(x, wave.dtype) for x in params])
        n, lg_wave = len(self.knots_angstrom), jnp.log(wave)
        error = z_weights(np.log(self.knots_angstrom), lg_wave) @ values[:n]
        if not self.old_knots_angstrom:
            return error
        old = z_weights(np.log([*self.old_knots_angstrom, OLD_END]), lg_wave)[:, :-1] @ values[n:]
        return error + quiescence(galaxy.lg_ssfr) * old


_WHY = "templates are wrong by some tenths of a magnitude at most"


@lru_cache
def _knot_params(knots: tuple[float, ...], old_knots: tuple[float, ...]) -> type:
    of_all = {
        f"knot_{i}": Declaration(
            "mag",
            f"template error at rest-frame {knot:g} Angstrom",
            *(-1, 1, _WHY, Prior("normal", 0.0, 0.03), f"{knot:g}"),
            source="0.02 to 0.05 mag: Conroy, Gunn & White (2009, ApJ 699, 486)",
        )
        for i, knot in enumerate(knots)
    }
    of_old = {
        f"old_knot_{i}": Declaration(
            "mag",
            f"template error of quenched galaxies at rest-frame {knot:g} Angstrom",
            *(-1, 1, _WHY, Prior("normal", 0.0, 0.1 if knot < _BLUE else 0.03), f"old_{knot:g}"),
            source="E-MILES (Vazdekis et al. 2016) and BC03 differ so: 0.06 mag in u-g, less redward",
        )
        for i, knot in enumerate(old_knots)
    }
    fields = {name: (declaration, 0.0) for name, declaration in (of_all | of_old).items()}
    return declared_params("TemplateKnotsParams", fields)
