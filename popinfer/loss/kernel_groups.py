"""Galaxies of one slice and pattern of measured bands: where their kernels are, and what these count."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from popinfer.errors import InputError
from popinfer.loss.base import whitening_matrix
from popinfer.loss.kernels import log_kernel_matrix

MIN_CENTERS = 10  # of a pattern of measured bands, if that takes no more than a quarter of its galaxies


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

    n_centers: int = 100
    bandwidth: float = 1.0
    floor: float = 0.03
    min_count: float = 5.0

    def __post_init__(self) -> None:
        """Refuse kernels that can't count."""
        if self.n_centers < 2 or not self.bandwidth > 0 or not self.floor >= 0:
            raise InputError(
                f"kernels: n_centers {self.n_centers} (>= 2), bandwidth {self.bandwidth} (> 0), "
                f"floor {self.floor} (>= 0)"
            )


class Group(NamedTuple):
    """Galaxies of one slice and pattern: layout of their kernels, and what these count.

    ``mean_phi`` is each kernel's mean over the counted galaxies, ``scatter`` the sum over them of the squared
    deviations from it, ``n_counted`` their number, ``n`` that of all.
    """

    mean: Float[np.ndarray, "feature"]
    whiten: Float[np.ndarray, "feature feature"]
    centers: Float[np.ndarray, "kernel feature"]
    mean_phi: Float[np.ndarray, "kernel"]
    scatter: Float[np.ndarray, "kernel kernel"]
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
        return count_galaxies(x, mean, whiten, np.zeros((0, n_feature)), spec.bandwidth)
    n_centers = max(round(spec.n_centers * n / n_slice), min(MIN_CENTERS, n // 4))
    mean[has], whiten[np.ix_(has, has)] = whitening_matrix(x[:, has], spec.floor)
    order = rng.permutation(n)
    centers = np.where(has, x - mean, 0.0)[order[:n_centers]] @ whiten
    return count_galaxies(x[order[n_centers:]], mean, whiten, centers, spec.bandwidth)._replace(n=n)


def count_galaxies(
    x: Float[np.ndarray, "gal feature"],
    mean: Float[np.ndarray, "feature"],
    whiten: Float[np.ndarray, "feature feature"],
    centers: Float[np.ndarray, "kernel feature"],
    bandwidth: float,
) -> Group:
    """What given kernels count of galaxies, NaN in features that their pattern lacks."""
    n, n_kernel = len(x), len(centers)
    if n == 0:
        zero = np.zeros(n_kernel)
        return Group(mean, whiten, centers, zero, np.zeros((n_kernel, n_kernel)), 0, 0)
    white = np.where(np.isfinite(x), x - mean, 0.0) @ whiten
    phi = np.exp(np.asarray(log_kernel_matrix(white, centers, bandwidth)))
    mean_phi = phi.sum(axis=0) / n
    deviation = phi - mean_phi
    return Group(mean, whiten, centers, mean_phi, deviation.T @ deviation, n, n)


def join_patterns(
    groups: list[Group], n_obs: int, sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A slice's soft counts, their covariance, n_obs, and centers, kernels padded to `sizes`.

    Soft counts are v_p sum_i phi_k. Their covariance has the scatter of phi within each pattern, and that of
    the patterns' numbers, multinomial at fixed total, of which the counted galaxies are a share n_obs / n.
    """
    numbers = np.array([group.n for group in groups], float)
    starts, total, n = np.cumsum((0, *sizes)), sum(sizes), max(numbers.sum(), 1.0)
    centers, observed = np.zeros((total, len(groups[0].mean))), np.zeros(total)
    mean_phi, scatter = np.zeros((total, len(groups))), np.zeros((total, total))
    for p, (start, group) in enumerate(zip(starts, groups, strict=False)):
        of_pattern = slice(start, start + len(group.centers))
        centers[of_pattern] = group.centers
        if group.n > 0:
            v = n_obs * group.n / (n * group.n_counted)
            observed[of_pattern] = v * group.n_counted * group.mean_phi
            mean_phi[of_pattern, p], scatter[of_pattern, of_pattern] = group.mean_phi, v**2 * group.scatter
    between = (n_obs / n) ** 2 * (np.diag(numbers) - np.outer(numbers, numbers) / n)
    return observed, scatter + mean_phi @ between @ mean_phi.T, np.array(float(n_obs)), centers
