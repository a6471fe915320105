"""The candidates of the likelihood study: densities of u from the soft counts of one kernel layout.

With d the observed counts, D their covariance, m(u) the model's (corrected for Monte Carlo noise around u_c),
m_c = m(u_c) within two standard deviations of d, J = d log m / du at u_c, and

    y = log d + diag(V) / 2,    V = D_kl / sqrt(d_k d_l m_ck m_cl),    C = V + C_error + C_mc

the covariance of residuals of log-counts, the candidates are, each times the standard normal prior of u:

Poisson       l(u) = sum_k d_k log m_k - m_k as it is; its magnitude adjustment k l(u), k = p / tr(H^-1 V)
              (Pauli, Racugno & Ventura 2011, Statistica Sinica 21, 149); its curvature adjustment
              l(u* + A (u - u*)), A^T H A = H V^-1 H, u* the maximum of l (Ribatet, Cooley & Davison 2012,
              Statistica Sinica 22, 813); the open-faced sandwich, which moves draws v of the unadjusted
              posterior to u* + Omega (v - u*), Omega = (H^-1 V H^-1)^(1/2) H^(1/2) (Shaby 2014, Bayesian
              Analysis 9, 1). H = J^T diag(d) J, V = (d J)^T C (d J).
log_modes     Gaussian of E^T (y - log m), E the leading eigenmodes of the counting noise (the package's
              likelihood at a trace of 0.99), covariance E^T C E.
linear_modes  the same of d - m, covariance d d^T C.
moped         Gaussian of J^T P (y - log m), P that of log_modes at 0.99: as many numbers as parameters
              (Heavens, Jimenez & Lahav 2000, MNRAS 317, 965). Gated: u whose chi-square with P is beyond its
              1e-4 quantile have no density.
full          Gaussian of the eigenmodes of V + C_error whose variance is larger than that of their
              Monte Carlo noise, covariance C; of all modes; and with the covariance of the data alone.
kdescent      chi-square with the counting noise's diagonal alone; over the number of kernels, as that package
              minimises it, and not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import sqrtm
from scipy.stats import chi2

from popinfer.infer.likelihood import EXPECTED_REACH

NUMERICAL = 1e-10  # eigenvalues below this share of the largest are rounding errors
GATE = 1e-4
N_KEPT = 8  # layouts whose precision matrices are kept


@dataclass(frozen=True, eq=False)
class Local:
    """One layout's data, and its model linearised around u_c; counts that aren't used are left out.

    Attributes
    ----------
    observed : d. data_cov : D. layout_cov : D of the survey that laid the kernels out.
    error_cov, mc_cov : C_error, C_mc. slice_of : redshift slice of each count.
    jacobian : J. log_model : log m(u_c). center : u_c.
    composite_peak : u*.
    """

    observed: np.ndarray
    data_cov: np.ndarray
    layout_cov: np.ndarray
    error_cov: np.ndarray
    mc_cov: np.ndarray
    slice_of: np.ndarray
    jacobian: np.ndarray
    log_model: np.ndarray
    center: np.ndarray
    composite_peak: np.ndarray

    @property
    def log_observed(self) -> np.ndarray:
        return np.log(self.observed) + 0.5 * np.diag(self.log_data_cov)

    @property
    def log_data_cov(self) -> np.ndarray:
        """V."""
        reach = EXPECTED_REACH * np.sqrt(np.diag(self.data_cov) / self.observed**2 + np.diag(self.error_cov))
        away = np.clip(self.log_model - np.log(self.observed), -reach, reach)
        scale = self.observed * np.exp(0.5 * away)
        return self.data_cov / np.outer(scale, scale)

    @property
    def cov(self) -> np.ndarray:
        return self.log_data_cov + self.error_cov + self.mc_cov

    @property
    def sensitivity(self) -> np.ndarray:
        """H."""
        return (self.jacobian * self.observed[:, None]).T @ self.jacobian

    @property
    def variability(self) -> np.ndarray:
        """V."""
        scaled = self.jacobian * self.observed[:, None]
        return scaled.T @ self.cov @ scaled


@dataclass(frozen=True)
class Weighed:
    """A candidate's log-density at evaluated vectors v, and the parameters u that each of them stands for."""

    log_density: np.ndarray
    u: np.ndarray


Candidate = Callable[[Local, np.ndarray, np.ndarray], Weighed]


def poisson(log_m: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Composite log-likelihood at points [point, stat], relative to a perfect model."""
    return np.sum(d * (log_m - np.log(d)) - (np.exp(log_m) - d), axis=-1)


def log_prior(u: np.ndarray) -> np.ndarray:
    return -0.5 * np.sum(u**2, axis=-1)


def uncorrected(local: Local, log_m: np.ndarray, u: np.ndarray) -> Weighed:
    return Weighed(poisson(log_m, local.observed) + log_prior(u), u)


def magnitude(local: Local, log_m: np.ndarray, u: np.ndarray) -> Weighed:
    k = u.shape[1] / np.trace(np.linalg.solve(local.sensitivity, local.variability))
    return Weighed(k * poisson(log_m, local.observed) + log_prior(u), u)


def root(matrix: np.ndarray) -> np.ndarray:
    return np.real(sqrtm(0.5 * (matrix + matrix.T)))


def curvature(local: Local, log_m: np.ndarray, v: np.ndarray) -> Weighed:
    """Counts are known at v = u* + A (u - u*); A is constant, so its determinant doesn't matter."""
    h = local.sensitivity
    adjust = np.linalg.solve(root(h), root(h @ np.linalg.solve(local.variability, h)))
    u = local.composite_peak + np.linalg.solve(adjust, (v - local.composite_peak).T).T
    return Weighed(poisson(log_m, local.observed) + log_prior(u), u)


def open_faced(local: Local, log_m: np.ndarray, v: np.ndarray) -> Weighed:
    inverse = np.linalg.inv(local.sensitivity)
    omega = root(inverse @ local.variability @ inverse) @ root(local.sensitivity)
    moved = local.composite_peak + (v - local.composite_peak) @ omega.T
    return Weighed(poisson(log_m, local.observed) + log_prior(v), moved)


@lru_cache(32)
def leading_modes(local: Local, trace: float) -> np.ndarray:
    """Eigenmodes of the counting noise [stat, mode], of residuals in units of their standard deviation."""
    sd = np.sqrt(np.diag(local.log_data_cov + local.error_cov))
    noise = np.sqrt(np.diag(local.layout_cov))
    columns = []
    for own in _slices(local):
        values, vectors = np.linalg.eigh((local.layout_cov / np.outer(noise, noise))[np.ix_(own, own)])
        values, vectors = values[::-1], vectors[:, ::-1]
        n_kept = int(np.searchsorted(np.cumsum(values), trace * values.sum())) + 1
        columns.append(_placed(vectors[:, :n_kept] / sd[own][:, None], own, len(sd)))
    return np.concatenate(columns, axis=1)


def modes_above(local: Local, noise: np.ndarray) -> np.ndarray:
    """Eigenmodes of V + C_error whose variance is above that of some other noise."""
    cov = local.log_data_cov + local.error_cov
    sd, columns = np.sqrt(np.diag(cov)), []
    for own in _slices(local):
        part = np.ix_(own, own)
        scale = np.outer(sd[own], sd[own])
        values, vectors = np.linalg.eigh(cov[part] / scale)
        other = np.einsum("km,kl,lm->m", vectors, noise[part] / scale, vectors)
        keep = (values > other) & (values > NUMERICAL * values[-1])
        columns.append(_placed(vectors[:, keep] / sd[own][:, None], own, len(sd)))
    return np.concatenate(columns, axis=1)


def _slices(local: Local) -> list[np.ndarray]:
    return [np.flatnonzero(local.slice_of == i) for i in np.unique(local.slice_of)]


def _placed(block: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    whole = np.zeros((n, block.shape[1]))
    whole[rows] = block
    return whole


def precision_of(modes: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """P = E (E^T C E)^-1 E^T."""
    return modes @ np.linalg.solve(modes.T @ cov @ modes, modes.T)


@lru_cache(8)
def default_precision(local: Local) -> np.ndarray:
    """P of the package's likelihood."""
    return precision_of(leading_modes(local, 0.99), local.cov)


def chi_square(residual: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.einsum("pk,pk->p", residual @ precision, residual)


def gaussian_of_log(precision_at: Callable[[Local], np.ndarray]) -> Candidate:
    kept = lru_cache(N_KEPT)(precision_at)

    def density(local: Local, log_m: np.ndarray, u: np.ndarray) -> Weighed:
        return Weighed(-0.5 * chi_square(local.log_observed - log_m, kept(local)) + log_prior(u), u)

    return density


def gaussian_of_counts(precision_at: Callable[[Local], np.ndarray]) -> Candidate:
    """The same covariance, of counts in place of their logarithms: d d^T C."""
    kept = lru_cache(N_KEPT)(precision_at)

    def density(local: Local, log_m: np.ndarray, u: np.ndarray) -> Weighed:
        residual = (local.observed - np.exp(np.minimum(log_m, 50.0))) / local.observed
        return Weighed(-0.5 * chi_square(residual, kept(local)) + log_prior(u), u)

    return density


def of_trace(trace: float) -> Callable[[Local], np.ndarray]:
    return lambda local: precision_of(leading_modes(local, trace), local.cov)


def moped_precision(local: Local) -> np.ndarray:
    weights = default_precision(local) @ local.jacobian
    return weights @ np.linalg.solve(local.jacobian.T @ weights, weights.T)


def gated_moped(local: Local, log_m: np.ndarray, u: np.ndarray) -> Weighed:
    free = CANDIDATES["moped"](local, log_m, u)
    whole = chi_square(local.log_observed - log_m, default_precision(local))
    passed = whole < chi2.isf(GATE, leading_modes(local, 0.99).shape[1])
    return Weighed(np.where(passed, free.log_density, -np.inf), u)


def truncated(local: Local) -> np.ndarray:
    return precision_of(modes_above(local, local.mc_cov), local.cov)


def untruncated(local: Local) -> np.ndarray:
    return precision_of(modes_above(local, np.zeros_like(local.mc_cov)), local.cov)


def data_only(local: Local) -> np.ndarray:
    return precision_of(modes_above(local, local.mc_cov), local.log_data_cov)


def diagonal(local: Local) -> np.ndarray:
    return np.diag(1 / np.diag(local.log_data_cov))


def reduced_diagonal(local: Local) -> np.ndarray:
    return diagonal(local) / len(local.observed)


# all of them at the base layout, `ELSEWHERE` at the others: controls and near twins are left out there
CANDIDATES: dict[str, Candidate] = {
    "poisson": uncorrected,
    "poisson_magnitude": magnitude,
    "poisson_curvature": curvature,
    "poisson_open_faced": open_faced,
    **{f"log_modes_{t}": gaussian_of_log(of_trace(t)) for t in (0.9, 0.99, 0.999, 0.9999)},
    **{f"linear_modes_{t}": gaussian_of_counts(of_trace(t)) for t in (0.9, 0.99, 0.999)},
    "moped": gaussian_of_log(moped_precision),
    "moped_gated": gated_moped,
    "full_truncated": gaussian_of_log(truncated),
    "full_truncated_linear": gaussian_of_counts(truncated),
    "full_untruncated": gaussian_of_log(untruncated),
    "full_data_only": gaussian_of_log(data_only),
    "kdescent_reduced": gaussian_of_counts(reduced_diagonal),
    "kdescent_chi2": gaussian_of_counts(diagonal),
}
DEFAULT = "log_modes_0.99"
CONTROLS = ("poisson", "full_data_only", "full_untruncated", "kdescent_reduced", "kdescent_chi2")
REPEATED = ("linear_modes_0.9", "linear_modes_0.999", "moped", "full_truncated_linear")
ELSEWHERE = tuple(name for name in CANDIDATES if name not in (*CONTROLS, *REPEATED))
