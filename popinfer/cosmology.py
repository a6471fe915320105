"""Distances and ages in a flat w0-wa cosmology without radiation.

E(z)^2 = Om0 (1+z)^3 + (1 - Om0) (1+z)^(3 (1 + w0 + wa)) exp(-3 wa z / (1+z)).
Integrals use fixed Gauss-Legendre nodes: smooth in z, differentiable in the parameters, accurate to 1e-7.

Each quantity is one compiled program: operation by operation, every new shape of z would be a dozen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

_C_KM_S = 299792.458
_GYR_PER_HUBBLE = 977.7922216807891  # (km/s/Mpc)^-1 in Gyr
_X, _W = np.polynomial.legendre.leggauss(64)
_X, _W = 0.5 * (_X + 1), 0.5 * _W


def _nodes() -> tuple[Array, Array]:
    """Nodes between 0 and 1, and weights, in the precision that JAX has now; arguments of programs, which are
    then those of this precision.
    """
    return jnp.asarray(_X), jnp.asarray(_W)


class Cosmology(NamedTuple):
    """Flat w0-wa cosmology; ``h`` enters distances only here, no quantity elsewhere carries it.

    Attributes
    ----------
    om0 : density of matter today, a fraction of the critical one.
    w0, wa : equation of state of dark energy, w(a) = w0 + wa (1 - a).
    h : Hubble constant today [100 km/s/Mpc].
    fb : baryons, a fraction of matter.
    """

    om0: float = 0.3075
    w0: float = -1.0
    wa: float = 0.0
    h: float = 0.6774
    fb: float = 0.156


PLANCK15 = Cosmology()
NAMES = ("H0", "Om0", "w0", "wa")  # as astropy and run files call them


def in_named_units(cosmology: Cosmology) -> tuple[float, float, float, float]:
    """The values that go with `NAMES`; H0 in km/s/Mpc."""
    return 100 * cosmology.h, cosmology.om0, cosmology.w0, cosmology.wa


def efunc(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Expansion rate H(z)/H0."""
    return _efunc(cosmology, jnp.asarray(z))


@jax.jit
def _efunc(cosmology: Cosmology, z: Array) -> Array:
    om0, w0, wa = cosmology.om0, cosmology.w0, cosmology.wa
    dark = (1 - om0) * (1 + z) ** (3 * (1 + w0 + wa)) * jnp.exp(-3 * wa * z / (1 + z))
    return jnp.sqrt(om0 * (1 + z) ** 3 + dark)


def comoving_distance(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Line-of-sight comoving distance [Mpc], any shape of z >= 0."""
    return _comoving_distance(cosmology, jnp.asarray(z), *_nodes())


@jax.jit
def _comoving_distance(cosmology: Cosmology, z: Array, x: Array, weight: Array) -> Array:
    nodes = z[..., None] * x
    return _C_KM_S / (100 * cosmology.h) * z * jnp.sum(weight / efunc(cosmology, nodes), axis=-1)


def luminosity_distance(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Luminosity distance [Mpc]."""
    return (1 + jnp.asarray(z)) * comoving_distance(cosmology, z)


def distance_modulus(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Distance modulus [mag]; -inf at z = 0, where apparent magnitudes have no meaning."""
    return 5 * jnp.log10(luminosity_distance(cosmology, z)) + 25


def age(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Cosmic time at redshift z [Gyr]: int_z^inf dz / ((1+z) E(z)) / H0.

    With a = a(z) s^2 the integrand da / (a E) is smooth at the Big Bang.
    """
    return _age(cosmology, jnp.asarray(z), *_nodes())


@jax.jit
def _age(cosmology: Cosmology, z: Array, x: Array, weight: Array) -> Array:
    a_obs = 1 / (1 + z)
    a = a_obs[..., None] * x**2
    integrand = 2 * x * a_obs[..., None] / (a * efunc(cosmology, 1 / a - 1))
    return _GYR_PER_HUBBLE / (100 * cosmology.h) * jnp.sum(weight * integrand, axis=-1)


def comoving_volume_per_z(cosmology: Cosmology, z: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Comoving volume per unit redshift over the full sky [Mpc^3]."""
    z = jnp.asarray(z)
    return _comoving_volume_per_z(cosmology, z, comoving_distance(cosmology, z))


@jax.jit
def _comoving_volume_per_z(cosmology: Cosmology, z: Array, distance: Array) -> Array:
    return 4 * jnp.pi * distance**2 * _C_KM_S / (100 * cosmology.h * efunc(cosmology, z))


def comoving_volume(limits: tuple[float, float], cosmology: Cosmology = PLANCK15) -> float:
    """Comoving volume between two redshifts over the full sky [Mpc^3]."""
    z = np.linspace(*limits, 400)
    return float(np.trapezoid(np.asarray(comoving_volume_per_z(cosmology, z)), z))
