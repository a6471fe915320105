"""Proposals that all candidates of the likelihood study weigh: where they are, and each candidate's weights.

1. Student-t around the default's modes, wide ones, the prior, and each layout's composite likelihood.
2. Log-counts are emulated by quadratic functions of u from those; each candidate's moments with the emulator
   (adaptive importance sampling, weights flattened where few draws carry them) say where to draw more.
3. The same again for the candidates whose exact weights are least equal, until these suffice.

The emulator only places proposals. Weights are exact densities over the mixture of all components.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from likelihood_candidates import CANDIDATES, CONTROLS, ELSEWHERE, Local, Weighed
from likelihood_local import Counted
from likelihood_trial import BASE, LAYOUTS, Layout, Simulated
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

DOF, SCALE, JITTER = 5.0, 1.15, 1e-8
FLAT_ESS = 80.0  # weights are flattened until so many draws count when moments are taken for a proposal
EACH = 35  # draws around each candidate's emulated moments at first
PASSES, WORST, MORE = 5, 16, 30  # then, at most so many times, draws around each of so many worst candidates
WANTED = 130.0  # effective draws, of candidates that aren't controls
EMULATED, STEPS = 500, 10  # draws and rounds of the emulated sampling
PLACED = (
    "poisson",
    "poisson_magnitude",
    "log_modes_0.9",
    "log_modes_0.99",
    "log_modes_0.999",
    "log_modes_0.9999",
    "full_truncated",
)
PLACED_AT_BASE = ("full_data_only", "kdescent_reduced", "kdescent_chi2")

# mean and factor of a Student-t, number of draws, whether the second halo sample is evaluated too
Component = tuple[np.ndarray, np.ndarray, int, bool]


@dataclass
class Pool:
    """Proposals of all rounds: vectors v, whether the second sample's counts are known there, components."""

    v: np.ndarray
    both: np.ndarray
    log_m: dict[Layout, np.ndarray]
    components: list[Component] = field(default_factory=list)

    def known(self, layout: Layout) -> np.ndarray:
        """Points at which a layout's counts are known."""
        return self.both if needs_both(layout) else np.ones(len(self.v), bool)

    def log_mixture(self, only_both: bool) -> np.ndarray:
        """Log density of the components' mixture, at the points that came from them."""
        v = self.v[self.both] if only_both else self.v
        parts = [
            log_student_t(v, mean, factor) + np.log(n)
            for mean, factor, n, both in self.components
            if both or not only_both
        ]
        return logsumexp(parts, axis=0) - np.log(len(v))


def log_student_t(v: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    p = len(mean)
    z = solve_triangular(factor, (v - mean).T, lower=True).T / SCALE
    constant = (
        gammaln(0.5 * (DOF + p)) - gammaln(0.5 * DOF) - 0.5 * p * np.log(DOF * np.pi) - p * np.log(SCALE)
    )
    return constant - np.log(np.diag(factor)).sum() - 0.5 * (DOF + p) * np.log1p(np.sum(z**2, axis=1) / DOF)


@dataclass(frozen=True)
class Study:
    """One trial ready to be weighed: counts, each layout linearised, and where the modes are."""

    simulated: Simulated
    counted: Counted
    locals_: dict[Layout, Local]
    modes: list[tuple[np.ndarray, np.ndarray]]

    def more(self, pool: Pool, rng: np.random.Generator, wanted: list[Component]) -> None:
        """Draw from more components (mean, factor, number, both samples) and evaluate there."""
        for mean, factor, n, both in wanted:
            v = draw(mean, factor, n, rng)
            raw = np.stack([self.counted.at(u, 2 if both else 1) for u in v])
            pool.v, pool.both = np.vstack([pool.v, v]), np.append(pool.both, np.full(n, both))
            pool.components.append((mean, factor, n, both))
            for layout in LAYOUTS:
                if both or not needs_both(layout):
                    log_m = self.counted.corrected(layout, raw, v)
                    pool.log_m[layout] = np.vstack([pool.log_m[layout], log_m])


def weights_of(study: Study, pool: Pool, name: str, layout: Layout) -> tuple[np.ndarray, Weighed]:
    """Log-weights, and the candidate at the points."""
    log_q = pool.log_mixture(needs_both(layout))
    weighed = CANDIDATES[name](study.locals_[layout], pool.log_m[layout], pool.v[pool.known(layout)])
    log_w = weighed.log_density - log_q
    return np.where(np.isfinite(log_w), log_w, -np.inf), weighed


def around(log_w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor of weighted points, weights flattened where few of them count."""
    log_w = np.where(np.isfinite(log_w), log_w, -1e12)
    while effective(log_w) < min(FLAT_ESS, 0.3 * len(v)):
        log_w = 0.8 * np.maximum(log_w, log_w.max() - 1e6)
    mean, cov = moments(np.exp(log_w - logsumexp(log_w)), v)
    return mean, np.linalg.cholesky(cov + JITTER * np.eye(len(mean)))


def moments(w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = w @ v
    return mean, ((v - mean) * w[:, None]).T @ (v - mean)


def effective(log_w: np.ndarray) -> float:
    if not np.isfinite(log_w.max()):
        return 0.0
    return float(np.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)))


def needs_both(layout: Layout) -> bool:
    return layout.n_halo > BASE.n_halo


def candidates() -> list[tuple[str, Layout]]:
    return [(name, one) for one in LAYOUTS for name in (CANDIDATES if one == BASE else ELSEWHERE)]


def sample(study: Study, rng: np.random.Generator) -> Pool:
    """All rounds of proposals."""
    p = len(study.simulated.truth)
    empty = {layout: np.empty((0, len(local.observed))) for layout, local in study.locals_.items()}
    pool = Pool(np.empty((0, p)), np.empty(0, bool), empty)
    study.more(pool, rng, first_components(study))
    placed = [(name, one) for one in LAYOUTS for name in PLACED]
    placed += [(name, BASE) for name in PLACED_AT_BASE]
    study.more(pool, rng, emulated_components(study, pool, rng, placed, EACH))
    for _ in range(PASSES):
        few = worst(study, pool)
        study.more(pool, rng, emulated_components(study, pool, rng, few, MORE))
    return pool


def first_components(study: Study) -> list[Component]:
    """Around the default's modes, the prior, and each layout's composite likelihood."""
    (center, factor), *others = study.modes
    p = len(center)
    wanted = [(center, factor, 200, True), (center, 2 * factor, 60, True), (np.zeros(p), np.eye(p), 40, True)]
    wanted += [(u, f, 120, True) for u, f in others]
    for layout, local in study.locals_.items():
        precision = local.sensitivity + np.eye(p)
        mean = local.composite_peak - np.linalg.solve(precision, local.composite_peak)
        wanted.append((mean, np.linalg.cholesky(np.linalg.inv(precision)), 25, needs_both(layout)))
    return wanted


def emulated_components(
    study: Study, pool: Pool, rng: np.random.Generator, wanted: list[tuple[str, Layout]], each: int
) -> list[Component]:
    """Around candidates' moments with log-counts emulated near their moments with exact ones."""
    components = []
    for name, layout in wanted:
        local, v = study.locals_[layout], pool.v[pool.known(layout)]
        start = around(weights_of(study, pool, name, layout)[0], v)
        log_counts = emulator(v, pool.log_m[layout], start)
        found = emulated_moments(name, local, log_counts, start, rng)
        components.append((*found, each, layout == BASE or needs_both(layout)))
    return components


def worst(study: Study, pool: Pool) -> list[tuple[str, Layout]]:
    """Candidates that have too few effective draws, fewest first; no controls."""
    found = []
    for index, (name, layout) in enumerate(candidates()):
        ess = effective(weights_of(study, pool, name, layout)[0])
        if name not in CONTROLS and ess < WANTED:
            found.append((ess, index, (name, layout)))
    return [one for *_, one in sorted(found)[:WORST]]


def emulator(
    v: np.ndarray, log_m: np.ndarray, near: tuple[np.ndarray, np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Quadratic regression of log-counts on whitened vectors, near ones counting most."""
    center, factor = near

    def features(u: np.ndarray) -> np.ndarray:
        z = solve_triangular(factor, (u - center).T, lower=True).T
        i, j = np.triu_indices(z.shape[1])
        return np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], axis=1)

    x = features(v)
    root = 1 / (1 + np.sum(x[:, 1 : v.shape[1] + 1] ** 2, axis=1) / v.shape[1])
    fit, *_ = np.linalg.lstsq(
        x * root[:, None], np.clip(np.nan_to_num(log_m, nan=-20.0), -20.0, 20.0) * root[:, None], rcond=1e-10
    )
    return lambda u: features(u) @ fit


def emulated_moments(
    name: str,
    local: Local,
    log_counts: Callable[[np.ndarray], np.ndarray],
    start: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor of a candidate's density of emulated counts."""
    mean, factor = start
    for _ in range(STEPS):
        v = draw(mean, factor, EMULATED, rng)
        log_m = np.clip(log_counts(v), -20.0, 20.0)
        log_w = CANDIDATES[name](local, log_m, v).log_density - log_student_t(v, mean, factor)
        mean, factor = around(log_w, v)
    return mean, factor


def draw(mean: np.ndarray, factor: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    z = rng.standard_normal((n, len(mean))) * np.sqrt(DOF / rng.chisquare(DOF, (n, 1)))
    return mean + SCALE * z @ factor.T
