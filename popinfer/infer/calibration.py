"""Does the posterior mean what it says? Simulation-based calibration of an inference as a whole.

Parameters drawn from the prior make simulated surveys; each is analysed as the real one is. If posteriors
are right, then over many surveys

- the share of posterior draws below a parameter's true value is uniform (simulation-based calibration, SBC:
  Talts et al. 2018, arXiv:1804.06788), tested by a chi-square of its histogram;
- so is the share of draws closer to a reference point than the truth is, in all dimensions together (TARP:
  Lemos et al. 2023, arXiv:2302.03026), tested by the largest excursion of expected coverage from credibility;
- so is the share of draws closer to the posterior mean than the truth is, in the posterior's own covariance:
  posteriors too narrow put truths farther out than their draws, a few per cent in every width at once show
  here first;
- (mean - truth) / sd has mean zero and standard deviation one.

Mean and covariance of the third test are those of one half of the draws, and the truth is compared with the
other half, from which it can't be told apart if the posterior is right, however few draws there are.

Reference points of TARP are draws of a Gaussian of the posterior's mean and twice its standard deviation:
they know the data but not the truth, which is all that TARP asks for, and lie where wrong widths show.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.stats import chi2, norm

from popinfer.random import numpy_generator

MIN_PER_BIN, MAX_BINS = 10, 10
SIGNIFICANCE = 0.05  # of all parameters together
TARP_SIGMA = 3.0  # at the worst of 19 levels: right posteriors exceed it in 3 % of calibrations
CENTRAL_SIGMA = 3.0  # of the mean share of draws closer to the posterior mean: 0.3 %
MAX_FAILED = 0.02  # of the surveys
_REFERENCE_WIDTH = 2.0


@dataclass(frozen=True)
class Trial:
    """One simulated survey's truth against its posterior, in the unconstrained vector.

    Attributes
    ----------
    truth, mean, sd : per parameter.
    rank : share of draws below the truth, ties broken at random.
    tarp : share of draws closer to the reference point than the truth.
    central : share of draws closer to the posterior mean than the truth.
    distance2 : (mean - truth) cov^-1 (mean - truth).
    converged : the convergence gate's verdict.
    """

    truth: Float[np.ndarray, "par"]
    mean: Float[np.ndarray, "par"]
    sd: Float[np.ndarray, "par"]
    rank: Float[np.ndarray, "par"]
    tarp: float
    central: float
    distance2: float
    converged: bool

    @classmethod
    def of(
        cls,
        key: PRNGKeyArray,
        truth: Float[np.ndarray, "par"],
        draws: Float[np.ndarray, "draw par"],
        converged: bool,
    ) -> "Trial":
        """Compare posterior draws with the truth; the key breaks ties and chooses the reference point."""
        rng = numpy_generator(key)
        mean, cov = draws.mean(axis=0), np.atleast_2d(np.cov(draws, rowvar=False))
        below, equal = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
        rank = (below + rng.random(len(truth)) * (equal + 1)) / (len(draws) + 1)
        factor = np.linalg.cholesky(cov)
        reference = mean + _REFERENCE_WIDTH * factor @ rng.standard_normal(len(truth))
        tarp = _share_closer(rng, (reference, factor), truth, draws)
        away = np.linalg.solve(factor, mean - truth)
        first, second = np.array_split(rng.permutation(draws), 2)
        half = first.mean(axis=0), np.linalg.cholesky(np.atleast_2d(np.cov(first, rowvar=False)))
        central = _share_closer(rng, half, truth, second)
        return cls(truth, mean, draws.std(axis=0), rank, tarp, central, float(away @ away), converged)


def _share_closer(
    rng: np.random.Generator,
    center: tuple[Float[np.ndarray, "par"], Float[np.ndarray, "par par"]],
    truth: Float[np.ndarray, "par"],
    draws: Float[np.ndarray, "draw par"],
) -> float:
    """Share of draws that are closer to a point than the truth is, with a covariance's Cholesky factor."""
    point, factor = center
    distance = np.linalg.norm(np.linalg.solve(factor, (np.vstack([truth, draws]) - point).T), axis=0)
    return float((np.sum(distance[1:] < distance[0]) + rng.random()) / (len(draws) + 1))


@dataclass(frozen=True)
class ParameterCalibration:
    """One parameter over all trials.

    Attributes
    ----------
    p_value : that its ranks are uniform.
    bias, bias_error : mean of (mean - truth) / sd and its standard error.
    spread : standard deviation of the same; one when widths are right.
    cover68, cover95 : share of trials whose central 68 and 95 % intervals hold the truth.
    shrinkage : 1 - (median posterior sd) / (prior sd).
    """

    name: str
    p_value: float
    bias: float
    bias_error: float
    spread: float
    cover68: float
    cover95: float
    shrinkage: float


@dataclass(frozen=True)
class Calibration:
    """The verdict over all trials.

    Attributes
    ----------
    names : parameters.
    ranks : [trial, par].
    tarp, central : [trial].
    parameters : one record a parameter.
    p_threshold : smallest p-value allowed, Bonferroni over parameters.
    tarp_excursion : largest distance of expected coverage from credibility in standard deviations.
    distance2_per_parameter : mean squared distance of truth from mean over the number of parameters.
    n_unconverged : trials that the convergence gate refused; they count like all others.
    n_failed : surveys without a posterior.
    """

    names: tuple[str, ...]
    ranks: Float[np.ndarray, "trial par"]
    tarp: Float[np.ndarray, "trial"]
    central: Float[np.ndarray, "trial"]
    parameters: tuple[ParameterCalibration, ...]
    p_threshold: float
    tarp_excursion: float
    distance2_per_parameter: float
    n_unconverged: int
    n_failed: int = 0

    @property
    def n_trials(self) -> int:
        """Number of simulated surveys."""
        return len(self.tarp)

    @property
    def ranks_pass(self) -> bool:
        """Whether every parameter's ranks may be uniform."""
        return all(row.p_value > self.p_threshold for row in self.parameters)

    @property
    def tarp_passes(self) -> bool:
        """Whether expected coverage stays inside its band."""
        return self.tarp_excursion < TARP_SIGMA

    @property
    def central_excursion(self) -> float:
        """How far truths lie out among the draws, in standard errors; above zero if widths are too narrow."""
        return float((np.mean(self.central) - 0.5) * np.sqrt(12 * self.n_trials))

    @property
    def central_passes(self) -> bool:
        """Whether truths lie as far out as draws do."""
        return abs(self.central_excursion) < CENTRAL_SIGMA

    @property
    def nearly_all(self) -> bool:
        """Whether nearly all surveys have a posterior."""
        return self.n_failed <= MAX_FAILED * (self.n_trials + self.n_failed)

    @property
    def passed(self) -> bool:
        """All of them."""
        return self.ranks_pass and self.tarp_passes and self.central_passes and self.nearly_all

    @property
    def failure(self) -> str:
        """What was found wrong, in one sentence; empty when nothing was."""
        worst = min(self.parameters, key=lambda row: row.p_value)
        wrong = []
        if not self.ranks_pass:
            p_values = f"p = {worst.p_value:.2g}, smallest allowed {self.p_threshold:.2g}"
            wrong.append(f"ranks of {worst.name} aren't uniform ({p_values})")
        if not self.tarp_passes:
            excursion = f"{self.tarp_excursion:.1f} sigma, {TARP_SIGMA:g} allowed"
            wrong.append(f"expected coverage is off ({excursion})")
        if not self.central_passes:
            wide = "narrow" if self.central_excursion > 0 else "wide"
            excursion = f"{abs(self.central_excursion):.1f} sigma, {CENTRAL_SIGMA:g} allowed"
            wrong.append(f"posteriors are too {wide}: so say distances of truths from means ({excursion})")
        if not self.nearly_all:
            wrong.append(f"{self.n_failed} simulated surveys have no posterior")
        return "; ".join(wrong)


def assess(names: tuple[str, ...], trials: list[Trial], n_failed: int = 0) -> Calibration:
    """Collect trials into a verdict; at least 20 are needed for ranks to be tested in two bins.

    Parameters
    ----------
    names : tuple[str, ...]
        Of parameters.
    trials : list[Trial]
        Posteriors against truths.
    n_failed : int
        Surveys without a posterior.
    """
    ranks = np.stack([trial.rank for trial in trials])
    z = np.stack([(trial.mean - trial.truth) / trial.sd for trial in trials])
    sd = np.stack([trial.sd for trial in trials])
    tarp = np.array([trial.tarp for trial in trials])
    n = len(trials)
    rows = tuple(
        ParameterCalibration(
            name,
            uniformity(ranks[:, i]),
            float(z[:, i].mean()),
            float(z[:, i].std(ddof=1) / np.sqrt(n)),
            float(z[:, i].std(ddof=1)),
            _inside(ranks[:, i], 0.68),
            _inside(ranks[:, i], 0.95),
            float(1 - np.median(sd[:, i])),
        )
        for i, name in enumerate(names)
    )
    return Calibration(
        names,
        ranks,
        tarp,
        np.array([trial.central for trial in trials]),
        rows,
        SIGNIFICANCE / len(names),
        tarp_excursion(tarp),
        float(np.mean([trial.distance2 for trial in trials]) / len(names)),
        sum(not trial.converged for trial in trials),
        n_failed,
    )


def n_bins(n_trials: int) -> int:
    """Bins of a rank histogram: at least ten trials expected in each, at most ten bins."""
    return int(np.clip(n_trials // MIN_PER_BIN, 2, MAX_BINS))


def uniformity(ranks: Float[np.ndarray, "trial"]) -> float:
    """p-value of a chi-square test that shares between zero and one are uniform."""
    bins = n_bins(len(ranks))
    counts = np.histogram(ranks, np.linspace(0, 1, bins + 1))[0]
    expected = len(ranks) / bins
    return float(chi2.sf(np.sum((counts - expected) ** 2) / expected, bins - 1))


def expected_coverage(
    tarp: Float[np.ndarray, "trial"], credibility: Float[np.ndarray, "level"]
) -> Float[np.ndarray, "level"]:
    """Share of trials whose truth lies within the region of each credibility around the reference."""
    return np.searchsorted(np.sort(tarp), credibility, side="right") / len(tarp)


def tarp_band(credibility: Float[np.ndarray, "level"], n_trials: int) -> Float[np.ndarray, "level"]:
    """Binomial standard deviation of expected coverage."""
    return np.sqrt(credibility * (1 - credibility) / n_trials)


def tarp_excursion(tarp: Float[np.ndarray, "trial"]) -> float:
    """Largest |expected coverage - credibility| over its standard deviation, at credibilities 5 to 95 %."""
    level = np.linspace(0.05, 0.95, 19)
    return float(np.max(np.abs(expected_coverage(tarp, level) - level) / tarp_band(level, len(tarp))))


def rank_band(n_trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """Range of a uniform rank histogram's bins over their expectation (normal approximation)."""
    half = float(norm.ppf(0.5 + confidence / 2)) * np.sqrt((n_bins(n_trials) - 1) / n_trials)
    return 1 - half, 1 + half


def _inside(ranks: np.ndarray, level: float) -> float:
    return float(np.mean(np.abs(ranks - 0.5) < level / 2))
