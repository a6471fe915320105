"""Criteria for importance-weighted draws (Vehtari et al. 2024, arXiv:1507.02646)."""

import arviz as az
import numpy as np
import xarray as xr

from popinfer.report.criteria import MIN_ESS, Check, check_defined

MAX_PARETO_K = 0.7


def importance_checks(stats: xr.Dataset, attrs: dict) -> list[Check]:
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
    checks = []
    if "undefined_fraction" in stored:
        checks.append(check_defined(float(stored["undefined_fraction"]), "proposals"))
    return [
        *checks,
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
