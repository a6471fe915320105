"""The convergence gate: whether the draws may be read as a posterior.

Whatever was stored is computed again from draws and weights, as far as it can be
(`popinfer.report.gate_draws`); what a criterion needs and wasn't stored fails it. Every draw must be finite,
and no chain a copy of another. Markov chains (Vehtari et al. 2021, arXiv:1903.08008; Betancourt 2016,
arXiv:1604.00695) must pass:

* every chain moves;
* rank-normalised split R-hat < 1.01 for every parameter;
* bulk and tail effective sample size >= 400 for every parameter;
* at most 0.1 % of the transitions diverge ("none to speak of": two in 2,000, more than that marks a region
  that the sampler can't enter, and the draws are then biased);
* E-BFMI > 0.3 in every chain: the momentum resampling explores the tails of the energy;
* fewer than 1 % of the trajectories end because the tree reached its largest depth.

Draws of a surrogate are weighted by the exact density. Its chains must pass all of the above. The weights
must have a Pareto shape k-hat < 0.7 (Vehtari et al. 2024, arXiv:1507.02646), and their logarithms, the
surrogate's error, scatter by 1.2 nat at most. The weighted draws must be worth 400 independent ones, the
chains' smallest effective size taken into account (`popinfer.resampling.independent_size`). All are
computed from the raw weights. Where the weights are so even that they are worth 99 % of the draws, the
shape of their tail says nothing and isn't asked for. At most 1 % of the chains' draws may lie beyond all of
the surrogate's nodes: it is kept from going there, so that neither chains nor weights tell what is farther
out. At most 1 % of the exact evaluations may be points where the model gives no number: a density of
infinity is none, whatever its sign.

For tempered particles the posterior must have been reached, half of the particles at least must have moved in
the last stage, they must descend from 25 prior draws, and be worth 400 independent draws in bulk and tails.
At most 1 % of them may have tried points without a number. Particles that descend from the same prior draw
share what they know about where the posterior's mass is; those of different prior draws are independent. With
phi the deviation of a quantity from its mean and the sums over the lineages e of N particles, the variance of
the mean is

    var = sum_e (sum_{i in e} phi_i)^2 / N^2

(Lee & Whiteley 2018, arXiv:1509.00394), and the effective size the quantity's variance over that. Moves that
mix within a maximum make it N; a mass shared by maxima that no move connects is as uncertain as the prior
draws that led to each of them; moves that stand still leave clusters, and it falls to the number of lineages.
The variance is itself known only to about (2 / number of lineages)^(1/2), so that number has its own limit.

Whatever the sampler, the maxima that it starts from must have settled on all halos, and chains and particles
must have visited each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import arviz as az
import numpy as np
import xarray as xr
from scipy.stats import rankdata

from popinfer.errors import InputError
from popinfer.infer.draws import TAILS, effective_sizes, have_sizes
from popinfer.inference_data import InferenceData, read_group
from popinfer.report.checks import (
    MIN_ESS,
    Check,
    ParameterDiagnostics,
    check_defined,
    check_finite,
    list_names,
    not_stored,
    sufficient_sizes,
)
from popinfer.report.gate_draws import (
    check_coordinates,
    check_distinct,
    check_separate,
    least_distinct,
    region_checks,
    surrogate_checks,
    vectors,
)
from popinfer.report.remedies import remedy
from popinfer.resampling import EVEN, MAX_PARETO_K, independent_size, kish_size, pareto_smooth

MAX_DIVERGENT_FRACTION = 0.001
MAX_RHAT = 1.01
MIN_BFMI = 0.3
MAX_SATURATED_FRACTION = 0.01
MIN_DISTINCT_FRACTION = 0.05  # fewer distinct draws than this: the chain stood still most of the time


def chain_checks(draws: dict[str, np.ndarray], table: list[ParameterDiagnostics]) -> list[Check]:
    """Moving chains, R-hat and effective sizes of draws (chain, draw) by parameter."""
    return [_check_moving(draws), _check_rhat(table), *sufficient_sizes(table)]


def trajectory_checks(stats: xr.Dataset) -> list[Check]:
    """Density, divergences, E-BFMI and tree depth; all must have been stored."""
    checks: list[tuple[str, str, Callable[[xr.Dataset], Check]]] = [
        ("Finite density", "lp", _check_density),
        ("Divergences", "diverging", _check_divergences),
        ("E-BFMI", "energy", _check_energy),
        ("Tree depth", "tree_depth", _check_tree_depth),
    ]
    return [check(stats) if name in stats else not_stored(title, name) for title, name, check in checks]


def _check_density(stats: xr.Dataset) -> Check:
    """A chain is never where the density is no number."""
    n = int((~np.isfinite(np.asarray(stats["lp"].values, dtype=float))).sum())
    failure = f"The log-density of {n} draws is no number: they are no draws of the posterior."
    return Check("Finite density", f"{n} undefined", "0", n == 0, failure)


def _check_divergences(stats: xr.Dataset) -> Check:
    """Transitions that ended in a divergence: none to speak of."""
    diverging = np.asarray(stats["diverging"].values, dtype=bool)
    n, fraction = int(diverging.sum()), float(diverging.mean())
    return Check(
        "Divergences",
        f"{n} of {diverging.size:,} ({100 * fraction:.2f} %)",
        f"<= {100 * MAX_DIVERGENT_FRACTION:.1f} %",
        fraction <= MAX_DIVERGENT_FRACTION,
        f"{n} of {diverging.size:,} transitions diverged: part of the posterior was not entered.",
    )


def diagnose_chains(name: str, values: np.ndarray) -> ParameterDiagnostics:
    """Rank-normalised split R-hat, bulk and tail ESS of draws (chain, draw); NaN where undefined."""
    if not have_sizes(values):
        return ParameterDiagnostics(name, np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a frozen chain has no variance: R-hat infinite
        rhat = az.rhat(values, method="rank")
    return ParameterDiagnostics(name, float(rhat), *effective_sizes(values))


def _check_moving(draws: dict[str, np.ndarray]) -> Check:
    """Find chains that stand still: one value, or hardly any new ones."""
    frozen = set()
    for values in draws.values():
        least = max(1.0, MIN_DISTINCT_FRACTION * values.shape[1])
        frozen |= {
            chain for chain, draws_of_chain in enumerate(values) if len(np.unique(draws_of_chain)) <= least
        }
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
    failure = f"R-hat is {worst} at worst, not {required}, for {list_names(bad)}."
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
    if "max_tree_depth" not in stats.attrs:
        return not_stored("Tree depth", "max_tree_depth")
    limit = int(stats.attrs["max_tree_depth"])
    fraction = float(1 - (np.asarray(stats["tree_depth"].values) < limit).mean())  # NaN isn't below it
    return Check(
        "Tree depth",
        f"{100 * fraction:.1f} % at depth {limit}",
        f"< {100 * MAX_SATURATED_FRACTION:.0f} %",
        fraction < MAX_SATURATED_FRACTION,
        f"{100 * fraction:.1f} % of the trajectories were cut at the largest tree depth, {limit}.",
    )


MAX_SURROGATE_ERROR = 1.2  # nat; the weights of a worse surrogate are worth less than a quarter of the draws


def importance_checks(log_weight: np.ndarray, n_chain: int, chain_ess: float) -> list[Check]:
    """Judge the raw log weights, which are no numbers where the exact density is none.

    They are of some of the `n_chain` draws of chains that are worth `chain_ess`.
    """
    undefined = ~np.isfinite(log_weight)
    finite = log_weight[~undefined]
    smoothed, k_hat = pareto_smooth(finite)
    ess = independent_size(smoothed, n_chain, chain_ess)
    # of the raw weights: smoothing hides single large ones
    even = kish_size(finite) >= EVEN * log_weight.size
    error = float(np.std(finite)) if finite.size > 1 else np.nan
    return [
        check_defined(float(undefined.mean()) if undefined.size else 1.0, "exact evaluations"),
        Check(
            "Pareto k-hat",
            f"{k_hat:.2f}" + (", weights even" if even else ""),
            f"< {MAX_PARETO_K}",
            even or k_hat < MAX_PARETO_K,
            f"Pareto k-hat of the exact weights is {k_hat:.2f}, not < {MAX_PARETO_K}: "
            "the surrogate misses part of the posterior.",
        ),
        Check(
            "Surrogate error",
            f"{error:.2f} nat",
            f"<= {MAX_SURROGATE_ERROR} nat",
            error <= MAX_SURROGATE_ERROR,
            f"The surrogate's log-density is off by {error:.2f} nat, more than {MAX_SURROGATE_ERROR}: "
            "it isn't the posterior's.",
        ),
        Check(
            "Exact weights",
            f"worth {ess:.0f}",
            f">= {MIN_ESS:.0f}",
            ess >= MIN_ESS,
            f"The weighted draws are worth {ess:.0f} independent ones, not {MIN_ESS:.0f}: more exact "
            "evaluations, longer chains or a better surrogate are needed.",
        ),
    ]


MIN_LINEAGES = 25.0
MIN_MOVED_FRACTION = 0.5


def particle_checks(stats: xr.Dataset, table: list[ParameterDiagnostics]) -> list[Check]:
    """Was the posterior reached, do particles move, from how many prior draws do they descend."""
    checks = [_check_power(float(stats.attrs.get("power", np.nan)))]
    for title, variable, check in (
        ("Moving particles", "n_accepted", _check_moved),
        ("Lineages", "ancestor", _check_lineages),
        ("Defined density", "undefined", _check_moves_defined),
    ):
        checks.append(check(stats) if variable in stats else not_stored(title, variable))
    return [*checks, *sufficient_sizes(table)]


def diagnose_particles(name: str, values: np.ndarray, stats: xr.Dataset) -> ParameterDiagnostics:
    """Effective sizes of one parameter's particles, any shape; NaN where undefined, R-hat always."""
    if "ancestor" not in stats or not np.isfinite(values).all() or np.ptp(values) == 0:
        return ParameterDiagnostics(name, np.nan, np.nan, np.nan)
    flat, ancestor = values.ravel(), np.asarray(stats["ancestor"].values).ravel()
    tails = [(flat <= np.quantile(flat, q)).astype(float) for q in TAILS]
    tail = min(lineage_ess(below, ancestor) for below in tails)
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


def _check_moved(stats: xr.Dataset) -> Check:
    moved = float((np.asarray(stats["n_accepted"].values) > 0).mean())
    return Check(
        "Moving particles",
        f"{100 * moved:.0f} %",
        f">= {100 * MIN_MOVED_FRACTION:.0f} %",
        moved >= MIN_MOVED_FRACTION,
        f"Only {100 * moved:.0f} % of the particles moved in the last stage: the rest are repetitions.",
    )


def _check_moves_defined(stats: xr.Dataset) -> Check:
    return check_defined(float(np.asarray(stats["undefined"].values, dtype=float).mean()), "moves")


def _check_lineages(stats: xr.Dataset) -> Check:
    _, size = np.unique(np.asarray(stats["ancestor"].values), return_counts=True)
    number = float(size.sum() ** 2 / np.square(size).sum())
    return Check(
        "Lineages",
        f"{number:.0f}",
        f">= {MIN_LINEAGES:.0f}",
        number >= MIN_LINEAGES,
        f"The particles descend from {number:.0f} prior draws, not {MIN_LINEAGES:.0f}: "
        "maxima may be missing.",
    )


SURROGATE_SAMPLERS = ("nuts",)
PARTICLE_SAMPLERS = ("smc",)
OWN_SAMPLERS = ("own",)  # a class of the user's, which may have no trajectories
SAMPLERS = (*SURROGATE_SAMPLERS, *PARTICLE_SAMPLERS, *OWN_SAMPLERS, "nuts_exact")


@dataclass(frozen=True)
class Verdict:
    """The answer of the gate.

    Attributes
    ----------
    converged : whether every check passed.
    failures : what each failed check found, and what to change; empty when converged.
    checks : every check that was made, passed or not.
    table : convergence numbers, one entry a parameter.
    sampler : "nuts", "nuts_exact", "smc" or whatever the draws say of themselves.
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


def judge(idata: InferenceData) -> Verdict:
    """Apply the convergence gate to stored draws.

    Parameters
    ----------
    idata : InferenceData
        Groups ``posterior`` and ``sample_stats`` as described in `popinfer.report`.

    Returns
    -------
    Verdict
        Whether the draws may be read as a posterior, and every check that was made.

    Raises
    ------
    InputError
        When there is no posterior, or it has no parameters.
    """
    posterior = read_group(idata, "posterior")
    if not posterior.data_vars:
        raise InputError("the draws have no 'posterior' group with at least one parameter")
    draws = {str(name): _chains(values) for name, values in posterior.data_vars.items()}
    stats, prior = read_group(idata, "sample_stats"), read_group(idata, "prior")
    sampler = str(stats.attrs.get("sampler", ""))
    if sampler not in SAMPLERS:
        checks, table = [not_stored("the sampler", "sampler")], [_undefined(name) for name in draws]
    elif sampler in SURROGATE_SAMPLERS:
        checks, table = _judge_surrogate(idata, draws, stats)
    elif sampler in PARTICLE_SAMPLERS:
        table = [diagnose_particles(name, values, stats) for name, values in draws.items()]
        checks = particle_checks(stats, table)
    else:
        table = [diagnose_chains(name, values) for name, values in draws.items()]
        checks = chain_checks(draws, table)
        if sampler not in OWN_SAMPLERS or "diverging" in stats:
            checks += trajectory_checks(stats)
    where = _coordinate_checks(idata, draws, {str(name): _values(x) for name, x in prior.data_vars.items()})
    checks = [check_finite(draws), *checks, *where]
    failures = tuple(f"{check.failure} {remedy(check, sampler)}" for check in checks if not check.passed)
    return Verdict(not failures, failures, tuple(checks), tuple(table), sampler or "unknown")


def _judge_surrogate(
    idata: InferenceData, draws: dict[str, np.ndarray], stats: xr.Dataset
) -> tuple[list[Check], list[ParameterDiagnostics]]:
    """Checks of a surrogate's chains and of its exact weights, and the chains' numbers."""
    group = read_group(idata, "chains")
    chains = {str(name): _chains(values) for name, values in group.data_vars.items()}
    table, checks = [_undefined(name) for name in draws], [not_stored("chains of the surrogate", "chains")]
    if list(chains) == list(draws):
        table = [diagnose_chains(name, values) for name, values in chains.items()]
        checks = [check_finite(chains, "Finite chains"), *chain_checks(chains, table)]
        checks += trajectory_checks(read_group(idata, "chain_stats"))
    if "log_weight" not in stats:
        return [*checks, not_stored("Exact weights", "log_weight")], table
    # chains without an effective size fail their own checks; weights are judged as those of independent draws
    n_chain = max((values.size for values in chains.values()), default=1)
    sizes = [min(row.ess_bulk, row.ess_tail) for row in table]
    chain_ess = float(np.min(sizes)) if np.isfinite(sizes).all() else np.inf
    return checks + importance_checks(_values(stats["log_weight"]), n_chain, chain_ess), table


def _coordinate_checks(
    idata: InferenceData, draws: dict[str, np.ndarray], prior: dict[str, np.ndarray]
) -> list[Check]:
    """Checks that need draws as vectors: repetitions, copies, changed values, regions not entered."""
    stats, unconstrained = read_group(idata, "sample_stats"), read_group(idata, "unconstrained")
    weighted = stats.attrs.get("sampler") in SURROGATE_SAMPLERS
    names = [str(name) for name in unconstrained["par"].values] if "par" in unconstrained.coords else []
    if "posterior" not in unconstrained or set(names) != set(draws):
        return [not_stored("coordinates of the draws", "unconstrained")]
    u = vectors(unconstrained, "posterior")
    checks = [
        check_distinct(u, least_distinct(weighted=weighted)),
        check_coordinates({name: draws[name] for name in names}, u, prior),
    ]
    if weighted and "chains" in unconstrained and set(names) <= set(read_group(idata, "chains").data_vars):
        chains = {name: _chains(read_group(idata, "chains")[name]) for name in names}
        u = vectors(unconstrained, "chains")
        checks.append(check_distinct(u, least_distinct(weighted=False), "Distinct draws of chains"))
        checks.append(check_coordinates(chains, u, prior, "Coordinates of chains"))
    if stats.attrs.get("sampler") not in PARTICLE_SAMPLERS:
        checks.append(check_separate(u))
    if weighted and "log_weight" in stats:
        checks += surrogate_checks(unconstrained, _values(stats["log_weight"]))
    return checks + region_checks(stats, unconstrained, u)


def _values(variable: xr.DataArray) -> np.ndarray:
    return np.asarray(variable.values, dtype=float).ravel()


def _undefined(name: str) -> ParameterDiagnostics:
    return ParameterDiagnostics(name, np.nan, np.nan, np.nan)


def _chains(values: xr.DataArray) -> np.ndarray:
    """Return one parameter's draws as (chain, draw), refusing anything that is no scalar per draw."""
    if set(values.dims) != {"chain", "draw"}:
        raise InputError(f"posterior '{values.name}' has dimensions {values.dims}, not (chain, draw)")
    return np.asarray(values.transpose("chain", "draw").values, dtype=float)
