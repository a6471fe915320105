"""What the convergence gate's checks have in common."""

from dataclasses import dataclass

import numpy as np

MIN_ESS = 400.0
MAX_UNDEFINED_FRACTION = 0.01


@dataclass(frozen=True)
class ParameterDiagnostics:
    """Convergence numbers of one parameter; NaN where the sampler has no such number.

    Attributes
    ----------
    name : dotted name of the parameter.
    rhat : rank-normalised split R-hat.
    ess_bulk, ess_tail : effective number of independent draws, in the bulk and in the tails.
    """

    name: str
    rhat: float
    ess_bulk: float
    ess_tail: float


@dataclass(frozen=True)
class Check:
    """One criterion of the gate.

    Attributes
    ----------
    title : what is judged.
    measured : what was found, in words.
    required : what is asked for, in words.
    passed : whether it holds.
    failure : the sentence for a person where it doesn't.
    """

    title: str
    measured: str
    required: str
    passed: bool
    failure: str


def sufficient_sizes(table: list[ParameterDiagnostics]) -> list[Check]:
    """Bulk and tail effective sample size, each judged by its worst parameter; an undefined one fails."""
    return [
        check_worst("Bulk ESS", {row.name: row.ess_bulk for row in table}, least=MIN_ESS),
        check_worst("Tail ESS", {row.name: row.ess_tail for row in table}, least=MIN_ESS),
    ]


def check_worst(title: str, values: dict[str, float], *, least: float) -> Check:
    """Check that the smallest of the parameters' numbers is not below ``least``; NaN fails."""
    bad = [name for name, value in values.items() if not value >= least]
    finite = [value for value in values.values() if np.isfinite(value)]
    worst, required = f"{min(finite):.0f}" if finite else "undefined", f">= {least:.0f}"
    failure = f"{title} is {worst} at worst, not {required}, for {list_names(bad)}."
    return Check(title, worst, required, not bad, failure)


def check_defined(fraction: float, tried: str) -> Check:
    """Points tried for which the model gives no number: a few far out, none where the posterior is."""
    return Check(
        "Defined density",
        f"{100 * fraction:.1f} % undefined",
        f"<= {100 * MAX_UNDEFINED_FRACTION:.0f} %",
        fraction <= MAX_UNDEFINED_FRACTION,
        f"The model gave no number for {100 * fraction:.1f} % of the {tried}: "
        "part of the posterior may be missing.",
    )


def not_stored(title: str, variable: str) -> Check:
    """Fail because the sampler left out what a criterion needs."""
    failure = f"The sampler's '{variable}' was not stored, so {title} can't be checked."
    return Check(title, "not stored", "stored", False, failure)


def list_names(names: list[str]) -> str:
    """List at most four names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def check_finite(draws: dict[str, np.ndarray], title: str = "Finite draws") -> Check:
    """Draws by parameter that are no numbers: there may be none."""
    bad = [name for name, values in draws.items() if not np.isfinite(values).all()]
    n_bad = sum(int((~np.isfinite(values)).sum()) for values in draws.values())
    return Check(
        title,
        f"{n_bad} not finite",
        "0",
        not bad,
        f"{n_bad} draws of {list_names(bad)} are not finite.",
    )
