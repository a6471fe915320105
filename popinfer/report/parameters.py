"""What the data taught about each parameter: posterior intervals against the prior.

Shrinkage is 1 - sd(posterior) / sd(prior): 0 when the data said nothing, 1 when they said everything. Overlap
is the integral of min(prior, posterior), 1 when the two agree; a parameter with little shrinkage but small
overlap was pushed against its prior.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import gaussian_kde

from popinfer.inference_data import InferenceData, read_group
from popinfer.report.checks import ParameterDiagnostics
from popinfer.report.gate import Verdict
from popinfer.report.summary import RunSummary

WEAK_SHRINKAGE = 0.2  # below this a reader should see the prior in the posterior


@dataclass(frozen=True)
class ParameterRow:
    """One line of the parameter table; numbers in the parameter's own unit, NaN where unknown.

    Attributes
    ----------
    median, low68, high68, low95, high95 : posterior quantiles at 50, 16, 84, 2.5 and 97.5 %.
    prior_sd, posterior_sd : standard deviations.
    shrinkage, overlap : see the module.
    prior_shift : (posterior mean - prior mean) / prior sd.
    diagnostics : R-hat and effective sample sizes.
    """

    name: str
    meaning: str
    unit: str
    prior: str
    median: float
    low68: float
    high68: float
    low95: float
    high95: float
    best_fit: float
    truth: float
    prior_sd: float
    posterior_sd: float
    shrinkage: float
    overlap: float
    prior_shift: float
    diagnostics: ParameterDiagnostics


def tabulate(idata: InferenceData, summary: RunSummary, verdict: Verdict) -> tuple[ParameterRow, ...]:
    """Compare posterior and prior of every parameter, in the order of the posterior's variables."""
    by_name = {row.name: row for row in verdict.table}
    return tuple(
        _row(str(name), flat_draws(idata, "posterior", str(name)), idata, summary, by_name[str(name)])
        for name in read_group(idata, "posterior").data_vars
    )


def flat_draws(idata: InferenceData, group: str, name: str) -> np.ndarray:
    """Return all finite draws of one parameter, shape (n,); empty when the group doesn't have it."""
    stored = read_group(idata, group)
    if name not in stored:
        return np.empty(0)
    values = np.asarray(stored[name].values, dtype=float).ravel()
    return values[np.isfinite(values)]


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Integrate the smaller of two densities, estimated from draws (n,) and (m,); NaN without width."""
    if min(first.size, second.size) < 10 or min(np.ptp(first), np.ptp(second)) == 0:
        return np.nan
    both = np.concatenate([first, second])
    grid = np.linspace(both.min(), both.max(), 400)
    lower = np.minimum(gaussian_kde(first)(grid), gaussian_kde(second)(grid))
    return float(np.trapezoid(lower, grid))


def _row(
    name: str,
    posterior: np.ndarray,
    idata: InferenceData,
    summary: RunSummary,
    diagnostics: ParameterDiagnostics,
) -> ParameterRow:
    """Summarise one parameter's draws (n,)."""
    prior = flat_draws(idata, "prior", name)
    quantiles = np.percentile(posterior, [50, 16, 84, 2.5, 97.5]) if posterior.size else np.full(5, np.nan)
    sd = float(posterior.std()) if posterior.size else np.nan
    prior_sd = float(prior.std()) if prior.size else np.nan
    shift = posterior.mean() - prior.mean() if posterior.size and prior.size else np.nan
    wide = prior_sd > 0
    return ParameterRow(
        name,
        summary.meanings.get(name, ""),
        summary.units.get(name, ""),
        summary.priors.get(name, ""),
        *(float(quantile) for quantile in quantiles),
        best_fit=summary.best_fit.get(name, np.nan),
        truth=summary.truth.get(name, np.nan),
        prior_sd=prior_sd,
        posterior_sd=sd,
        shrinkage=1 - sd / prior_sd if wide else np.nan,
        overlap=overlap(prior, posterior),
        prior_shift=float(shift / prior_sd) if wide else np.nan,
        diagnostics=diagnostics,
    )
