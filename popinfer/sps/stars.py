"""What a population of galaxies is made of: star formation histories, metallicities, dust."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age

from .burst import BurstParams
from .dust import DustLaw
from .units import Arr, Scalar

if TYPE_CHECKING:
    from diffmah.diffmah_kernels import DiffmahParams
    from diffstar import DiffstarParams


class Stars(eqx.Module):
    """Star formation and metallicity of galaxies.

    Attributes
    ----------
    t_table : cosmic time [Gyr].
    sfr_table : star formation rate [Msun/yr].
    lgmet : mean log10 Z, of a galaxy or of its stars of each SSP age.
    lgmet_scatter : standard deviation of log10 Z [dex].
    burst : bursts on top of the tabulated history, one value a galaxy in every field; or None.
    """

    t_table: Float[Arr, "t"]
    sfr_table: Float[Arr, "gal t"]
    lgmet: Float[Arr, "gal"] | Float[Arr, "gal age"]
    lgmet_scatter: Scalar
    burst: BurstParams | None = None


class Attenuation(eqx.Module):
    """Dust in galaxies.

    Attributes
    ----------
    law : the attenuation law.
    params : its parameters: one number each, or one number a galaxy.
    av : V-band attenuation [mag].
    f_unobscured : fraction of the light with a free line of sight.
    """

    law: DustLaw
    params: Any
    av: Float[Arr, "gal"]
    f_unobscured: Float[Arr, "gal"] | Scalar = 0.0


def tabulate_sfh(
    mah_params: "DiffmahParams", sfh_params: "DiffstarParams", t_table: Float[Arr, "t"], cosmology: Cosmology
) -> Float[Array, "gal t"]:
    """Star formation rates [Msun/yr] of diffmah halos with diffstar galaxies.

    Parameters
    ----------
    mah_params, sfh_params : DiffmahParams, DiffstarParams
        One array a field, one value a galaxy.
    t_table : Float[Array, "t"]
        Cosmic time [Gyr], positive.
    cosmology : Cosmology
        Sets the age of the universe and the baryon fraction.
    """
    from diffstar import calc_sfh_galpop  # takes a second to import, which run files' checks don't need

    lgt0 = jnp.log10(age(cosmology, jnp.zeros(())))
    return calc_sfh_galpop(sfh_params, mah_params, jnp.asarray(t_table), lgt0=lgt0, fb=cosmology.fb)
