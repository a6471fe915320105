"""What a run came to: may the draws be believed, does the model describe the data, and what to be wary of."""

from dataclasses import dataclass

from popinfer.inference_data import InferenceData
from popinfer.report.caveats import PULLED, cautions, pulled_from_prior
from popinfer.report.comparison import read_histograms
from popinfer.report.gate import Verdict, judge
from popinfer.report.goodness import FitVerdict, judge_fit, read_checks
from popinfer.report.parameters import tabulate
from popinfer.report.summary import RunSummary


@dataclass(frozen=True)
class Outcome:
    """A run's two verdicts, and what a person has to know beside them.

    Attributes
    ----------
    gate : verdict on the draws.
    fit : verdict on the model.
    pulled : parameter and posterior mean in prior standard deviations from the prior's, where these are more
        than `popinfer.report.caveats.PULLED`.
    cautions : sentences of the report.
    """

    gate: Verdict
    fit: FitVerdict
    pulled: dict[str, float]
    cautions: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether the draws passed the convergence gate."""
        return self.gate.converged

    @property
    def describes(self) -> bool:
        """Whether the model describes the data; true where no chi-square was computed."""
        return self.fit.grade != "poor"

    @property
    def lines(self) -> list[str]:
        """Three lines for a terminal, more where there are several cautions."""
        return closing_lines(self.fit, self.pulled, self.cautions)

    def __str__(self) -> str:
        described = "DESCRIBES THE DATA" if self.describes else "DOES NOT DESCRIBE THE DATA"
        if self.fit.grade == "unknown":
            described = "goodness of fit unknown"
        return f"{'CONVERGED' if self.converged else 'NOT CONVERGED'}, {described}"


def outcome_of(idata: InferenceData, summary: RunSummary) -> Outcome:
    """Judge stored draws and the fit that they belong to.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    summary : RunSummary
        What was run.
    """
    gate = judge(idata)
    rows = tabulate(idata, summary, gate)
    pulled = pulled_from_prior({row.name: row.prior_shift for row in rows})
    fit = judge_fit(summary.chi2, summary.n_eff, summary.p_value)
    return Outcome(gate, fit, pulled, cautions(summary, rows, read_histograms(idata), read_checks(idata)))


def closing_lines(fit: FitVerdict, pulled: dict[str, float], cautions: tuple[str, ...]) -> list[str]:
    """What the end of a stage tells: goodness of fit, parameters far from their priors, cautions."""
    far = ", ".join(f"{name} ({sd:+.1f})" for name, sd in pulled.items())
    lines = [
        f"Goodness of fit: {fit.numbers or 'not computed'}",
        f"Parameters over {PULLED:.0f} prior standard deviations from the prior: {far or 'none'}",
    ]
    return [*lines, *(f"Caution: {text}" for text in cautions or ("none",))]
