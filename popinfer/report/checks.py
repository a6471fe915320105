"""Posterior predictive checks of medians, widths and blue fractions, read back and put into words.

Observed numbers o are compared with those of replicate surveys, of mean m and standard deviation s: the
difference is o - m, its significance (o - m) / s, its two-sided p-value that of
`popinfer.infer.feature_checks`.
"""

from dataclasses import dataclass

import arviz as az
import numpy as np

from popinfer.report.style import slice_label

SMALL_P = 0.01


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
    def smallest_p(self) -> float:
        """The p-value of a number that no replicate reached."""
        return 2 / (self.n_replicates + 1)


def read_checks(idata: az.InferenceData) -> FeatureChecks | None:
    """Return the checks, or None when they or the slices' limits are missing."""
    groups = idata.groups()
    if "checks" not in groups or "observed_data" not in groups:
        return None
    stored, limits = idata["checks"], idata["observed_data"]["slice_z"]
    names = ("observed", "predicted", "predicted_sd", "p_value")
    observed, predicted, sd, p_value = (
        np.asarray(stored[k].transpose("slice", "statistic", "feature"), float) for k in names
    )
    return FeatureChecks(
        tuple(str(one) for one in stored["feature"].values),
        tuple(str(one) for one in stored["statistic"].values),
        np.asarray(limits.transpose("slice", ...), float),
        observed,
        predicted,
        sd,
        p_value,
        int(stored.attrs["n_replicates"]),
    )


def verdict_of_checks(checks: FeatureChecks | None) -> str:
    """How many checks have small p-values, against how many would by chance."""
    if checks is None:
        return ""
    known = np.isfinite(checks.p_value)
    small = int((checks.p_value[known] < SMALL_P).sum())
    number = f"{small} of {int(known.sum())} checks have p < {SMALL_P}"
    return f"{number}; of a perfect model, about {SMALL_P * known.sum():.1g} would."


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
