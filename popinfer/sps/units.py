"""Physical constants and the array types of the SPS layer.

Luminosities per unit frequency are in Lsun/Hz, so the AB zero point (3631 Jy) is given as the luminosity that
a source at 10 pc needs to have magnitude zero: AB0 = 3631 Jy x 4 pi (10 pc)^2 / Lsun.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy import ndarray

Arr = Array | ndarray
Scalar = Float[Array, ""] | Float[ndarray, ""] | float | int

LIGHT = 2.99792458e18  # Angstrom/s
LSUN = 3.828e33  # erg/s, IAU 2015 nominal
PARSEC = 3.0856775814913673e18  # cm
AB0 = 3631e-23 * 4 * math.pi * (10 * PARSEC) ** 2 / LSUN  # Lsun/Hz
YEAR_PER_GYR = 1e9
LN10 = math.log(10.0)


def exp10(x: Float[Arr, "..."] | float) -> Float[Array, "..."]:
    """Ten to the power x: on CPU `exp` is vectorised and `pow` isn't, a factor of four in time."""
    return jnp.exp(LN10 * x)
