"""The convergence gate: may the draws be read as a posterior?

Every draw must be finite. For Markov chains (`popinfer.report.chain_checks`):

* every chain moves;
* rank-normalised split R-hat < 1.01 for every parameter;
* bulk and tail effective sample size >= 400 for every parameter;
* at most 0.1 % of the transitions diverge ("none to speak of": two in 2,000, more than that marks a region
  that the sampler can't enter, and the draws are then biased);
* E-BFMI > 0.3 in every chain: the momentum resampling explores the tails of the energy;
* fewer than 1 % of the trajectories end because the tree reached its largest depth.

For importance-weighted Laplace draws R-hat of resampled draws is always close to 1 and says nothing, so the
gate asks for a Pareto shape k-hat < 0.7 and an importance effective sample size >= 400 instead; both are
computed again from the raw weights where these are stored. At most 1 % of the proposals may be points where
the model gives no number (`popinfer.report.importance_checks`).

For tempered particles (`popinfer.report.particle_checks`) the posterior must have been reached, half of the
particles at least must have moved in the last stage, they must descend from 25 prior draws, and be worth 400
independent draws in bulk and tails. At most 1 % of them may have tried points without a number.

Whatever the sampler, the fit that it starts from must have settled, and chains and particles must have
visited every mode that the fit found (`popinfer.report.region_checks`).
"""

from dataclasses import dataclass

import arviz as az
import numpy as np
import xarray as xr

from popinfer.errors import InputError
from popinfer.report.chain_checks import chain_checks, diagnose_chains, trajectory_checks
from popinfer.report.criteria import Check, ParameterDiagnostics, listed
from popinfer.report.importance_checks import importance_checks
from popinfer.report.particle_checks import diagnose_particles, particle_checks
from popinfer.report.region_checks import region_checks

IMPORTANCE_SAMPLERS = ("psis_laplace",)
PARTICLE_SAMPLERS = ("smc",)


@dataclass(frozen=True)
class Verdict:
    """The answer of the gate.

    Attributes
    ----------
    converged : whether every check passed.
    failures : one sentence a failed check, for people; empty when converged.
    checks : every check that was made, passed or not.
    table : convergence numbers, one entry a parameter.
    sampler : "nuts", "mclmc", "psis_laplace", "smc" or whatever the draws say of themselves.
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
        checks += importance_checks(stats, posterior.attrs)
    elif sampler in PARTICLE_SAMPLERS:
        table = [diagnose_particles(name, values, stats) for name, values in draws.items()]
        checks += particle_checks(stats, table)
    else:
        table = [diagnose_chains(name, values) for name, values in draws.items()]
        checks += [*chain_checks(draws, table), *trajectory_checks(stats, sampler)]
    checks += region_checks(stats)
    failures = tuple(check.failure for check in checks if not check.passed)
    return Verdict(not failures, failures, tuple(checks), tuple(table), sampler)


def _chains(values: xr.DataArray) -> np.ndarray:
    """Return one parameter's draws as (chain, draw), refusing anything that is no scalar per draw."""
    if set(values.dims) != {"chain", "draw"}:
        raise InputError(f"posterior '{values.name}' has dimensions {values.dims}, not (chain, draw)")
    return np.asarray(values.transpose("chain", "draw").values, dtype=float)


def _check_finite(draws: dict[str, np.ndarray]) -> Check:
    bad = [name for name, values in draws.items() if not np.isfinite(values).all()]
    n_bad = sum(int((~np.isfinite(values)).sum()) for values in draws.values())
    return Check(
        "Finite draws",
        f"{n_bad} not finite",
        "0",
        not bad,
        f"{n_bad} draws of {listed(bad)} are not finite.",
    )
