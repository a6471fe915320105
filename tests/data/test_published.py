"""Published abundances against numbers that their papers print, and against direct integrals."""

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from scipy.integrate import quad
from scipy.special import gamma

from popinfer.cosmology import PLANCK15
from popinfer.data.published import (
    BLANTON03,
    baldry12,
    listed_density,
    madau14_lg_csfrd,
    typical_color,
)

ASTROPY = FlatLambdaCDM(H0=67.74, Om0=0.3075, Tcmb0=0)


def test_mass_function_holds_the_published_density_of_mass():
    """Baldry et al. (2012), section 4: 2.3e8 Msun/Mpc^3."""
    total = quad(lambda lgm: 10**lgm * baldry12(np.array([lgm]))[0], 6, 13)[0]
    assert total == pytest.approx(2.3e8, rel=0.03)


def test_sfr_density_peaks_where_the_paper_says():
    z = np.linspace(0, 6, 601)
    assert z[np.argmax(madau14_lg_csfrd(z))] == pytest.approx(1.86, abs=0.02)
    # 0.015 Msun/yr/Mpc^3 today for a Salpeter IMF
    assert 10 ** madau14_lg_csfrd(np.array([0.0]))[0] / 0.63 == pytest.approx(0.015, rel=0.01)


def test_luminosity_density_is_the_published_one():
    """Blanton et al. (2003), table 2: -15.90 + 2.5 log10 h in the 0.1r band, per Mpc^3."""
    total = BLANTON03.phi * gamma(2 + BLANTON03.alpha) * 10 ** (-0.4 * BLANTON03.m_star)
    assert -2.5 * np.log10(total) == pytest.approx(-15.90, abs=0.02)


def test_density_of_a_slice_is_the_integral_over_redshift_and_luminosity():
    def at(z):
        shift = 0.1 + 0.5 * (z - 0.1) + 2.5 * np.log10(1 + z) - ASTROPY.distmod(z).value
        m_star = BLANTON03.m_star + 5 * np.log10(0.6774) - 1.62 * (z - 0.1)
        phi = 1.49e-2 * 0.6774**3 * 10 ** (0.4 * 0.18 * (z - 0.1))

        def schechter(m):
            x = 10 ** (-0.4 * (m - m_star))
            return 0.4 * np.log(10) * phi * x ** (1 - 1.05) * np.exp(-x)

        return quad(schechter, 14 + shift, 17.5 + shift)[0]

    volume = lambda z: ASTROPY.differential_comoving_volume(z).value  # noqa: E731
    expected = quad(lambda z: at(z) * volume(z), 0.08, 0.12)[0] / quad(volume, 0.08, 0.12)[0]
    got = listed_density(BLANTON03, (0.08, 0.12), (14.0, 17.5), (0.1, 0.5), PLANCK15)
    assert got == pytest.approx(expected, rel=2e-3)


def test_color_is_that_of_a_power_law():
    """Magnitudes linear in log10 wavelength: the shifted band's offset is known."""
    rng = np.random.default_rng(1)
    z, wave = rng.uniform(0.05, 0.15, 400), np.array([7500.0, 4700.0, 6165.0])
    mag = 17 - 3 * np.log10(wave / 6165) + rng.normal(0, 1, (400, 1))
    mag[:3, 1] += 5
    offset, slope = typical_color(BLANTON03, z, mag, wave, 2)
    expected = -3 * np.log10((1 + z) / 1.1)
    np.testing.assert_allclose(offset + slope * (z - z.mean()), expected, atol=0.003)
