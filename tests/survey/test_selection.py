"""Soft magnitude limits, cuts along combinations of bands, completeness tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.survey.selection import Completeness, FunctionCut, LinearCut, MagnitudeLimit, Selection

LIMIT = MagnitudeLimit(1, bright=14.0, faint=17.5, width=0.05)
ONE_SIDED = MagnitudeLimit(0, bright=-np.inf, faint=19.0, width=0.05)
COLOR = LinearCut((0.0, 1.0, -1.0), threshold=0.6, width=0.05)  # second minus third band
SURFACE = FunctionCut((1, 2), lambda g, r: jax.nn.sigmoid((g - r - 0.1 * (r - 17.0) ** 2 - 0.6) / 0.05))
TABLE = Completeness.interpolate(1, np.array([16.0, 17.0, 17.5, 18.0]), np.array([1.0, 0.9, 0.4, 0.0]))
CUTS = pytest.mark.parametrize(
    "cut", [LIMIT, ONE_SIDED, COLOR, SURFACE, TABLE, Selection((LIMIT, COLOR, SURFACE, TABLE))]
)


def selected(r):
    return float(LIMIT(jnp.array([20.0, r, 10.0])))


def test_keeps_what_lies_between_and_drops_the_rest():
    assert selected(16.0) == pytest.approx(1)
    assert selected(18.5) == pytest.approx(0, abs=1e-8)
    assert selected(13.0) == pytest.approx(0, abs=1e-8)


def test_is_one_half_at_each_limit():
    assert selected(14.0) == pytest.approx(0.5)
    assert selected(17.5) == pytest.approx(0.5)


def test_conserves_the_number_of_galaxies_across_a_limit():
    r = np.linspace(15.75, 19, 20001)
    kept = np.asarray(LIMIT(jnp.stack([jnp.zeros_like(r), jnp.asarray(r), jnp.zeros_like(r)], axis=-1)))
    assert np.trapezoid(kept, r) == pytest.approx(17.5 - 15.75, abs=1e-4)


def test_a_color_cut_keeps_the_red_side():
    mag = np.array([[99.0, 17.0, 16.0], [99.0, 17.0, 16.4], [99.0, 17.0, 16.8]])
    np.testing.assert_allclose(COLOR(jnp.asarray(mag)), [1, 0.5, 0], atol=1e-3)
    np.testing.assert_array_equal(COLOR.sharp(mag - np.array([0, 0, 1e-9])), [1, 1, 0])


def test_a_surface_follows_the_users_function():
    """Parabolic: 0.6 mag at r = 17, 1.0 mag two magnitudes away."""
    mag = np.array(
        [[np.nan, r + color, r] for r, edge in ((17, 0.6), (15, 1.0)) for color in (edge - 0.3, edge + 0.3)]
    )
    np.testing.assert_allclose(SURFACE(jnp.asarray(mag)), [0, 1, 0, 1], atol=0.01)
    np.testing.assert_array_equal(SURFACE.sharp(mag), [0, 1, 0, 1])


def test_bands_outside_a_color_cut_may_be_missing():
    np.testing.assert_array_equal(COLOR.sharp(np.array([[np.nan, 17.0, 16.0]])), [1])


def test_completeness_meets_its_table_and_is_monotone_between():
    m = np.linspace(14, 20, 601)
    p = np.asarray(TABLE(jnp.asarray(np.stack([0 * m, m], axis=-1))))
    at = [16.0, 17.0, 17.5, 18.0]
    np.testing.assert_allclose(np.interp(at, m, p), [1.0, 0.9, 0.4, 0.0], atol=1e-9)
    assert np.all(np.diff(p) <= 1e-12)
    assert p.min() >= 0
    np.testing.assert_allclose(p[[0, -1]], [1, 0], atol=1e-12)


def test_probabilities_multiply():
    mag = np.random.default_rng(1).uniform(14, 19, (200, 3))
    together = Selection((LIMIT, COLOR, TABLE))
    each = [cut(jnp.asarray(mag)) for cut in (LIMIT, COLOR, TABLE)]
    np.testing.assert_allclose(together(jnp.asarray(mag)), each[0] * each[1] * each[2], rtol=1e-12)
    sharp = [cut.sharp(mag) for cut in (LIMIT, COLOR, TABLE)]
    np.testing.assert_allclose(together.sharp(mag), sharp[0] * sharp[1] * sharp[2], rtol=1e-12)


@CUTS
def test_soft_and_sharp_agree_away_from_the_edges(cut):
    mag = np.random.default_rng(2).uniform(13, 20, (4000, 3))
    difference = np.abs(np.asarray(cut(jnp.asarray(mag))) - cut.sharp(mag))
    assert np.mean(difference > 0.02) < 0.2
    assert difference.max() <= 0.5


@CUTS
def test_gradient_matches_finite_differences(cut):
    mag = jnp.array([18.97, 17.45, 16.82])
    slope = np.asarray(jax.grad(cut)(mag))
    step = 1e-6 * np.eye(3)
    numeric = [(float(cut(mag + dx)) - float(cut(mag - dx))) / 2e-6 for dx in step]
    np.testing.assert_allclose(slope, numeric, rtol=1e-6, atol=1e-8)
    assert np.abs(slope).max() > 0.1


@CUTS
@pytest.mark.parametrize("r", [-1e3, 1e3, 1e6])
def test_gradient_is_finite_far_away(cut, r):
    assert np.all(np.isfinite(jax.grad(cut)(jnp.array([20.0, r, 10.0]))))
