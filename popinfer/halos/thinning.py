r"""Thin halo candidates to those that make galaxies which a survey sees, with exact weights.

Candidate j stands for w_j halos, and a share s_j of its galaxies is in the survey. A count over seen
galaxies is

    m = sum_j w_j g_j,    g_j the candidate's contribution, of the size of s_j on average.

Keep candidate j with probability pi_j and give it the weight w_j / pi_j: the mean of m over the choice is m,
whatever pi is. Its variance is that of a sum of independent contributions,

    Var = sum_j w_j^2 <g_j^2> (1 - pi_j) / pi_j,

where <g_j^2> is the mean square over where the galaxy's features may lie. A galaxy is seen or not, so the
mean square of a seen-or-not number is its mean, and <g_j^2> is in proportion to s_j. With a fixed number of
kept candidates, sum_j pi_j = n, the least variance is where d Var / d pi_j is the same for all:

    w_j^2 s_j / pi_j^2 = constant,    pi_j in proportion to w_j sqrt(s_j),

none above one. The shares come from a model near the expected answer; a wrong one costs variance, never bias.
Candidates are picked at equal steps of cumulated probability, satellites and centrals in order of mass:
strata as fine as the steps, so that the kept masses follow the candidates'.
"""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.random import numpy_generator
from popinfer.records import Halos
from popinfer.resampling import systematic

# of a candidate's galaxies: halos that the pilot model thinks invisible are kept with it, so that weights of
# the few that turn out visible stay bounded
MIN_SHARE = 1e-4


def thin(key: PRNGKeyArray, candidates: Halos, share: Float[np.ndarray, "halo"], n: int) -> Halos:
    """Keep n halos of one slice; see the module's equations.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key, of the first pick.
    candidates : Halos
        Weighted halos of the slice.
    share : Float[np.ndarray, "halo"]
        Share of each candidate's galaxies that the survey sees; below `MIN_SHARE` it counts as that.
    n : int
        How many to keep.
    """
    share = np.maximum(share, MIN_SHARE)
    order = np.lexsort((candidates.logmp0, candidates.is_central))
    probability = inclusion(np.asarray(candidates.weight)[order] * np.sqrt(share[order]), n)
    picked = systematic(probability, n, float(numpy_generator(key).random()))
    kept = jax.tree.map(lambda x: np.asarray(x)[order[picked]], candidates)
    return dataclasses.replace(kept, weight=kept.weight / probability[picked])


def inclusion(size: Float[np.ndarray, "halo"], n: int) -> Float[np.ndarray, "halo"]:
    """Probabilities in proportion to size, none above one, that sum to n where enough sizes are positive."""
    sure = np.zeros(size.shape, bool)
    while True:
        rest = max(size[~sure].sum(), np.finfo(float).tiny)
        probability = np.where(sure, 1.0, size * (n - sure.sum()) / rest)
        more = ~sure & (probability > 1.0)
        if not more.any():
            return probability
        sure |= more
