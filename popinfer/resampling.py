"""Systematic sampling: picks at equal steps of cumulated weight (Douc, Cappe & Moulines 2005, cs/0507025).

Samplers resample with it, and model galaxies, halos and starts of chains are picked by it.
"""

import numpy as np
from jaxtyping import Float, Int


def systematic(weights: Float[np.ndarray, "item"], n: int, start: float) -> Int[np.ndarray, "n"]:
    """Indices of n items, in their order, each about n w / sum(w) times.

    Parameters
    ----------
    weights : not negative. n : how many. start : of the first pick, a share of a step; uniform when random.
    """
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (start + np.arange(n)) * edges[-1] / n).clip(0, len(edges) - 1)
