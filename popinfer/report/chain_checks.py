"""Criteria for Markov chains (Vehtari et al. 2021, arXiv:1903.08008; Betancourt 2016, arXiv:1604.00695)."""

import arviz as az
import numpy as np
import xarray as xr

from popinfer.report.criteria import (
    Check,
    ParameterDiagnostics,
    check_divergences,
    listed,
    not_stored,
    sufficient_sizes,
)

MAX_RHAT = 1.01
MIN_BFMI = 0.3
MAX_SATURATED_FRACTION = 0.01
MIN_DISTINCT_FRACTION = 0.05  # fewer distinct draws than this: the chain stood still most of the time
DEFAULT_MAX_TREE_DEPTH = 10  # blackjax's own default
# statistics that a sampler must have stored to be trusted, whatever else it stored
_NEEDED = {"nuts": ("diverging", "energy", "tree_depth"), "mclmc": ("diverging",)}


def chain_checks(draws: dict[str, np.ndarray], table: list[ParameterDiagnostics]) -> list[Check]:
    """Moving chains, R-hat and effective sizes of draws (chain, draw) by parameter."""
    return [_check_moving(draws), _check_rhat(table), *sufficient_sizes(table)]


def trajectory_checks(stats: xr.Dataset, sampler: str) -> list[Check]:
    """Divergences, E-BFMI and tree depth; NUTS must have stored them all, other samplers may."""
    checks = []
    for title, variable, check in (
        ("Divergences", "diverging", check_divergences),
        ("E-BFMI", "energy", _check_energy),
        ("Tree depth", "tree_depth", _check_tree_depth),
    ):
        if variable in stats:
            checks.append(check(stats))
        elif variable in _NEEDED.get(sampler, ()):
            checks.append(not_stored(title, variable))
    return checks


def diagnose_chains(name: str, values: np.ndarray) -> ParameterDiagnostics:
    """Rank-normalised split R-hat, bulk and tail ESS of draws (chain, draw); NaN where undefined."""
    if values.shape[0] < 2 or values.shape[1] < 4 or not np.isfinite(values).all() or np.ptp(values) == 0:
        return ParameterDiagnostics(name, np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a frozen chain has no variance: R-hat infinite
        rhat = az.rhat(values, method="rank")
        bulk, tail = (az.ess(values, method=method) for method in ("bulk", "tail"))
    return ParameterDiagnostics(name, float(rhat), float(bulk), float(tail))


def _check_moving(draws: dict[str, np.ndarray]) -> Check:
    """Find chains that stand still: one value, or hardly any new ones."""
    frozen = set()
    for values in draws.values():
        least = max(1.0, MIN_DISTINCT_FRACTION * values.shape[1])
        frozen |= {chain for chain, one in enumerate(values) if len(np.unique(one)) <= least}
    which = ", ".join(str(chain) for chain in sorted(frozen))
    return Check(
        "Moving chains",
        f"{len(frozen)} frozen",
        "0",
        not frozen,
        f"Chain {which} is frozen: it repeats the same values instead of moving.",
    )


def _check_rhat(table: list[ParameterDiagnostics]) -> Check:
    """R-hat, judged by its worst parameter; an undefined one fails."""
    values = {row.name: row.rhat for row in table}
    bad = [name for name, value in values.items() if not value < MAX_RHAT]
    finite = [value for value in values.values() if np.isfinite(value)]
    worst, required = f"{max(finite):.3f}" if finite else "undefined", f"< {MAX_RHAT}"
    failure = f"R-hat is {worst} at worst, not {required}, for {listed(bad)}."
    return Check("R-hat", worst, required, not bad, failure)


def _check_energy(stats: xr.Dataset) -> Check:
    energy = np.asarray(stats["energy"].transpose("chain", "draw").values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        bfmi = np.square(np.diff(energy, axis=1)).mean(axis=1) / energy.var(axis=1)
    bad = [chain for chain, value in enumerate(bfmi) if not value > MIN_BFMI]  # NaN fails too
    worst = "undefined" if np.isnan(bfmi).any() else f"{bfmi.min():.2f}"
    which = ", ".join(str(chain) for chain in bad)
    return Check(
        "E-BFMI",
        worst,
        f"> {MIN_BFMI}",
        not bad,
        f"E-BFMI is {worst} at worst, not > {MIN_BFMI}, in chain {which}: the tails are explored too slowly.",
    )


def _check_tree_depth(stats: xr.Dataset) -> Check:
    limit = int(stats.attrs.get("max_tree_depth", DEFAULT_MAX_TREE_DEPTH))
    fraction = float((np.asarray(stats["tree_depth"].values) >= limit).mean())
    return Check(
        "Tree depth",
        f"{100 * fraction:.1f} % at depth {limit}",
        f"< {100 * MAX_SATURATED_FRACTION:.0f} %",
        fraction < MAX_SATURATED_FRACTION,
        f"{100 * fraction:.1f} % of the trajectories were cut at the largest tree depth, {limit}.",
    )
