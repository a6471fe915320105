"""Plain sentences for the reader: what to be wary of."""

from popinfer.errors import percent
from popinfer.report.comparison import Histograms
from popinfer.report.parameters import WEAK_SHRINKAGE, ParameterRow
from popinfer.report.summary import RunSummary

MAX_HALO_SHARE = (
    0.1  # of the variance of a soft count here, relative to counting noise in `popinfer.run.run_summary`
)
OTHER_MAXIMUM_DISTANCE = 3.0  # posterior standard deviations: nearer ends are the same maximum
RIVAL_LOG_DENSITY = 10.0  # a maximum this many nats below the best still counts as a rival
PUSHED = 2.0  # prior standard deviations


def caveats(
    summary: RunSummary, rows: tuple[ParameterRow, ...], histograms: Histograms | None
) -> tuple[str, ...]:
    """List everything a reader should know before using the numbers."""
    sentences = [
        *_halo_noise(summary),
        *_other_maxima(summary),
        *_parameters(summary, rows),
        *summary.warnings,
    ]
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


def _other_maxima(summary: RunSummary) -> list[str]:
    """Other maxima that may hold posterior mass; those far below are shown with the sampler only."""
    others = [end for end in summary.starts if float(end.get("distance") or 0) > OTHER_MAXIMUM_DISTANCE]
    if not others:
        return []
    below = min(summary.log_density_best - float(end["log_density"]) for end in others)
    count = f"{len(others)} other maximum was" if len(others) == 1 else f"{len(others)} other maxima were"
    if below < 0:
        better = f"one with a density {-below:.1f} nat higher than the best fit"
        return [f"{count} found, {better}: fit again from there."]
    if below < RIVAL_LOG_DENSITY:
        return [
            f"{count} found, the best {below:.1f} nat below this one: the posterior may have several maxima. "
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
