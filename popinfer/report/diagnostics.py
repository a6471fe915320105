"""The convergence gate: may the draws be read as a posterior?

For Markov chains (Vehtari et al. 2021, arXiv:1903.08008; Betancourt 2016, arXiv:1604.00695):

* every draw is finite and every chain moves;
* rank-normalised split R-hat < 1.01 for every parameter;
* bulk and tail effective sample size >= 400 for every parameter;
* at most 0.1 % of the transitions diverge ("none to speak of": two in 2,000, more than that marks a region
  that the sampler can't enter, and the draws are then biased);
* E-BFMI > 0.3 in every chain: the momentum resampling explores the tails of the energy;
* fewer than 1 % of the trajectories end because the tree reached its largest depth.

For importance-weighted Laplace draws (Vehtari et al. 2024, arXiv:1507.02646) R-hat of resampled draws is
always close to 1 and says nothing, so the gate asks for a Pareto shape k-hat < 0.7 and an importance
effective sample size >= 400 instead; both are computed again from the raw weights where these are stored.
"""

from dataclasses import dataclass

import arviz as az
import numpy as np
import xarray as xr

from popinfer.errors import InputError

MAX_RHAT = 1.01
MIN_ESS = 400.0
MAX_DIVERGENT_FRACTION = 0.001
MIN_BFMI = 0.3
MAX_SATURATED_FRACTION = 0.01
MAX_PARETO_K = 0.7
MIN_DISTINCT_FRACTION = 0.05  # fewer distinct draws than this: the chain stood still most of the time
DEFAULT_MAX_TREE_DEPTH = 10  # blackjax's own default

IMPORTANCE_SAMPLERS = ("psis_laplace",)


@dataclass(frozen=True)
class ParameterDiagnostics:
    """Convergence numbers of one parameter; NaN where the sampler has no such number."""

    name: str
    rhat: float
    ess_bulk: float
    ess_tail: float


@dataclass(frozen=True)
class Check:
    """One criterion of the gate: what was measured, what is asked for, and a sentence when it fails."""

    title: str
    measured: str
    required: str
    passed: bool
    failure: str


@dataclass(frozen=True)
class Verdict:
    """The answer of the gate.

    Attributes
    ----------
    converged : whether every check passed.
    failures : one sentence a failed check, for people; empty when converged.
    checks : every check that was made, passed or not.
    table : convergence numbers, one entry a parameter.
    sampler : "nuts", "psis_laplace" or whatever the draws say of themselves.
    """

    converged: bool
    failures: tuple[str, ...]
    checks: tuple[Check, ...]
    table: tuple[ParameterDiagnostics, ...]
    sampler: str

    def __str__(self) -> str:
        if self.converged:
            return "CONVERGED"
        return "NOT CONVERGED: " + " ".join(self.failures)


def judge(idata: az.InferenceData) -> Verdict:
    """Apply the convergence gate to stored draws.

    Parameters
    ----------
    idata : InferenceData
        Groups ``posterior`` and ``sample_stats`` as described in `popinfer.report`.

    Returns
    -------
    Verdict

    Raises
    ------
    InputError
        When there is no posterior, or it has no parameters.
    """
    if "posterior" not in idata.groups() or not idata.posterior.data_vars:
        raise InputError("the draws have no 'posterior' group with at least one parameter")
    posterior = idata.posterior
    draws = {str(name): _chains(values) for name, values in posterior.data_vars.items()}
    stats = idata.sample_stats if "sample_stats" in idata.groups() else xr.Dataset()
    sampler = str(stats.attrs.get("sampler", posterior.attrs.get("sampler", "nuts")))
    checks = [_check_finite(draws)]
    if sampler in IMPORTANCE_SAMPLERS:
        table = [ParameterDiagnostics(name, np.nan, np.nan, np.nan) for name in draws]
        checks += _importance_checks(stats, posterior.attrs)
    else:
        table = [_diagnose(name, values) for name, values in draws.items()]
        checks += [_check_moving(draws), *_chain_checks(table), *_trajectory_checks(stats, sampler)]
    failures = tuple(check.failure for check in checks if not check.passed)
    return Verdict(not failures, failures, tuple(checks), tuple(table), sampler)


def _chains(values: xr.DataArray) -> np.ndarray:
    """Return one parameter's draws as (chain, draw), refusing anything that is no scalar per draw."""
    if set(values.dims) != {"chain", "draw"}:
        raise InputError(f"posterior '{values.name}' has dimensions {values.dims}, not (chain, draw)")
    return np.asarray(values.transpose("chain", "draw").values, dtype=float)


def _diagnose(name: str, values: np.ndarray) -> ParameterDiagnostics:
    """Rank-normalised split R-hat, bulk and tail ESS of draws (chain, draw); NaN where undefined."""
    if values.shape[0] < 2 or values.shape[1] < 4 or not np.isfinite(values).all() or np.ptp(values) == 0:
        return ParameterDiagnostics(name, np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a frozen chain has no variance: R-hat infinite
        rhat = az.rhat(values, method="rank")
        bulk, tail = (az.ess(values, method=method) for method in ("bulk", "tail"))
    return ParameterDiagnostics(name, float(rhat), float(bulk), float(tail))


def _check_finite(draws: dict[str, np.ndarray]) -> Check:
    bad = [name for name, values in draws.items() if not np.isfinite(values).all()]
    n_bad = sum(int((~np.isfinite(values)).sum()) for values in draws.values())
    return Check(
        "Finite draws",
        f"{n_bad} not finite",
        "0",
        not bad,
        f"{n_bad} draws of {_names(bad)} are not finite.",
    )


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


def _chain_checks(table: list[ParameterDiagnostics]) -> list[Check]:
    """R-hat, bulk ESS and tail ESS, each judged by its worst parameter; an undefined number fails."""
    criteria = (
        ("R-hat", "rhat", max, f"< {MAX_RHAT}", lambda value: value < MAX_RHAT, ".3f"),
        ("Bulk ESS", "ess_bulk", min, f">= {MIN_ESS:.0f}", lambda value: value >= MIN_ESS, ".0f"),
        ("Tail ESS", "ess_tail", min, f">= {MIN_ESS:.0f}", lambda value: value >= MIN_ESS, ".0f"),
    )
    checks = []
    for title, field, worst, required, accept, form in criteria:
        values = {row.name: getattr(row, field) for row in table}
        bad = [name for name, value in values.items() if not accept(value)]
        finite = [value for value in values.values() if np.isfinite(value)]
        extreme = format(worst(finite), form) if finite else "undefined"
        failure = f"{title} is {extreme} at worst, not {required}, for {_names(bad)}."
        checks.append(Check(title, extreme, required, not bad, failure))
    return checks


def _trajectory_checks(stats: xr.Dataset, sampler: str) -> list[Check]:
    """Divergences, E-BFMI and tree depth; NUTS must have stored them, other samplers may."""
    checks = []
    for title, variable, check in (
        ("Divergences", "diverging", _check_divergences),
        ("E-BFMI", "energy", _check_energy),
        ("Tree depth", "tree_depth", _check_tree_depth),
    ):
        if variable in stats:
            checks.append(check(stats))
        elif sampler == "nuts":
            failure = f"The sampler's '{variable}' was not stored, so {title} can't be checked."
            checks.append(Check(title, "not stored", "stored", False, failure))
    return checks


def _check_divergences(stats: xr.Dataset) -> Check:
    diverging = np.asarray(stats["diverging"].values, dtype=bool)
    n, fraction = int(diverging.sum()), float(diverging.mean())
    return Check(
        "Divergences",
        f"{n} of {diverging.size:,} ({100 * fraction:.2f} %)",
        f"<= {100 * MAX_DIVERGENT_FRACTION:.1f} %",
        fraction <= MAX_DIVERGENT_FRACTION,
        f"{n} of {diverging.size:,} transitions diverged: part of the posterior was not entered.",
    )


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


def _importance_checks(stats: xr.Dataset, attrs: dict) -> list[Check]:
    """Pareto k-hat and importance ESS: the worse of what was stored and what the weights give."""
    stored = {**attrs, **stats.attrs}
    k_hat = float(stored.get("pareto_k", np.nan))
    ess = float(stored.get("importance_ess", np.nan))
    if "log_weight" in stats:
        log_weight = np.asarray(stats["log_weight"].values, dtype=float).ravel()
        k_again, ess_again = importance_quality(log_weight)
        # not fmax: weights that are not finite must fail whatever was stored
        k_hat = k_again if np.isnan(k_hat) else max(k_hat, k_again) if np.isfinite(k_again) else np.nan
        ess = ess_again if np.isnan(ess) else min(ess, ess_again) if np.isfinite(ess_again) else np.nan
    return [
        Check(
            "Pareto k-hat",
            f"{k_hat:.2f}",
            f"< {MAX_PARETO_K}",
            k_hat < MAX_PARETO_K,
            f"Pareto k-hat of the importance weights is {k_hat:.2f}, not < {MAX_PARETO_K}: "
            "the proposals miss part of the posterior.",
        ),
        Check(
            "Importance ESS",
            f"{ess:.0f}",
            f">= {MIN_ESS:.0f}",
            ess >= MIN_ESS,
            f"The importance weights are worth {ess:.0f} independent draws, not {MIN_ESS:.0f}.",
        ),
    ]


def importance_quality(log_weight: np.ndarray) -> tuple[float, float]:
    """Pareto k-hat and Kish effective sample size of raw log importance weights, shape (n,).

    Weights of -inf (draws outside the support) count as zero; NaN or +inf makes both results NaN.
    """
    if log_weight.size < 10 or np.isnan(log_weight).any() or np.isposinf(log_weight).any():
        return np.nan, np.nan
    finite = log_weight[np.isfinite(log_weight)]
    if finite.size < 10:
        return np.nan, np.nan
    smoothed, k_hat = az.psislw(finite - finite.max())
    weight = np.exp(np.asarray(smoothed) - np.max(smoothed))
    return float(k_hat), float(weight.sum() ** 2 / np.square(weight).sum())


def _names(names: list[str]) -> str:
    """List at most four names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
