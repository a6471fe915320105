"""Plain sentences for the reader: what to be wary of."""

from collections.abc import Mapping, Sequence
from typing import Any

from popinfer.errors import percent
from popinfer.report.comparison import Histograms
from popinfer.report.goodness import FeatureChecks, missed_checks
from popinfer.report.parameters import WEAK_SHRINKAGE, ParameterRow
from popinfer.report.summary import RunSummary

MAX_HALO_SHARE = (
    0.1  # of the variance of a soft count here, relative to counting noise in `popinfer.run.run_summary`
)
OTHER_MAXIMUM_DISTANCE = 3.0  # posterior standard deviations: nearer ends are the same maximum
RIVAL_LOG_DENSITY = 10.0  # a maximum this many nats below the best still counts as a rival
PULLED = 2.0  # prior standard deviations


def caveats(
    summary: RunSummary,
    rows: tuple[ParameterRow, ...],
    histograms: Histograms | None,
    checks: FeatureChecks | None = None,
) -> tuple[str, ...]:
    """List everything a reader should know before using the numbers."""
    return (*_pulled(rows), *cautions(summary, rows, histograms, checks))


def cautions(
    summary: RunSummary,
    rows: tuple[ParameterRow, ...],
    histograms: Histograms | None,
    checks: FeatureChecks | None = None,
) -> tuple[str, ...]:
    """List all caveats but the parameters that are far from their priors, which a terminal lists anyway."""
    missed = missed_checks(checks)
    sentences = [missed] if missed else []
    sentences += [*_halo_noise(summary), *_other_maxima(summary), *starts_left(summary.starts)]
    sentences += _one_start(summary.starts)
    sentences += [*_parameters(summary, rows), *summary.warnings]
    if histograms is None:
        sentences.append("No predictions were stored, so the report can't show the model beside the data.")
    return tuple(sentences)


def pulled_from_prior(shifts: Mapping[str, float]) -> dict[str, float]:
    """Of shifts from the prior's mean, in its standard deviations, those above `PULLED`."""
    return {name: sd for name, sd in shifts.items() if abs(sd) > PULLED}


def _pulled(rows: tuple[ParameterRow, ...]) -> list[str]:
    """Parameters that the data pull away from their priors, with how far."""
    pulled = pulled_from_prior({row.name: row.prior_shift for row in rows})
    if not pulled:
        return []
    listed = ", ".join(f"{name} ({sd:+.1f})" for name, sd in pulled.items())
    return [
        f"The data pull {listed} more than {PULLED:.0f} prior standard deviations from the prior's mean: "
        "look at the prior and at the model before trusting the interval."
    ]


def starts_left(starts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Starts of the search that led nowhere, in words."""
    lost = [str(end["start"]) for end in starts if not end.get("converged", True)]
    if not lost:
        return []
    which = f"Start {lost[0]}" if len(lost) == 1 else f"Starts {', '.join(lost)}"
    return [
        f"{which} of the search ({len(starts)} in all) arrived at no maximum that holds posterior mass: the "
        "climb stopped short, or ended far below. More starts (fit.n_prior_starts) tell whether maxima are "
        "missing."
    ]


def _one_start(starts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A search that began at one point knows of nothing that is elsewhere."""
    if [end["start"] for end in starts if end["start"] != "ridge"] != [0]:
        return []
    return [
        "The search began at one point only: whether the posterior has mass elsewhere wasn't looked for. "
        "Starts from the prior (fit.n_prior_starts) tell."
    ]


def _halo_noise(summary: RunSummary) -> list[str]:
    if not summary.halo_share_max > MAX_HALO_SHARE:
        return []
    return [
        f"Noise of the halo sample makes up to {percent(summary.halo_share_max)} of all the variance that a "
        f"soft count is allowed (median {percent(summary.halo_share_median)}), more than "
        f"{percent(MAX_HALO_SHARE)}: other halos would move the result. Use more of them."
    ]


def _other_maxima(summary: RunSummary) -> list[str]:
    """Other maxima that may hold posterior mass; those far below are shown with the sampler only."""
    others = [end for end in summary.starts if float(end.get("distance") or 0) > OTHER_MAXIMUM_DISTANCE]
    if not others:
        return []
    # on the same halos: those of the search
    known = [float(end["log_density"]) for end in summary.starts if end.get("log_density") is not None]
    below = max(known) - max(float(end["log_density"]) for end in others)
    count = f"{len(others)} other maximum was" if len(others) == 1 else f"{len(others)} other maxima were"
    if below < RIVAL_LOG_DENSITY:
        return [
            f"{count} found, the best {below:.1f} nat below the highest: the posterior may have several "
            "maxima. Look at the figures of pairs of parameters before quoting a mean."
        ]
    return []


def _parameters(summary: RunSummary, rows: tuple[ParameterRow, ...]) -> list[str]:
    """Parameters that are flat or hardly constrained."""
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
    return sentences
