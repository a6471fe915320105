"""Soft magnitude limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.survey.selection import MagnitudeLimit

LIMIT = MagnitudeLimit(1, bright=14.0, faint=17.5, width=0.05)


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


def test_gradient_matches_finite_differences_and_touches_one_band():
    mag = jnp.array([20.0, 17.48, 10.0])
    slope = np.asarray(jax.grad(LIMIT)(mag))
    assert slope[1] == pytest.approx((selected(17.48 + 1e-6) - selected(17.48 - 1e-6)) / 2e-6, rel=1e-6)
    assert slope[1] < -4
    assert slope[0] == slope[2] == 0


@pytest.mark.parametrize("r", [-1e3, 1e3, 1e6])
def test_gradient_is_finite_far_away(r):
    assert np.all(np.isfinite(jax.grad(LIMIT)(jnp.array([20.0, r, 10.0]))))
