"""What dust laws share: the fraction of light that gets through, and birth clouds of young stars.

    frac_trans = f_unobscured + (1 - f_unobscured) 10^(-0.4 A_lambda),    A_lambda = A_V a(lambda).

A law is a final `DustLaw`: it declares its ``Params`` and gives a = A_lambda / A_V in ``__call__(wave,
params)``. Laws written as k(lambda) have a = k / R_V with R_V = 4.05, the value of Calzetti et al. (2000).
Where a formula turns negative in the infrared, a = 0.

Stars younger than some age may sit in birth clouds, which dim them besides; see `BirthClouds`.
"""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import Component
from popinfer.sps.concrete import require
from popinfer.sps.units import LN10, Arr, Scalar

R_V = 4.05
V_BAND = 5500.0  # Angstrom


class BirthClouds(Component):
    """Attenuation that young stars, and the gas that they light up, meet before the diffuse medium."""

    @abc.abstractmethod
    def __call__(self, wave: Float[Arr, "..."], params: Any, av: Scalar) -> Float[Array, "..."]:
        """A_lambda of the clouds [mag].

        Parameters
        ----------
        wave : Float[Arr, "..."]
            Rest-frame wavelengths [Angstrom], any shape.
        params : Any
            Of the clouds.
        av : Scalar
            V-band attenuation of the diffuse medium [mag].
        """

    @abc.abstractmethod
    def young(self, lg_age_gyr: Float[Arr, "..."], params: Any) -> Float[Array, "..."]:
        """Share of the stars of each age that are still in their clouds."""


class DustLaw(Component):
    """Attenuation relative to A_V as a function of rest-frame wavelength.

    Attributes
    ----------
    clouds : birth clouds that belong to the law and take its parameters; None where there are none.
    """

    clouds: ClassVar[BirthClouds | None] = None

    @abc.abstractmethod
    def __call__(self, wave: Float[Arr, "..."], params: Any) -> Float[Array, "..."]:
        """A_lambda / A_V at these rest-frame wavelengths [Angstrom], any shape."""


def check_attenuation(av: Any, f_unobscured: Any) -> None:
    """Refuse attenuations below 0 and fractions outside 0 to 1; traced values pass."""
    require("av", av, 0, np.inf, "dust dims: V-band attenuation in mag, not negative")
    require("f_unobscured", f_unobscured, 0, 1, "a fraction, from 0 to 1")


def frac_trans(
    a_lambda_over_av: Float[Array, "..."], av: Scalar, f_unobscured: Scalar = 0.0
) -> Float[Array, "..."]:
    """Fraction of the light that dust transmits.

    Parameters
    ----------
    a_lambda_over_av : Float[Array, "..."]
        Attenuation curve, relative to the V band.
    av : float
        V-band attenuation of the obscured light [mag].
    f_unobscured : float
        Fraction of the light with a free line of sight (Lower et al. 2022, arXiv:2203.00074, eq. 2).

    Raises
    ------
    InputError
        The attenuation is negative, or the fraction outside 0 to 1 (unless traced).
    """
    check_attenuation(av, f_unobscured)
    return transmitted(av * a_lambda_over_av, f_unobscured)


def transmitted(a_lambda: Float[Arr, "..."], f_unobscured: Scalar = 0.0) -> Float[Array, "..."]:
    """Fraction of the light that passes an attenuation [mag]; see `frac_trans`."""
    obscured = jnp.asarray(1 - f_unobscured)
    return jnp.asarray(f_unobscured) + obscured * jnp.exp(-0.4 * LN10 * a_lambda)


def frac_trans_by_age(
    law: DustLaw, params: Any, wave: Float[Arr, "wave"], lg_age_gyr: Float[Arr, "age"], av: Scalar
) -> Float[Array, "age wave"]:
    """Fraction transmitted for stars of each age; rows are equal unless the law has birth clouds."""
    diffuse = frac_trans(law(wave, params), av)
    if law.clouds is None:
        return jnp.broadcast_to(diffuse, (len(lg_age_gyr), *diffuse.shape))
    young = law.clouds.young(lg_age_gyr, params)[:, None]
    return diffuse * (1 - young + young * transmitted(law.clouds(wave, params, av)))


def in_precision_of(wave: Float[Arr, "..."], *params: Scalar) -> Float[Array, "..."]:
    """Wavelengths in the precision of the array parameters, so that float32 models stay float32."""
    arrays = [p for p in params if hasattr(p, "dtype")]
    return jnp.asarray(wave, jnp.result_type(*arrays)) if arrays else jnp.asarray(wave)


def power(wave: Float[Array, "..."], slope: Scalar) -> Float[Array, "..."]:
    """(lambda / 5500 A)^slope, by a logarithm that is taken once for a population."""
    return jnp.exp(slope * jnp.log(wave / V_BAND))
