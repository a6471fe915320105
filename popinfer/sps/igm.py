"""Absorption by the intergalactic medium between a galaxy and us.

Mean transmission of Inoue, Shimizu, Iwata & Tanaka (2014, arXiv:1402.0677), eqs. 19-29: optical depths of the
Lyman series (39 lines) and of the Lyman continuum, each from the forest (LAF) and from damped systems (DLA).
With x = lambda_obs / lambda_j for the lines, x = lambda_obs / 911.8 A for the continuum, and 1 < x < 1 + z,

    LAF lines      A_j x^1.2 (x < 2.2), continued as x^3.7 (x < 5.7) and x^5.5
    DLA lines      D_j x^2 (x < 3), continued as x^3

The continuum has the closed forms of the paper. Longward of Lyman alpha the transmission is one.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .concrete import require
from .units import Arr, Scalar

_LIMIT = 911.8
# Table 2 of the paper, n = 2 to 40. Its other columns follow from continuity at the breaks.
_LINES = np.array(
    [
        1215.67,
        1025.72,
        972.537,
        949.743,
        937.803,
        930.748,
        926.226,
        923.15,
        920.963,
        919.352,
        918.129,
        917.181,
        916.429,
        915.824,
        915.329,
        914.919,
        914.576,
        914.286,
        914.039,
        913.826,
        913.641,
        913.48,
        913.339,
        913.215,
        913.104,
        913.006,
        912.918,
        912.839,
        912.768,
        912.703,
        912.645,
        912.592,
        912.543,
        912.499,
        912.458,
        912.42,
        912.385,
        912.353,
        912.324,
    ]
)
_FOREST = np.array(
    [
        0.0169,
        0.004692,
        0.002239,
        0.001319,
        0.0008707,
        0.0006178,
        0.0004609,
        0.0003569,
        0.0002843,
        0.0002318,
        0.0001923,
        0.0001622,
        0.0001385,
        0.0001196,
        0.0001043,
        9.174e-05,
        8.128e-05,
        7.251e-05,
        6.505e-05,
        5.868e-05,
        5.319e-05,
        4.843e-05,
        4.427e-05,
        4.063e-05,
        3.738e-05,
        3.454e-05,
        3.199e-05,
        2.971e-05,
        2.766e-05,
        2.582e-05,
        2.415e-05,
        2.263e-05,
        2.126e-05,
        2e-05,
        1.885e-05,
        1.779e-05,
        1.682e-05,
        1.593e-05,
        1.51e-05,
    ]
)
_DAMPED = np.array(
    [
        0.0001617,
        0.0001545,
        0.0001498,
        0.000146,
        0.0001429,
        0.0001402,
        0.0001377,
        0.0001355,
        0.0001335,
        0.0001316,
        0.0001298,
        0.0001281,
        0.0001265,
        0.000125,
        0.0001236,
        0.0001222,
        0.0001209,
        0.0001197,
        0.0001185,
        0.0001173,
        0.0001162,
        0.0001151,
        0.000114,
        0.000113,
        0.000112,
        0.000111,
        0.0001101,
        0.0001091,
        0.0001082,
        0.0001073,
        0.0001065,
        0.0001056,
        0.0001048,
        0.000104,
        0.0001032,
        0.0001024,
        0.0001017,
        0.0001009,
        0.0001002,
    ]
)


def igm_transmission(wave: Float[Arr, "wave"], z: Scalar) -> Float[Array, "wave"]:
    """Fraction of the light that reaches us from redshift z.

    Parameters
    ----------
    wave : Float[Array, "wave"]
        Rest-frame wavelength [Angstrom].
    z : float
        Redshift of the source.

    Returns
    -------
    Float[Array, "wave"]
        Between 0 and 1; exactly 1 longward of Lyman alpha.

    Raises
    ------
    InputError
        The redshift is negative (unless traced).
    """
    require("z", z, 0, np.inf, "a redshift, zero or positive", 1e-6)
    factor = jnp.asarray(1 + z)
    observed = jnp.asarray(wave) * factor
    x = observed[:, None] / _LINES
    absorbs = (x > 1) & (x < factor)
    x = jnp.where(absorbs, x, 1.0)
    forest = _broken(x, 2.2, 1.2, 3.7) * jnp.maximum(x / 5.7, 1) ** 1.8
    depth = jnp.where(absorbs, _FOREST * forest + _DAMPED * _broken(x, 3.0, 2.0, 3.0), 0).sum(-1)
    y = observed / _LIMIT
    ionising = (y > 1) & (y < factor)
    y = jnp.where(ionising, y, 1.0)
    continuum = _forest_continuum(y, factor) + _damped_continuum(y, factor)
    return jnp.exp(-depth - jnp.where(ionising, continuum, 0))


def _broken(x: Float[Array, "..."], at: float, below: float, above: float) -> Float[Array, "..."]:
    """Power law x^below that goes on as x^above beyond its break."""
    return x**below * jnp.maximum(x / at, 1) ** (above - below)


def _forest_continuum(x: Float[Array, "wave"], f: Float[Array, ""]) -> Float[Array, "wave"]:
    """Equations 25-27, f = 1 + z."""
    low = 0.325 * (x**1.2 - f**-0.9 * x**2.1)
    mid = 2.55e-2 * f**1.6 * x**2.1
    mid = mid + jnp.where(x < 2.2, 0.325 * x**1.2 - 0.25 * x**2.1, -2.55e-2 * x**3.7)
    rest = jnp.where(x < 5.7, 0.218 * x**2.1 - 2.55e-2 * x**3.7, -5.22e-4 * x**5.5)
    high = 5.22e-4 * f**3.4 * x**2.1
    high = high + jnp.where(x < 2.2, 0.325 * x**1.2 - 3.14e-2 * x**2.1, rest)
    return jnp.where(f < 2.2, low, jnp.where(f < 5.7, mid, high))


def _damped_continuum(x: Float[Array, "wave"], f: Float[Array, ""]) -> Float[Array, "wave"]:
    """Equations 28-29, f = 1 + z."""
    low = 0.211 * f**2 - 7.66e-2 * f**2.3 * x**-0.3 - 0.135 * x**2
    rest = jnp.where(x < 3, 0.634 - 0.135 * x**2 - 0.291 * x**-0.3, -2.92e-2 * x**3)
    high = 4.7e-2 * f**3 - 1.78e-2 * f**3.3 * x**-0.3 + rest
    return jnp.where(f < 3, low, high)
