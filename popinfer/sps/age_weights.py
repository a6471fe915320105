"""Mass of stars formed, assigned to the ages of the SSP grid.

The light of a galaxy observed at t_obs is int SFR(t_obs - a) SSP(a) da. With the SSP interpolated linearly in
x = lg a between its nodes x_j, SSP(a) = sum_j phi_j(lg a) SSP_j where phi_j are hat functions, so

    L = sum_j w_j SSP_j,    w_j = int SFR(t_obs - a) phi_j(lg a) da.

This is product integration: the weights are linear in the SFR, add up to the mass formed before t_obs, and
are exact for a piecewise-linear SFR because the integral is split at the nodes of both tables. SFR is
integrated directly: differences of cumulative mass lose the young stars in float32. Stars younger (older)
than the first (last) node count for that node.

Two forms of the same integral:

- `age_weights`, galaxies with any table and any t_obs;
- `lookback_matrix`, built once for SFRs sampled at fixed lookback ages (`lookback_fractions` of t_obs): w =
SFR @ matrix.

With ``binned=True``, phi_j are top hats in lg a, the convention of DSPS (Hearin et al. 2023,
arXiv:2112.06830, section 3; see `bins`); the hat functions converge faster in the age grid.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from .bins import inner_edges
from .histories import as_floats, check_history, check_times
from .units import YEAR_PER_GYR, Arr, Scalar

_X4, _W4 = np.polynomial.legendre.leggauss(4)
_X4, _W4 = 0.5 * (_X4 + 1), 0.5 * _W4


def age_weights(
    t_table: Real[Arr, "t"],
    sfr_table: Real[Arr, "*gal t"],
    t_obs: Scalar | Float[Arr, "*gal"],
    ssp_lg_age_gyr: Float[Arr, "age"],
    *,
    binned: bool = False,
) -> Float[Array, "*gal age"]:
    """Mass formed that each SSP age stands for, for one galaxy with a tabulated SFH or for many.

    The SFR is linear in time between the nodes of the table and zero outside it.

    Parameters
    ----------
    t_table : Float[Array, "t"]
        Cosmic time [Gyr], increasing.
    sfr_table : Float[Array, "*gal t"]
        Star formation rate [Msun/yr], one row a galaxy.
    t_obs : float or Float[Array, "*gal"]
        Cosmic time of observation [Gyr], of all galaxies or of each.
    ssp_lg_age_gyr : Float[Arr, "age"]
        Log10 age of the SSPs [Gyr], increasing.
    binned : bool
        Assign all mass to the nearest age (the DSPS convention) instead of sharing it between two.

    Returns
    -------
    Float[Array, "*gal age"]
        Msun formed before t_obs, in the dtype of ``sfr_table`` where that is a float of 32 or 64 bits.

    Raises
    ------
    InputError
        Times don't increase, a rate is negative or not finite, or t_obs is outside the table (unless traced).

    Examples
    --------
    >>> import numpy as np
    >>> t, rates = np.linspace(0.1, 13.8, 50), np.ones((3, 50))
    >>> mass = age_weights(t, rates, 10.1, np.linspace(-3, 1.2, 20))
    >>> mass.shape, round(float(mass[0].sum()) / 1e10, 3)
    ((3, 20), 1.0)
    """
    check_history(t_table, sfr_table, t_obs)
    sfr_table = as_floats(sfr_table)
    dtype = sfr_table.dtype
    t_table, t_obs = jnp.asarray(t_table, dtype), jnp.asarray(t_obs, dtype)

    shape = sfr_table.shape[:-1]
    rows, times = sfr_table.reshape(-1, sfr_table.shape[-1]), jnp.broadcast_to(t_obs, shape).ravel()
    return _of_galaxies(t_table, rows, times, jnp.asarray(ssp_lg_age_gyr), binned).reshape(*shape, -1)


@partial(jax.jit, static_argnames="binned")
def _of_galaxies(
    t_table: Float[Array, "t"],
    sfr_table: Float[Array, "gal t"],
    t_obs: Float[Array, "gal"],
    ssp_lg_age_gyr: Float[Array, "age"],
    binned: bool,
) -> Float[Array, "gal age"]:
    """Weights of every galaxy's history: one compiled program."""
    return jax.vmap(lambda sfr, t: _of_galaxy(t_table, sfr, t, ssp_lg_age_gyr, binned))(sfr_table, t_obs)


def _of_galaxy(
    t_table: Float[Array, "t"],
    sfr_table: Float[Array, "t"],
    t_obs: Float[Array, ""],
    ssp_lg_age_gyr: Float[Array, "age"],
    binned: bool,
) -> Float[Array, "age"]:
    """Weights of one galaxy's history, in its precision."""
    dtype = sfr_table.dtype
    knots = inner_edges(ssp_lg_age_gyr) if binned else ssp_lg_age_gyr
    youngest = jnp.maximum(t_obs - t_table[-1], 0)
    oldest = jnp.maximum(t_obs - t_table[0], youngest)
    edges = jnp.concatenate([t_obs - t_table, jnp.asarray(10**knots, dtype), jnp.zeros(1, dtype)])
    edges = jnp.sort(jnp.clip(edges, youngest, oldest))
    return _integrate(edges, jnp.interp(t_obs - edges, t_table, sfr_table), jnp.asarray(knots, dtype), binned)


def _integrate(
    edges: Float[Array, "edge"], sfr: Float[Array, "edge"], knots: Float[Array, "knot"], binned: bool
) -> Float[Array, "age"]:
    """Integrate SFR (linear between the edges, ages in Gyr) against the basis with these knots (lg age)."""
    width, mid = jnp.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    tiny = jnp.finfo(edges.dtype).tiny
    where = jnp.searchsorted(knots, jnp.log10(jnp.maximum(mid, tiny)))  # knots below the piece
    mass = YEAR_PER_GYR * width * 0.5 * (sfr[1:] + sfr[:-1])
    if binned:
        return jnp.zeros(knots.size + 1, edges.dtype).at[where].add(mass)
    left = jnp.clip(where - 1, 0, knots.size - 2)
    x, w = jnp.asarray(_X4, edges.dtype), jnp.asarray(_W4, edges.dtype)
    age = edges[:-1, None] + width[:, None] * x
    share = (jnp.log10(jnp.maximum(age, tiny)) - knots[left][:, None]) / jnp.diff(knots)[left][:, None]
    rate = sfr[:-1, None] + jnp.diff(sfr)[:, None] * x
    upper = YEAR_PER_GYR * width * jnp.sum(w * rate * jnp.clip(share, 0, 1), axis=1)
    return jnp.zeros(knots.size, edges.dtype).at[left].add(mass - upper).at[left + 1].add(upper)


def lookback_fractions(n_nodes: int = 64) -> Float[np.ndarray, "node"]:
    """Lookback ages at which to sample a smooth SFH, as fractions of the time of observation.

    The nodes equidistribute the density 1 / (y + 0.025) + 0.5 / (1.05 - y) + 2: young stars outshine old
    ones, and the oldest were made within a short time. Against a dense grid, 98 % of main-sequence histories
    drawn from diffstarpop have errors below 1e-3 mag with 64 nodes in bands at rest-frame 0.1-0.9 micron.
    Of quenched galaxies' histories, which may rise steeply and end abruptly, 98 % have errors below 0.011 mag
    in brightness, 0.002 mag in optical and 0.006 mag in ultraviolet colors; half as much with 96 nodes.

    Parameters
    ----------
    n_nodes : int
        Number of nodes.

    Returns
    -------
    Float[ndarray, "node"]
        From 0 (being formed at t_obs) to 1 (formed at the Big Bang): age = fraction * t_obs [Gyr].
    """
    ends = np.geomspace(1e-5, 0.5, 2000)
    y = np.concatenate([[0.0], ends, 1 - ends[-2::-1], [1.0]])
    density = 1 / (y + 0.025) + 0.5 / (1.05 - y) + 2
    area = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(y))])
    return np.interp(np.linspace(0, area[-1], n_nodes), area, y)


def lookback_matrix(
    lookback_age_gyr: Float[Arr, "node"], ssp_lg_age_gyr: Float[Arr, "age"], *, binned: bool = False
) -> Float[np.ndarray, "node age"]:
    """Matrix that turns SFR at fixed lookback ages into mass at SSP ages: weights = sfr @ matrix.

    The SFR is linear in age between the nodes. Age nodes before the Big Bang must carry zero SFR.

    Parameters
    ----------
    lookback_age_gyr : Float[Array, "node"]
        Ages [Gyr], increasing.
    ssp_lg_age_gyr : Float[Arr, "age"]
        Log10 age of the SSPs [Gyr], increasing.
    binned : bool
        The DSPS convention, as in `age_weights`.

    Returns
    -------
    Float[ndarray, "node age"]
        Msun per (Msun/yr), float64; each row adds up to the time its node stands for [yr].

    Raises
    ------
    InputError
        The ages don't increase.
    """
    check_times("lookback_age_gyr", lookback_age_gyr)
    nodes, lg_age = np.asarray(lookback_age_gyr, np.float64), np.asarray(ssp_lg_age_gyr, np.float64)
    knots = np.asarray(inner_edges(lg_age)) if binned else lg_age
    edges = np.unique(np.clip(np.concatenate([nodes, 10**knots]), nodes[0], nodes[-1]))
    age = (edges[:-1, None] + np.diff(edges)[:, None] * _X4).ravel()
    weight = YEAR_PER_GYR * (np.diff(edges)[:, None] * _W4).ravel()
    rate = _hats(nodes, age)
    if binned:
        basis = np.eye(lg_age.size)[np.searchsorted(knots, np.log10(age))]
    else:
        basis = _hats(lg_age, np.log10(age))
    return rate.T @ (weight[:, None] * basis)


def _hats(nodes: Float[np.ndarray, "node"], x: Float[np.ndarray, "x"]) -> Float[np.ndarray, "x node"]:
    """Piecewise-linear basis functions, constant beyond the end nodes."""
    left = np.clip(np.searchsorted(nodes, x) - 1, 0, nodes.size - 2)
    share = np.clip((x - nodes[left]) / np.diff(nodes)[left], 0, 1)
    out = np.zeros((x.size, nodes.size))
    out[np.arange(x.size), left] = 1 - share
    out[np.arange(x.size), left + 1] = share
    return out
