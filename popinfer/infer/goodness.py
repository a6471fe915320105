"""Does the best fit describe the soft counts? A chi-square in the counts' own eigenmodes.

Overlapping kernels make neighbouring counts almost equal, so a chi-square over all of them would divide noise
by noise. With sd the data errors, R = Cov(d) / (sd sd^T) and its leading eigenvectors e_k that hold 99 % of
the trace in each redshift slice,

    chi2 = sum_k (e_k . (d - m) / sd)^2 / (lambda_k + v_k),

where v_k is the variance of the model's Monte Carlo noise along e_k, measured on replicate halo samples. It
is compared with a chi-square distribution of (number of modes - number of parameters that the data determine)
degrees of freedom. The fit minimises the composite likelihood, not this chi2, so p-values err low.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2 as chi2_distribution

from popinfer.infer.likelihood import Problem

TRACE_KEPT = 0.99


@dataclass(frozen=True)
class Goodness:
    """Chi-square, degrees of freedom, and the probability of a larger chi-square."""

    chi2: float
    n_eff: float
    p_value: float


def determined_parameters(cov: Float[np.ndarray, "par par"]) -> float:
    """How many parameters the data determine: sum over directions of 1 - posterior / prior variance."""
    return float(np.clip(1 - np.linalg.eigvalsh(cov), 0, 1).sum())


def goodness_of_fit(
    problem: Problem,
    counts: Float[np.ndarray, "stat"],
    replicates: Float[np.ndarray, "replicate stat"],
    n_determined: float,
) -> tuple[Goodness, list[Goodness]]:
    """Goodness of fit of all slices together, and of each.

    Parameters
    ----------
    problem : observed counts and their covariance.
    counts : the model's counts at the best fit.
    replicates : the same from independent halo samples.
    n_determined : parameters that the data determine, see `determined_parameters`; each slice is charged
        its share.
    """
    pulls = [
        _squared_pulls(problem, counts, replicates, problem.used & (problem.slice_of == index))
        for index in np.unique(problem.slice_of)
    ]
    charge = n_determined / sum(len(one) for one in pulls)
    slices = [_compare(one, charge) for one in pulls]
    return _compare(np.concatenate(pulls), charge), slices


def _squared_pulls(
    problem: Problem, counts: np.ndarray, replicates: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Squared residual over its variance, one number a mode of a slice's counts."""
    cov = (problem.data_cov + problem.model_cov)[np.ix_(inside, inside)]
    sd = np.sqrt(np.diag(cov))
    values, modes = np.linalg.eigh(cov / np.outer(sd, sd))
    order = np.argsort(values)[::-1]
    n_kept = int(np.searchsorted(np.cumsum(values[order]), TRACE_KEPT * values.sum())) + 1
    order = order[:n_kept]
    residual = (problem.observed - counts)[inside] / sd @ modes[:, order]
    monte_carlo = (replicates[:, inside] / sd @ modes[:, order]).var(axis=0, ddof=1) / problem.n_averaged
    return residual**2 / (values[order] + monte_carlo)


def _compare(pulls: np.ndarray, charge: float) -> Goodness:
    degrees = max(len(pulls) * (1 - charge), 1.0)
    total = float(pulls.sum())
    return Goodness(total, degrees, float(chi2_distribution.sf(total, degrees)))
