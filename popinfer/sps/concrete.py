"""Values that can be checked: those that JAX isn't tracing.

Bad numbers from a caller are refused. While a function is traced for its gradient, or compiled, its arguments
have no values to look at; whoever calls these checks has to be smooth there.
"""

import numpy as np
from jax.core import Tracer
from jaxtyping import Float
from numpy.typing import ArrayLike

from popinfer.errors import InputError


def known(x: ArrayLike) -> Float[np.ndarray, "..."] | None:
    """The number or array in float64, or None where it is traced."""
    return None if isinstance(x, Tracer) else np.asarray(x, np.float64)


def require(name: str, x: ArrayLike, low: float, high: float, why: str, slack: float = 0.0) -> None:
    """Raise `InputError` where known values lie outside [low, high], by more than a rounding ``slack``.

    Parameters
    ----------
    name : str
        Of the argument.
    x : float or Array
        One value or many.
    low, high : float
        What is allowed.
    why : str
        Completes the message "name = x: ...".
    slack : float
        Tolerated excess.
    """
    values = known(x)
    if values is None:
        return
    bad = ~((values >= low - slack) & (values <= high + slack))
    if np.any(bad):
        raise InputError(f"{name} = {values[bad].ravel()[0]:g}: {why}")
