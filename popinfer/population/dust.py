"""How much dust a galaxy has: A_V against stellar mass and specific star formation rate.

    log10 A_V = lg_av + slope_mass (log10 M* - 10.5) + slope_ssfr (lg_ssfr_soft + 10) + scatter eps

with eps a standard normal number; quenched galaxies may have another scatter. The specific SFR is softly
floored at 10^-12.5 / yr, where SED fits lose sensitivity. Defaults follow the trends of Salim et al. (2018,
ApJ 859, 11): A_V of about 0.4 mag at 10^10.5 Msun and 10^-10 / yr, rising with mass, falling toward quenched
galaxies.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.population.roles import DustAmount, DustRelation, GalaxyProperties, quiescence
from popinfer.sps.units import Scalar, exp10

_LG_SSFR_FLOOR = -12.5
_FLOOR_WIDTH = 0.25
_LG_AV_MAX = 0.7


class DustPopulationParams(NamedTuple):
    """Parameters of `DustPopulation`.

    Attributes
    ----------
    lg_av : log10 A_V [mag] at 10^10.5 Msun and 10^-10 / yr.
    slope_mass, slope_ssfr : d log10 A_V / d log10 M*, d log10 A_V / d log10 sSFR.
    scatter : scatter of log10 A_V [dex].
    quenched_scatter : log10 of the factor on it in quenched galaxies.
    f_unobscured : fraction of the light that meets no dust.
    """

    # galaxies are softly held at A_V < 5 mag
    lg_av: Annotated[
        Scalar,
        Declaration(
            "dex",
            "log10 A_V [mag] at 10^10.5 Msun and sSFR 10^-10 / yr",
            -6,
            2,
            prior=Prior("normal", -0.4, 0.3),
            source="Salim et al. (2018, ApJ 859, 11), within a factor of two",
        ),
    ] = -0.4
    slope_mass: Annotated[
        Scalar,
        Declaration(
            "dex/dex",
            "A_V against stellar mass",
            -5,
            5,
            prior=Prior("normal", 0.3, 0.3),
            source="trend of Salim et al. (2018, ApJ 859, 11); the width is a choice",
        ),
    ] = 0.3
    slope_ssfr: Annotated[
        Scalar,
        Declaration(
            "dex/dex",
            "A_V against specific SFR",
            -5,
            5,
            prior=Prior("normal", 0.35, 0.3),
            source="trend of Salim et al. (2018, ApJ 859, 11); the width is a choice",
        ),
    ] = 0.35
    scatter: Annotated[
        Scalar,
        Declaration(
            "dex",
            "scatter of A_V between galaxies",
            0,
            2,
            "scatter is never negative",
            Prior("lognormal", 0.25, 0.4),
            source="a choice: a factor of 1.8 between like galaxies",
        ),
    ] = 0.2
    quenched_scatter: Annotated[
        Scalar,
        Declaration(
            "dex",
            "log10 of the scatter of A_V in quenched relative to star-forming galaxies",
            -2,
            2,
            prior=Prior("normal", 0.0, 0.3),
            source="a choice: a factor of two either way",
        ),
    ] = 0.0
    f_unobscured: Annotated[
        Scalar,
        Declaration(
            "",
            "fraction of light that meets no dust",
            0,
            1,
            "it is a fraction",
            Prior("truncnormal", 0.0, 0.2, 0.0, 1.0),
            source="a choice: screens with some holes",
        ),
    ] = 0.0


class DustPopulation(DustRelation):
    """A_V of one galaxy from its stellar mass and specific star formation rate."""

    Params: ClassVar = DustPopulationParams
    n_normal: ClassVar[int] = 1

    def __call__(
        self, params: DustPopulationParams, galaxy: GalaxyProperties, normals: Float[Array, "1"]
    ) -> DustAmount:
        """Dust of one galaxy; see `DustRelation`."""
        soft = _LG_SSFR_FLOOR + _FLOOR_WIDTH * jax.nn.softplus(
            (galaxy.lg_ssfr - _LG_SSFR_FLOOR) / _FLOOR_WIDTH
        )
        lg_av = params.lg_av + params.slope_mass * (galaxy.lg_mstar - 10.5)
        scatter = params.scatter * exp10(params.quenched_scatter * quiescence(galaxy.lg_ssfr))
        lg_av = lg_av + params.slope_ssfr * (soft + 10.0) + scatter * normals[0]
        # a soft ceiling at 5 mag keeps the tail of the log-normal from making galaxies opaque
        lg_av = _LG_AV_MAX - 0.1 * jax.nn.softplus((_LG_AV_MAX - lg_av) / 0.1)
        return DustAmount(exp10(lg_av), jnp.asarray(params.f_unobscured))
