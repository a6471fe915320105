"""Cosmic variance: how much the number of galaxies in a redshift slice of a field scatters with the field.

The linear matter power spectrum is P(k) = A k^n T(k)^2, with the transfer function T of Eisenstein & Hu
(1998, ApJ 496, 605, eqs. 26, 28-31: without wiggles) and A from sigma_8. A slice of a compact field is a
cylinder of its depth L and of radius R, area pi R^2 = solid angle x (transverse distance)^2. Galaxies of bias
b scatter by

    sigma^2 = b^2 D(z)^2 int d^3k / (2 pi)^3 P(k) [sinc(k_par L / 2) 2 J_1(k_perp R) / (k_perp R)]^2,

D the growth factor. Linear theory and a flat sky: good to some ten percent of sigma for fields of a square
degree and more; over a large part of the sky the slice's curvature is neglected. Slices are taken as
independent.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import j1

from popinfer.cosmology import PLANCK15, Cosmology, comoving_distance, efunc

FULL_SKY_DEG2 = 4 * np.pi * (180 / np.pi) ** 2
_T_CMB = 2.7255  # K
_N_K = 1200  # wave numbers along and across the line of sight


class Fluctuations(NamedTuple):
    """Amplitude and tilt of the matter fluctuations (Planck 2015, A&A 594, A13)."""

    sigma8: float = 0.8159
    ns: float = 0.9667


PLANCK15_MATTER = Fluctuations()


def transfer(cosmology: Cosmology, k: Float[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
    """Transfer function at wave numbers k [1/Mpc], one on large scales."""
    om = cosmology.om0 * cosmology.h**2
    ob, fb = cosmology.fb * om, cosmology.fb
    theta = _T_CMB / 2.7
    sound = 44.5 * np.log(9.83 / om) / np.sqrt(1 + 10 * ob**0.75)
    alpha = 1 - 0.328 * np.log(431 * om) * fb + 0.38 * np.log(22.3 * om) * fb**2
    gamma = cosmology.om0 * cosmology.h * (alpha + (1 - alpha) / (1 + (0.43 * k * sound) ** 4))
    q = k / cosmology.h * theta**2 / gamma
    log = np.log(2 * np.e + 1.8 * q)
    return log / (log + (14.2 + 731 / (1 + 62.5 * q)) * q**2)


def power(
    k: Float[np.ndarray, "*k"], cosmology: Cosmology = PLANCK15, fluctuations: Fluctuations = PLANCK15_MATTER
) -> Float[np.ndarray, "*k"]:
    """Linear matter power spectrum today [Mpc^3] at wave numbers k [1/Mpc]."""
    grid = np.geomspace(1e-5, 50, 4000)

    def shape(k: np.ndarray) -> np.ndarray:
        return k**fluctuations.ns * transfer(cosmology, k) ** 2

    amplitude = fluctuations.sigma8**2 / sphere_variance(grid, shape(grid), 8 / cosmology.h)
    return amplitude * shape(k)


def sphere_variance(k: Float[np.ndarray, "k"], p: Float[np.ndarray, "k"], radius: float) -> float:
    """Variance of the density in spheres [Mpc] for a tabulated power spectrum."""
    x = k * radius
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    return float(np.trapezoid(k**3 * p * window**2, np.log(k)) / (2 * np.pi**2))


def growth(cosmology: Cosmology, z: float) -> float:
    """Linear growth factor relative to today: H(a) int da / (a H)^3, exact for a cosmological constant."""

    def integral(z: float) -> float:
        a = np.linspace(0, 1, 2000)[1:] ** 2 / (1 + z)
        e = np.asarray(efunc(cosmology, jnp.asarray(1 / a - 1)))
        return float(np.asarray(efunc(cosmology, z))) * float(np.trapezoid((a * e) ** -3, a))

    return integral(z) / integral(0.0)


def cylinder_variance(radius: float, depth: float, cosmology: Cosmology = PLANCK15) -> float:
    """Variance of today's linear density in a cylinder of this radius and depth [Mpc]."""
    along = np.geomspace(1e-4, 60, _N_K) / depth
    across = np.geomspace(1e-4, 60, _N_K) / radius
    window = np.sinc(along * depth / (2 * np.pi)) ** 2 * along
    disc = (2 * j1(across * radius) / (across * radius)) ** 2 * across**2
    k = np.hypot(along[:, None], across)
    grid = np.geomspace(k.min(), k.max(), 4000)
    p = np.exp(np.interp(np.log(k), np.log(grid), np.log(power(grid, cosmology))))
    inner = np.trapezoid(p * disc, np.log(across), axis=1)
    return float(np.trapezoid(inner * window, np.log(along)) / (2 * np.pi**2))


def slice_variance(
    area_deg2: float, limits: tuple[float, float], bias: float, cosmology: Cosmology = PLANCK15
) -> float:
    """Relative variance of the number of galaxies in a slice.

    Parameters
    ----------
    area_deg2 : float
        Solid angle of the field [deg^2].
    limits : tuple[float, float]
        Redshifts of the slice.
    bias : float
        Of the galaxies.
    """
    z = 0.5 * sum(limits)
    near, middle, far = (
        float(np.asarray(comoving_distance(cosmology, x))) for x in (limits[0], z, limits[1])
    )
    radius = middle * np.sqrt(area_deg2 / FULL_SKY_DEG2 * 4)
    return (bias * growth(cosmology, z)) ** 2 * cylinder_variance(radius, far - near, cosmology)
