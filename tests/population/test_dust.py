"""A_V against mass and star formation: trends, limits, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from population_samples import galaxy

from popinfer.population.dust import DustPopulation, DustPopulationParams

MODEL = DustPopulation()


def av(lg_mstar=10.5, lg_ssfr=-10.0, normal=0.0, **changed):
    params = DustPopulationParams()._replace(**changed)
    return float(MODEL(params, galaxy(lg_mstar, lg_ssfr), jnp.full(1, float(normal))).av)


def test_value_at_the_pivot():
    assert av() == pytest.approx(10**-0.4, rel=1e-3)  # the soft ceiling takes less than 0.1 %
    assert av(lg_av=-1.0) == pytest.approx(0.1, rel=1e-3)


def test_slopes_and_scatter():
    assert np.log10(av(lg_mstar=9.5) / av()) == pytest.approx(-0.3, abs=2e-3)
    assert np.log10(av(lg_ssfr=-11) / av()) == pytest.approx(-0.35, abs=5e-3)
    assert np.log10(av(normal=-1) / av()) == pytest.approx(-0.2, abs=2e-3)


def test_quenched_galaxies_may_scatter_otherwise():
    halved = {"quenched_scatter": float(np.log10(0.5))}
    for lg_ssfr, expected in ((-14.0, -0.1), (-9.0, -0.2)):
        ratio = av(lg_ssfr=lg_ssfr, normal=-1, **halved) / av(lg_ssfr=lg_ssfr, **halved)
        assert np.log10(ratio) == pytest.approx(expected, abs=3e-3)


def test_rises_with_mass_and_star_formation():
    assert np.all(np.diff([av(lg_mstar=m) for m in np.linspace(7, 13, 25)]) > 0)
    assert np.all(np.diff([av(lg_ssfr=s) for s in np.linspace(-14, -8, 25)]) > 0)


def test_ssfr_stops_mattering_below_its_floor():
    assert av(lg_ssfr=-25) == pytest.approx(av(lg_ssfr=-14.5), rel=1e-3)


def test_no_galaxy_is_opaque():
    assert av(lg_mstar=14, lg_ssfr=-7, normal=5) <= 10**0.7


@pytest.mark.parametrize("lg_ssfr", [-25.0, -12.5, -7.0])
@pytest.mark.parametrize("lg_mstar", [4.0, 10.0, 13.0])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_are_finite_far_out(lg_mstar, lg_ssfr, dtype):
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), DustPopulationParams())
    at = (jnp.asarray(x, dtype) for x in (lg_mstar, lg_ssfr, 1.0))
    gradient = jax.grad(
        lambda params, mass, ssfr, normal: MODEL(params, galaxy(mass, ssfr), normal[None]).av,
        argnums=(0, 1, 2, 3),
    )(params, *at)
    assert all(np.isfinite(x) for x in jax.tree.leaves(gradient))
