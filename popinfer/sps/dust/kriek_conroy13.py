"""`Noll09` with the bump tied to the slope, Kriek & Conroy (2013, ApJL 775, L16), eq. 3.

bump = 0.85 - 1.9 delta.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.sps.units import Arr, Scalar

from .calzetti00 import starburst
from .law import R_V, DustLaw, in_precision_of, power
from .noll09 import DELTA, drude


class Slope(NamedTuple):
    """Slope of a law whose bump follows from it; negative is steeper.

    The default lies between those of star-forming galaxies in Kriek & Conroy (2013), -0.2 on average, and in
    Salim et al. (2018), -0.4.
    """

    delta: Annotated[Scalar, DELTA] = -0.3


class KriekConroy13(DustLaw):
    """Calzetti's law with a slope, and the bump that goes with it."""

    Params: ClassVar = Slope

    def __call__(self, wave: Float[Arr, "..."], params: Slope) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = in_precision_of(wave, *params)
        shape = starburst(wave) + tied_bump(params.delta) / R_V * drude(wave)
        return jnp.maximum(shape * power(wave, params.delta), 0)


def tied_bump(delta: Scalar) -> Array:
    """Height of the bump in k(lambda) that goes with a slope."""
    return jnp.asarray(0.85 - 1.9 * delta)
