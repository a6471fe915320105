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

Kernels in all features at once are wide, because galaxies are few in so many dimensions: they see how
features go together, but hardly where the peaks of a single color's distribution are. Marginals, narrow
kernels in each single feature whatever the others are, see these. They count the same galaxies.

Overlapping kernels count the same galaxy many times: `popinfer.infer.likelihood` makes a posterior of them.
"""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from popinfer.errors import InputError
from popinfer.loss.base import in_tiles
from popinfer.loss.kernel_groups import KernelSpec, count_galaxies, join_patterns, lay_out_kernels
from popinfer.loss.kernels import expected_log_kernels, expected_log_marginals, log_kernel_matrix
from popinfer.random import numpy_generator
from popinfer.records import Arr
from popinfer.survey.integrated_noise import Scatter


class KernelCounts(eqx.Module):
    """Kernel centers of every slice and the observed soft counts there.

    Attributes
    ----------
    mean, whiten : x_white = (x - mean) @ whiten; whiten is zero for features that a pattern lacks.
    centers : whitened kernel centers; kernels that were dropped keep a place with mask 0.
    mask : 1 for a kernel in use.
    counted : 1 for a pattern that the slice has galaxies of; others don't enter the model's total.
    observed : observed soft counts d_k.
    n_obs : galaxies that were counted; those that are centers aren't.
    data_cov : covariance of d_k at fixed total number; sum_i (phi_k - d_k/N)(phi_l - d_l/N) if all galaxies
        have all bands.
    layout_cov : the same in the survey that laid the kernels out: its correlations say how they overlap.
    bandwidth : h, an array so that guides of several bandwidths share compiled programs.
    marginals : rows (d, c) of kernels in single features, exp(-(d.(x - mean) - c)^2 / 2 h^2); a row of zeros
        is a place with mask 0.
    sizes : kernels at centers of each pattern, in order along the axis of all kernels; each pattern's
        marginals follow all of these.
    """

    mean: Float[Arr, "slice pattern feature"]
    whiten: Float[Arr, "slice pattern feature feature"]
    counted: Float[Arr, "slice pattern"]
    centers: Float[Arr, "slice kernel feature"]
    marginals: Float[Arr, "slice pattern marginal _"]
    mask: Float[Arr, "slice any_kernel"]
    observed: Float[Arr, "slice any_kernel"]
    n_obs: Float[Arr, "slice"]
    data_cov: Float[Arr, "slice any_kernel any_kernel"]
    layout_cov: Float[Arr, "slice any_kernel any_kernel"]
    bandwidth: Float[Arr, ""]
    sizes: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def build(
        cls,
        key: PRNGKeyArray,
        features: list[np.ndarray],
        spec: KernelSpec,
        patterns: list[np.ndarray] | None = None,
    ) -> "KernelCounts":
        """Choose centers among the observed galaxies and count the others.

        Parameters
        ----------
        key : PRNGKeyArray
            Random key of the random choice of centers.
        features : list[np.ndarray]
            One array [galaxy, feature] a slice, NaN where missing.
        spec : KernelSpec
            Number, width and choice of the kernels.
        patterns : list[np.ndarray] or None
            Each galaxy's pattern of measured bands, 0 to (number of patterns - 1), one array a slice;
            galaxies of a pattern have the same features. All have all features when absent.

        Raises
        ------
        InputError
            When a slice has fewer galaxies than twice the number of centers, or hardly any kernel in use.
        """
        rng = numpy_generator(key)
        labels = [np.zeros(len(x), int) for x in features] if patterns is None else patterns
        n_pattern = 1 + max(int(label.max(initial=0)) for label in labels)
        for index, x in enumerate(features):
            if len(x) < 2 * spec.n_centers:
                raise InputError(
                    f"redshift slice {index} has {len(x)} galaxies: at least {2 * spec.n_centers} are needed "
                    f"for n_centers = {spec.n_centers}"
                )
        groups = [
            [lay_out_kernels(rng, x[label == p], len(x), spec) for p in range(n_pattern)]
            for x, label in zip(features, labels, strict=True)
        ]
        sizes = tuple(max(len(groups[i][p].centers) for i in range(len(features))) for p in range(n_pattern))
        n_marginal = max(len(group.marginals) for of_slice in groups for group in of_slice)
        counts = [
            join_patterns(of_slice, len(x) - spec.n_centers, sizes, n_marginal)
            for of_slice, x in zip(groups, features, strict=True)
        ]
        observed, data_cov, n_obs, centers, marginals = map(np.stack, zip(*counts, strict=True))
        kernels = cls(
            mean=np.array([[group.mean for group in of_slice] for of_slice in groups]),
            whiten=np.array([[group.whiten for group in of_slice] for of_slice in groups]),
            counted=np.array([[float(group.n > 0) for group in of_slice] for of_slice in groups]),
            centers=centers,
            marginals=marginals,
            mask=np.ones_like(observed),
            observed=observed,
            n_obs=n_obs,
            data_cov=data_cov,
            layout_cov=data_cov,
            bandwidth=np.asarray(float(spec.bandwidth)),
            sizes=sizes,
        )
        return kernels.with_least_count(spec.min_count)

    def with_least_count(self, min_count: float) -> "KernelCounts":
        """Those kernels only that count so many galaxies; InputError when a slice has hardly any."""
        mask = np.asarray(self.mask) * (np.asarray(self.observed) >= min_count)
        n_used = mask.sum(axis=1)
        if n_used.min() <= self.centers.shape[-1]:
            raise InputError(
                f"redshift slice {n_used.argmin()}: only {n_used.min():.0f} kernels count min_count = "
                f"{min_count:g} galaxies: kernels.bandwidth {float(self.bandwidth):g} is too narrow for them"
            )
        return replace(self, mask=mask)

    def over_galaxies(
        self, features: list[np.ndarray], patterns: list[np.ndarray] | None = None
    ) -> "KernelCounts":
        """The same kernels, whichever were kept, over other galaxies, all of which are counted.

        Parameters
        ----------
        features, patterns : list[np.ndarray], list[np.ndarray] or None
            As for `build`; galaxies of patterns that a slice doesn't count are left out.
        """
        starts, counts = np.cumsum((0, *self.sizes)), []
        for i, x in enumerate(features):
            label = np.zeros(len(x), int) if patterns is None else patterns[i]
            groups = [
                count_galaxies(
                    x[(label == p) & (np.asarray(self.counted)[i, p] > 0)],
                    np.asarray(self.mean)[i, p],
                    np.asarray(self.whiten)[i, p],
                    np.asarray(self.centers)[i, starts[p] : starts[p + 1]],
                    np.asarray(self.marginals)[i, p],
                    float(self.bandwidth),
                )
                for p in range(len(self.sizes))
            ]
            n_obs, n_marginal = sum(group.n for group in groups), self.marginals.shape[2]
            counts.append(join_patterns(groups, n_obs, self.sizes, n_marginal)[:3])
        observed, data_cov, n_obs = map(np.stack, zip(*counts, strict=True))
        return replace(self, observed=observed, n_obs=n_obs, data_cov=data_cov)

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

    def log_marginals(
        self, i: int | Array, pattern: int, x: Float[Array, "point feature"], scatter: Scatter | None = None
    ) -> Callable[[Float[Array, "_ _"]], Float[Array, "point _"]]:
        """The same for kernels in single features, as a function of their rows (d, c)."""
        mean, bandwidth = jnp.asarray(self.mean, x.dtype)[i, pattern], jnp.asarray(self.bandwidth, x.dtype)
        expected = expected_log_marginals(x - mean, scatter, bandwidth)
        return lambda rows: expected(rows.astype(x.dtype))

    def log_shares(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, "slice any_kernel"]:
        """Logarithm of sum_j w_j P_j phi_k(y_j) / sum_j w_j P_j: finite however far a center is.

        Large samples are tiled over centers, so that point x kernel is never stored, also by the gradient.

        Parameters
        ----------
        x : Float[Array, "slice point feature"]
            Features of the model galaxies.
        weight : Float[Array, "slice point"]
            Weights of these galaxies; only ratios within a slice matter.
        probability : Float[Array, "slice point pattern"] or None
            Probability of each pattern of measured bands; one when absent.
        scatter : Scatter or None
            Noise that the features don't hold, to be integrated over, [slice, point] in front.
        """
        if probability is None:
            probability = jnp.ones((*weight.shape, 1), weight.dtype)

        errors = None if scatter is None else (scatter.sigma, scatter.mag)

        def of_slice(
            i: Array,
            xs: Array,
            ws: Array,
            centers: Array,
            marginals: Array,
            errors: tuple[Array, Array] | None,
        ) -> Array:
            spread = scatter and eqx.tree_at(lambda s: (s.sigma, s.mag), scatter, errors)
            log_total = jnp.log(jnp.sum(ws))
            log_w = jnp.log(ws + jnp.finfo(ws.dtype).tiny) - log_total
            starts = np.cumsum((0, *self.sizes))

            def counted(p: int, log_kernels: Callable[[Array], Array], rows: Array) -> Array:
                def tile(some: Array) -> Array:
                    return jax.nn.logsumexp(log_kernels(some) + log_w[:, p, None], axis=0)

                return in_tiles(tile, rows, len(xs)).astype(jnp.result_type(float))

            patterns = range(len(self.sizes))
            at_centers = [
                counted(p, self.log_kernels(i, p, xs, spread), centers[starts[p] : starts[p + 1]])
                for p in patterns
            ]
            along = [
                counted(p, self.log_marginals(i, p, xs, spread), marginals[p])
                for p in patterns
                if marginals.shape[1] > 0
            ]
            return jnp.concatenate([*at_centers, *along])

        index = jnp.arange(self.centers.shape[0])
        each = weight[..., None] * probability * jnp.asarray(self.counted, weight.dtype)[:, None, :]
        rows = jnp.asarray(self.centers), jnp.asarray(self.marginals)
        return jax.vmap(of_slice)(index, x, each, *rows, errors)

    def log_counts(
        self,
        x: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
        probability: Float[Array, "slice point pattern"] | None = None,
        scatter: Scatter | None = None,
    ) -> Float[Array, "slice any_kernel"]:
        """Logarithm of the soft counts m_k, scaled to the observed number."""
        return self.log_shares(x, weight, probability, scatter) + jnp.log(jnp.asarray(self.n_obs))[:, None]

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
