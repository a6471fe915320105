"""Criteria for tempered particles: what R-hat is for chains, lineages are for particles.

Particles that descend from the same prior draw share what they know about where the posterior's mass is;
those of different prior draws are independent. With phi the deviation of a quantity from its mean and the
sums over the lineages e of N particles, the variance of the mean is

    var = sum_e (sum_{i in e} phi_i)^2 / N^2

(Lee & Whiteley 2018, arXiv:1509.00394), and the effective size the quantity's variance over that. Moves that
mix within a mode make it N; a mass shared by modes that no move connects is as uncertain as the prior draws
that led to each of them; moves that stand still leave clusters, and it falls to the number of lineages.
The variance is itself known only to about (2 / number of lineages)^(1/2), so that number has its own limit.
"""

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from popinfer.report.criteria import (
    Check,
    ParameterDiagnostics,
    check_defined,
    not_stored,
    sufficient_sizes,
)

MIN_LINEAGES = 25.0
MIN_MOVED_FRACTION = 0.5
_TAILS = (0.05, 0.95)


def particle_checks(stats: xr.Dataset, table: list[ParameterDiagnostics]) -> list[Check]:
    """Was the posterior reached, do particles move, from how many prior draws do they descend."""
    checks = [_check_power(float(stats.attrs.get("power", np.nan)))]
    for title, variable, check in (
        ("Moving particles", "n_accepted", _check_moving),
        ("Lineages", "ancestor", _check_lineages),
        ("Defined density", "undefined", _check_defined),
    ):
        checks.append(check(stats) if variable in stats else not_stored(title, variable))
    return [*checks, *sufficient_sizes(table)]


def diagnose_particles(name: str, values: np.ndarray, stats: xr.Dataset) -> ParameterDiagnostics:
    """Effective sizes of one parameter's particles, any shape; NaN where undefined, R-hat always."""
    if "ancestor" not in stats or not np.isfinite(values).all() or np.ptp(values) == 0:
        return ParameterDiagnostics(name, np.nan, np.nan, np.nan)
    flat, ancestor = values.ravel(), np.asarray(stats["ancestor"].values).ravel()
    tails = [(flat <= np.quantile(flat, q)).astype(float) for q in _TAILS]
    tail = min(lineage_ess(one, ancestor) for one in tails)
    return ParameterDiagnostics(name, np.nan, lineage_ess(rankdata(flat), ancestor), tail)


def lineage_ess(values: np.ndarray, ancestor: np.ndarray) -> float:
    """Effective size of particles (n,) for the mean of `values`, given the prior draws that they come from.

    NaN when all have one ancestor or one value: nothing can be said then.
    """
    deviation = values - values.mean()
    _, lineage = np.unique(ancestor, return_inverse=True)
    if lineage.max() == 0 or not deviation.any():
        return np.nan
    sums = np.bincount(lineage, weights=deviation)
    return float(min(values.size * np.square(deviation).sum() / np.square(sums).sum(), values.size))


def _check_power(power: float) -> Check:
    return Check(
        "Tempering",
        f"power {power:.3g}",
        "1",
        power == 1,
        f"Tempering ended with the likelihood to the power {power:.3g}: the posterior was not reached.",
    )


def _check_moving(stats: xr.Dataset) -> Check:
    moved = float((np.asarray(stats["n_accepted"].values) > 0).mean())
    return Check(
        "Moving particles",
        f"{100 * moved:.0f} %",
        f">= {100 * MIN_MOVED_FRACTION:.0f} %",
        moved >= MIN_MOVED_FRACTION,
        f"Only {100 * moved:.0f} % of the particles moved in the last stage: the rest are repetitions.",
    )


def _check_defined(stats: xr.Dataset) -> Check:
    return check_defined(float(np.asarray(stats["undefined"].values, dtype=float).mean()), "moves")


def _check_lineages(stats: xr.Dataset) -> Check:
    _, size = np.unique(np.asarray(stats["ancestor"].values), return_counts=True)
    number = float(size.sum() ** 2 / np.square(size).sum())
    return Check(
        "Lineages",
        f"{number:.0f}",
        f">= {MIN_LINEAGES:.0f}",
        number >= MIN_LINEAGES,
        f"The particles descend from {number:.0f} prior draws, not {MIN_LINEAGES:.0f}: modes may be missing.",
    )
