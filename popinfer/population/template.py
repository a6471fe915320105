"""Template errors: smooth deviations of stellar population synthesis from galaxies, in the rest frame.

They are linear in ln(wavelength) between knots, flat beyond the first and the last. Colors of optical
templates are known to 0.02 to 0.05 mag (Conroy, Gunn & White 2009, ApJ 699, 486).
"""

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import declared_params
from popinfer.errors import InputError
from popinfer.params import Declaration, Prior
from popinfer.population.roles import GalaxyProperties, TemplateOffset
from popinfer.sps.band_table import z_weights

KNOTS = (3200.0, 4300.0, 5700.0, 6900.0, 8300.0)  # Angstrom: between and beyond the optical bands
# from the Lyman continuum to where dust and not stars shines
_SHORTEST, _LONGEST = 500.0, 100_000.0


class TemplateKnots(TemplateOffset):
    """One error for all galaxies, free at knots; parameters are called by their wavelengths.

    Attributes
    ----------
    knots_angstrom : increasing wavelengths [Angstrom].
    """

    knots_angstrom: tuple[float, ...] = KNOTS

    def __check_init__(self) -> None:
        """Refuse knots that can't be told apart or where no band is."""
        knots = self.knots_angstrom
        if len(knots) < 2 or np.any(np.diff(knots) <= 0):
            raise InputError("knots_angstrom: at least two wavelengths, increasing")
        if not (knots[0] >= _SHORTEST and knots[-1] <= _LONGEST):
            raise InputError(f"knots_angstrom: from {_SHORTEST:g} to {_LONGEST:g} Angstrom")
        if len({f"{knot:g}" for knot in knots}) < len(knots):
            raise InputError("knots_angstrom: knots have to differ in their first six digits")

    @property
    def Params(self) -> type:  # noqa: N802 (a class)
        """Type of the parameters, a field a knot."""
        return _knot_params(self.knots_angstrom)

    def __call__(
        self, params: Any, wave: Float[Array, "band"], galaxy: GalaxyProperties
    ) -> Float[Array, "band"]:
        """Errors at the bands [mag]; see `TemplateOffset`."""
        values = jnp.stack([jnp.asarray(x, wave.dtype) for x in params])
        return z_weights(np.log(self.knots_angstrom), jnp.log(wave)) @ values


@lru_cache
def _knot_params(knots: tuple[float, ...]) -> type:
    return declared_params(
        "TemplateKnotsParams",
        {
            f"knot_{i}": (
                Declaration(
                    "mag",
                    f"template error at rest-frame {knot:g} Angstrom",
                    -1,
                    1,
                    "templates are wrong by some tenths of a magnitude at most",
                    Prior("normal", 0.0, 0.03),
                    f"{knot:g}",
                ),
                0.0,
            )
            for i, knot in enumerate(knots)
        },
    )
