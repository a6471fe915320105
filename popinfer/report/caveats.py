"""Plain sentences for the reader: does the model describe the data, where not, and what to be wary of."""

import math
from dataclasses import dataclass

import numpy as np

from popinfer.errors import percent
from popinfer.report.checks import FeatureChecks
from popinfer.report.parameters import WEAK_SHRINKAGE, ParameterRow
from popinfer.report.predictive import Histograms
from popinfer.report.style import slice_label
from popinfer.report.summary import RunSummary

MAX_HALO_SHARE = 0.1  # of the variance of a soft count here, relative to counting noise in `run.summarise`
OTHER_MODE_DISTANCE = 3.0  # posterior standard deviations: nearer ends are the same optimum
RIVAL_LOG_DENSITY = 10.0  # a mode this many nats below the best still counts as a rival
GOOD_P, POOR_P = 0.05, 0.001
PLAIN_MISFIT = 2.0  # rms residual [sigma] that is listed by name
PUSHED = 2.0  # prior standard deviations


@dataclass(frozen=True)
class Goodness:
    """How well the model fits: `grade` is "good", "strained", "poor" or "unknown"."""

    grade: str
    headline: str
    detail: str


def goodness(summary: RunSummary) -> Goodness:
    """Put chi-square and p-value of the soft counts into words."""
    if not (math.isfinite(summary.chi2) and math.isfinite(summary.n_eff)):
        return Goodness("unknown", "Goodness of fit was not computed.", "")
    numbers = f"χ² = {summary.chi2:.1f} for {summary.n_eff:.0f} effective statistics"
    p = summary.p_value
    if not math.isfinite(p):
        return Goodness("unknown", f"{numbers}; no p-value was computed.", "")
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
        detail += " The intervals below leave out what is wrong with the model."
    return Goodness(grade, headline, detail)


def misfits(histograms: Histograms | None, checks: FeatureChecks | None) -> tuple[str, ...]:
    """Name the colors and magnitudes that the model misses, the worst first, with their worst slice."""
    if histograms is None:
        return ()
    rms, offset = histograms.rms_residuals(), histograms.median_offsets()
    if checks is not None:
        offset = checks.of("median", checks.difference)
    known = np.nan_to_num(rms)
    sentences = []
    for f in np.argsort(-known.max(axis=0)):
        n_missed = int((known[:, f] > PLAIN_MISFIT).sum())
        if not n_missed:
            break
        s = int(known[:, f].argmax())
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


def caveats(
    summary: RunSummary, rows: tuple[ParameterRow, ...], histograms: Histograms | None
) -> tuple[str, ...]:
    """List everything a reader should know before using the numbers."""
    sentences = [*_halo_noise(summary), *_modes(summary), *_parameters(summary, rows), *summary.warnings]
    if histograms is None:
        sentences.append("No predictions were stored, so the report can't show the model beside the data.")
    return tuple(sentences)


def _halo_noise(summary: RunSummary) -> list[str]:
    if not summary.halo_share_max > MAX_HALO_SHARE:
        return []
    return [
        f"Noise of the halo sample makes up to {percent(summary.halo_share_max)} of the variance of a soft "
        f"count (median {percent(summary.halo_share_median)}), more than {percent(MAX_HALO_SHARE)}: other "
        "halos would move the result. Use more of them."
    ]


def _modes(summary: RunSummary) -> list[str]:
    """Other optima that may hold posterior mass; those far below are shown with the sampler only."""
    others = [one for one in summary.modes if float(one.get("distance") or 0) > OTHER_MODE_DISTANCE]
    if not others:
        return []
    below = min(summary.log_density_best - float(one["log_density"]) for one in others)
    count = f"{len(others)} other optimum was" if len(others) == 1 else f"{len(others)} other optima were"
    if below < 0:
        better = f"one with a density {-below:.1f} nat higher than the best fit"
        return [f"{count} found, {better}: fit again from there."]
    if below < RIVAL_LOG_DENSITY:
        return [
            f"{count} found, the best {below:.1f} nat below this one: the posterior may have several modes. "
            "Look at the figures of pairs of parameters before quoting a mean."
        ]
    return []


def _parameters(summary: RunSummary, rows: tuple[ParameterRow, ...]) -> list[str]:
    """Parameters that are flat, hardly constrained, or pushed against their priors."""
    sentences = []
    if summary.flat_directions:
        flat = ", ".join(summary.flat_directions)
        sentences.append(
            f"Along {flat} the density rises much less than the Laplace approximation says: long tails."
        )
    weak = [
        row.name for row in rows if row.shrinkage < WEAK_SHRINKAGE and row.name not in summary.flat_directions
    ]
    if weak:
        sentences.append(f"The data hardly constrain {', '.join(weak)} (shrinkage below {WEAK_SHRINKAGE}).")
    pushed = [row.name for row in rows if abs(row.prior_shift) > PUSHED]
    if pushed:
        sentences.append(
            f"The data pull {', '.join(pushed)} more than {PUSHED:.0f} prior standard deviations from the "
            "prior's mean: look at the prior and at the model before trusting the interval."
        )
    return sentences
