"""Attenuation by dust: A_lambda / A_V of published laws, and the fraction of light that gets through.

    frac_trans = f_unobscured + (1 - f_unobscured) 10^(-0.4 A_V a(lambda)),    a = A_lambda / A_V.

A law is a final `DustLaw`: its ``Params``, its ``fiducial`` values, and ``__call__(wave, params) -> a``. Laws
written as k(lambda) have a = k / R_V with R_V = 4.05, the value of Calzetti et al. (2000). Where a formula
turns negative in the infrared, a = 0.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .concrete import require
from .units import LN10, Arr, Scalar

R_V = 4.05
_V_BAND = 5500.0
_BUMP_CENTER, _BUMP_WIDTH = 2175.0, 350.0


class DustLaw(eqx.Module):
    """Attenuation relative to A_V as a function of rest-frame wavelength."""

    fiducial: eqx.AbstractClassVar[Any]

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
    obscured = jnp.asarray(1 - f_unobscured)
    return jnp.asarray(f_unobscured) + obscured * jnp.exp(-0.4 * LN10 * av * a_lambda_over_av)


class NoParams(NamedTuple):
    """A law without shape parameters."""


class Calzetti00(DustLaw):
    """Starburst law of Calzetti et al. (2000), eq. 4; below 0.15 micron Leitherer et al. (2002), eq. 14."""

    Params: ClassVar = NoParams
    fiducial: ClassVar[NoParams] = NoParams()

    def __call__(self, wave: Float[Arr, "..."], params: NoParams) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        return jnp.maximum(_starburst(wave), 0)


class SlopeBump(NamedTuple):
    """Shape of a modified starburst law.

    Attributes
    ----------
    delta : power-law slope added to the law; negative is steeper.
    bump : height of the 2175 Angstrom bump in k(lambda).
    """

    delta: Scalar
    bump: Scalar


class Noll09(DustLaw):
    """Calzetti's with bump and slope, Noll et al. (2009), eq. 3: a = (k + bump D) (lambda/V)^delta / R_V."""

    Params: ClassVar = SlopeBump
    fiducial: ClassVar[SlopeBump] = SlopeBump(0.0, 0.0)

    def __call__(self, wave: Float[Arr, "..."], params: SlopeBump) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = _follow(wave, *params)
        shape = _starburst(wave) + params.bump / R_V * _drude(wave)
        return jnp.maximum(shape * _power(wave, params.delta), 0)


class Slope(NamedTuple):
    """Slope of a law whose bump follows from it; negative is steeper."""

    delta: Scalar


class KriekConroy13(DustLaw):
    """`Noll09` with the bump tied to the slope, 0.85 - 1.9 delta (Kriek & Conroy 2013, eq. 3)."""

    Params: ClassVar = Slope
    fiducial: ClassVar[Slope] = Slope(-0.2)

    def __call__(self, wave: Float[Arr, "..."], params: Slope) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = _follow(wave, *params)
        shape = _starburst(wave) + _tied_bump(params.delta) / R_V * _drude(wave)
        return jnp.maximum(shape * _power(wave, params.delta), 0)


class Salim18(DustLaw):
    """Modified Calzetti law of Salim, Boquien & Lee (2018), eqs. 4-5, with the bump tied to the slope.

    a = k/R_V (lambda/V)^delta + bump D / R_mod, with R_mod = R_V / [(R_V + 1) (4400/5500)^delta - R_V] and
    bump = 0.85 - 1.9 delta (Kriek & Conroy 2013).
    """

    Params: ClassVar = Slope
    fiducial: ClassVar[Slope] = Slope(-0.2)

    def __call__(self, wave: Float[Arr, "..."], params: Slope) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        wave = _follow(wave, *params)
        r_mod = R_V / ((R_V + 1) * (4400 / _V_BAND) ** params.delta - R_V)
        bump = _tied_bump(params.delta) / r_mod * _drude(wave)
        return jnp.maximum(_starburst(wave) * _power(wave, params.delta) + bump, 0)


class TotalToSelective(NamedTuple):
    """R_V = A_V / E(B-V) of an extinction law."""

    rv: Scalar


class Cardelli89(DustLaw):
    """Milky Way extinction, Cardelli, Clayton & Mathis (1989), eqs. 2-5: a = a(x) + b(x) / R_V.

    The published range is 0.3-10 per micron; the end polynomials are continued beyond 1000 Angstrom at the
    value they have there.
    """

    Params: ClassVar = TotalToSelective
    fiducial: ClassVar[TotalToSelective] = TotalToSelective(3.1)

    def __call__(self, wave: Float[Arr, "..."], params: TotalToSelective) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        x = jnp.minimum(1e4 / _follow(wave, *params), 10.0)
        far, mid = x > 8, x > 3.3
        ultra, optical = _cardelli_ultraviolet(x), _cardelli_optical(x)
        infra = 0.574 * x**1.61, -0.527 * x**1.61
        far_uv = _cardelli_far_ultraviolet(x)
        a, b = (
            jnp.where(far, f, jnp.where(mid, u, jnp.where(x > 1.1, o, i)))
            for f, u, o, i in zip(far_uv, ultra, optical, infra, strict=True)
        )
        return jnp.maximum(a + b / params.rv, 0)


class BirthCloudParams(NamedTuple):
    """Two power laws, one of them for young stars only.

    Attributes
    ----------
    slope : exponent of the diffuse medium, -0.7 in the paper.
    slope_birth : exponent of the birth clouds.
    birth_to_diffuse : A_V of the birth clouds relative to that of the diffuse medium; the paper's mu = 0.3 is
        (1 - mu) / mu = 2.33.
    lg_age_birth : log10 of the age [Gyr] at which stars leave their clouds.
    """

    slope: Scalar
    slope_birth: Scalar
    birth_to_diffuse: Scalar
    lg_age_birth: Scalar


class CharlotFall00(DustLaw):
    """Birth clouds and diffuse medium, Charlot & Fall (2000), eqs. 5-7.

    ``__call__`` is the diffuse part that all stars see, (lambda/V)^slope. Young stars see `birth_cloud` too.
    """

    Params: ClassVar = BirthCloudParams
    fiducial: ClassVar[BirthCloudParams] = BirthCloudParams(-0.7, -0.7, 7 / 3, -2.0)

    def __call__(self, wave: Float[Arr, "..."], params: BirthCloudParams) -> Float[Array, "..."]:
        """A_lambda / A_V of the diffuse medium; see `DustLaw`."""
        return _power(_follow(wave, *params), params.slope)

    def birth_cloud(self, wave: Float[Arr, "..."], params: BirthCloudParams) -> Float[Array, "..."]:
        """Additional attenuation of young stars, relative to the A_V of the diffuse medium."""
        return jnp.asarray(params.birth_to_diffuse * _power(_follow(wave, *params), params.slope_birth))

    def young(self, lg_age_gyr: Float[Arr, "age"], params: BirthCloudParams) -> Float[Array, "age"]:
        """Share of the stars of each age still in their clouds: a step 0.05 dex wide, to have a gradient."""
        return sigmoid(jnp.asarray(params.lg_age_birth - _follow(lg_age_gyr, params.lg_age_birth)) / 0.0125)


def frac_trans_by_age(
    law: DustLaw, params: Any, wave: Float[Arr, "wave"], lg_age_gyr: Float[Arr, "age"], av: Scalar
) -> Float[Array, "age wave"]:
    """Fraction transmitted for stars of each age; rows are equal unless the law has birth clouds."""
    diffuse = frac_trans(law(wave, params), av)
    if not isinstance(law, CharlotFall00):
        return jnp.broadcast_to(diffuse, (len(lg_age_gyr), *diffuse.shape))
    young = law.young(lg_age_gyr, params)[:, None]
    return diffuse * (1 - young + young * frac_trans(law.birth_cloud(wave, params), av))


def _follow(wave: Float[Arr, "..."], *params: Scalar) -> Float[Array, "..."]:
    """Wavelengths in the precision of the array parameters, so that float32 models stay float32."""
    arrays = [p for p in params if hasattr(p, "dtype")]
    return jnp.asarray(wave, jnp.result_type(*arrays)) if arrays else jnp.asarray(wave)


def _power(wave: Float[Array, "..."], slope: Scalar) -> Float[Array, "..."]:
    """(lambda / 5500 A)^slope, by a logarithm that is taken once for a population."""
    return jnp.exp(slope * jnp.log(wave / _V_BAND))


def _tied_bump(delta: Scalar) -> Array:
    return jnp.asarray(0.85 - 1.9 * delta)


def _starburst(wave: Float[Arr, "..."]) -> Float[Array, "..."]:
    """K / R_V of Calzetti et al. (2000), and of Leitherer et al. (2002) below 1500 Angstrom."""
    wave = jnp.asarray(wave)
    x = 1e4 / wave
    red = 2.659 * (-1.857 + 1.040 * x) + R_V
    blue = 2.659 * (-2.156 + x * (1.509 + x * (-0.198 + 0.011 * x))) + R_V
    far = 5.472 + x * (0.671 + x * (-9.218e-3 + 2.620e-3 * x))
    return jnp.where(wave < 6300, jnp.where(wave > 1500, blue, far), red) / R_V


def _drude(wave: Float[Array, "..."]) -> Float[Array, "..."]:
    """Profile of the 2175 Angstrom bump, one at its center (Fitzpatrick & Massa 1986)."""
    wide = (wave * _BUMP_WIDTH) ** 2
    return wide / ((wave**2 - _BUMP_CENTER**2) ** 2 + wide)


def _polynomial(x: Float[Array, "..."], coefficients: tuple[float, ...]) -> Float[Array, "..."]:
    """c0 + c1 x + c2 x^2 + ..."""
    total = jnp.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _cardelli_optical(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = x - 1.82
    a = _polynomial(y, (1.0, 0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999))
    b = _polynomial(y, (0.0, 1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002))
    return a, b


def _cardelli_ultraviolet(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = jnp.maximum(x - 5.9, 0)
    a = 1.752 - 0.316 * x - 0.104 / ((x - 4.67) ** 2 + 0.341) - y**2 * (0.04473 + 0.009779 * y)
    b = -3.090 + 1.825 * x + 1.206 / ((x - 4.62) ** 2 + 0.263) + y**2 * (0.2130 + 0.1207 * y)
    return a, b


def _cardelli_far_ultraviolet(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = x - 8
    a = _polynomial(y, (-1.073, -0.628, 0.137, -0.070))
    b = _polynomial(y, (13.670, 4.257, -0.420, 0.374))
    return a, b
