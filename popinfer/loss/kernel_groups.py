"""Galaxies of one slice and pattern of measured bands: where their kernels are, and what these count."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from popinfer.errors import InputError
from popinfer.loss.base import whitening_matrix
from popinfer.loss.kernels import expected_log_marginals, log_kernel_matrix

MIN_CENTERS = 10  # of a pattern of measured bands, if that takes no more than a quarter of its galaxies
# at 1.5 widths the sum of Gaussians is flat to 3e-4: nothing falls between kernels
MARGINAL_STEP, MARGINAL_REACH = 1.5, (0.02, 0.98)


@dataclass(frozen=True)
class KernelSpec:
    """How to lay out the kernels.

    Attributes
    ----------
    n_centers : kernels per slice before near-empty ones are dropped.
    bandwidth : kernel width h in units of the whitened features' standard deviation.
    marginal_bandwidth : width of further kernels in each single feature, in units of its standard deviation;
        there are none when it is None.
    floor : added in quadrature to every feature's scatter before whitening [mag]: differences that the model
        can't be trusted to predict are not resolved.
    min_count : kernels with fewer observed soft counts are dropped.
    """

    n_centers: int = 100
    bandwidth: float = 1.0
    floor: float = 0.03
    min_count: float = 5.0
    marginal_bandwidth: float | None = None

    def __post_init__(self) -> None:
        """Refuse kernels that can't count."""
        if self.n_centers < 2 or not self.bandwidth > 0 or not self.floor >= 0:
            raise InputError(
                f"kernels: n_centers {self.n_centers} (>= 2), bandwidth {self.bandwidth} (> 0), "
                f"floor {self.floor} (>= 0)"
            )
        if self.marginal_bandwidth is not None and not self.marginal_bandwidth > 0:
            raise InputError(f"kernels: marginal_bandwidth {self.marginal_bandwidth} (> 0)")


class Group(NamedTuple):
    """Galaxies of one slice and pattern: layout of their kernels, and what these count.

    ``marginals`` are rows (d, c) of kernels in single features. ``mean_phi`` is each kernel's mean over the
    counted galaxies, first those at centers, then marginals; ``scatter`` the sum over galaxies of the squared
    deviations from it, ``n_counted`` their number, ``n`` that of all.
    """

    mean: Float[np.ndarray, "feature"]
    whiten: Float[np.ndarray, "feature feature"]
    centers: Float[np.ndarray, "kernel feature"]
    marginals: Float[np.ndarray, "marginal _"]
    mean_phi: Float[np.ndarray, "any_kernel"]
    scatter: Float[np.ndarray, "any_kernel any_kernel"]
    n_counted: int
    n: int


def lay_out_kernels(
    rng: np.random.Generator, x: Float[np.ndarray, "gal feature"], n_slice: int, spec: KernelSpec
) -> Group:
    """Kernels at some of the galaxies of one pattern, in a slice of n_slice, that count the others."""
    n, n_feature = x.shape
    has = np.isfinite(x).all(axis=0)
    mean, whiten = np.zeros(n_feature), np.zeros((n_feature, n_feature))
    if n == 0:
        nothing = np.zeros((0, n_feature)), np.zeros((0, n_feature + 1))
        return count_galaxies(x, mean, whiten, *nothing, spec.bandwidth)
    n_centers = max(round(spec.n_centers * n / n_slice), min(MIN_CENTERS, n // 4))
    mean[has], whiten[np.ix_(has, has)] = whitening_matrix(x[:, has], spec.floor)
    order = rng.permutation(n)
    held_out = np.where(has, x - mean, 0.0)[order[:n_centers]]
    scale = np.sqrt(np.where(has, np.var(x, axis=0), 0.0) + spec.floor**2)
    marginals = lay_out_marginals(held_out, scale, spec)
    counted = x[order[n_centers:]]
    return count_galaxies(counted, mean, whiten, held_out @ whiten, marginals, spec.bandwidth)._replace(n=n)


def lay_out_marginals(
    x: Float[np.ndarray, "gal feature"], scale: Float[np.ndarray, "feature"], spec: KernelSpec
) -> Float[np.ndarray, "marginal _"]:
    """Kernels in each single feature, as rows (d, c): they count exp(-(d.x - c)^2 / 2 h^2).

    They stand side by side, `MARGINAL_STEP` widths apart or closer, over the middle 96 % of galaxies that
    aren't counted.

    Parameters
    ----------
    x : Float[np.ndarray, "gal feature"]
        Features of these galaxies less the mean of all; a feature that they lack is zero.
    scale : Float[np.ndarray, "feature"]
        Standard deviation of each feature.
    spec : KernelSpec
        Widths of the kernels.
    """
    n_feature = x.shape[1]
    if spec.marginal_bandwidth is None:
        return np.zeros((0, n_feature + 1))
    rows, per_width = [], spec.bandwidth / spec.marginal_bandwidth
    for feature in np.flatnonzero(np.any(x != 0, axis=0)):
        ends = np.quantile(x[:, feature], MARGINAL_REACH) / scale[feature]
        n = 1 + int(np.ceil((ends[1] - ends[0]) / (MARGINAL_STEP * spec.marginal_bandwidth)))
        of_feature = np.zeros((n, n_feature + 1))
        of_feature[:, feature] = per_width / scale[feature]
        of_feature[:, -1] = per_width * np.linspace(ends[0], ends[1], n)
        rows.append(of_feature)
    return np.concatenate([np.zeros((0, n_feature + 1)), *rows])


def count_galaxies(
    x: Float[np.ndarray, "gal feature"],
    mean: Float[np.ndarray, "feature"],
    whiten: Float[np.ndarray, "feature feature"],
    centers: Float[np.ndarray, "kernel feature"],
    marginals: Float[np.ndarray, "marginal _"],
    bandwidth: float,
) -> Group:
    """What given kernels count of galaxies, NaN in features that their pattern lacks."""
    n, n_kernel = len(x), len(centers) + len(marginals)
    if n == 0:
        zero = np.zeros(n_kernel)
        return Group(mean, whiten, centers, marginals, zero, np.zeros((n_kernel, n_kernel)), 0, 0)
    away = np.where(np.isfinite(x), x - mean, 0.0)
    at_centers = log_kernel_matrix(away @ whiten, centers, bandwidth)
    along = expected_log_marginals(jnp.asarray(away), None, bandwidth)(jnp.asarray(marginals))
    phi = np.exp(np.concatenate([at_centers, along], axis=1, dtype=float))
    mean_phi = phi.sum(axis=0) / n
    deviation = phi - mean_phi
    return Group(mean, whiten, centers, marginals, mean_phi, deviation.T @ deviation, n, n)


def join_patterns(
    groups: list[Group], n_obs: int, sizes: tuple[int, ...], n_marginal: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A slice's soft counts, their covariance, n_obs, centers and marginals, kernels padded to `sizes`.

    Kernels at centers come first, pattern by pattern, then `n_marginal` marginals of each pattern. Soft
    counts are v_p sum_i phi_k. Their covariance has the scatter of phi within each pattern, and that of the
    patterns' numbers, multinomial at fixed total, of which the counted galaxies are a share n_obs / n.
    """
    numbers, n_pattern = np.array([group.n for group in groups], float), len(groups)
    starts, n_center, n = np.cumsum((0, *sizes)), sum(sizes), max(numbers.sum(), 1.0)
    total, n_feature = n_center + n_pattern * n_marginal, len(groups[0].mean)
    centers, marginals = np.zeros((n_center, n_feature)), np.zeros((n_pattern, n_marginal, n_feature + 1))
    observed, mean_phi, scatter = np.zeros(total), np.zeros((total, n_pattern)), np.zeros((total, total))
    for p, group in enumerate(groups):
        at_centers = starts[p] + np.arange(len(group.centers))
        centers[at_centers], marginals[p, : len(group.marginals)] = group.centers, group.marginals
        if group.n > 0:
            first = n_center + p * n_marginal
            own = np.concatenate([at_centers, first + np.arange(len(group.marginals))])
            v = n_obs * group.n / (n * group.n_counted)
            observed[own] = v * group.n_counted * group.mean_phi
            mean_phi[own, p], scatter[np.ix_(own, own)] = group.mean_phi, v**2 * group.scatter
    between = (n_obs / n) ** 2 * (np.diag(numbers) - np.outer(numbers, numbers) / n)
    covariance = scatter + mean_phi @ between @ mean_phi.T
    return observed, covariance, np.array(float(n_obs)), centers, marginals
