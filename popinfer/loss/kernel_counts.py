"""Kernel soft counts: the smooth statistic through which data and model are compared.

In each redshift slice, features (colors and one magnitude) are whitened and galaxies are counted with
Gaussian kernels phi_k(x) = exp(-|x - c_k|^2 / 2 h^2) at K centers,

    d_k = sum_i phi_k(x_i),   m_k = N_obs sum_j w_j phi_k(y_j) / sum_j w_j.

Both sides see the same smoothing, so the bandwidth costs information but makes no bias. Centers are observed
galaxies taken out of the counts: a galaxy never counts itself. The survey area is unknown, so the model is
scaled to the observed number (shape only).

The Poisson log-likelihood of the soft counts is a composite likelihood, because overlapping kernels count the
same galaxy many times. It has one well and its optimum is consistent, but its width must be corrected with
the covariance of the counts (`CountCovariance`), as `popinfer.infer.likelihood` does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import Arr

TILE_SIZE = 2**23  # kernel values held at once (32 MB in single precision)


@dataclass(frozen=True)
class KernelSpec:
    """How to lay out the kernels.

    Attributes
    ----------
    n_centers : kernels per slice before near-empty ones are dropped.
    bandwidth : kernel width h in units of the whitened features' standard deviation.
    floor : added in quadrature to every feature's scatter before whitening [mag]: differences that the model
        can't be trusted to predict are not resolved.
    min_count : kernels with fewer observed soft counts are dropped.
    """

    n_centers: int = 150
    bandwidth: float = 0.6
    floor: float = 0.03
    min_count: float = 5.0

    def __post_init__(self) -> None:
        """Refuse kernels that can't count."""
        if self.n_centers < 2 or not self.bandwidth > 0 or not self.floor >= 0:
            raise InputError(
                f"kernels: n_centers {self.n_centers} (>= 2), bandwidth {self.bandwidth} (> 0), "
                f"floor {self.floor} (>= 0)"
            )


class KernelCounts(eqx.Module):
    """Kernel centers of every slice and the observed soft counts there.

    Attributes
    ----------
    mean, whiten : x_white = (x - mean) @ whiten.
    centers : whitened kernel centers; kernels that were dropped keep a place with mask 0.
    mask : 1 for a kernel in use.
    observed : observed soft counts d_k.
    n_obs : observed galaxies that were counted (centers left out).
    data_cov : covariance of d_k at fixed total number, sum_i (phi_k - d_k/N)(phi_l - d_l/N).
    bandwidth : h.
    """

    mean: Float[Arr, "slice feature"]
    whiten: Float[Arr, "slice feature feature"]
    centers: Float[Arr, "slice kernel feature"]
    mask: Float[Arr, "slice kernel"]
    observed: Float[Arr, "slice kernel"]
    n_obs: Float[Arr, "slice"]
    data_cov: Float[Arr, "slice kernel kernel"]
    bandwidth: float

    @classmethod
    def build(cls, features: list[np.ndarray], spec: KernelSpec, seed: int) -> "KernelCounts":
        """Choose centers among the observed galaxies and count the others.

        Parameters
        ----------
        features : one array [galaxy, feature] a slice.
        spec : kernel layout.
        seed : of the random choice of centers.

        Raises
        ------
        InputError
            When a slice has fewer galaxies than twice the number of centers.
        """
        rng = np.random.default_rng(seed)
        slices = [_slice_kernels(x, spec, rng, i) for i, x in enumerate(features)]
        return cls(*(np.stack(column) for column in zip(*slices, strict=True)), bandwidth=spec.bandwidth)

    def log_kernels(
        self, i: int | Array, x: Float[Array, "point feature"], centers: Float[Array, "kernel feature"]
    ) -> Float[Array, "point kernel"]:
        """Logarithm of phi_k(x_j) in slice i, by one matmul."""
        white = (x - jnp.asarray(self.mean, x.dtype)[i]) @ jnp.asarray(self.whiten, x.dtype)[i]
        return log_kernel_matrix(white, centers.astype(x.dtype), self.bandwidth)

    def log_shares(
        self, x: Float[Array, "slice point feature"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice kernel"]:
        """Logarithm of sum_j w_j phi_k(y_j) / sum_j w_j: finite however far a center is.

        Large samples are tiled over centers, so that point x kernel is never stored, also by the gradient.
        """

        def one(i: Array, xs: Array, ws: Array, centers: Array) -> Array:
            log_w = jnp.log(ws + jnp.finfo(ws.dtype).tiny) - jnp.log(jnp.sum(ws))

            def tile(some: Array) -> Array:
                return jax.nn.logsumexp(self.log_kernels(i, xs, some) + log_w[:, None], axis=0)

            return _in_tiles(tile, centers, max(1, TILE_SIZE // len(xs))).astype(jnp.result_type(float))

        index = jnp.arange(self.centers.shape[0])
        return jax.vmap(one)(index, x, weight, jnp.asarray(self.centers))

    def model_counts(
        self, x: Float[Array, "slice point feature"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice kernel"]:
        """Soft counts m_k of weighted model galaxies, scaled to the observed number."""
        return jnp.asarray(self.n_obs)[:, None] * jnp.exp(self.log_shares(x, weight))

    def log_likelihood(
        self, x: Float[Array, "slice point feature"], weight: Float[Array, "slice point"]
    ) -> Float[Array, ""]:
        """Poisson composite log-likelihood, zero where model and data counts are equal."""
        log_m = self.log_shares(x, weight) + jnp.log(jnp.asarray(self.n_obs))[:, None]
        d = jnp.asarray(self.observed)
        terms = d * (log_m - jnp.log(d)) - (jnp.exp(log_m) - d)
        return jnp.sum(jnp.where(jnp.asarray(self.mask) > 0, terms, 0.0))


def _in_tiles(function: Callable[[Array], Array], centers: Array, size: int) -> Array:
    """Apply a function of centers to `size` of them at a time, forgetting its intermediate arrays."""
    n = len(centers)
    if n <= size:
        return function(centers)
    padded = jnp.concatenate([centers, jnp.repeat(centers[-1:], -n % size, axis=0)])
    tiles = padded.reshape(-1, size, centers.shape[1])
    return jax.lax.map(jax.checkpoint(function), tiles).ravel()[:n]


def log_kernel_matrix(
    x: Float[Arr, "point feature"], centers: Float[Arr, "kernel feature"], bandwidth: float
) -> Float[Array, "point kernel"]:
    """Gaussian log-kernels -|x - c|^2 / (2 h^2) of whitened points."""
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(centers**2, axis=1)[None, :]
    distance2 = jnp.maximum(squares - 2 * jnp.asarray(x) @ centers.T, 0.0)
    return -distance2 / (2 * bandwidth**2)


def _slice_kernels(
    x: np.ndarray, spec: KernelSpec, rng: np.random.Generator, index: int
) -> tuple[np.ndarray, ...]:
    n, n_feature = x.shape
    if n < 2 * spec.n_centers:
        raise InputError(
            f"redshift slice {index} has {n} galaxies: at least {2 * spec.n_centers} are needed "
            f"for n_centers = {spec.n_centers}"
        )
    mean = x.mean(axis=0)
    cov = np.cov(x.T) + spec.floor**2 * np.eye(n_feature)
    values, vectors = np.linalg.eigh(cov)
    whiten = vectors / np.sqrt(values)
    white = (x - mean) @ whiten
    order = rng.permutation(n)
    centers, counted = white[order[: spec.n_centers]], white[order[spec.n_centers :]]
    phi = np.exp(np.asarray(log_kernel_matrix(counted, centers, spec.bandwidth)))
    observed = phi.sum(axis=0)
    deviation = phi - observed / len(counted)
    mask = (observed >= spec.min_count).astype(float)
    return mean, whiten, centers, mask, observed, np.array(float(len(counted))), deviation.T @ deviation
