"""Does the best fit describe the soft counts? The chi-square of the likelihood's own statistics.

    chi2 = (y - log m)^T P (y - log m)

of `popinfer.infer.likelihood` is compared with a chi-square distribution of (number of modes - number of
parameters that the data determine) degrees of freedom, for all slices together and for each. Its covariance
has the noise of counting, of the halo sample, and the errors that the run file allows to the model.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chi2 as chi2_distribution

from popinfer.infer.likelihood import Information


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
    info: Information, slice_of: Int[np.ndarray, "stat"], n_determined: float
) -> tuple[Goodness, list[Goodness]]:
    """Goodness of fit of all slices together, and of each.

    Parameters
    ----------
    info : at the posterior's mode.
    slice_of : redshift slice of each count.
    n_determined : parameters that the data determine, see `determined_parameters`; each slice is charged
        its share.
    """
    modes, residual = info.likelihood.modes, info.residual
    charge = n_determined / modes.shape[1]
    pull = residual * (info.likelihood.precision @ residual)
    slices = []
    for index in np.unique(slice_of):
        inside = slice_of == index
        n_modes = int(np.any(modes[inside] != 0, axis=0).sum())
        slices.append(_compare(float(pull[inside].sum()), n_modes, charge))
    return _compare(float(pull.sum()), modes.shape[1], charge), slices


def _compare(total: float, n_modes: int, charge: float) -> Goodness:
    degrees = max(n_modes * (1 - charge), 1.0)
    return Goodness(total, degrees, float(chi2_distribution.sf(total, degrees)))
