"""The noise model recovers a known error law; extrapolates as a line; refuses empty bands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.records import Catalog
from popinfer.survey.noise import NoiseModel, QuadraticErrors

LAW = np.array([[-3.5, 0.45, 0.06], [-4.0, 0.30, 0.03]])  # ln sigma about each band's median magnitude
PIVOT = np.array([18.5, 17.0])


def true_sigma(mag):
    x = mag - PIVOT
    return np.exp(LAW[:, 0] + LAW[:, 1] * x + LAW[:, 2] * x**2)


def catalog(n=6000, outliers=0.05, seed=0):
    rng = np.random.default_rng(seed)
    mag = PIVOT + rng.normal(0, 1.0, (n, 1)) + rng.normal(0, 0.2, (n, 2))
    err = true_sigma(mag) * np.exp(0.1 * rng.standard_normal((n, 2)))
    err[: int(outliers * n)] *= 20
    missing = rng.random((n, 2)) < 0.02
    mag[missing] = err[missing] = np.nan
    return Catalog(np.full(n, 0.1), mag, err, ("g", "r"), ("sdss_g0", "sdss_r0"))


@pytest.fixture(scope="module")
def model():
    return NoiseModel.of(QuadraticErrors.fit(catalog()), 2)


def test_recovers_the_law_despite_outliers_and_missing_values(model):
    mag = PIVOT + np.linspace(-1.8, 1.8, 13)[:, None]
    np.testing.assert_allclose(model.sigma(jnp.asarray(mag)), true_sigma(mag), rtol=0.08)


def test_continues_as_a_line_with_the_edges_slope(model):
    edge = np.asarray(model.errors.m_max)
    at = [np.log(model.sigma(jnp.asarray(edge + x))) for x in (-1e-4, 0.0, 1.0, 2.0)]
    np.testing.assert_allclose(at[2] - at[1], at[3] - at[2], rtol=1e-6)
    np.testing.assert_allclose((at[1] - at[0]) / 1e-4, at[2] - at[1], rtol=1e-2)


@pytest.mark.parametrize("mag", [-50.0, 0.0, 40.0, 90.0])
def test_is_finite_and_positive_however_far_a_galaxy_is(model, mag):
    value = model.sigma(jnp.full((1, 2), mag))
    slope = jax.grad(lambda m: jnp.sum(model.sigma(m)))(jnp.full((1, 2), mag))
    assert np.all(np.isfinite(value))
    assert np.all(np.asarray(value) > 0)
    assert np.all(np.isfinite(slope))


def test_gradient_matches_finite_differences(model):
    mag = jnp.asarray(PIVOT + 0.3)
    slope = jax.jacfwd(lambda x: model.sigma(mag + x))(0.0)
    numeric = (model.sigma(mag + 1e-5) - model.sigma(mag - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)


@pytest.mark.parametrize("spoil", ["few", "no errors"])
def test_too_few_errors_are_refused_by_band_name(spoil):
    full = catalog(n=200)
    err = np.array(full.mag_err)
    if spoil == "few":
        err[20:, 1] = np.nan
    else:
        err[:, 1] = 0.0
    spoiled = Catalog(full.z, full.mag, err, full.bands, full.filter_names)
    with pytest.raises(InputError, match=r"band r: .* at least 30"):
        QuadraticErrors.fit(spoiled)


def test_drawn_noise_has_the_correlation_and_the_errors():
    rho = np.array([[1.0, 0.6], [0.6, 1.0]])
    model = NoiseModel.of(QuadraticErrors.fit(catalog()), rho)
    mag = jnp.asarray(np.tile(PIVOT, (40_000, 1)))
    normals = jnp.asarray(np.random.default_rng(4).standard_normal((40_000, 2)))
    shift = np.asarray(model(mag, normals) - mag)
    np.testing.assert_allclose(shift.std(axis=0), model.sigma(mag)[0], rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(shift.T), rho, atol=0.015)
    independent = NoiseModel.of(QuadraticErrors.fit(catalog()), 2)
    np.testing.assert_allclose(independent(mag, normals), mag + independent.sigma(mag) * normals, rtol=1e-12)
