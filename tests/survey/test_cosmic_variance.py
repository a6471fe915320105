"""Cosmic variance against known cases: sigma_8, a Gaussian random field, spheres, published tables."""

import numpy as np
import pytest

from popinfer.cosmology import PLANCK15, comoving_distance, comoving_volume
from popinfer.survey.cosmic_variance import (
    cylinder_variance,
    growth,
    power,
    slice_variance,
    sphere_variance,
    transfer,
)

K = np.geomspace(1e-5, 50, 4000)


def test_sigma8_is_the_normalisation():
    assert sphere_variance(K, power(K), 8 / PLANCK15.h) == pytest.approx(0.8159**2, rel=1e-6)


def test_transfer_function_is_one_on_large_scales_and_bends_at_equality():
    assert transfer(PLANCK15, np.array([1e-6])) == pytest.approx(1, abs=1e-3)
    p = power(K)
    assert 0.012 < K[np.argmax(p)] / PLANCK15.h < 0.02  # h/Mpc, of any LCDM power spectrum
    assert 20_000 < p.max() * PLANCK15.h**3 < 28_000  # (Mpc/h)^3


def test_growth_is_that_of_carroll_press_and_turner():
    def cpt(z):
        om = PLANCK15.om0 * (1 + z) ** 3
        om, ol = om / (om + 1 - PLANCK15.om0), (1 - PLANCK15.om0) / (om + 1 - PLANCK15.om0)
        return 2.5 * om / (om ** (4 / 7) - ol + (1 + om / 2) * (1 + ol / 70)) / (1 + z)

    for z in (0.1, 0.5, 2.0):
        assert growth(PLANCK15, z) == pytest.approx(cpt(z) / cpt(0), rel=0.005)


def test_cylinder_matches_the_variance_in_a_simulated_field():
    """Gaussian field in a periodic box, averaged over cylinders by convolution."""
    n, box, radius, depth = 128, 640.0, 40.0, 60.0
    rng = np.random.default_rng(1)
    k = 2 * np.pi * np.fft.fftfreq(n, box / n)
    size = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + (k[: n // 2 + 1] ** 2)[None, None, :])
    p = np.zeros_like(size)
    p[size > 0] = power(size[size > 0])
    x = np.minimum(np.arange(n), n - np.arange(n)) * box / n
    inside = (np.hypot(x[:, None], x)[:, :, None] <= radius) * (x <= depth / 2)[None, None, :]
    window = np.fft.rfftn(inside / inside.sum())
    variances = []
    for _ in range(6):
        white = np.fft.rfftn(rng.standard_normal((n, n, n)))
        field = np.fft.irfftn(white * np.sqrt(p * n**3 / box**3) * window, s=(n, n, n))
        variances.append(field.var())
    cells = inside.sum() * (box / n) ** 3  # the rasterised cylinder's volume
    scale = (cells / (np.pi * radius**2 * depth)) ** (1 / 3)
    expected = cylinder_variance(radius * scale, depth * scale)
    assert np.mean(variances) == pytest.approx(expected, rel=0.1)


def test_a_compact_cylinder_scatters_like_a_sphere_of_its_volume():
    radius = 30.0
    sphere = (3 / 4 * radius**2 * 2 * radius) ** (1 / 3)
    expected = sphere_variance(K, power(K), sphere)
    assert cylinder_variance(radius, 2 * radius) == pytest.approx(expected, rel=0.05)


def test_a_survey_like_cosmos_is_as_moster_et_al_2011_find():
    """Their table 1 for 84' x 84' and dz = 0.2: dark matter 0.069 / (z^0.834 + 0.234)."""
    for z in (0.5, 1.0):
        published = 0.069 / (z**0.834 + 0.234)
        found = np.sqrt(slice_variance(1.4**2, (z - 0.1, z + 0.1), 1.0))
        assert found == pytest.approx(published, rel=0.2)


def test_variance_scales_with_bias_and_falls_with_area():
    base = slice_variance(100.0, (0.06, 0.09), 1.0)
    assert slice_variance(100.0, (0.06, 0.09), 1.5) == pytest.approx(2.25 * base)
    assert 0.02 * base < slice_variance(1000.0, (0.06, 0.09), 1.0) < 0.4 * base


def test_volume_is_the_difference_of_two_spheres():
    low, high = (float(comoving_distance(PLANCK15, z)) for z in (0.3, 0.5))
    assert comoving_volume((0.3, 0.5)) == pytest.approx(4 / 3 * np.pi * (high**3 - low**3), rel=1e-5)
