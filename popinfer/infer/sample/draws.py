"""What every sampler takes and returns: ``(key, log_density, start, spec, progress) -> Draws``.

``log_density`` is the log posterior of the unconstrained vector u, whose prior is standard normal;
``progress(done, total, text)`` is called as the work goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from popinfer.resampling import systematic

LogDensity = Callable[[Array], Array]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Draws:
    """Posterior draws of the unconstrained vector.

    Attributes
    ----------
    u : [chain, draw, par].
    stats : sample statistics by ArviZ's names, each [chain, draw].
    attrs : what the sampler says of the whole run (strings and numbers only).
    """

    u: np.ndarray
    stats: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)


def systematic_resample(key: Array, weights: np.ndarray, n: int) -> np.ndarray:
    """Indices of n draws in proportion to weights that add up to one, in random order.

    Systematic resampling: one uniform number in all. The random order makes pseudo-chains of the draws
    exchangeable.
    """
    offset_key, shuffle_key = jax.random.split(key)
    picked = systematic(weights, n, float(jax.random.uniform(offset_key)))
    return np.asarray(jax.random.permutation(shuffle_key, picked))
