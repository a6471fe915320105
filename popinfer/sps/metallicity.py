"""Share of each SSP metallicity in a population whose lgmet = log10 Z is normally distributed.

With the SSPs interpolated linearly in x = lgmet between their nodes x_k, the share of node k is
w_k = int N(x; lgmet, scatter) phi_k(x) dx with hat functions phi_k. In closed form, with Phi the normal
cumulative distribution and C_k its mean over the interval k,

    w_0 = C_0,  w_k = C_k - C_(k-1),  w_n = 1 - C_(n-1),
    C_k = [G(x_(k+1)) - G(x_k)] / (x_(k+1) - x_k),  G(x) = (x - lgmet) Phi(z) + scatter N(z),  z = (x -
    lgmet)/scatter.

Stars beyond the grid count for its end nodes. ``binned=True`` gives the convention of DSPS (Hearin et al.
2023, arXiv:2112.06830, section 3.2): the share inside bins with edges halfway between nodes, of a triweight
kernel that is exactly zero beyond 3 scatters. There the shares, and so the colors, stop depending on lgmet
near the middle of a wide bin; that is why hat functions are the default.

Outside the grid, where the shares no longer change and every gradient would silently vanish, the SSPs are
extrapolated: with d = distance of lgmet beyond the end node, a fraction e = 0.1 d^2 / (h + d)^2 (h the last
interval) is moved from the last-but-one node to the end node, so that it holds 1 + e. The extrapolation
starts smoothly at d = 0, never exceeds a tenth of an interval, and its gradient decays as 1/d^3 without
reaching zero, always pointing back to the grid. A weight of -e on the last-but-one node turns wavelengths
negative where it is more than (1 + e) / e >= 11 times brighter than the end node: on the embedded grid the
ultraviolet below 3000 Angstrom of stars of one old age. Bands of populations with a history stay positive.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import vmap
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from .bins import inner_edges
from .concrete import require
from .units import Arr, Scalar

_EXTRAPOLATION = 0.1


def lgmet_weights(
    lgmet: Scalar, lgmet_scatter: Scalar, ssp_lgmet: Float[Arr, "met"], *, binned: bool = False
) -> Float[Array, "met"]:
    """Share of each SSP metallicity.

    Parameters
    ----------
    lgmet : float
        Mean of log10 Z.
    lgmet_scatter : float
        Its standard deviation [dex], positive.
    ssp_lgmet : Float[Arr, "met"]
        Log10 Z of the SSPs, increasing.
    binned : bool
        The convention of DSPS instead of linear interpolation.

    Returns
    -------
    Float[Array, "met"]
        Shares, which add up to one.

    Raises
    ------
    InputError
        The mean is not a number, or the scatter not positive (unless traced).
    """
    check_metallicity(lgmet, lgmet_scatter)
    dtype = jnp.result_type(lgmet, lgmet_scatter, 0.0)
    lgmet, scatter = jnp.asarray(lgmet, dtype), jnp.asarray(lgmet_scatter, dtype)
    nodes = jnp.asarray(ssp_lgmet, dtype)
    if binned:
        below = _triweight_cdf((inner_edges(nodes) - lgmet) / scatter)
        shares = jnp.diff(below, prepend=jnp.zeros(1, dtype), append=jnp.ones(1, dtype))
    else:
        z = (nodes - lgmet) / scatter
        ramp = scatter * (z * norm.cdf(z) + norm.pdf(z))
        # a matrix product: XLA's CPU code takes five times longer for differences of short vectors
        unit = jnp.eye(len(nodes), dtype=dtype)
        slope = jnp.pad(jnp.diff(unit, axis=0) / jnp.diff(nodes)[:, None], ((1, 1), (0, 0)))
        shares = unit[-1] + jnp.matmul(jnp.diff(slope, axis=0), ramp, precision="highest")
    low = _beyond(nodes[0] - lgmet, nodes[1] - nodes[0])
    high = _beyond(lgmet - nodes[-1], nodes[-1] - nodes[-2])
    # products with constant vectors: XLA's indexed updates cost more than all the rest
    first = jnp.zeros(len(nodes), dtype).at[:2].set(jnp.asarray([1.0, -1.0], dtype))
    return shares + low * first + high * first[::-1]


def lgmet_weights_by_age(
    lgmet: Float[Array, "age"], lgmet_scatter: Scalar, ssp_lgmet: Float[Arr, "met"], *, binned: bool = False
) -> Float[Array, "met age"]:
    """Share of each SSP metallicity among the stars of each age; every column adds up to one.

    Parameters
    ----------
    lgmet : Float[Array, "age"]
        Mean log10 Z of the stars of each age.
    lgmet_scatter : float
        Standard deviation at fixed age [dex].
    ssp_lgmet, binned : Float[Arr, "met"], bool
        As in `lgmet_weights`.
    """
    one = vmap(lambda mean: lgmet_weights(mean, lgmet_scatter, ssp_lgmet, binned=binned))
    return one(lgmet).T


def lgmet_from_table(
    t_table: Float[Arr, "t"], lgmet_table: Float[Arr, "t"], t_obs: Scalar, ssp_lg_age_gyr: Float[Arr, "age"]
) -> Float[Array, "age"]:
    """Mean log10 Z at each SSP age from a tabulated enrichment history, linear in time.

    Parameters
    ----------
    t_table, lgmet_table : Float[Array, "t"]
        Cosmic time [Gyr] and mean log10 Z of the stars forming then; held at its ends outside the table.
    t_obs : float
        Cosmic time of observation [Gyr].
    ssp_lg_age_gyr : Float[Arr, "age"]
        Log10 age of the SSPs [Gyr].
    """
    lgmet_table = jnp.asarray(lgmet_table)
    birth = jnp.asarray(t_obs, lgmet_table.dtype) - 10 ** jnp.asarray(ssp_lg_age_gyr, lgmet_table.dtype)
    return jnp.interp(birth, jnp.asarray(t_table, lgmet_table.dtype), lgmet_table)


def lgmet_from_slope(
    lgmet: Scalar, slope: Scalar, ssp_lg_age_gyr: Float[Arr, "age"], pivot_gyr: Scalar = 1.0
) -> Float[Array, "age"]:
    """Mean log10 Z at each SSP age, smoothly correlated with age.

    lgmet(a) = lgmet - slope * ln(1 + a / pivot) / ln 10: stars of age a << pivot have ``lgmet``; older ones
    lose ``slope`` dex for every factor of ten in age. The form is differentiable everywhere.

    Parameters
    ----------
    lgmet : float
        Mean log10 Z of the stars forming at the time of observation.
    slope : float
        Enrichment [dex in Z per dex in age]; zero is a constant metallicity.
    ssp_lg_age_gyr : Float[Arr, "age"]
        Log10 age of the SSPs [Gyr].
    pivot_gyr : float
        Age beyond which metallicity falls [Gyr].
    """
    dtype = jnp.result_type(lgmet, slope, 0.0)
    age = 10 ** jnp.asarray(ssp_lg_age_gyr, dtype)
    return jnp.asarray(lgmet - slope * jnp.log10(1 + age / pivot_gyr))


def check_metallicity(lgmet: Any, scatter: Any, highest: float = np.inf) -> None:
    """Refuse NaN, scatters that aren't positive, and mean log10 Z above ``highest`` (unless traced).

    Raises
    ------
    InputError
        Names the value.
    """
    require("lgmet", lgmet, -np.inf, highest, "log10 of the metal mass fraction Z, such as -1.7 for Z = 0.02")
    tiny = float(np.finfo(np.float32).tiny)
    require("lgmet_scatter", scatter, tiny, np.inf, "standard deviation of log10 Z in dex, above 0")


def _beyond(distance: Float[Array, ""], interval: Float[Array, ""]) -> Float[Array, ""]:
    outside = jnp.maximum(distance, 0)
    return _EXTRAPOLATION * (outside / (interval + outside)) ** 2


def _triweight_cdf(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Cumulative triweight kernel of unit width, support |z| < 3."""
    y = jnp.clip(z / 3, -1, 1)
    return 0.5 + (35 * y - 35 * y**3 + 21 * y**5 - 5 * y**7) / 32
