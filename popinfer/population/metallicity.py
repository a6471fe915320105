"""Stellar metallicity of a galaxy: the mass-metallicity relation.

Median relation of Gallazzi et al. (2005, MNRAS 362, 41, Table 2; Z_sun = 0.02), which

    log10(Z / Z_sun) = a + b tanh((log10 M* - c) / d),   a = -0.26, b = 0.38, c = 10.11, d = 0.46

describes to 0.04 dex, plus an offset of quenched against star-forming galaxies, evolution with redshift, and
log-normal scatter between galaxies.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LGZ_SUN_GALLAZZI = -1.69897  # Z = 0.02
LG_SSFR_DIVIDE = -11.0  # log10 1/yr, between star-forming and quenched
_SSFR_WIDTH = 0.3


class MassMetallicityParams(NamedTuple):
    """Parameters of `MassMetallicity`.

    Attributes
    ----------
    zero_point : shift of the whole relation [dex].
    quenched_offset : additional metallicity of quenched galaxies [dex].
    slope : additional slope d lgmet / d log10 M* about 10^10.5 Msun.
    evolution : d lgmet / dz [dex].
    scatter : scatter between galaxies [dex].
    mdf_scatter : width of the metallicity distribution of the stars in one galaxy [dex].
    """

    zero_point: float = 0.0
    quenched_offset: float = 0.0
    slope: float = 0.0
    evolution: float = -0.1
    scatter: float = 0.12
    mdf_scatter: float = 0.2


class MassMetallicity(eqx.Module):
    """Gallazzi+05 mass-metallicity relation with offsets."""

    Params: ClassVar = MassMetallicityParams
    fiducial: ClassVar[MassMetallicityParams] = MassMetallicityParams()

    def __call__(
        self,
        params: MassMetallicityParams,
        lg_mstar: Float[Array, ""],
        lg_ssfr: Float[Array, ""],
        z: Float[Array, ""],
        normal: Float[Array, ""],
    ) -> Float[Array, ""]:
        """Mean log10 Z of one galaxy's stars.

        Parameters
        ----------
        params : see `MassMetallicityParams`.
        lg_mstar, lg_ssfr, z : stellar mass [log10 Msun], specific SFR [log10 1/yr], redshift.
        normal : the galaxy's standard normal number.
        """
        median = -0.26 + 0.38 * jnp.tanh((lg_mstar - 10.11) / 0.46)
        quenched = jax.nn.sigmoid((LG_SSFR_DIVIDE - lg_ssfr) / _SSFR_WIDTH)
        lgmet = LGZ_SUN_GALLAZZI + median + params.zero_point + params.quenched_offset * quenched
        lgmet = lgmet + params.slope * (lg_mstar - 10.5) + params.evolution * z
        return lgmet + params.scatter * normal
