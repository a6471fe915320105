import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.sps import remnant_mass, surviving_mass


def test_living_stars_and_remnants_make_the_fit(ssp):
    """The embedded grid counts living stars: with remnants of the same IMF it meets FSPS within 7 %."""
    for age in (60, 75, 90):
        one = jnp.zeros((6, 94)).at[4, age].set(1e10)
        fit = surviving_mass(dataclasses.replace(ssp, ssp_surviving_mstar_frac=None), one)
        living, dead = surviving_mass(ssp, one), remnant_mass(ssp, one)
        assert float(living + dead) == pytest.approx(float(fit), rel=0.07)
        assert 0.04e10 < float(dead) < 0.16e10


def test_many_galaxies_at_once(ssp):
    weights = np.random.default_rng(0).uniform(size=(3, 6, 94))
    want = np.sum(weights * np.asarray(ssp.ssp_surviving_mstar_frac), axis=(1, 2))
    np.testing.assert_allclose(surviving_mass(ssp, jnp.asarray(weights)), want, rtol=1e-12)
