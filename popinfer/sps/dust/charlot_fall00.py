"""Birth clouds and diffuse medium, Charlot & Fall (2000, ApJ 539, 718), eqs. 5-7.

All stars shine through the diffuse medium, whose attenuation is a power law of wavelength. Stars younger than
10 Myr shine through their birth clouds besides. In the paper's standard model tau_V is 1 for young stars,
of which mu = 0.3 belong to the diffuse medium: the clouds have (1 - mu) / mu = 2.33 times its A_V.

`CharlotFall00` is the whole model as a law; `PowerLaw` is its diffuse medium. Of birth clouds alone,
`EqualClouds` have one depth in all galaxies, `ProportionalClouds` follow each galaxy's diffuse A_V.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.sps.units import Arr, Scalar

from .law import BirthClouds, DustLaw, in_precision_of, power

LG_AGE_BIRTH = -2.0  # log10 Gyr: 10 Myr
_STEP = 0.0125  # dex: the step in age is 0.05 dex wide, to have a gradient

_SLOPE = Declaration(
    "",
    "slope of the attenuation by the diffuse medium",
    -3,
    0,
    prior=Prior("normal", -0.7, 0.2),
    source="Charlot & Fall (2000, ApJ 539, 718); the width is a choice",
)
_SLOPE_BIRTH = Declaration(
    "",
    "slope of the attenuation by birth clouds",
    -3,
    0,
    prior=Prior("normal", -0.7, 0.2),
    source="Charlot & Fall (2000, ApJ 539, 718); the width is a choice",
)
_RATIO = Declaration(
    "",
    "A_V of birth clouds relative to the diffuse medium",
    0,
    20,
    prior=Prior("lognormal", 7 / 3, 0.5),
    source="(1 - mu) / mu with mu = 0.3: Charlot & Fall (2000, ApJ 539, 718); the width is a choice",
)
# beyond 10 mag no light of young stars is left
_DEPTH = Declaration(
    "mag",
    "A_V of birth clouds",
    0,
    10,
    prior=Prior("lognormal", 0.76, 0.5),
    source="1.086 (1 - mu) tau_V, mu = 0.3, tau_V = 1: Charlot & Fall (2000); the width is a choice",
)
_LG_AGE = Declaration(
    "dex",
    "log10 of the age [Gyr] at which stars leave their clouds",
    -4,
    0,
    prior=Prior("normal", -2, 0.3),
    source="10 Myr: Charlot & Fall (2000, ApJ 539, 718); the width is a choice",
)


class DiffuseSlope(NamedTuple):
    """Exponent of the diffuse medium, -0.7 in the paper."""

    slope: Annotated[Scalar, _SLOPE] = -0.7


class PowerLaw(DustLaw):
    """A_lambda / A_V = (lambda / 5500 A)^slope."""

    Params: ClassVar = DiffuseSlope

    def __call__(self, wave: Float[Arr, "..."], params: DiffuseSlope) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        return power(in_precision_of(wave, *params), params.slope)


class CloudDepth(NamedTuple):
    """Birth clouds of one depth.

    Attributes
    ----------
    av : A_V of the clouds [mag]; 1.086 x 0.7 in the paper's standard model.
    slope_birth : exponent of their attenuation.
    """

    av: Annotated[Scalar, _DEPTH] = 0.76
    slope_birth: Annotated[Scalar, _SLOPE_BIRTH] = -0.7


class EqualClouds(BirthClouds):
    """Birth clouds of the same depth in all galaxies.

    Attributes
    ----------
    lg_age_birth : log10 of the age [Gyr] at which stars leave them.
    """

    Params: ClassVar = CloudDepth

    lg_age_birth: float = LG_AGE_BIRTH

    def __call__(self, wave: Float[Arr, "..."], params: CloudDepth, av: Scalar) -> Float[Array, "..."]:
        """A_lambda of the clouds [mag]; see `BirthClouds`."""
        return jnp.asarray(params.av * power(in_precision_of(wave, *params), params.slope_birth))

    def young(self, lg_age_gyr: Float[Arr, "..."], params: CloudDepth) -> Float[Array, "..."]:
        """Share of the stars of each age in the clouds; see `BirthClouds`."""
        return _younger(lg_age_gyr, self.lg_age_birth)


class CloudRatio(NamedTuple):
    """Birth clouds whose depth follows that of the diffuse medium.

    Attributes
    ----------
    birth_to_diffuse : A_V of the clouds relative to that of the diffuse medium.
    slope_birth : exponent of their attenuation.
    """

    birth_to_diffuse: Annotated[Scalar, _RATIO] = 7 / 3
    slope_birth: Annotated[Scalar, _SLOPE_BIRTH] = -0.7


class ProportionalClouds(BirthClouds):
    """Birth clouds as much deeper as the galaxy's diffuse medium is.

    Attributes
    ----------
    lg_age_birth : log10 of the age [Gyr] at which stars leave them.
    """

    Params: ClassVar = CloudRatio

    lg_age_birth: float = LG_AGE_BIRTH

    def __call__(self, wave: Float[Arr, "..."], params: CloudRatio, av: Scalar) -> Float[Array, "..."]:
        """A_lambda of the clouds [mag]; see `BirthClouds`."""
        return _proportional(wave, params, av)

    def young(self, lg_age_gyr: Float[Arr, "..."], params: CloudRatio) -> Float[Array, "..."]:
        """Share of the stars of each age in the clouds; see `BirthClouds`."""
        return _younger(lg_age_gyr, self.lg_age_birth)


class BirthCloudParams(NamedTuple):
    """Two power laws, one of them for young stars only.

    Attributes
    ----------
    slope : exponent of the diffuse medium, -0.7 in the paper.
    slope_birth : exponent of the birth clouds.
    birth_to_diffuse : A_V of the birth clouds relative to that of the diffuse medium.
    lg_age_birth : log10 of the age [Gyr] at which stars leave their clouds.
    """

    slope: Annotated[Scalar, _SLOPE] = -0.7
    slope_birth: Annotated[Scalar, _SLOPE_BIRTH] = -0.7
    birth_to_diffuse: Annotated[Scalar, _RATIO] = 7 / 3
    lg_age_birth: Annotated[Scalar, _LG_AGE] = LG_AGE_BIRTH


class _OwnClouds(BirthClouds):
    """The clouds of `CharlotFall00`, which take the law's parameters, the age among them."""

    Params: ClassVar = BirthCloudParams

    def __call__(self, wave: Float[Arr, "..."], params: BirthCloudParams, av: Scalar) -> Float[Array, "..."]:
        return _proportional(wave, params, av)

    def young(self, lg_age_gyr: Float[Arr, "..."], params: BirthCloudParams) -> Float[Array, "..."]:
        return _younger(lg_age_gyr, params.lg_age_birth)


class CharlotFall00(DustLaw):
    """Diffuse medium that all stars see, (lambda/V)^slope, and birth clouds of young ones."""

    Params: ClassVar = BirthCloudParams
    clouds: ClassVar = _OwnClouds()

    def __call__(self, wave: Float[Arr, "..."], params: BirthCloudParams) -> Float[Array, "..."]:
        """A_lambda / A_V of the diffuse medium; see `DustLaw`."""
        return power(in_precision_of(wave, *params), params.slope)


def _proportional(
    wave: Float[Arr, "..."], params: CloudRatio | BirthCloudParams, av: Scalar
) -> Float[Array, "..."]:
    depth = params.birth_to_diffuse * av
    return jnp.asarray(depth * power(in_precision_of(wave, *params), params.slope_birth))


def _younger(lg_age_gyr: Float[Arr, "..."], lg_age_birth: Scalar) -> Float[Array, "..."]:
    return sigmoid(jnp.asarray(lg_age_birth - in_precision_of(lg_age_gyr, lg_age_birth)) / _STEP)
