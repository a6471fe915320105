"""From counts to a posterior: a Gaussian likelihood of the counts' own modes, and a guide to its peak.

With y, V and the modes E of `popinfer.infer.data`, and m(u) the mean counts of all halo batches,

    C = V + C_error + C_halo                        (counting, the model's allowed error, the halo sample),
    log L(u) = -1/2 (y - log m)^T P (y - log m),    P = E (E^T C E)^-1 E^T,    F = J^T P J,

with J = d log m / du and F the Fisher information. C is fixed while u varies, taken where the posterior is.
W = chol(E^T C E)^-1 E^T makes residuals independent with unit variance: P = W^T W.

The guide is the Poisson log-likelihood of the soft counts, sum_k d_k log m_k - m_k. It is a composite
likelihood, which counts a galaxy as often as kernels overlap, so its width means nothing, but it is smooth.
Multiplied by `fair_share` it has its due weight against the prior.
"""

from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import solve_triangular

from popinfer.infer.counts import BatchedCounts, on_device
from popinfer.infer.data import Data, eigenmodes, layout_correlations
from popinfer.infer.surrogate import Surrogate

RIDGE = 0.05  # of the prior's unit information; affects only directions known worse than the prior
_MODES_STEP = 32  # rows of W come in multiples of it, so that surveys share compiled programs
_FENCE = 2.0  # how fast the density falls where there are no nodes, in their own standard deviations


@dataclass(frozen=True)
class Likelihood:
    """Data and the covariance of their residuals; see the module's equations.

    Attributes
    ----------
    data : observed counts.
    modes : E.
    cov : E^T (V + C_error) E.
    halo_cov : E^T C_halo E.
    """

    data: Data
    modes: Float[np.ndarray, "stat mode"]
    cov: Float[np.ndarray, "mode mode"]
    halo_cov: Float[np.ndarray, "mode mode"]

    @classmethod
    def of(
        cls, data: Data, halo_cov: Float[np.ndarray, "stat stat"], n_batch: int | None = None
    ) -> "Likelihood":
        """The likelihood of data, given C_halo.

        Halos of different redshift slices are independent, whatever the covariance says of them.

        Parameters
        ----------
        data : Data
            What is compared.
        halo_cov : Float[np.ndarray, "stat stat"]
            C_halo.
        n_batch : int, optional
            Batches between which it was measured, few of which don't tell it well, see `shrink`; it is
            known exactly when absent.
        """
        modes, same = eigenmodes(data), data.slice_of[:, None] == data.slice_of
        halo_cov = data.halo_factor * same * halo_cov
        halo_cov = halo_cov if n_batch is None else shrink(halo_cov, data, n_batch)
        return cls(data, modes, modes.T @ data.log_cov @ modes, modes.T @ halo_cov @ modes)

    @cached_property
    def whiten(self) -> Float[np.ndarray, "mode stat"]:
        """W, whose rows combine residuals into independent numbers of unit variance."""
        return solve_triangular(np.linalg.cholesky(self.cov + self.halo_cov), self.modes.T, lower=True)

    @cached_property
    def precision(self) -> Float[np.ndarray, "stat stat"]:
        """P."""
        return self.whiten.T @ self.whiten

    @cached_property
    def log_peak(self) -> float:
        """Log of the modes' density at no residual, in an orthonormal basis.

        That is log(pdet(P) / (2 pi)^rank) / 2.
        """
        values = np.linalg.eigvalsh(self.precision)
        values = values[values > 1e-12 * values[-1]]
        return float(0.5 * np.sum(np.log(values / (2 * np.pi))))

    def log_posterior(self, log_counts: Float[np.ndarray, "stat"], u: Float[np.ndarray, "par"]) -> float:
        """Log posterior density of u with these log-counts."""
        return float(self.log_posteriors(log_counts[None], u[None])[0])

    def log_posteriors(
        self, log_counts: Float[np.ndarray, "point stat"], points: Float[np.ndarray, "point par"]
    ) -> Float[np.ndarray, "point"]:
        """Log posterior density of several points with their log-counts."""
        residuals = (self.data.log_observed - log_counts) @ self.whiten.T
        return self.log_peak - 0.5 * np.sum(residuals**2, axis=1) - 0.5 * np.sum(points**2, axis=1)

    def information(
        self, log_counts: Float[np.ndarray, "stat"], jacobian: Float[np.ndarray, "stat par"]
    ) -> "Information":
        """What the data tell where the model has these log-counts and derivatives."""
        return Information(self, self.data.log_observed - log_counts, jacobian)


def shrink(
    halo_cov: Float[np.ndarray, "stat stat"], data: Data, n_batch: int
) -> Float[np.ndarray, "stat stat"]:
    """C_halo with its correlations drawn to those expected, as far as batches don't tell them better.

    Measured with B - 1 degrees of freedom in more modes than that, a covariance is too small in some
    directions; these weigh most in P, and posteriors come out too narrow. Halos that two kernels have in
    common correlate their noise as galaxies in common correlate their counting noise, so that

        r -> (1 - s) r + s t,    s = sum (1 - r^2)^2 / (B - 1) / sum (r - t)^2,    0 <= s <= 1,

    with r the measured correlations and t those of the layout, zero for abundances: s has the least mean
    squared error (Schaefer & Strimmer 2005, Stat. Appl. Genet. Mol. Biol. 4, 32; the target is ours).
    Variances stay.
    """
    sd = np.sqrt(np.diag(halo_cov))
    noisy = data.used & (sd > 0)
    pairs = np.outer(noisy, noisy) & (data.slice_of[:, None] == data.slice_of)
    measured = np.divide(halo_cov, np.outer(sd, sd), out=np.zeros_like(halo_cov), where=pairs)
    target = np.where(pairs, layout_correlations(data), 0.0)
    np.fill_diagonal(target, noisy)
    pairs &= ~np.eye(len(sd), dtype=bool)
    error = np.sum((1 - measured[pairs] ** 2) ** 2) / (n_batch - 1)
    share = min(error / max(np.sum((measured - target)[pairs] ** 2), error, 1e-300), 1.0)
    return np.outer(sd, sd) * ((1 - share) * measured + share * target)


def fisher_between_batches(
    likelihood: Likelihood, jacobians: Float[np.ndarray, "batch stat par"]
) -> Float[np.ndarray, "par par"]:
    """Fisher information without the share that noise of the halo sample adds.

    The derivatives J_b of independent batches have noise, and J^T P J with their mean J counts it as
    information: with few halos and a sharp magnitude limit more than the galaxies give. Products of different
    batches don't,

        F = sum_{a != b} J_a^T P J_b / (B (B - 1)),

    whose mean over halo samples is that of the noiseless J; eigenvalues below zero are set to zero.

    Parameters
    ----------
    likelihood : Likelihood
        Its P.
    jacobians : Float[np.ndarray, "batch stat par"]
        Of `popinfer.infer.counts.jacobians_of_batches`, two batches or more.
    """
    n = len(jacobians)
    whitened = np.einsum("ms,bsp->bmp", likelihood.whiten, jacobians)
    total = whitened.sum(axis=0)
    within = np.einsum("bmp,bmq->pq", whitened, whitened)
    values, vectors = np.linalg.eigh((total.T @ total - within) / (n * (n - 1)))
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


@dataclass(frozen=True)
class Information:
    """What the modes tell about u at one point; see the module's equations.

    Attributes
    ----------
    likelihood : whose modes these are.
    residual : y - log m.
    jacobian : J.
    """

    likelihood: Likelihood
    residual: Float[np.ndarray, "stat"]
    jacobian: Float[np.ndarray, "stat par"]

    @property
    def fisher(self) -> Float[np.ndarray, "par par"]:
        """F."""
        whitened = self.likelihood.whiten @ self.jacobian
        return whitened.T @ whitened

    @property
    def gradient(self) -> Float[np.ndarray, "par"]:
        """Gradient of log L."""
        return self.jacobian.T @ self.likelihood.precision @ self.residual

    def halo_share(self, cov: Float[np.ndarray, "mode mode"] | None = None) -> Float[np.ndarray, "_"]:
        """Share of halo noise in the variance along each well-measured direction, largest first.

        Eigenvalues of the estimator's variance from halo noise relative to all of it, in the directions where
        the data inform more than the prior.

        Parameters
        ----------
        cov : ndarray, optional
            Covariance of the modes without halo noise that counts as the rest; that of the likelihood when
            absent.
        """
        modes, halo_cov = self.likelihood.modes, self.likelihood.halo_cov
        total = halo_cov + (self.likelihood.cov if cov is None else cov)
        projected = modes.T @ self.jacobian
        fisher = projected.T @ np.linalg.solve(total, projected)
        values, vectors = np.linalg.eigh(fisher)
        keep = vectors[:, values > 1.0]
        if keep.shape[1] == 0:
            return np.zeros(1)
        estimator = keep.T @ np.linalg.pinv(fisher, hermitian=True) @ projected.T @ np.linalg.inv(total)
        share = np.linalg.solve(estimator @ total @ estimator.T, estimator @ halo_cov @ estimator.T)
        return np.sort(np.real(np.linalg.eigvals(share)))[::-1]


def log_prior(u: Float[Array, "par"]) -> Float[Array, ""]:
    """Log density of the prior, without the constant of a standard normal."""
    return -0.5 * jnp.sum(u**2)


class LogDensity(eqx.Module):
    """Log posterior density of u: log L as a density of the modes, minus |u|^2 / 2 of the prior.

    Its arrays are arguments of compiled programs. ``log_peak`` doesn't depend on u: with it evidences of
    models of the same survey compare, as far as the modes span the same space.

    Attributes
    ----------
    counts : the model's log counts at a vector u, exact or a surrogate's.
    log_observed : logarithms of the observed counts, less their bias: y.
    precision : P of the module's equations.
    log_peak : log-density of the modes where the model meets the data.
    """

    counts: BatchedCounts | Surrogate
    log_observed: Float[Array | np.ndarray, "stat"]
    precision: Float[Array | np.ndarray, "stat stat"]
    log_peak: Float[Array | np.ndarray, ""]

    @classmethod
    def of(cls, counts: BatchedCounts, likelihood: Likelihood) -> "LogDensity":
        """The exact density: that of a model's counts on all its halo batches."""
        data = likelihood.data.log_observed, likelihood.precision, np.asarray(likelihood.log_peak)
        return on_device(cls(counts, *data))

    def chi2(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Chi-square of the data's modes at u."""
        residual = jnp.asarray(self.log_observed) - self.counts(u)
        return residual @ jnp.asarray(self.precision) @ residual

    def log_likelihood(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log L at u, as a density of the modes."""
        return jnp.asarray(self.log_peak) - 0.5 * self.chi2(u)

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density at u."""
        return self.log_likelihood(u) + log_prior(u)


class SurrogateDensity(eqx.Module):
    """The same density with a surrogate in place of the counts, already combined by W.

    Outside the region of the nodes the surrogate isn't to be used: beyond `reach` in the coordinates
    z = unwhiten^-1 (u - center), where |z| of the nodes lies, the density falls by an additional parabola.

    Attributes
    ----------
    surrogate : of W log m, rows of zeros added.
    target : W y.
    center, inverse : of z.
    reach : largest |z| that needs no fence.
    """

    surrogate: Surrogate
    target: Float[Array | np.ndarray, "mode"]
    log_peak: Float[Array | np.ndarray, ""]
    center: Float[Array | np.ndarray, "par"]
    inverse: Float[Array | np.ndarray, "par par"]
    reach: Float[Array | np.ndarray, ""]

    @classmethod
    def of(cls, surrogate: Surrogate, likelihood: Likelihood, n_node: int) -> "SurrogateDensity":
        """The density of a surrogate of log-counts, padded to `n_node` nodes."""
        n_mode = _MODES_STEP * -(-len(likelihood.whiten) // _MODES_STEP)
        whiten = np.pad(likelihood.whiten, ((0, n_mode - len(likelihood.whiten)), (0, 0)))
        nodes = np.asarray(surrogate.nodes)
        cov = np.atleast_2d(np.cov(nodes, rowvar=False))
        center, factor = nodes.mean(axis=0), np.linalg.cholesky(cov)
        inverse = np.linalg.inv(factor)
        reach = np.asarray(np.linalg.norm((nodes - center) @ inverse.T, axis=1).max())
        combined = surrogate.combined(whiten).padded(n_node)
        peak = np.asarray(likelihood.log_peak)
        return cls(combined, whiten @ likelihood.data.log_observed, peak, center, inverse, reach)

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density at u."""
        residual = jnp.asarray(self.target) - self.surrogate(u)
        z = jnp.asarray(self.inverse) @ (u - jnp.asarray(self.center))
        squared = jnp.sum(z**2)
        # the square root's gradient is NaN at zero
        away = jnp.maximum(jnp.sqrt(jnp.maximum(squared, 1e-12)) - self.reach, 0.0)
        log_likelihood = jnp.asarray(self.log_peak) - 0.5 * jnp.sum(residual**2)
        return log_likelihood + log_prior(u) - _FENCE * away**2

    def beyond(self, u: Float[np.ndarray, "*draws par"]) -> float:
        """Share of draws that lie where the fence is felt."""
        z = (u - np.asarray(self.center)) @ np.asarray(self.inverse).T
        return float(np.mean(np.linalg.norm(z, axis=-1) > float(self.reach)))


def poisson(log_m: Float[Array, "stat"], d: Float[Array | np.ndarray, "stat"]) -> Float[Array, ""]:
    """Poisson log-likelihood of counts d, relative to a perfect model."""
    return jnp.sum(d * (log_m - jnp.log(d)) - (jnp.exp(log_m) - d))


def fair_share(data: Data, jacobian: Float[np.ndarray, "stat par"]) -> float:
    """Weight of the composite likelihood against the prior: one over how often it counts a galaxy.

    The composite likelihood's magnitude adjustment (Pauli, Racugno & Ventura 2011, Statistica Sinica 21,
    149): mean of the score's variance J^T diag(d) (V + C_error) diag(d) J over its Fisher information
    J^T diag(d) J, both taken with the observed counts, so that a bad starting model doesn't matter.
    """
    n_par = jacobian.shape[1]
    scaled, ridge = jacobian * data.observed[:, None], RIDGE * np.eye(n_par)
    sensitivity = scaled.T @ jacobian + ridge
    variability = scaled.T @ data.log_cov @ scaled + ridge
    return float(n_par / np.trace(np.linalg.solve(sensitivity, variability)))
