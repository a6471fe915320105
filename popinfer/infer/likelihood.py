"""From soft counts to a posterior: composite likelihood, its information, and the width correction.

With log-counts log m(u), observed counts d and J = d log m / du, the Poisson composite log-likelihood
l(u) = sum_k d_k log m_k - m_k has

    score        s = J^T (d - m),
    sensitivity  H = J^T diag(m) J         (what the curvature of l claims to know),
    variability  V = J^T C J,  C = Cov(d) + Cov_MC(m)   (how much the score really fluctuates).

Were the counts independent, H = V. Overlapping kernels count a galaxy many times, so V > H and l is too
narrow. The curvature adjustment (Ribatet, Cooley & Davison 2012, Statistica Sinica 22, 813) evaluates l at

    u* = u_fit + A (u - u_fit),   A^T H A = H V^-1 H   (the Godambe or sandwich information),

with A symmetric in the coordinates where H is the identity. That paper adjusts around the optimum of l. Here
u_fit is the best fit including the prior, where the score s isn't zero, so a linear term
b . (u - u_fit) is added, b = (H V^-1 - A^T) s: it turns the gradient there into the optimally weighted score
H V^-1 s. Far away, where l has long been falling by less than b would add, it fades as

    b . (u - u_fit) exp[-r^2 / (2 R^2)],   r^2 = (u - u_fit)^T A^T H A (u - u_fit),   R = 8,

lest it make a mode of its own. A ridge, a fraction of the prior's information added to H and V, makes A tend
to the identity in directions that the counts don't constrain.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

REACH = 8.0  # standard deviations over which the linear term acts
RIDGE = 0.05  # of the prior's unit information; affects only directions known worse than the prior


class Correction(eqx.Module):
    """What is added to log-counts: offset + slope @ (u - center); see `popinfer.infer.monte_carlo`."""

    offset: Float[Array | np.ndarray, "stat"]
    slope: Float[Array | np.ndarray, "stat par"]
    center: Float[Array | np.ndarray, "par"]

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Correction at u."""
        return jnp.asarray(self.offset) + jnp.asarray(self.slope) @ (u - jnp.asarray(self.center))


@dataclass(frozen=True)
class Problem:
    """What inference needs to know: functions of the unconstrained vector u.

    Attributes
    ----------
    names : one a component of u; the prior of u is standard normal.
    raw_log_counts : u -> log m_0, the logarithm of the soft counts of the run's halos (all slices), float64.
        Its arrays are arguments of compiled programs when it is an equinox Module.
    observed : d. A count that isn't used is one in model and data, without variance.
    data_cov : covariance of d.
    model_cov : covariance of errors of the model itself, allowed for in the width; zero when absent.
    slice_of : redshift slice of each count; counts of different slices are independent.
    replicates : u -> soft counts m of independent halo samples of the same size, [replicate, stat].
    correction : takes Monte Carlo noise out of the log-counts; none to begin with.
    n_averaged : halo samples whose mean the corrected counts follow.
    averaged_log_counts : as raw_log_counts, of several halo samples' mean: less noise, at their cost.
    """

    names: tuple[str, ...]
    raw_log_counts: Callable[[Array], Array]
    observed: Float[np.ndarray, "stat"]
    data_cov: Float[np.ndarray, "stat stat"]
    slice_of: Int[np.ndarray, "stat"]
    replicates: Callable[[Array], np.ndarray]
    model_cov: Float[np.ndarray, "stat stat"] | float = 0.0
    correction: Correction | None = None
    n_averaged: int = 1
    averaged_log_counts: Callable[[Array], Array] | None = None

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    @property
    def used(self) -> Bool[np.ndarray, "stat"]:
        """Counts that say something."""
        return np.diag(self.data_cov) > 0

    @property
    def averaged(self) -> "Problem":
        """The problem with the mean of several halo samples in place of the run's own."""
        return replace(self, raw_log_counts=self.averaged_log_counts or self.raw_log_counts)

    def log_counts(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of the model's counts m, corrected for Monte Carlo noise."""
        raw = self.raw_log_counts(u)
        return raw if self.correction is None else raw + self.correction(u)

    def composite(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Poisson composite log-likelihood, zero where model and observed counts agree."""
        return poisson(self.log_counts(u), self.observed)


class Adjustment(eqx.Module):
    """Curvature adjustment of a composite log-likelihood around a point; see the module's equations.

    Attributes
    ----------
    center : u_fit. matrix : A. slope : coefficient of the linear term. metric : A^T H A.
    """

    center: Float[Array | np.ndarray, "par"]
    matrix: Float[Array | np.ndarray, "par par"]
    slope: Float[Array | np.ndarray, "par"]
    metric: Float[Array | np.ndarray, "par par"]

    def __call__(self, composite: Callable[[Array], Array], u: Float[Array, "par"]) -> Float[Array, ""]:
        """Adjusted log-likelihood at u."""
        shift = u - self.center
        linear = jnp.dot(jnp.asarray(self.slope), shift)
        fade = jnp.exp(-0.5 * shift @ jnp.asarray(self.metric) @ shift / REACH**2)
        return composite(jnp.asarray(self.center) + jnp.asarray(self.matrix) @ shift) + linear * fade


@dataclass(frozen=True)
class Information:
    """Sensitivity and variability of the composite score at one point; see the module's equations.

    V has three parts: data noise, the halo sample's Monte Carlo noise (``variability_model``), and errors of
    the model that the user allows for (``variability_error``).
    ``sensitivity_observed`` is H with the observed counts in place of the model's; ``freedom`` counts the
    degrees of freedom behind ``variability_model``, which is measured (infinite when it is known).
    """

    score: np.ndarray
    sensitivity: np.ndarray
    sensitivity_observed: np.ndarray
    variability_data: np.ndarray
    variability_model: np.ndarray
    variability_error: np.ndarray | float = 0.0
    freedom: float = np.inf

    @property
    def variability(self) -> np.ndarray:
        """V, all parts together, as its inverse needs it.

        The inverse of a sample covariance of p parameters with nu degrees of freedom is too large by
        nu / (nu - p - 1) on average (Hartlap, Simon & Schneider 2007, A&A 464, 399). The measured part is
        widened by that factor (at most 2), which is exact where it dominates and safe where it doesn't.
        """
        p = len(self.score)
        widen = 1.0 if np.isinf(self.freedom) else self.freedom / max(self.freedom - p - 1, self.freedom / 2)
        return self.variability_data + self.variability_error + widen * self.variability_model

    def godambe(self) -> np.ndarray:
        """Godambe (sandwich) information H V^-1 H."""
        h, v = self.sensitivity, self.variability + 1e-12 * np.eye(len(self.score))
        return h @ np.linalg.solve(v, h)

    def monte_carlo_share(self) -> np.ndarray:
        """Share of model Monte Carlo noise in the score's variance along each well-measured direction.

        Eigenvalues of V_model relative to V, in the directions where the data inform more than the prior,
        largest first.
        """
        info, vectors = np.linalg.eigh(self.godambe())
        keep = vectors[:, info > 1.0]
        if keep.shape[1] == 0:
            return np.zeros(1)
        h_inverse = np.linalg.pinv(self.sensitivity, hermitian=True)
        project = keep.T @ h_inverse
        total = (
            project @ (self.variability_data + self.variability_error + self.variability_model) @ project.T
        )
        model = project @ self.variability_model @ project.T
        return np.sort(np.real(np.linalg.eigvals(np.linalg.solve(total, model))))[::-1]


def poisson(log_m: Float[Array, "stat"], d: Float[Array | np.ndarray, "stat"]) -> Float[Array, ""]:
    """Poisson log-likelihood of counts d, relative to a perfect model."""
    return jnp.sum(d * (log_m - jnp.log(d)) - (jnp.exp(log_m) - d))


def information(
    problem: Problem,
    u: Float[Array | np.ndarray, "par"],
    jacobian: Callable | None = None,
    deviations: Float[np.ndarray, "term replicate stat"] | None = None,
) -> Information:
    """Score, sensitivity and variability at u.

    Parameters
    ----------
    problem : with its counts corrected around u, or as they are.
    u : where.
    jacobian : compiled Jacobian of log_counts, to save time.
    deviations : the counts' Monte Carlo noise from `popinfer.infer.monte_carlo`; that at u when absent.
    """
    jac = jax.jacfwd(problem.log_counts) if jacobian is None else jacobian
    u = jnp.asarray(u)
    j = np.asarray(jac(u))
    m = np.exp(np.asarray(problem.log_counts(u)))
    if deviations is None:
        counts = problem.replicates(u)
        deviations = (counts - counts.mean(axis=0))[None] / np.sqrt(problem.n_averaged)
    variability_model, freedom = _replicate_variability(np.asarray(deviations), j, problem.slice_of)
    return Information(
        score=j.T @ (problem.observed - m),
        sensitivity=(j * m[:, None]).T @ j,
        sensitivity_observed=(j * problem.observed[:, None]).T @ j,
        variability_data=j.T @ problem.data_cov @ j,
        variability_model=variability_model,
        variability_error=j.T @ (problem.model_cov + np.zeros_like(problem.data_cov)) @ j,
        freedom=freedom,
    )


def _replicate_variability(
    deviations: Float[np.ndarray, "term replicate stat"], j: np.ndarray, slice_of: np.ndarray
) -> tuple[np.ndarray, float]:
    """Covariance of J^T m over independent halo samples: what Sobol sampling really achieves.

    Slices are independent, so their sample covariances add. Degrees of freedom of the sum after Satterthwaite
    (1946, Biometrics Bulletin 2, 110), from the traces.
    """
    freedom, parts = deviations.shape[1] - 1, []
    for i in np.unique(slice_of):
        scores = deviations[:, :, slice_of == i] @ j[slice_of == i]
        parts.append(np.einsum("trp,trq->pq", scores, scores) / freedom)
    traces = np.array([np.trace(part) for part in parts])
    share = traces / max(traces.sum(), np.finfo(float).tiny)
    return np.sum(parts, axis=0), float(freedom / np.sum(share**2) if traces.sum() > 0 else np.inf)


def overcounting(info: Information) -> float:
    """How often the composite likelihood counts a galaxy: the mean of V against H, without Monte Carlo noise.

    H is taken with the observed counts, which V is made of, so that a bad starting model doesn't matter.

    Its inverse is the magnitude adjustment of a composite likelihood (Pauli, Racugno & Ventura 2011,
    Statistica Sinica 21, 149), the right weight against the prior while the optimum is sought.
    """
    h = info.sensitivity_observed + RIDGE * np.eye(len(info.score))
    v = info.variability_data + info.variability_error + RIDGE * np.eye(len(info.score))
    return float(np.trace(np.linalg.solve(h, v)) / len(info.score))


def curvature_adjustment(info: Information, u_fit: np.ndarray) -> Adjustment:
    """Width correction of the composite likelihood around its best fit.

    Parameters
    ----------
    info : information at u_fit.
    u_fit : best fit of (tempered) composite likelihood times prior.
    """
    n = len(u_fit)
    h = info.sensitivity + RIDGE * np.eye(n)
    v = info.variability + RIDGE * np.eye(n)
    half = _power(h, 0.5)
    matrix = np.linalg.solve(half, _power(half @ np.linalg.solve(v, half), 0.5) @ half)
    slope = h @ np.linalg.solve(v, info.score) - matrix.T @ info.score
    return Adjustment(np.asarray(u_fit, dtype=float), matrix, slope, matrix.T @ h @ matrix)


def _power(symmetric: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(0.5 * (symmetric + symmetric.T))
    return (vectors * np.maximum(values, 1e-300) ** power) @ vectors.T


class AdjustedLogDensity(eqx.Module):
    """Log posterior density of u: adjusted composite log-likelihood plus standard normal log-prior."""

    raw_log_counts: Callable[[Array], Array]
    correction: Correction | None
    observed: Float[Array | np.ndarray, "stat"]
    adjustment: Adjustment

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density at u, up to a constant."""
        return self.adjustment(self._composite, u) - 0.5 * jnp.sum(u**2)

    def _composite(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        raw = self.raw_log_counts(u)
        return poisson(raw if self.correction is None else raw + self.correction(u), self.observed)


def adjusted_log_density(problem: Problem, adjustment: Adjustment) -> AdjustedLogDensity:
    """Log posterior density of a problem; its arrays are arguments of `equinox.filter_jit` programs."""
    return AdjustedLogDensity(problem.raw_log_counts, problem.correction, problem.observed, adjustment)
