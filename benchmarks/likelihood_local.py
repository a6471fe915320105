"""Counts of every layout corrected for Monte Carlo noise around one point, and the model linearised there.

Simpler than popinfer/infer/monte_carlo.py, which interpolates between nodes all over the posterior: an offset
and a slope, for all layouts at once, from raw counts of all halo samples at u_c, at u_c +- the columns of the
posterior's factor, and at a few draws.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from likelihood_candidates import Local, poisson
from likelihood_trial import LAYOUTS, Counter, Layout, Simulated, log_counts

from popinfer.records import Halos
from popinfer.run.build import in_precision, model_error_cov

N_CURVATURE = 4
MAX_STEPS, TOLERANCE, LONGEST = 25, 0.02, 1.0  # of the search for the composite likelihood's maximum


@dataclass(frozen=True)
class Correction:
    """What is added to log-counts: offset + slope (u - u_c); and the deviations whose covariance is C_mc."""

    offset: np.ndarray
    slope: np.ndarray
    jacobian: np.ndarray
    log_model: np.ndarray
    deviations: np.ndarray


@dataclass(frozen=True)
class Counted:
    """Evaluates raw counts of halo samples, and corrects those of proposals."""

    simulated: Simulated
    counter: Counter
    halos: list[Halos]
    center: np.ndarray
    corrections: dict[Layout, Correction]

    @classmethod
    def around(cls, simulated: Simulated, center: np.ndarray, factor: np.ndarray) -> "Counted":
        """Measure corrections around a centre with the posterior's factor."""
        halos = [in_precision(simulated.run.config, one) for one in simulated.samples]
        self = cls(simulated, Counter.of(simulated), halos, center, {})
        draws = np.random.default_rng(simulated.seed).standard_normal((N_CURVATURE, len(center)))
        points = [center, *(center + factor.T), *(center - factor.T), *(center + draws @ factor.T)]
        raw = np.stack([self.at(u, len(halos)) for u in points])
        for layout in LAYOUTS:
            self.corrections[layout] = _correction(self.log_counts(layout, raw), factor, draws)
        return self

    def at(self, u: np.ndarray, n_samples: int) -> np.ndarray:
        """Raw counts [sample, half, slice, kernel + 1] of the first few samples."""
        vector = jnp.asarray(u)
        return np.stack([np.asarray(self.counter(vector, one)) for one in self.halos[:n_samples]])

    def log_counts(self, layout: Layout, raw: np.ndarray) -> np.ndarray:
        """Log-counts [..., sample, stat] of a layout."""
        return log_counts(raw, layout, self.simulated.kernels[layout.n_centers, layout.bandwidth])

    def corrected(self, layout: Layout, raw: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Log m at points u [point, par] from raw counts of the first samples there."""
        own = self.corrections[layout]
        return self.log_counts(layout, raw)[:, 0] + own.offset + (u - self.center) @ own.slope.T


def _correction(log_m: np.ndarray, factor: np.ndarray, draws: np.ndarray) -> Correction:
    """From log-counts [point, sample, stat] at the centre, at both ends of the factor's columns, at draws."""
    p, n = len(factor), log_m.shape[1]
    start, up, down, around = log_m[0], log_m[1 : p + 1], log_m[p + 1 : 2 * p + 1], log_m[2 * p + 1 :]
    mean = log_mean(log_m)
    own = np.linalg.solve(factor.T, 0.5 * (up - down)[:, 0]).T
    jacobian = np.linalg.solve(factor.T, 0.5 * (mean[1 : p + 1] - mean[p + 1 : 2 * p + 1])).T
    others = 0.5 * (up - down)[:, 1:]
    bent = around[:, 1:] - start[1:] - np.einsum("dp,prs->drs", draws, others)
    share = _relative(log_m[:, 1:])
    deviations = np.concatenate(
        [
            share[:1] / np.sqrt(n),
            0.5 * (share[1 : p + 1] - share[p + 1 : 2 * p + 1]) / np.sqrt(n),
            (bent - bent.mean(axis=1, keepdims=True)) / np.sqrt(N_CURVATURE),
        ]
    )
    return Correction(mean[0] - start[0], jacobian - own, jacobian, mean[0], deviations)


def log_mean(log_m: np.ndarray) -> np.ndarray:
    """Logarithm of the samples' mean counts [..., sample, stat], without its noise's bias."""
    counts = np.exp(log_m)
    mean = counts.mean(axis=-2)
    return np.log(mean) + 0.5 * counts.var(axis=-2, ddof=1) / mean**2 / counts.shape[-2]


def _relative(log_m: np.ndarray) -> np.ndarray:
    counts = np.exp(log_m)
    return counts / counts.mean(axis=-2, keepdims=True) - 1


def linearise(counted: Counted, layout: Layout) -> Local:
    """The layout's data and model around the centre; its composite peak is still to be found."""
    kernels = counted.simulated.kernels[layout.n_centers, layout.bandwidth]
    mask = np.asarray(kernels.mask) > 0
    slice_of = np.nonzero(mask)[0]
    data_cov, layout_cov = np.zeros((2, len(slice_of), len(slice_of)))
    for whole, covs in ((data_cov, kernels.data_cov), (layout_cov, kernels.layout_cov)):
        for i, cov in enumerate(np.asarray(covs)):
            whole[np.ix_(slice_of == i, slice_of == i)] = cov[np.ix_(mask[i], mask[i])]
    correction = counted.corrections[layout]
    flat = correction.deviations.reshape(-1, len(slice_of))
    mc_cov = flat.T @ flat / (correction.deviations.shape[1] - 1)
    mc_cov *= slice_of[:, None] == slice_of[None, :]
    error = model_error_cov(counted.simulated.run.config.kernels.model_error, layout_cov)
    observed = np.asarray(kernels.observed)[mask]
    return Local(
        observed,
        data_cov,
        layout_cov,
        error,
        mc_cov,
        slice_of,
        correction.jacobian,
        correction.log_model,
        counted.center,
        counted.center,
    )


def composite_peak(counted: Counted, layout: Layout, local: Local, both: bool) -> np.ndarray:
    """Maximum of the Poisson composite likelihood, without the prior: Gauss-Newton, Jacobian kept."""

    def at(u: np.ndarray) -> tuple[float, np.ndarray]:
        log_m = counted.corrected(layout, counted.at(u, 2 if both else 1)[None], u[None])[0]
        return float(poisson(log_m, local.observed)), log_m

    u, shrink = local.center, 1.0
    value, log_m = at(u)
    for _ in range(MAX_STEPS):
        gradient = local.jacobian.T @ (local.observed - np.exp(log_m))
        step = np.linalg.solve(local.sensitivity, gradient)
        if 0.5 * gradient @ step < TOLERANCE:
            break
        step *= shrink * min(1.0, LONGEST / np.abs(step).max())
        new, new_log_m = at(u + step)
        if new > value:
            u, value, log_m, shrink = u + step, new, new_log_m, min(1.0, 2 * shrink)
        else:
            shrink *= 0.5
    return u
