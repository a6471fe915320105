"""Kernel soft counts: the smooth statistic through which data and model are compared.

In each redshift slice, features (colors and one magnitude) are whitened and galaxies are counted with
Gaussian kernels phi_k(x) = exp(-|x - c_k|^2 / 2 h^2) at K centers,

    d_k = sum_i phi_k(x_i),   m_k = N_obs sum_j w_j phi_k(y_j) / sum_j w_j.

Both sides see the same smoothing, so the bandwidth costs information but makes no bias. Centers are observed
galaxies taken out of the counts: a galaxy never counts itself. The survey area is unknown, so the model is
scaled to the observed number (shape only).

Galaxies that lack bands are counted by kernels of their own, one set a pattern of measured bands, in the
features that the pattern has. A model galaxy enters pattern p with weight w_j P_p(y_j), P_p the probability
that the survey measures just these bands, and the total runs over all patterns:

    m_k = N_obs sum_j w_j P_p(k)(y_j) phi_k(y_j) / sum_j w_j sum_p P_p(y_j).

How many galaxies lack a band is then part of the data. Were centers a fixed share f of each pattern, the
counted galaxies would keep the patterns' proportions; a rare pattern gives up more of its N_p galaxies, n_p,
so that it has kernels at all, and its counted ones weigh v_p = (1 - f) N_p / (N_p - n_p) to make up for it.

Overlapping kernels count the same galaxy many times: `popinfer.infer.likelihood` makes a posterior of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.loss.base import in_tiles, whitening
from popinfer.loss.kernels import expected_log_kernels, log_kernel_matrix
from popinfer.records import Arr
from popinfer.survey.integrated_noise import Scatter

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


class KernelCounts(eqx.Module):
    """Kernel centers of every slice and the observed soft counts there.

    Attributes
    ----------
    mean, whiten : x_white = (x - mean) @ whiten; whiten is zero for features that a pattern lacks.
    centers : whitened kernel centers; kernels that were dropped keep a place with mask 0.
    mask : 1 for a kernel in use.
    counted : 1 for a pattern that the slice has galaxies of; others don't enter the model's total.
    observed : observed soft counts d_k.
    n_obs : observed galaxies that were counted (centers left out).
    data_cov : covariance of d_k at fixed total number; sum_i (phi_k - d_k/N)(phi_l - d_l/N) if all galaxies
        have all bands.
    bandwidth : h, an array so that guides of several bandwidths share compiled programs.
    sizes : kernels of each pattern, in order along the kernel axis.
    """

    mean: Float[Arr, "slice pattern feature"]
    whiten: Float[Arr, "slice pattern feature feature"]
    counted: Float[Arr, "slice pattern"]
    centers: Float[Arr, "slice kernel feature"]
    mask: Float[Arr, "slice kernel"]
    observed: Float[Arr, "slice kernel"]
    n_obs: Float[Arr, "slice"]
    data_cov: Float[Arr, "slice kernel kernel"]
    bandwidth: Float[Arr, ""]
    sizes: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def build(
        cls, features: list[np.ndarray], spec: KernelSpec, seed: int, patterns: list[np.ndarray] | None = None
    ) -> "KernelCounts":
        """Choose centers among the observed galaxies and count the others.

        Parameters
        ----------
        features : one array [galaxy, feature] a slice, NaN where missing.
        spec : kernel layout.
        seed : of the random choice of centers.
        patterns : each galaxy's pattern of measured bands, 0 to (number of patterns - 1), one array a slice;
            galaxies of a pattern have the same features. All have all features when absent.

        Raises
        ------
        InputError
            When a slice has fewer galaxies than twice the number of centers, or hardly any kernel in use.
        """
        rng = np.random.default_rng(seed)
        labels = [np.zeros(len(x), int) for x in features] if patterns is None else patterns
        n_pattern = 1 + max(int(label.max(initial=0)) for label in labels)
        for index, x in enumerate(features):
            if len(x) < 2 * spec.n_centers:
                raise InputError(
                    f"redshift slice {index} has {len(x)} galaxies: at least {2 * spec.n_centers} are needed "
                    f"for n_centers = {spec.n_centers}"
                )
        groups = [
            [_group_kernels(x[label == p], len(x), spec, rng) for p in range(n_pattern)]
            for x, label in zip(features, labels, strict=True)
        ]
        sizes = tuple(max(len(groups[i][p].centers) for i in range(len(features))) for p in range(n_pattern))
        slices = [_join(one, len(x), sizes, spec) for one, x in zip(groups, features, strict=True)]
        columns = (np.stack(column) for column in zip(*slices, strict=True))
        kernels = cls(*columns, bandwidth=np.asarray(float(spec.bandwidth)), sizes=sizes)
        n_used = np.asarray(kernels.mask).sum(axis=1)
        if n_used.min() <= features[0].shape[1]:
            raise InputError(
                f"redshift slice {n_used.argmin()}: only {n_used.min():.0f} kernels count min_count = "
                f"{spec.min_count:g} galaxies: kernels.bandwidth {spec.bandwidth:g} is too narrow for them"
            )
        return kernels

    def log_kernels(
        self, i: int | Array, pattern: int, x: Float[Array, "point feature"], scatter: Scatter | None = None
    ) -> Callable[[Float[Array, "_ feature"]], Float[Array, "point _"]]:
        """Logarithm of phi_k(x_j) in slice i, by one matmul, as a function of centers in one pattern's space.

        With noise to integrate over, the logarithm of its expectation; see `popinfer.loss.kernels`.
        """
        mean, whiten = (jnp.asarray(a, x.dtype)[i, pattern] for a in (self.mean, self.whiten))
        white, bandwidth = (x - mean) @ whiten, jnp.asarray(self.bandwidth, x.dtype)
        if scatter is None:
            return lambda centers: log_kernel_matrix(white, centers.astype(x.dtype), bandwidth)
        spread = eqx.tree_at(lambda s: s.features, scatter, scatter.features @ whiten)
        expected = expected_log_kernels(white, spread, bandwidth)
        return lambda centers: expected(centers.astype(x.dtype))

    def log_shares(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, "slice kernel"]:
        """Logarithm of sum_j w_j P_j phi_k(y_j) / sum_j w_j P_j: finite however far a center is.

        Large samples are tiled over centers, so that point x kernel is never stored, also by the gradient.

        Parameters
        ----------
        x : features of the model galaxies. weight : their weights.
        probability : of each pattern of measured bands; one when absent.
        scatter : noise that the features don't hold, to be integrated over, [slice, point] in front.
        """
        if probability is None:
            probability = jnp.ones((*weight.shape, 1), weight.dtype)

        own = None if scatter is None else (scatter.sigma, scatter.mag)

        def one(i: Array, xs: Array, ws: Array, centers: Array, own: tuple[Array, Array] | None) -> Array:
            spread = scatter and eqx.tree_at(lambda s: (s.sigma, s.mag), scatter, own)
            log_total = jnp.log(jnp.sum(ws))
            starts = np.cumsum((0, *self.sizes))

            def of_pattern(p: int) -> Array:
                log_w = jnp.log(ws[:, p] + jnp.finfo(ws.dtype).tiny) - log_total
                log_kernels = self.log_kernels(i, p, xs, spread)

                def tile(some: Array) -> Array:
                    return jax.nn.logsumexp(log_kernels(some) + log_w[:, None], axis=0)

                own = centers[starts[p] : starts[p + 1]]
                return in_tiles(tile, own, len(xs)).astype(jnp.result_type(float))

            return jnp.concatenate([of_pattern(p) for p in range(len(self.sizes))])

        index = jnp.arange(self.centers.shape[0])
        each = weight[..., None] * probability * jnp.asarray(self.counted, weight.dtype)[:, None, :]
        return jax.vmap(one)(index, x, each, jnp.asarray(self.centers), own)

    def log_counts(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, "slice kernel"]:
        """Logarithm of the soft counts m_k, scaled to the observed number."""
        return self.log_shares(x, weight, probability, scatter) + jnp.log(jnp.asarray(self.n_obs))[:, None]

    def model_counts(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, "slice kernel"]:
        """Soft counts m_k of weighted model galaxies, scaled to the observed number."""
        return jnp.exp(self.log_counts(x, weight, probability, scatter))

    def log_likelihood(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, ""]:
        """Poisson composite log-likelihood, zero where model and data counts are equal."""
        log_m = self.log_counts(x, weight, probability, scatter)
        used = jnp.asarray(self.mask) > 0
        d = jnp.where(used, jnp.asarray(self.observed), 1.0)
        terms = d * (log_m - jnp.log(d)) - (jnp.exp(log_m) - d)
        return jnp.sum(jnp.where(used, terms, 0.0))


class _Group(NamedTuple):
    """Galaxies of one slice and pattern: layout of their kernels, and what these count.

    ``mean_phi`` is each kernel's mean over the counted galaxies, ``scatter`` the sum over them of the squared
    deviations from it, ``n_counted`` their number, ``n`` that of all.
    """

    mean: np.ndarray
    whiten: np.ndarray
    centers: np.ndarray
    mean_phi: np.ndarray
    scatter: np.ndarray
    n_counted: int
    n: int


def _group_kernels(x: np.ndarray, n_slice: int, spec: KernelSpec, rng: np.random.Generator) -> _Group:
    """Kernels of the galaxies [galaxy, feature] of one pattern, in a slice of n_slice galaxies."""
    n, n_feature = x.shape
    has = np.isfinite(x).all(axis=0)
    mean, whiten = np.zeros(n_feature), np.zeros((n_feature, n_feature))
    if n == 0:
        none = np.zeros(0)
        return _Group(mean, whiten, np.zeros((0, n_feature)), none, np.zeros((0, 0)), 0, 0)
    n_centers = max(round(spec.n_centers * n / n_slice), min(MIN_CENTERS, n // 4))
    own = x[:, has]
    mean[has], whiten[np.ix_(has, has)] = whitening(own, spec.floor)
    white = np.where(has, x - mean, 0.0) @ whiten
    order = rng.permutation(n)
    centers, counted = white[order[:n_centers]], white[order[n_centers:]]
    phi = np.exp(np.asarray(log_kernel_matrix(counted, centers, spec.bandwidth)))
    mean_phi = phi.sum(axis=0) / len(counted)
    deviation = phi - mean_phi
    return _Group(mean, whiten, centers, mean_phi, deviation.T @ deviation, len(counted), n)


def _join(groups: list[_Group], n: int, sizes: tuple[int, ...], spec: KernelSpec) -> tuple[np.ndarray, ...]:
    """A slice's arrays in the order of the fields of `KernelCounts`, kernels padded to `sizes`.

    Soft counts are v_p sum_i phi_k. Their covariance has the scatter of phi within each pattern, and that of
    the patterns' numbers, multinomial at fixed total, of which the counted galaxies are a share 1 - f.
    """
    starts, total = np.cumsum((0, *sizes)), sum(sizes)
    centers, observed = np.zeros((total, len(groups[0].mean))), np.zeros(total)
    share, scatter = np.zeros((total, len(groups))), np.zeros((total, total))
    n_obs = n - spec.n_centers
    for p, (start, group) in enumerate(zip(starts, groups, strict=False)):
        if group.n == 0:
            continue
        own = slice(start, start + len(group.centers))
        v = n_obs * group.n / (n * group.n_counted)
        centers[own], observed[own] = group.centers, v * group.n_counted * group.mean_phi
        share[own, p], scatter[own, own] = group.mean_phi, v**2 * group.scatter
    numbers = np.array([group.n for group in groups], float)
    between = (n_obs / n) ** 2 * (np.diag(numbers) - np.outer(numbers, numbers) / n)
    return (
        np.stack([group.mean for group in groups]),
        np.stack([group.whiten for group in groups]),
        (numbers > 0).astype(float),
        centers,
        (observed >= spec.min_count).astype(float),
        observed,
        np.array(float(n_obs)),
        scatter + share @ between @ share.T,
    )
