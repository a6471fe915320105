"""What every sampler takes and returns: ``(key, log_density, start, spec, progress) -> Draws``.

``log_density`` is the log posterior of the unconstrained vector u, whose prior is standard normal;
``progress(done, total, text)`` is called as the work goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Array

LogDensity = Callable[[Array], Array]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Draws:
    """Draws of the unconstrained vector.

    Attributes
    ----------
    u : [chain, draw, par].
    stats : sample statistics by ArviZ's names, each [chain, draw].
    attrs : what the sampler says of the whole run: strings and numbers, and arrays of all proposals.
    """

    u: np.ndarray
    stats: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)
