"""Starburst law of Calzetti et al. (2000, ApJ 533, 682), eq. 4.

Below 0.15 micron it goes on as in Leitherer et al. (2002, ApJS 140, 303), eq. 14.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.components import NoParams
from popinfer.sps.units import Arr

from .law import R_V, DustLaw


class Calzetti00(DustLaw):
    """The starburst law; it has no parameters."""

    def __call__(self, wave: Float[Arr, "..."], params: NoParams) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        return jnp.maximum(starburst(wave), 0)


def starburst(wave: Float[Arr, "..."]) -> Float[Array, "..."]:
    """K / R_V of the law, which may be negative in the infrared."""
    wave = jnp.asarray(wave)
    x = 1e4 / wave
    red = 2.659 * (-1.857 + 1.040 * x) + R_V
    blue = 2.659 * (-2.156 + x * (1.509 + x * (-0.198 + 0.011 * x))) + R_V
    far = 5.472 + x * (0.671 + x * (-9.218e-3 + 2.620e-3 * x))
    return jnp.where(wave < 6300, jnp.where(wave > 1500, blue, far), red) / R_V
