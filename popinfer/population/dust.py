"""How much dust a galaxy has: A_V against stellar mass and specific star formation rate.

    log10 A_V = lg_av + slope_mass (log10 M* - 10.5) + slope_ssfr (lg_ssfr_soft + 10) + scatter eps

with eps a standard normal number. The specific SFR is softly floored at 10^-12.5 / yr, where SED fits lose
sensitivity. Defaults follow the trends of Salim et al. (2018, ApJ 859, 11): A_V of about 0.4 mag at
10^10.5 Msun and 10^-10 / yr, rising with mass, falling toward quenched galaxies.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Float

from popinfer.sps.units import exp10

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
    delta : slope of the attenuation curve relative to Calzetti et al. (2000).
    f_unobscured : fraction of the light that meets no dust.
    """

    lg_av: float = -0.4
    slope_mass: float = 0.3
    slope_ssfr: float = 0.35
    scatter: float = 0.2
    delta: float = -0.3
    f_unobscured: float = 0.0


class DustPopulation(eqx.Module):
    """A_V of one galaxy from its stellar mass and specific star formation rate."""

    Params: ClassVar = DustPopulationParams
    fiducial: ClassVar[DustPopulationParams] = DustPopulationParams()

    def __call__(
        self,
        params: DustPopulationParams,
        lg_mstar: Float[Array, ""],
        lg_ssfr: Float[Array, ""],
        normal: Float[Array, ""],
    ) -> Float[Array, ""]:
        """A_V [mag] of one galaxy.

        Parameters
        ----------
        params : see `DustPopulationParams`.
        lg_mstar, lg_ssfr : stellar mass [log10 Msun], specific SFR [log10 1/yr].
        normal : the galaxy's standard normal number.
        """
        soft = _LG_SSFR_FLOOR + _FLOOR_WIDTH * jax.nn.softplus((lg_ssfr - _LG_SSFR_FLOOR) / _FLOOR_WIDTH)
        lg_av = params.lg_av + params.slope_mass * (lg_mstar - 10.5) + params.slope_ssfr * (soft + 10.0)
        lg_av = lg_av + params.scatter * normal
        # a soft ceiling at 5 mag keeps the tail of the log-normal from making galaxies opaque
        lg_av = _LG_AV_MAX - 0.1 * jax.nn.softplus((_LG_AV_MAX - lg_av) / 0.1)
        return exp10(lg_av)
