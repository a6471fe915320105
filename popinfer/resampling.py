"""Weighted samples: how many draws they are worth, and picking from them.

Systematic sampling picks at equal steps of cumulated weight (Douc, Cappe & Moulines 2005, cs/0507025).
Samplers resample with it, and model galaxies, halos and starts of chains are picked by it.

The largest importance weights are Pareto-smoothed; a shape k-hat of their tail above 0.7 says that none of
them can be trusted (Vehtari et al. 2024, JMLR 25, 72).
"""

import jax
import numpy as np
from jaxtyping import Array, Float, Int

MAX_PARETO_K = 0.7
EVEN = 0.99  # efficiency of raw weights above which the shape of their tail says nothing
MIN_SMOOTHED = 10  # weights; fewer have no tail


def systematic(weights: Float[np.ndarray, "item"], n: int, start: float) -> Int[np.ndarray, "n"]:
    """Indices of n items, in their order, each about n w / sum(w) times.

    Parameters
    ----------
    weights : Float[np.ndarray, "item"]
        Not negative.
    n : int
        How many.
    start : float
        Of the first pick, a share of a step; uniform when random.
    """
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (start + np.arange(n)) * edges[-1] / n).clip(0, len(edges) - 1)


def shuffled_systematic(key: Array, weights: Float[np.ndarray, "item"], n: int) -> Int[np.ndarray, "n"]:
    """The same from a random start and in random order, which makes pseudo-chains of draws exchangeable."""
    offset_key, shuffle_key = jax.random.split(key)
    picked = systematic(weights, n, float(jax.random.uniform(offset_key)))
    return np.asarray(jax.random.permutation(shuffle_key, picked))


def kish_size(log_weight: np.ndarray) -> float:
    """Effective number of draws with these log weights, (sum w)^2 / sum w^2; 0 when there are none."""
    if log_weight.size == 0 or not np.isfinite(log_weight.max()):
        return 0.0
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / np.square(weight).sum())


def independent_size(log_weight: np.ndarray, n_chain: int, chain_ess: float) -> float:
    """Effective number of independent draws that weighted picks from Markov chains are worth.

    Picks at random out of chains have two errors of a mean: the weights', as if draws were independent, and
    the chains' own, less the part that the number of picks has counted already. In units of the posterior's
    variance they add up to

        1 / worth = 1 / K + 1 / E - 1 / N,

    K the Kish size. Weights are taken to differ between neighbours in a chain as much as between others, and
    to be as large in one part of the posterior as in another.

    Parameters
    ----------
    log_weight : np.ndarray
        Of the picks.
    n_chain : int
        Draws of the chains, N.
    chain_ess : float
        Effective size of these, E, which may be larger than N.
    """
    kish = kish_size(log_weight)
    if kish == 0 or not chain_ess > 0:
        return 0.0
    return 1 / (1 / kish + max(1 / chain_ess - 1 / n_chain, 0.0))


def pareto_smooth(log_weight: Float[np.ndarray, "draw"]) -> tuple[Float[np.ndarray, "draw"], float]:
    """Pareto-smoothed log weights of a sum of one, and k-hat.

    Log weights that aren't finite count as weights of zero. With fewer than `MIN_SMOOTHED` others nothing is
    smoothed, and k-hat is infinite.
    """
    # ArviZ takes a second to import, which whoever draws halos only shouldn't wait for
    from popinfer.inference_data import smooth_tail

    smoothed, finite = np.full(log_weight.shape, -np.inf), np.isfinite(log_weight)
    weights = log_weight[finite]
    if weights.size < MIN_SMOOTHED:
        smoothed[finite] = weights - np.logaddexp.reduce(weights, initial=-np.inf)
        return smoothed, np.inf
    smoothed[finite], pareto_k = smooth_tail(weights - weights.max())
    return smoothed, pareto_k
