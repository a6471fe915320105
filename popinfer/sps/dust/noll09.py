"""Starburst law with a 2175 Angstrom bump and a slope, Noll et al. (2009, A&A 507, 1793), eq. 3.

    a = (k_Calzetti + bump D) (lambda / 5500 A)^delta / R_V,

D the Drude profile of Fitzpatrick & Massa (1986), one at its center.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.sps.units import Arr, Scalar

from .calzetti00 import starburst
from .law import R_V, DustLaw, in_precision_of, power

_BUMP_CENTER, _BUMP_WIDTH = 2175.0, 350.0

DELTA = Declaration(
    "",
    "slope of the attenuation curve relative to Calzetti",
    -2,
    1,
    prior=Prior("normal", -0.3, 0.2),
    source="measured slopes lie between -1.2 and 0.4: Salim et al. (2018, ApJ 859, 11)",
)

BUMP = Declaration(
    "",
    "height of the 2175 Angstrom bump of the attenuation curve",
    0,
    6,
    prior=Prior("uniform", low=0, high=4),
    source="none in starbursts, 3 in the Milky Way: Noll et al. (2009, A&A 507, 1793)",
)


class SlopeBump(NamedTuple):
    """Shape of a modified starburst law.

    Attributes
    ----------
    delta : power-law slope added to the law; negative is steeper.
    bump : height of the 2175 Angstrom bump in k(lambda).
    """

    delta: Annotated[Scalar, DELTA] = 0.0
    bump: Annotated[Scalar, BUMP] = 0.0


class Noll09(DustLaw):
    """Calzetti's law with bump and slope."""

    Params: ClassVar = SlopeBump

    def __call__(self, wave: Float[Arr, "..."], params: SlopeBump) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = in_precision_of(wave, *params)
        shape = starburst(wave) + params.bump / R_V * drude(wave)
        return jnp.maximum(shape * power(wave, params.delta), 0)


def drude(wave: Float[Array, "..."]) -> Float[Array, "..."]:
    """Profile of the 2175 Angstrom bump, one at its center."""
    wide = (wave * _BUMP_WIDTH) ** 2
    return wide / ((wave**2 - _BUMP_CENTER**2) ** 2 + wide)
