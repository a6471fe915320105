"""Posterior predictive p-value of the likelihood's own statistics.

For draws u_s of the posterior, a replicate survey is y_rep = log m(u_s) + noise, with the noise of the
likelihood: counting, the model's allowed error and the halo sample, of covariance Sigma = E^T C E in the
modes of `popinfer.infer.likelihood`. With the chi-square of the modes as discrepancy (Gelman, Meng & Stern
1996, Statistica Sinica 6, 733),

    T(y, u) = (y - log m(u))^T E Sigma^-1 E^T (y - log m(u)),
    p = mean_s Prob[T(y_rep, u_s) >= T(y_obs, u_s)].

The noise is Gaussian and T takes it relative to u_s, so that T(y_rep, u_s) has a chi-square distribution with
as many degrees of freedom as modes whatever u_s: the mean over replicates is known, and none need be drawn.
A slice's p has the chi-square of its own modes. Parameters were fitted to the same data, therefore p of a
true model lies nearer 1/2 than a uniform number does; values near 0 mean a misfit, near 1 errors too large.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2 as chi2_distribution

from popinfer.infer.likelihood import Likelihood


@dataclass(frozen=True)
class PosteriorCheck:
    """Chi-square of every draw, its degrees of freedom, and the posterior predictive p-value."""

    chi2: Float[np.ndarray, "draw"]
    n_modes: int

    @property
    def p_value(self) -> float:
        """Share of replicate surveys farther from the model than the observed one."""
        return float(chi2_distribution.sf(self.chi2, self.n_modes).mean())


def posterior_check(
    likelihood: Likelihood, log_counts: Float[np.ndarray, "draw stat"]
) -> tuple[PosteriorCheck, list[PosteriorCheck]]:
    """Check all slices together, and each.

    Parameters
    ----------
    likelihood : data, modes and their covariance.
    log_counts : log m(u_s) of posterior draws, as the likelihood has them.
    """
    modes, slice_of = likelihood.modes, likelihood.data.slice_of
    noise = likelihood.cov + likelihood.halo_cov
    residuals = (likelihood.data.log_observed - log_counts) @ modes
    slice_of_mode = slice_of[np.argmax(modes != 0, axis=0)]
    slices = []
    for index in np.unique(slice_of):
        inside = np.flatnonzero(slice_of_mode == index)
        slices.append(_check(residuals[:, inside], np.linalg.inv(noise[np.ix_(inside, inside)])))
    return _check(residuals, np.linalg.inv(noise)), slices


def _check(
    residuals: Float[np.ndarray, "draw mode"], inverse: Float[np.ndarray, "mode mode"]
) -> PosteriorCheck:
    return PosteriorCheck(np.einsum("dm,mn,dn->d", residuals, inverse, residuals), residuals.shape[1])
