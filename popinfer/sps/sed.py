"""Rest-frame SED of a composite population: the full route.

L_nu(lambda) = sum_(met, age) w(met, age) SSP(met, age, lambda) F_trans(lambda, age): a matrix product over
the flattened (met, age) axis, never a broadcast sum.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.records import SSP

from .dust import DustLaw, check_attenuation, transmitted
from .units import Scalar


def rest_sed(
    ssp: SSP, age_weights: Float[Array, "... age"], lgmet_weights: Float[Array, "... met"]
) -> Float[Array, "... wave"]:
    """Dust-free SED [Lsun/Hz] of populations with one metallicity distribution for all ages.

    Parameters
    ----------
    ssp : SSP
        The grid.
    age_weights : Float[Array, "... age"]
        Msun formed at each SSP age.
    lgmet_weights : Float[Array, "... met"]
        Share of each SSP metallicity.

    Returns
    -------
    Float[Array, "... wave"]
        In the dtype of ``age_weights``.
    """
    return rest_sed_from_weights(ssp, lgmet_weights[..., :, None] * age_weights[..., None, :])


def rest_sed_from_weights(ssp: SSP, weights: Float[Array, "... met age"]) -> Float[Array, "... wave"]:
    """Dust-free SED [Lsun/Hz] from Msun formed in each SSP."""
    flux = jnp.asarray(ssp.ssp_flux, weights.dtype).reshape(-1, len(ssp.ssp_wave))
    return weights.reshape(*weights.shape[:-2], -1) @ flux


def attenuated_sed(
    ssp: SSP,
    weights: Float[Array, "met age"],
    law: DustLaw,
    params: Any,
    av: Scalar,
    f_unobscured: Scalar = 0.0,
) -> Float[Array, "wave"]:
    """SED of one galaxy behind dust, with birth clouds where the law has them.

    Parameters
    ----------
    ssp : SSP
        The grid.
    weights : Float[Array, "met age"]
        Msun formed in each SSP.
    law, params : DustLaw and its Params
        Attenuation law.
    av : float
        V-band attenuation of the diffuse medium [mag].
    f_unobscured : float
        Fraction of the light with a free line of sight.
    """
    check_attenuation(av, f_unobscured)
    attenuation = av * law(ssp.ssp_wave, params)
    diffuse = transmitted(attenuation, f_unobscured).astype(weights.dtype)
    if law.clouds is None:
        return rest_sed_from_weights(ssp, weights) * diffuse
    young = law.clouds.young(ssp.ssp_lg_age_gyr, params).astype(weights.dtype)
    total = attenuation + law.clouds(ssp.ssp_wave, params, av)
    cloudy = transmitted(total, f_unobscured).astype(weights.dtype)
    old_light, young_light = rest_sed_from_weights(ssp, jnp.stack([weights * (1 - young), weights * young]))
    return diffuse * old_light + cloudy * young_light
