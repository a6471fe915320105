"""Diffmah fits of main-branch mass histories: Levenberg-Marquardt, many halos at once.

The history of a halo is the largest mass that its main branch had so far (a halo that is stripped doesn't
give back the gas that made its stars). Diffmah describes it (Hearin et al. 2021, OJAp 4, 7) by

    log10 M(t) = logm0 + index(t) log10(t / t0),   index rolling from early_index to late_index about logtc,

constant after t_peak, the time at which the largest mass is reached. t0 is the age of the universe *today*,
whatever the snapshot, as in all of diffmah's calibrations: logm0 of a halo at z > 0 lies in its future. The
four parameters are fitted in diffmah's own unbounded coordinates, t_peak is read off, and points count that
are within 2.5 dex of the last and later than 1 Gyr: diffmah's own rules, so that calibrations made with its
fitter apply. A halo has no fit where fewer than three such points lie below its largest mass.

Each step solves (J^T J + lambda diag(J^T J)) d = -J^T r for all halos of a chunk; a halo's lambda falls
tenfold when its step helps and rises tenfold when it doesn't. Histories of several forms are tried first.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import (
    DEFAULT_MAH_PARAMS,
    DiffmahParams,
    DiffmahUParams,
    _log_mah_kern_u_params,
    get_bounded_mah_params,
    get_unbounded_mah_params,
)
from jaxtyping import Array, Float, Int

from popinfer.cosmology import Cosmology, age
from popinfer.halos.table import Branches

DEPTH_DEX, EARLIEST_GYR, FEWEST_POINTS = 2.5, 1.0, 3  # diffmah's own fitter
_AT_ONCE = 4096  # halos; programs are compiled for so many
_STEPS_MULTIPLE = 64  # histories are padded to a multiple, so that boxes of alike simulations share programs
_ITERATIONS = 24  # after which residuals no longer change in the third digit
# (logtc, early_index, late_index): growth that is early, usual, and late
_STARTS = ((0.0, 4.0, 0.2), (0.3, 2.5, 0.15), (0.6, 2.0, 1.0))


@dataclass(frozen=True)
class HistoryFits:
    """Diffmah fits of mass histories.

    Attributes
    ----------
    mah_params : of each halo; NaN where there are too few points.
    rms : of the residuals in log10 mass [dex]; NaN without a fit.
    n_points : below the largest mass, that are within the fitter's limits.
    """

    mah_params: DiffmahParams
    rms: Float[np.ndarray, "halo"]
    n_points: Int[np.ndarray, "halo"]


def fit_histories(branches: Branches, cosmology: Cosmology, lgm_min: float = 0.0) -> HistoryFits:
    """Fit the mass histories of halos that are observed at the last step.

    Parameters
    ----------
    branches : Branches
        Mass histories.
    cosmology : Cosmology
        Cosmology for ages.
    lgm_min : float
        Log10 mass [Msun] below which the simulation doesn't resolve a halo: such points don't count.
    """
    t = np.asarray(age(cosmology, 1 / branches.scale_factor - 1), float)
    logt0 = float(np.log10(age(cosmology, 0.0)))
    lg_mass = np.where(branches.lg_mass > lgm_min, branches.lg_mass, -np.inf)
    lg_mass = np.where(np.isnan(lg_mass), -np.inf, lg_mass)
    parts = [
        _fit_chunk(t, lg_mass[first : first + _AT_ONCE], logt0) for first in range(0, len(lg_mass), _AT_ONCE)
    ]
    if not parts:
        empty = np.zeros(0)
        return HistoryFits(DiffmahParams(*(empty,) * 5), empty, empty.astype(int))
    mah = DiffmahParams(*(np.concatenate(x) for x in zip(*(part.mah_params for part in parts), strict=True)))
    rms, n_points = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rms", "n_points"))
    return HistoryFits(mah, rms, n_points)


def _fit_chunk(t: np.ndarray, lg_mass: np.ndarray, logt0: float) -> HistoryFits:
    target, used, t_peak = _targets(t, lg_mass)
    n_points = (used & (target < target.max(axis=1, keepdims=True))).sum(axis=1)
    fitted = n_points >= FEWEST_POINTS
    extra = (_AT_ONCE - len(t_peak), -len(t) % _STEPS_MULTIPLE)
    weight = np.pad(used * fitted[:, None], ((0, extra[0]), (0, extra[1]))).astype(float)
    finite = np.where(np.isfinite(target), target, 10.0)
    padded = np.pad(finite, ((0, extra[0]), (0, extra[1])), constant_values=10.0)
    times = np.pad(t, (0, extra[1]), constant_values=t[-1])
    peak = np.pad(t_peak, (0, extra[0]), constant_values=10.0)
    mah, rms = _fit(jnp.asarray(times), jnp.asarray(padded), jnp.asarray(weight), jnp.asarray(peak), logt0)
    keep = len(t_peak)
    columns = [np.where(fitted, np.asarray(x, float)[:keep], np.nan) for x in mah]
    columns[4] = np.where(
        fitted, t_peak, np.nan
    )  # exactly, without the round trip through its unbounded form
    return HistoryFits(
        DiffmahParams(*columns), np.where(fitted, np.asarray(rms, float)[:keep], np.nan), n_points
    )


def _targets(t: np.ndarray, lg_mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peak-so-far masses, which of them count, and the time of the largest [halo step, halo step, halo]."""
    target = np.maximum.accumulate(lg_mass, axis=1)
    largest = target[:, -1:]
    used = np.isfinite(lg_mass) & (target > largest - DEPTH_DEX) & (t >= EARLIEST_GYR)
    t_peak = t[np.argmax(target == largest, axis=1)]
    return target, used, t_peak


@jax.jit
def _fit(
    t: Float[Array, "step"],
    target: Float[Array, "halo step"],
    weight: Float[Array, "halo step"],
    t_peak: Float[Array, "halo"],
    logt0: Float[Array, ""] | float,
) -> tuple[DiffmahParams, Float[Array, "halo"]]:
    """Best of the fits from all starts, and root mean squares of their residuals."""
    starts = jnp.asarray(_STARTS, target.dtype)
    first = jax.vmap(jax.vmap(_first, in_axes=(None, None, 0, 0)), in_axes=(0, None, None, None))
    u = first(starts, logt0, jnp.max(target, axis=1), t_peak)
    fit = jax.vmap(partial(_fit_from, t=t, logt0=logt0))
    ends, costs = jax.lax.map(lambda u: fit(u, target=target, weight=weight), u)
    best = jnp.argmin(costs, axis=0)
    u = jnp.take_along_axis(ends, best[None, :, None], axis=0)[0]
    mah = jax.vmap(lambda u: get_bounded_mah_params(DiffmahUParams(*u)))(u)
    n = jnp.maximum(weight.sum(axis=1), 1.0)
    return mah, jnp.sqrt(jnp.min(costs, axis=0) / n)


def _first(
    start: Float[Array, "3"],
    logt0: Float[Array, ""] | float,
    lg_peak: Float[Array, ""],
    t_peak: Float[Array, ""],
) -> Float[Array, "5"]:
    """Unbounded parameters of a form of growth that reaches a mass at a time."""
    logtc, early, late = start[0], start[1], start[2]
    shape = DEFAULT_MAH_PARAMS._make((lg_peak, logtc, early, late, t_peak))
    index = late + (early - late) * jax.nn.sigmoid(-3.5 * (jnp.log10(t_peak) - logtc))
    logm0 = jnp.minimum(lg_peak - index * (jnp.log10(t_peak) - logt0), 16.5)
    return jnp.stack(get_unbounded_mah_params(shape._replace(logm0=logm0)))


def _fit_from(
    u: Float[Array, "5"],
    *,
    target: Float[Array, "step"],
    weight: Float[Array, "step"],
    t: Float[Array, "step"],
    logt0: Float[Array, ""] | float,
) -> tuple[Float[Array, "5"], Float[Array, ""]]:
    """Levenberg-Marquardt for one halo; the last parameter, t_peak, is held. Also the sum of squares."""

    def residuals(free: Float[Array, "4"]) -> Float[Array, "step"]:
        model = _log_mah_kern_u_params(DiffmahUParams(*free, u[4]), t, logt0)
        return weight * (model - target)

    def step(_: Array | int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        free, cost, damping = state
        r, jacobian = residuals(free), jax.jacfwd(residuals)(free)
        hessian = jacobian.T @ jacobian
        scale = jnp.diag(hessian) + 1e-12
        trial = free - _solve_spd(hessian + jnp.diag(damping * scale), jacobian.T @ r)
        trial = jnp.clip(trial, -200.0, 200.0)  # where bounded parameters are at their bounds in float64
        trial_cost = jnp.sum(residuals(trial) ** 2)
        better = trial_cost < cost
        return (
            jnp.where(better, trial, free),
            jnp.where(better, trial_cost, cost),
            jnp.clip(jnp.where(better, 0.1 * damping, 10 * damping), 1e-7, 1e7),
        )

    free = u[:4]
    first = (free, jnp.sum(residuals(free) ** 2), jnp.asarray(1e-2, free.dtype))
    free, cost, _ = jax.lax.fori_loop(0, _ITERATIONS, step, first)
    return jnp.append(free, u[4]), cost


def _solve_spd(matrix: Float[Array, "n n"], vector: Float[Array, "n"]) -> Float[Array, "n"]:
    """Solve by an LDL^T factorisation written out: LAPACK's, in batches, can deadlock on CPUs."""
    n = vector.shape[0]
    lower, diagonal = jnp.eye(n, dtype=matrix.dtype), []
    for j in range(n):
        d = matrix[j, j] - sum((lower[j, k] ** 2 * diagonal[k] for k in range(j)), start=jnp.zeros(()))
        d = jnp.maximum(d, 1e-14)
        diagonal.append(d)
        for i in range(j + 1, n):
            off = matrix[i, j] - sum(
                (lower[i, k] * lower[j, k] * diagonal[k] for k in range(j)), start=jnp.zeros(())
            )
            lower = lower.at[i, j].set(off / d)
    y: list[Array] = []
    for i in range(n):
        y.append(vector[i] - sum((lower[i, k] * y[k] for k in range(i)), start=jnp.zeros(())))
    x: list[Array] = [jnp.zeros(())] * n
    for i in reversed(range(n)):
        x[i] = y[i] / diagonal[i] - sum((lower[k, i] * x[k] for k in range(i + 1, n)), start=jnp.zeros(()))
    return jnp.stack(x)
