"""Does the model describe the data? Chi-square and posterior predictive checks in words and tables.

Observed medians, widths and blue fractions o are compared with those of replicate surveys, of mean m and
standard deviation s: the difference is o - m, its significance (o - m) / s, its two-sided p-value that of
`popinfer.infer.goodness`.
"""

import math
from dataclasses import dataclass

import numpy as np

from popinfer.errors import percent
from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.comparison import Histograms
from popinfer.report.style import slice_label

GOOD_P, POOR_P = 0.05, 0.001
PLAIN_MISFIT = 2.0  # rms residual [sigma] that is listed by name
SMALL_P = 0.01
_CHANCE = 3.0  # standard deviations of the number of small p-values that a perfect model has


@dataclass(frozen=True)
class FitVerdict:
    """How well the model fits.

    Attributes
    ----------
    grade : "good", "strained", "poor" or "unknown".
    numbers : chi-square, what it is compared with, and its p-value; empty when not computed.
    headline, detail : sentences for the reader.
    """

    grade: str
    numbers: str
    headline: str
    detail: str


def judge_fit(chi2: float, n_eff: float, p: float) -> FitVerdict:
    """Put chi-square, number of effective statistics and p-value of the soft counts into words."""
    if not (math.isfinite(chi2) and math.isfinite(n_eff)):
        return FitVerdict("unknown", "", "Goodness of fit was not computed.", "")
    numbers = f"χ² = {chi2:.1f} for {n_eff:.0f} effective statistics"
    if not math.isfinite(p):
        return FitVerdict("unknown", numbers, f"{numbers}; no p-value was computed.", "")
    numbers += f", p = {p:.2g}" if p >= 1e-4 else ", p < 0.0001"
    if p >= GOOD_P:
        headline = "The model describes the data within the errors that the run allows for."
    elif p >= POOR_P:
        headline = "The model is strained: it misses the data by more than these errors usually do."
    else:
        headline = "The model does not describe the data within the errors that the run allows for."
    grade = "good" if p >= GOOD_P else "strained" if p >= POOR_P else "poor"
    of = f"about {percent(p)} of" if p >= 1e-4 else "fewer than 1 in 10,000"
    chance = f"{of} repeated surveys would lie this far from it or farther"
    detail = f"{numbers}: if the model were true to its allowed error, {chance}."
    if grade == "poor":
        detail += " The intervals leave out what is wrong with the model."
    return FitVerdict(grade, numbers, headline, detail)


@dataclass(frozen=True)
class FeatureChecks:
    """Observed numbers and their posterior predictive distribution.

    Attributes
    ----------
    features : names, "u-g" (a color) or "r" (a magnitude).
    statistics : "median", "width" (both mag) and "blue_fraction".
    slice_z : redshift limits, (slice, 2).
    observed, predicted, sd, p_value : (slice, statistic, feature), NaN where there is none.
    n_replicates : surveys that the predictive distribution was made of.
    """

    features: tuple[str, ...]
    statistics: tuple[str, ...]
    slice_z: np.ndarray
    observed: np.ndarray
    predicted: np.ndarray
    sd: np.ndarray
    p_value: np.ndarray
    n_replicates: int

    @property
    def difference(self) -> np.ndarray:
        """Data minus model, (slice, statistic, feature)."""
        return self.observed - self.predicted

    @property
    def significance(self) -> np.ndarray:
        """Data minus model in standard deviations of the replicates; NaN where these don't vary."""
        sd = np.where(self.sd > 0, self.sd, np.nan)
        return self.difference / sd

    def of(self, statistic: str, values: np.ndarray) -> np.ndarray:
        """The part of `values` (slice, statistic, feature) that belongs to one statistic."""
        return values[:, self.statistics.index(statistic)]

    @property
    def n_small(self) -> tuple[int, int]:
        """How many p-values are below `SMALL_P`, and how many there are."""
        known = self.p_value[np.isfinite(self.p_value)]
        return int((known < SMALL_P).sum()), known.size

    @property
    def smallest_p(self) -> float:
        """The p-value of a number that no replicate reached."""
        return 2 / (self.n_replicates + 1)


def read_checks(idata: InferenceData) -> FeatureChecks | None:
    """Return the checks, or None when they or the slices' limits are missing."""
    groups = group_names(idata)
    if "checks" not in groups or "observed_data" not in groups:
        return None
    stored, limits = read_group(idata, "checks"), read_group(idata, "observed_data")["slice_z"]
    names = ("observed", "predicted", "predicted_sd", "p_value")
    observed, predicted, sd, p_value = (
        np.asarray(stored[k].transpose("slice", "statistic", "feature"), float) for k in names
    )
    return FeatureChecks(
        tuple(str(name) for name in stored["feature"].values),
        tuple(str(name) for name in stored["statistic"].values),
        np.asarray(limits.transpose("slice", ...), float),
        observed,
        predicted,
        sd,
        p_value,
        int(stored.attrs["n_replicates"]),
    )


def misfits(histograms: Histograms | None, checks: FeatureChecks | None) -> tuple[str, ...]:
    """Name the colors and magnitudes that the model misses, the worst first, with their worst slice."""
    if histograms is None:
        return ()
    rms, offset = histograms.rms_residuals(), histograms.median_offsets()
    if checks is not None:
        offset = checks.of("median", checks.difference)
    filled = np.nan_to_num(rms)
    sentences = []
    for f in np.argsort(-filled.max(axis=0)):
        n_missed = int((filled[:, f] > PLAIN_MISFIT).sum())
        if not n_missed:
            break
        s = int(filled[:, f].argmax())
        name = histograms.features[f]
        kinds = ("redder", "bluer") if "-" in name else ("fainter", "brighter")
        sense = kinds[0] if offset[s, f] > 0 else kinds[1]
        sentences.append(
            f"{name.replace('-', ' − ')} in {n_missed} of {len(rms)} slices, worst at "
            f"{slice_label(histograms.slice_z[s])}: rms residual {rms[s, f]:.1f} σ, the median galaxy "
            f"{abs(offset[s, f]):.3f} mag {sense} than the model's{_wider(checks, s, int(f))}."
        )
    return tuple(sentences)


def _wider(checks: FeatureChecks | None, s: int, f: int) -> str:
    """How much wider the data are than the model."""
    if checks is None:
        return ""
    width = checks.of("width", checks.difference)[s, f]
    return f" and the distribution {abs(width):.3f} mag {'wider' if width > 0 else 'narrower'}"


def missed_checks(checks: FeatureChecks | None) -> str:
    """A sentence when more numbers are missed than chance explains, with the worst median; else nothing.

    Chi-square allows the model an error in every count, and may pass while whole colors are off.
    """
    if checks is None:
        return ""
    small, n = checks.n_small
    if small <= SMALL_P * n + _CHANCE * np.sqrt(SMALL_P * n):
        return ""
    of_median = checks.of("median", np.where(checks.p_value < SMALL_P, checks.difference, 0.0))
    s, f = np.unravel_index(int(np.argmax(np.abs(np.nan_to_num(of_median)))), of_median.shape)
    worst = ""
    if of_median[s, f] != 0:
        worst = (
            f"; the worst median is that of {checks.features[f]} at {slice_label(checks.slice_z[s])}, where "
            f"galaxies have {checks.observed[s, checks.statistics.index('median'), f]:.3f} mag and the model "
            f"{checks.predicted[s, checks.statistics.index('median'), f]:.3f}"
        )
    return (
        f"{small} of {n} medians, widths and shares of colors lie where under {100 * SMALL_P:.0f} % of the "
        f"model's surveys have them{worst}. Chi-square passes over that as far as kernels.model_error allows."
    )


def verdict_of_checks(checks: FeatureChecks | None) -> str:
    """How many checks have small p-values, against how many would by chance."""
    if checks is None:
        return ""
    small, n = checks.n_small
    return f"{small} of {n} checks have p < {SMALL_P}; of a perfect model, about {SMALL_P * n:.1g} would."


@dataclass(frozen=True)
class CheckCell:
    """One statistic of one feature in one slice, as written: observed, data - model with its error, p."""

    observed: str
    difference: str
    p: str
    small: bool


@dataclass(frozen=True)
class CheckRow:
    """All statistics of one feature in one slice."""

    slice: str
    feature: str
    cells: tuple[CheckCell, ...]


def tabulate_checks(checks: FeatureChecks | None) -> list[CheckRow]:
    """Rows of the report's table: slices within features."""
    if checks is None:
        return []
    return [
        CheckRow(
            slice_label(limits),
            name.replace("-", " − "),
            tuple(_cell(checks, (s, t, f)) for t in range(len(checks.statistics))),
        )
        for f, name in enumerate(checks.features)
        for s, limits in enumerate(checks.slice_z)
    ]


def _cell(checks: FeatureChecks, where: tuple[int, int, int]) -> CheckCell:
    p, floor = float(checks.p_value[where]), checks.smallest_p
    if not np.isfinite(p):
        return CheckCell("–", "–", "–", small=False)
    difference = f"{checks.difference[where]:+.3f} ± {checks.sd[where]:.3f}".replace("-", "−")
    text = f"≤ {floor:.1g}" if p < 1.01 * floor else f"{p:.2g}"
    return CheckCell(f"{checks.observed[where]:.3f}".replace("-", "−"), difference, text, small=p < SMALL_P)
