"""A recent burst on top of a smooth star formation history.

A fraction 10^lgfburst of the mass is given the ages of a burst: a triweight bump in x = lg age [yr] centered
at lgyr_peak and ending at lgyr_max,

    w = (1 - f) w_smooth + f M b,    b_j ~ (1 - u_j^2)^3 where |u_j| < 1,  u_j = (x_j - lgyr_peak) / (lgyr_max
    - lgyr_peak),

with b normalised over the SSP ages and M the mass formed: the total is kept. This is the burst of DSPS and
diffsky (Hearin et al. 2023, arXiv:2112.06830). A bump that no SSP age lies in, because it is too narrow or
beyond the grid, is refused; where it is traced, all of the burst has the age lgyr_peak.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError

from .concrete import known, require
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
    peak, longest = (jnp.asarray(v, dtype) for v in burst[1:])
    wide = longest > peak
    u = (x - peak) / jnp.where(wide, longest - peak, 1)
    bump = jnp.where(wide, jnp.maximum(1 - u**2, 0) ** 3, 0)
    total = jnp.sum(bump)
    seen = total > jnp.finfo(dtype).tiny
    # a coinciding age has the share one, its neighbors zero: linear interpolation in lg age
    left = jnp.clip(jnp.searchsorted(x, peak) - 1, 0, x.size - 2)
    share = jnp.clip((peak - x[left]) / (x[left + 1] - x[left]), 0, 1)
    at_peak = jnp.zeros_like(x).at[left].set(1 - share).at[left + 1].set(share)
    return jnp.where(seen, bump / jnp.where(seen, total, 1), at_peak)


def check_burst(burst: BurstParams, ssp_lg_age_gyr: Float[Arr, "age"]) -> None:
    """Raise `InputError` for bursts, one or many, that hold more than all mass or none of the SSP ages.

    Values that are traced pass.
    """
    require("lgfburst", burst.lgfburst, -np.inf, 0, "log10 of a fraction, at most 0")
    peak, longest = known(burst.lgyr_peak), known(burst.lgyr_max)
    if peak is None or longest is None:
        return
    peak, longest = np.broadcast_arrays(np.atleast_1d(peak), longest)
    if np.any(bad := ~(longest > peak)):
        raise InputError(f"lgyr_max = {longest[bad][0]:g} isn't above lgyr_peak = {peak[bad][0]:g}")
    ages = np.asarray(ssp_lg_age_gyr) + 9
    bare = ~np.any(np.abs(ages - peak[..., None]) < (longest - peak)[..., None], axis=-1)
    if np.any(bare):
        raise InputError(
            f"a burst of lgyr_peak = {peak[bare][0]:g} and lgyr_max = {longest[bare][0]:g} holds no SSP age; "
            f"the grid has {ages.size} from {ages[0]:.2f} to {ages[-1]:.2f}"
        )


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
    ssp_lg_age_gyr : Float[Arr, "age"]
        Log10 age of the SSPs [Gyr].

    Returns
    -------
    Float[Array, "age"]
        The same total.

    Raises
    ------
    InputError
        The fraction is above one, or no SSP age lies in the burst (see `check_burst`).
    """
    check_burst(burst, ssp_lg_age_gyr)
    fraction = 10 ** jnp.asarray(burst.lgfburst, age_weights.dtype)
    shape = burst_shape(burst, ssp_lg_age_gyr).astype(age_weights.dtype)
    return (1 - fraction) * age_weights + fraction * jnp.sum(age_weights) * shape
