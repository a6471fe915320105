"""Weighted samples: how many draws they are worth, and picking from them.

Systematic sampling picks at equal steps of cumulated weight (Douc, Cappe & Moulines 2005, cs/0507025).
Samplers resample with it, and model galaxies, halos and starts of chains are picked by it.
"""

import numpy as np
from jaxtyping import Float, Int

# of importance weights (Vehtari et al. 2024, JMLR 25, 72): larger shapes of the tail can't be trusted
MAX_PARETO_K = 0.7
EVEN = 0.99  # efficiency of raw weights above which the shape of their tail says nothing


def systematic(weights: Float[np.ndarray, "item"], n: int, start: float) -> Int[np.ndarray, "n"]:
    """Indices of n items, in their order, each about n w / sum(w) times.

    Parameters
    ----------
    weights : not negative. n : how many. start : of the first pick, a share of a step; uniform when random.
    """
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (start + np.arange(n)) * edges[-1] / n).clip(0, len(edges) - 1)


def kish_size(log_weight: np.ndarray) -> float:
    """Effective number of draws with these log weights, (sum w)^2 / sum w^2; 0 when there are none."""
    if log_weight.size == 0 or not np.isfinite(log_weight.max()):
        return 0.0
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / np.square(weight).sum())
