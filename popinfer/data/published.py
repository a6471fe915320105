"""Published abundances that a model may be held to, each with its paper.

Stellar masses and star formation rates are for a Chabrier (2003) or Kroupa (2001) IMF, which agree within
0.05 dex; no quantity carries little h.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from popinfer.cosmology import Cosmology, comoving_volume_per_z, distance_modulus

LG_SALPETER_TO_CHABRIER_SFR = np.log10(0.63)  # Madau & Dickinson 2014, section 3.1
# Bauer et al. 2013 (MNRAS 434, 209), GAMA 0.05 < z < 0.32, Chabrier, in bins of 0.5 dex: log10 Msun; median
# log10 sSFR [1/yr] of star-forming galaxies; their scatter, plus and minus; median of all
BAUER13 = np.array(
    [
        (9.0, -9.738, 0.46, 0.45, -9.838),
        (9.5, -9.856, 0.48, 0.46, -10.036),
        (10.0, -9.845, 0.49, 0.48, -10.225),
        (10.5, -10.044, 0.51, 0.50, -10.844),
        (11.0, -10.453, 0.57, 0.57, np.nan),  # the median of all lies below their detection limit
    ]
)


def baldry12(lgm: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Stellar mass function of Baldry et al. (2012, MNRAS 421, 621), table 3, at z < 0.06 [1/Mpc^3/dex].

    Parameters
    ----------
    lgm : Float[np.ndarray, "*n"]
        Stellar masses [log10 Msun].
    """
    x = 10 ** (np.asarray(lgm) - 10.66)
    return np.log(10) * np.exp(-x) * (3.96e-3 * x ** (1 - 0.35) + 0.79e-3 * x ** (1 - 1.47))


def madau14_lg_csfrd(z: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Log10 cosmic SFR density of Madau & Dickinson (2014, ARA&A 52, 415), eq. 15 [Msun/yr/Mpc^3]."""
    z = np.asarray(z)
    salpeter = 0.015 * (1 + z) ** 2.7 / (1 + ((1 + z) / 2.9) ** 5.6)
    return np.log10(salpeter) + LG_SALPETER_TO_CHABRIER_SFR


class LuminosityFunction(NamedTuple):
    """A Schechter function of absolute magnitudes that evolves with redshift.

    Attributes
    ----------
    phi : normalisation at `z` [h^3/Mpc^3].
    m_star : characteristic magnitude there [AB, 5 log h left out].
    alpha : slope of the faint end.
    dimming, growth : Q and P of M*(z) = M* - Q (z - z0), phi(z) = phi 10^(0.4 P (z - z0)).
    z : redshift z0 of the normalisation, and of the bandpass: the filter as a galaxy there meets it.
    wave : pivot wavelength of the filter [Angstrom].
    """

    phi: float
    m_star: float
    alpha: float
    dimming: float
    growth: float
    z: float
    wave: float

    def density(
        self,
        z: Float[np.ndarray, "z"],
        limits: tuple[Float[np.ndarray, "z"], Float[np.ndarray, "z"]],
        h: float,
    ) -> Float[np.ndarray, "z"]:
        """Galaxies between two absolute magnitudes [1/Mpc^3].

        Parameters
        ----------
        z : Float[np.ndarray, "z"]
            Redshifts.
        limits : tuple[Float[np.ndarray, "z"], Float[np.ndarray, "z"]]
            Bright and faint absolute magnitudes there [AB].
        h : float
            H0 / (100 km/s/Mpc).
        """
        m_star = self.m_star + 5 * np.log10(h) - self.dimming * (z - self.z)
        phi = self.phi * h**3 * 10 ** (0.4 * self.growth * (z - self.z))
        mag = limits[0] + np.linspace(0, 1, 400)[:, None] * (limits[1] - limits[0])
        x = 10 ** (-0.4 * (mag - m_star))
        values = 0.4 * np.log(10) * phi * x ** (1 + self.alpha) * np.exp(-x)
        return np.trapezoid(values, mag, axis=0)


# Blanton et al. 2003 (ApJ 592, 819), table 2, 0.1r band, and their evolution Q, P; pivot wavelength of SDSS r
BLANTON03 = LuminosityFunction(1.49e-2, -20.44, -1.05, 1.62, 0.18, 0.1, 6165.0)


def listed_density(
    function: LuminosityFunction,
    slice_limits: tuple[float, float],
    mag_limits: tuple[float, float],
    color: tuple[float, float],
    cosmology: Cosmology,
) -> float:
    """Mean number density of galaxies between two apparent magnitudes in a redshift slice [1/Mpc^3].

    The absolute magnitude in the band of the luminosity function, shifted to z0, is

        M = m + [m(wave (1 + z) / (1 + z0)) - m] - DM(z) + 2.5 log10(1 + z),

    with m(wavelength) the galaxy's observed magnitudes, interpolated between the survey's bands: a small
    correction where the shifted band lies near one of them.

    Parameters
    ----------
    function : LuminosityFunction
        The luminosity function.
    slice_limits : tuple[float, float]
        Redshifts.
    mag_limits : tuple[float, float]
        Bright and faint apparent magnitude [AB].
    color : tuple[float, float]
        Offset and slope in z - mean(slice_limits) of the bracket, typical of the galaxies [mag].
    cosmology : Cosmology
        Cosmology for distances and volumes.
    """
    z = np.linspace(*slice_limits, 101)
    offset = color[0] + color[1] * (z - np.mean(slice_limits)) + 2.5 * np.log10(1 + z)
    shift = offset - np.asarray(distance_modulus(cosmology, jnp.asarray(z)))
    density = function.density(z, (mag_limits[0] + shift, mag_limits[1] + shift), cosmology.h)
    volume = np.asarray(comoving_volume_per_z(cosmology, jnp.asarray(z)))
    return float(np.trapezoid(density * volume, z) / np.trapezoid(volume, z))


def typical_color(
    function: LuminosityFunction,
    z: Float[np.ndarray, "gal"],
    mag: Float[np.ndarray, "gal band"],
    wave: Float[np.ndarray, "band"],
    band: int,
) -> tuple[float, float]:
    """Offset and slope in redshift of the color that `listed_density` needs.

    Parameters
    ----------
    function : LuminosityFunction
        The luminosity function.
    z, mag : Float[np.ndarray, "gal"], Float[np.ndarray, "gal band"]
        Of the observed galaxies of a slice, none missing; the slope is about their mean redshift.
    wave : Float[np.ndarray, "band"]
        Pivot wavelengths of the bands [Angstrom].
    band : int
        Of the magnitude limits.
    """
    order = np.argsort(wave)
    target = np.log(function.wave * (1 + z) / (1 + function.z))
    at_target = np.array(
        [np.interp(t, np.log(wave[order]), m) for t, m in zip(target, mag[:, order], strict=True)]
    )
    color = at_target - mag[:, band]
    near = np.abs(color - np.median(color)) < 3 * np.median(np.abs(color - np.median(color))) + 1e-3
    slope, offset = np.polyfit(z[near] - z.mean(), color[near], 1)
    return float(offset), float(slope)
