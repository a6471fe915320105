"""The model's counts: means over the batches of a halo sample.

A halo sample is B equally large, independent batches of halos. With m_b(u) the counts that batch b predicts,

    m = mean_b m_b,    log m -> log m + var_b[m_b] / (2 B m^2),

where the last term undoes the bias of a noisy mean's logarithm: it depends on u, and would pull a fit to
where halo noise is small. A batch is the unit of memory: batches are mapped over, one in memory at a time,
and their derivatives with them. It is the unit of compilation too: samples of any number of equal batches
share the programs of `evaluate`, `log_counts` and `log_counts_and_jacobian`.
"""

import os
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


class BatchedCounts(eqx.Module):
    """Vector u -> log-counts of every batch.

    Arrays are leaves: models of other catalogs and halos with the same shapes share compiled programs.

    Attributes
    ----------
    batches : whatever a batch consists of, arrays with a leading batch axis.
    """

    batches: eqx.AbstractVar[Any]

    @abstractmethod
    def of_batch(self, batch: Any, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of one batch's counts at u, float64."""

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

    def each(self, u: Float[Array, "par"]) -> Float[Array, "batch stat"]:
        """Log-counts of every batch at u."""
        # not kept for derivatives but made again: memory must not grow with the number of batches
        of_batch = jax.checkpoint(lambda batch: self.of_batch(batch, u))
        return jax.lax.map(of_batch, self.batches)

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Log-counts of all batches together at u."""
        return log_mean(self.each(u))


def log_mean(log_counts: Float[Array, "batch stat"]) -> Float[Array, "stat"]:
    """Logarithm of the mean of all batches' counts, without the bias that halo noise brings."""
    n, largest = len(log_counts), jax.lax.stop_gradient(jnp.max(log_counts, axis=0))
    counts = jnp.exp(log_counts - largest)
    mean = jnp.mean(counts, axis=0)
    variance = jnp.var(counts, axis=0, ddof=1) if n > 1 else jnp.zeros_like(mean)
    return largest + jnp.log(mean) + 0.5 * variance / mean**2 / n


# compiled whole; operation by operation each would be a dozen programs
_log_mean = jax.jit(log_mean)
_log_mean_of_points = jax.jit(jax.vmap(log_mean))


@jax.jit
def _log_mean_and_jacobian(
    log_m: Float[Array, "batch stat"], jacobians: Float[Array, "batch stat par"]
) -> tuple[Float[Array, "stat"], Float[Array, "stat par"]]:
    def together(tangent: Array) -> Array:
        return jax.jvp(log_mean, (log_m,), (tangent,))[1]

    return log_mean(log_m), jax.vmap(together, in_axes=-1, out_axes=-1)(jacobians)


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
        return {"log_m": np.asarray(_log_mean(np.stack(_over_batches(_value, counts, u))))}

    return kept("log_counts", {"u": np.asarray(u)}, compute)["log_m"]


def log_counts_and_jacobian(
    counts: BatchedCounts, u: Float[Array | np.ndarray, "par"]
) -> tuple[Float[np.ndarray, "stat"], Float[np.ndarray, "stat par"]]:
    """Log-counts of all batches together and their derivative."""

    def compute() -> dict[str, np.ndarray]:
        of_batches = _over_batches(_value_and_jacobian, counts, u)
        stacked = (np.stack(parts) for parts in zip(*of_batches, strict=True))
        log_m, jacobian = _log_mean_and_jacobian(*stacked)
        return {"log_m": np.asarray(log_m), "jacobian": np.asarray(jacobian)}

    result = kept("log_counts_and_jacobian", {"u": np.asarray(u)}, compute)
    return result["log_m"], result["jacobian"]


def jacobians_of_batches(
    counts: BatchedCounts, u: Float[Array | np.ndarray, "par"]
) -> Float[np.ndarray, "batch stat par"]:
    """Each batch's part in the derivative of log-counts; their mean is that of all batches together.

    With m = mean_b m_b, d log m / du = mean_b (m_b / m) d log m_b / du. The derivative of the correction for
    the logarithm's bias, which isn't a mean over batches, is left out.
    """

    def compute() -> dict[str, np.ndarray]:
        of_batches = _over_batches(_value_and_jacobian, counts, u)
        log_m, jacobians = (np.stack(parts) for parts in zip(*of_batches, strict=True))
        weight = len(log_m) * softmax(log_m, axis=0)
        return {"jacobians": weight[..., None] * jacobians}

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
        "values": np.asarray(_log_mean_of_points(batches)),
        "cov": halo_covariance(batches),
        "size": np.asarray(np.isfinite(batches).all(axis=(1, 2)).sum()),
    }


def _averaged(covs: list[np.ndarray], sizes: list[int]) -> Float[np.ndarray, "stat stat"]:
    """Mean of covariances that come from different numbers of points; zero when there are none."""
    return np.average(covs, axis=0, weights=sizes) if any(sizes) else np.zeros_like(covs[0])


def halo_covariance(log_counts: Float[np.ndarray, "point batch stat"]) -> Float[np.ndarray, "stat stat"]:
    """Covariance of log m that the halo sample brings, averaged over points.

    Batches are independent and equally large, so that with m = mean_b m_b

        cov[log m] = sum_b (m_b / m - 1)(m_b / m - 1)^T / (B (B - 1)).

    Parameters
    ----------
    log_counts : ndarray, shape (point, batch, stat)
        Log-counts of every batch at points spread as the posterior is; points where the model gives no number
        are left out.

    Raises
    ------
    InputError
        There is but one batch: nothing tells its noise.
    """
    if log_counts.shape[1] < 2:
        raise InputError("halos: noise is measured between batches, and there is one; give two or more")
    log_counts = log_counts[np.isfinite(log_counts).all(axis=(1, 2))]
    n_point, n_batch, n_stat = log_counts.shape
    if n_point == 0:
        return np.zeros((n_stat, n_stat))
    counts = np.exp(log_counts - log_counts.max(axis=1, keepdims=True))
    relative = (counts / counts.mean(axis=1, keepdims=True) - 1).reshape(-1, n_stat)
    return relative.T @ relative / (n_point * n_batch * (n_batch - 1))
