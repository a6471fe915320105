"""Probabilities of patterns of measured bands, and limits fitted to catalogs that lack some."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.records import Catalog
from popinfer.survey.detection import Detection, fit_limit

ALL = ((True, True), (True, False), (False, True), (False, False))
DETECTION = Detection(np.array([20.0, 21.0]), np.array([0.2, 0.4]), np.array([0.9, 1.0]), (0, 2), ALL)


def catalog(limit, width, ceiling, n=8000, seed=0):
    """Magnitudes in u, g, r; the color u-r gets redder with luminosity; u is measured near its limit."""
    rng = np.random.default_rng(seed)
    r = 17.5 - rng.exponential(0.8, n)
    g = r + 0.7 + 0.15 * rng.standard_normal(n)
    u = g + 1.4 - 0.1 * (r - 17) + 0.3 * rng.standard_normal(n)
    mag = np.stack([u, g, r], axis=1)
    measured = (rng.random(n) < ceiling) & (u + width * rng.standard_normal(n) < limit)
    mag[~measured, 0] = np.nan
    return Catalog(np.full(n, 0.1), mag, np.full((n, 3), 0.05), ("u", "g", "r"), ("a", "b", "c"))


def test_half_of_the_galaxies_at_the_limit_are_measured_in_the_share_that_was_observed():
    p = DETECTION.band_probability(jnp.array([[20.0, 0.0, 21.0], [10.0, 0.0, 10.0], [30.0, 0.0, 30.0]]))
    np.testing.assert_allclose(p, [[0.45, 0.5], [0.9, 1.0], [0.0, 0.0]], atol=1e-12)


def test_patterns_are_exclusive_and_all_there_is():
    mag = np.random.default_rng(0).uniform(18, 23, (50, 3))
    p = np.asarray(DETECTION(mag))
    a, b = np.asarray(DETECTION.band_probability(mag)).T
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(p, np.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)], axis=1))


@pytest.mark.parametrize("mag", [10.0, 20.1, 40.0, 1e4])
def test_gradient_is_finite_and_matches_finite_differences(mag):
    mags = jnp.array([mag, 5.0, 20.7])
    slope = jax.jacfwd(DETECTION)(mags)
    assert np.all(np.isfinite(slope))
    assert np.all(np.asarray(slope)[:, 1] == 0)  # a band that is never missing
    step = 1e-5 * np.eye(3)
    for b in (0, 2):
        numeric = (DETECTION(mags + step[b]) - DETECTION(mags - step[b])) / 2e-5
        np.testing.assert_allclose(np.asarray(slope)[:, b], numeric, atol=1e-8)


@pytest.mark.parametrize(("limit", "width", "ceiling"), [(19.3, 0.15, 1.0), (19.0, 0.4, 0.8)])
def test_limits_are_recovered_from_what_is_missing(limit, width, ceiling):
    got = fit_limit(catalog(limit, width, ceiling), 0, (1, 2))
    assert got[0] == pytest.approx(limit, abs=0.06)
    assert got[1] == pytest.approx(width, abs=0.08)
    assert got[2] == pytest.approx(ceiling, abs=0.03)


def test_bands_missing_at_random_have_no_limit_in_reach():
    full = catalog(99.0, 0.1, 0.7)
    got = Detection(*(np.array([x]) for x in fit_limit(full, 0, (1, 2))), (0,), ((True,), (False,)))
    bright_and_faint = np.nanpercentile(full.mag, [1, 90], axis=0)
    np.testing.assert_allclose(got.band_probability(bright_and_faint), 0.7, atol=0.03)


def test_too_few_galaxies_to_fit_a_limit():
    full = catalog(99.0, 0.1, 1.0, n=500)
    with pytest.raises(InputError, match=r"band u: 500 galaxies have it, 0 lack it.*give detection_mag"):
        fit_limit(full, 0, (1, 2))
    empty = dataclasses.replace(full, mag=np.where([True, False, False], np.nan, full.mag))
    with pytest.raises(InputError, match="band u: 0 galaxies have it, 500 lack it"):
        fit_limit(empty, 0, (1, 2))
