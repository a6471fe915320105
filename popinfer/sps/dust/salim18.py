"""Modified Calzetti law of Salim, Boquien & Lee (2018, ApJ 859, 11), eqs. 4-5, its bump tied to the slope.

a = k / R_V (lambda / 5500 A)^delta + bump D / R_mod,
R_mod = R_V / [(R_V + 1) (4400 / 5500)^delta - R_V],    bump = 0.85 - 1.9 delta (Kriek & Conroy 2013).
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.sps.units import Arr

from .calzetti00 import starburst
from .kriek_conroy13 import Slope, tied_bump
from .law import R_V, V_BAND, DustLaw, in_precision_of, power
from .noll09 import drude


class Salim18(DustLaw):
    """Calzetti's law with a slope, the bump outside the power law."""

    Params: ClassVar = Slope

    def __call__(self, wave: Float[Arr, "..."], params: Slope) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = in_precision_of(wave, *params)
        r_mod = R_V / ((R_V + 1) * (4400 / V_BAND) ** params.delta - R_V)
        bump = tied_bump(params.delta) / r_mod * drude(wave)
        return jnp.maximum(starburst(wave) * power(wave, params.delta) + bump, 0)
