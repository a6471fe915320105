"""The model's counts: means over the batches of a halo sample.

A halo sample is B equally large, independent batches of halos. With m_b(u) the counts that batch b predicts,

    m = mean_b m_b,    log m -> log m + var_b[m_b] / (2 B m^2),

where the last term undoes the bias of a noisy mean's logarithm: it depends on u, and would pull a fit to
where halo noise is small. A statistic may be a ratio of two such means, as the mean of some property over
galaxies is: the ratio of the means, not the mean of ratios, which few galaxies in a batch make wrong. Then
both are among the terms that a batch predicts,

    log m_i = log(numerators' mean) - log(denominators' mean).

A batch is the unit of memory: batches are mapped over, one in memory at a time,
and their derivatives with them. It is the unit of compilation too: samples of any number of equal batches
share the programs of `evaluate`, `log_counts` and `log_counts_and_jacobian`.
"""

import os
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import softmax

from popinfer.errors import InputError
from popinfer.journal import kept

# halos times points that are evaluated at once: each then costs a third less than alone, and more at once
# gain nothing
_AT_ONCE = 4096
# halos that all cores together work on, in two batches at least: large batches fill cores by themselves, and
# each takes its memory
_ON_ALL_CORES = 16384

Progress = Callable[[int], None]
ModuleT = TypeVar("ModuleT", bound=eqx.Module)
ArrayT = TypeVar("ArrayT", Array, np.ndarray)


class BatchedCounts(eqx.Module):
    """Vector u -> logarithms of the terms that every batch predicts.

    Arrays are leaves: models of other catalogs and halos with the same shapes share compiled programs.

    Attributes
    ----------
    batches : whatever a batch consists of, arrays with a leading batch axis.
    """

    batches: eqx.AbstractVar[Any]

    @abstractmethod
    def of_batch(self, batch: Any, u: Float[Array, "par"]) -> Float[Array, "term"]:
        """Logarithm of one batch's counts at u, float64; after them of the denominators of ratios."""

    @property
    def ratios(self) -> tuple[int, ...]:
        """Places of the statistics that are ratios, in the order of their denominators."""
        return ()

    @property
    def n_batch(self) -> int:
        """Number of batches."""
        return len(jax.tree.leaves(self.batches)[0])

    @property
    def n_together(self) -> int:
        """Points that are evaluated at once, from 8 for large batches to 32 for small ones."""
        size = max(jax.tree.leaves(self.batches)[0][0].size, 1)
        return int(2 ** np.clip(np.round(np.log2(_AT_ONCE / size)), 3, 5))

    def first(self, n: int) -> "BatchedCounts":
        """The same model on the first n batches."""
        return eqx.tree_at(lambda c: c.batches, self, jax.tree.map(lambda x: x[:n], self.batches))

    def each(self, u: Float[Array, "par"]) -> Float[Array, "batch term"]:
        """Logarithms of every batch's terms at u."""
        # not kept for derivatives but made again: memory must not grow with the number of batches
        of_batch = jax.checkpoint(lambda batch: self.of_batch(batch, u))
        return jax.lax.map(of_batch, self.batches)

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Log-counts of all batches together at u."""
        return log_mean(self.each(u), self.ratios)


def over_denominators(terms: ArrayT, ratios: tuple[int, ...]) -> ArrayT:
    """Statistics [..., stat] from logarithms of their terms, or from relative changes of these.

    Parameters
    ----------
    terms : array, shape (..., term)
        Of all statistics, then of the denominators of those that are ratios.
    ratios : tuple[int, ...]
        Places of these.
    """
    if not ratios:
        return terms
    n = terms.shape[-1] - len(ratios)
    return terms[..., :n] - terms[..., n:] @ np.eye(n)[list(ratios)]


def log_mean(log_terms: Float[Array, "batch term"], ratios: tuple[int, ...] = ()) -> Float[Array, "stat"]:
    """Logarithm of the mean of all batches' counts, without the bias that halo noise brings."""
    n, largest = len(log_terms), jax.lax.stop_gradient(jnp.max(log_terms, axis=0))
    terms = jnp.exp(log_terms - largest)
    mean = jnp.mean(terms, axis=0)
    variance = jnp.var(terms, axis=0, ddof=1) if n > 1 else jnp.zeros_like(mean)
    return over_denominators(largest + jnp.log(mean) + 0.5 * variance / mean**2 / n, ratios)


# compiled whole; operation by operation each would be a dozen programs
_log_mean = jax.jit(log_mean, static_argnums=1)


@partial(jax.jit, static_argnums=1)
def _log_mean_of_points(
    log_terms: Float[Array, "point batch term"], ratios: tuple[int, ...]
) -> Float[Array, "point stat"]:
    return jax.vmap(lambda of_point: log_mean(of_point, ratios))(log_terms)


@partial(jax.jit, static_argnums=2)
def _log_mean_and_jacobian(
    log_terms: Float[Array, "batch term"], jacobians: Float[Array, "batch term par"], ratios: tuple[int, ...]
) -> tuple[Float[Array, "stat"], Float[Array, "stat par"]]:
    def mean(log_terms: Array) -> Array:
        return log_mean(log_terms, ratios)

    def together(tangent: Array) -> Array:
        return jax.jvp(mean, (log_terms,), (tangent,))[1]

    return mean(log_terms), jax.vmap(together, in_axes=-1, out_axes=-1)(jacobians)


@eqx.filter_jit
def _value(counts: BatchedCounts, batch: Any, u: Float[Array, "par"]) -> Float[Array, "stat"]:
    return counts.of_batch(batch, u)


@eqx.filter_jit
def _values(
    counts: BatchedCounts, batch: Any, points: Float[Array, "point par"]
) -> Float[Array, "point stat"]:
    """What depends on halos alone is computed once for all points."""
    return jax.vmap(lambda u: counts.of_batch(batch, u))(points)


@eqx.filter_jit
def _value_and_jacobian(
    counts: BatchedCounts, batch: Any, u: Float[Array, "par"]
) -> tuple[Float[Array, "stat"], Float[Array, "stat par"]]:
    """Column by column: in the same time as all at once, in memory that doesn't grow with the parameters."""

    def column(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda u: counts.of_batch(batch, u), (u,), (direction,))

    log_m, columns = jax.lax.map(column, jnp.eye(u.size, dtype=u.dtype))
    return log_m[0], columns.T


def on_device(tree: ModuleT) -> ModuleT:
    """The same with all arrays where they are computed with; those of NumPy go there at every call.

    Arrays are moved at once also while a caller's program is traced: what is kept may hold no tracer.
    """
    with jax.ensure_compile_time_eval():
        return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, tree)


@eqx.filter_jit
def _batch(batches: Any, i: Array) -> Any:
    return jax.tree.map(lambda x: x[i], batches)


def _over_batches(program: Callable[..., Any], counts: BatchedCounts, u: Any) -> list[Any]:
    """What a compiled program gives for each batch.

    On a CPU each core has a thread that works on a batch: a program of some hundred halos fills one core.
    """
    counts, point = on_device(counts), jnp.asarray(u)
    bare = eqx.tree_at(lambda c: c.batches, counts, None)

    def of_batch(i: Array) -> Any:
        return jax.block_until_ready(program(bare, _batch(counts.batches, i), point))

    first, *others = map(jnp.asarray, range(counts.n_batch))
    results = [of_batch(first)]  # alone: it compiles the program for all
    n_halo = max(jax.tree.leaves(counts.batches)[0][0].size, 1)
    with ThreadPoolExecutor(batches_at_once(n_halo)) as pool:
        return [*results, *pool.map(of_batch, others)]


def batches_at_once(n_halo: int) -> int:
    """Batches of so many halos that are worked on at once: one on each core, two of large ones.

    On a device that isn't a CPU it is one, which has the whole device.
    """
    if jax.default_backend() != "cpu":
        return 1
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return min(len(cores), max(2, _ON_ALL_CORES // n_halo))


def log_counts(counts: BatchedCounts, u: Float[Array | np.ndarray, "par"]) -> Float[np.ndarray, "stat"]:
    """Log-counts of all batches together at u."""

    def compute() -> dict[str, np.ndarray]:
        log_terms = np.stack(_over_batches(_value, counts, u))
        return {"log_m": np.asarray(_log_mean(log_terms, counts.ratios))}

    return kept("log_counts", {"u": np.asarray(u)}, compute)["log_m"]


def log_counts_and_jacobian(
    counts: BatchedCounts, u: Float[Array | np.ndarray, "par"]
) -> tuple[Float[np.ndarray, "stat"], Float[np.ndarray, "stat par"]]:
    """Log-counts of all batches together and their derivative."""

    def compute() -> dict[str, np.ndarray]:
        of_batches = _over_batches(_value_and_jacobian, counts, u)
        stacked = (np.stack(parts) for parts in zip(*of_batches, strict=True))
        log_m, jacobian = _log_mean_and_jacobian(*stacked, counts.ratios)
        return {"log_m": np.asarray(log_m), "jacobian": np.asarray(jacobian)}

    result = kept("log_counts_and_jacobian", {"u": np.asarray(u)}, compute)
    return result["log_m"], result["jacobian"]


def jacobians_of_batches(
    counts: BatchedCounts, u: Float[Array | np.ndarray, "par"]
) -> Float[np.ndarray, "batch stat par"]:
    """Each batch's part in the derivative of log-counts; their mean is that of all batches together.

    With m = mean_b m_b, d log m / du = mean_b (m_b / m) d log m_b / du, of a ratio the numerator's less the
    denominator's. The derivative of the correction for the logarithm's bias, which isn't a mean over batches,
    is left out.
    """

    def compute() -> dict[str, np.ndarray]:
        of_batches = _over_batches(_value_and_jacobian, counts, u)
        log_terms, jacobians = (np.stack(parts) for parts in zip(*of_batches, strict=True))
        weight = len(log_terms) * softmax(log_terms, axis=0)
        of_terms = np.swapaxes(weight[..., None] * jacobians, 1, 2)
        return {"jacobians": np.swapaxes(over_denominators(of_terms, counts.ratios), 1, 2)}

    return kept("jacobians_of_batches", {"u": np.asarray(u)}, compute)["jacobians"]


@dataclass(frozen=True)
class Evaluated:
    """Exact log-counts at some points.

    Attributes
    ----------
    points : unconstrained vectors.
    values : log-counts of all batches together.
    halo_cov : covariance of log-counts that the halo sample brings, averaged over the points.
    n_batch : batches of the sample, whose scatter it was told from.
    """

    points: Float[np.ndarray, "point par"]
    values: Float[np.ndarray, "point stat"]
    halo_cov: Float[np.ndarray, "stat stat"]
    n_batch: int

    def joined(self, other: "Evaluated") -> "Evaluated":
        """These points and others."""
        sizes = [int(np.isfinite(one.values).all(axis=1).sum()) for one in (self, other)]
        return Evaluated(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.values, other.values]),
            _averaged([self.halo_cov, other.halo_cov], sizes),
            self.n_batch,
        )

    def first(self, n: int) -> "Evaluated":
        """The first n points; the covariance stays that of all."""
        return Evaluated(self.points[:n], self.values[:n], self.halo_cov, self.n_batch)


def evaluate(
    counts: BatchedCounts, points: Float[np.ndarray, "point par"], progress: Progress | None = None
) -> Evaluated:
    """Evaluate the model on all halo batches, `n_together` points at once.

    Parameters
    ----------
    counts : BatchedCounts
        The model.
    points : Float[np.ndarray, "point par"]
        Where.
    progress : Progress or None
        Called with the number of points done.
    """
    chunks, together = [], counts.n_together
    for start in range(0, len(points), together):
        some = points[start : start + together]
        chunks.append(kept("evaluate", {"points": some}, lambda some=some: _evaluated(counts, some)))
        if progress is not None:
            progress(start + len(some))
    values = np.concatenate([chunk["values"] for chunk in chunks])
    sizes = [int(chunk["size"]) for chunk in chunks]
    halo_cov = _averaged([chunk["cov"] for chunk in chunks], sizes)
    return Evaluated(points, values, halo_cov, counts.n_batch)


def _evaluated(counts: BatchedCounts, points: Float[np.ndarray, "point par"]) -> dict[str, np.ndarray]:
    """Log-counts of points, the halo sample's covariance there, and at how many the model gives a number."""
    missing = counts.n_together - len(points)
    padded = np.concatenate([points, np.repeat(points[-1:], missing, axis=0)])
    of_batches = [np.asarray(log_m) for log_m in _over_batches(_values, counts, padded)]
    batches = np.stack(of_batches, axis=1)[: len(points)]
    return {
        "values": np.asarray(_log_mean_of_points(batches, counts.ratios)),
        "cov": halo_covariance(batches, counts.ratios),
        "size": np.asarray(np.isfinite(batches).all(axis=(1, 2)).sum()),
    }


def _averaged(covs: list[np.ndarray], sizes: list[int]) -> Float[np.ndarray, "stat stat"]:
    """Mean of covariances that come from different numbers of points; zero when there are none."""
    return np.average(covs, axis=0, weights=sizes) if any(sizes) else np.zeros_like(covs[0])


def halo_covariance(
    log_terms: Float[np.ndarray, "point batch term"], ratios: tuple[int, ...] = ()
) -> Float[np.ndarray, "stat stat"]:
    """Covariance of log m that the halo sample brings, averaged over points.

    Batches are independent and equally large, so that with m = mean_b m_b

        cov[log m] = sum_b (m_b / m - 1)(m_b / m - 1)^T / (B (B - 1)),

    and a ratio changes as its numerator less its denominator.

    Parameters
    ----------
    log_terms : ndarray, shape (point, batch, term)
        Logarithms of every batch's terms at points spread as the posterior is; those where the model gives no
        number are left out.
    ratios : tuple[int, ...]
        As of `over_denominators`.

    Raises
    ------
    InputError
        There is but one batch: nothing tells its noise.
    """
    if log_terms.shape[1] < 2:
        raise InputError("halos: noise is measured between batches, and there is one; give two or more")
    log_terms = log_terms[np.isfinite(log_terms).all(axis=(1, 2))]
    n_point, n_batch, n_term = log_terms.shape
    n_stat = n_term - len(ratios)
    if n_point == 0:
        return np.zeros((n_stat, n_stat))
    terms = np.exp(log_terms - log_terms.max(axis=1, keepdims=True))
    relative = over_denominators(terms / terms.mean(axis=1, keepdims=True) - 1, ratios).reshape(-1, n_stat)
    return relative.T @ relative / (n_point * n_batch * (n_batch - 1))
