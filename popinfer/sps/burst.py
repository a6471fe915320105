"""A recent burst on top of a smooth star formation history.

A fraction 10^lgfburst of the mass is given the ages of a burst: a triweight bump in x = lg age [yr] centered
at lgyr_peak and ending at lgyr_max,

    w = (1 - f) w_smooth + f M b,    b_j ~ (1 - u_j^2)^3 where |u_j| < 1,  u_j = (x_j - lgyr_peak) / (lgyr_max
    - lgyr_peak),

with b normalised over the SSP ages and M the mass formed: the total is kept. This is the burst of DSPS and
diffsky (Hearin et al. 2023, arXiv:2112.06830).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .units import Arr, Scalar


class BurstParams(NamedTuple):
    """A burst.

    Attributes
    ----------
    lgfburst : log10 of the fraction of the mass formed in it.
    lgyr_peak : log10 of the most common age [yr].
    lgyr_max : log10 of the longest age [yr]; above ``lgyr_peak`` by more than the SSP age step.
    """

    lgfburst: Scalar
    lgyr_peak: Scalar
    lgyr_max: Scalar


BURST_FIDUCIAL = BurstParams(-3.0, 5.5, 7.0)


def burst_shape(burst: BurstParams, ssp_lg_age_gyr: Float[Arr, "age"]) -> Float[Array, "age"]:
    """Distribution of the ages in a burst over the SSP ages; adds up to one."""
    dtype = jnp.result_type(*burst, 0.0)
    x = jnp.asarray(ssp_lg_age_gyr, dtype) + 9
    u = (x - burst.lgyr_peak) / (burst.lgyr_max - jnp.asarray(burst.lgyr_peak))
    bump = jnp.maximum(1 - u**2, 0) ** 3
    return bump / jnp.sum(bump)


def add_burst(
    burst: BurstParams, age_weights: Float[Array, "age"], ssp_lg_age_gyr: Float[Arr, "age"]
) -> Float[Array, "age"]:
    """Mass at each SSP age after moving a fraction of it into the burst.

    Parameters
    ----------
    burst : BurstParams
        Fraction and ages of the burst.
    age_weights : Float[Array, "age"]
        Msun formed at each SSP age by the smooth history.
    ssp_lg_age_gyr : Float[Array, "age"]
        log10 age of the SSPs [Gyr].

    Returns
    -------
    Float[Array, "age"]
        The same total.
    """
    fraction = 10 ** jnp.asarray(burst.lgfburst, age_weights.dtype)
    shape = burst_shape(burst, ssp_lg_age_gyr).astype(age_weights.dtype)
    return (1 - fraction) * age_weights + fraction * jnp.sum(age_weights) * shape
