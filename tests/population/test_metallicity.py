"""The mass-metallicity relation against its published table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from population_samples import galaxy

from popinfer.population.metallicity import LGZ_SUN_GALLAZZI, MassMetallicity, MassMetallicityParams

# Gallazzi et al. (2005, MNRAS 362, 41), Table 2: log10 of stellar mass, median log10(Z / Zsun)
GALLAZZI05 = np.array(
    [
        (8.91, -0.60),
        (9.11, -0.61),
        (9.31, -0.65),
        (9.51, -0.61),
        (9.72, -0.52),
        (9.91, -0.41),
        (10.11, -0.23),
        (10.31, -0.11),
        (10.51, -0.01),
        (10.72, 0.04),
        (10.91, 0.07),
        (11.11, 0.10),
        (11.31, 0.12),
        (11.51, 0.13),
        (11.72, 0.14),
        (11.91, 0.15),
    ]
)
MODEL = MassMetallicity()


def lgmet(lg_mstar, lg_ssfr=-10.0, z=0.0, normal=0.0, **changed):
    params = MassMetallicityParams(evolution=0.0)._replace(**changed)
    return MODEL(params, galaxy(lg_mstar, lg_ssfr, z), jnp.full(1, float(normal))).lgmet


@pytest.mark.parametrize(("lg_mstar", "expected"), GALLAZZI05)
def test_median_of_gallazzi05(lg_mstar, expected):
    assert float(lgmet(lg_mstar)) - LGZ_SUN_GALLAZZI == pytest.approx(expected, abs=0.05)


def test_rises_with_mass():
    assert np.all(np.diff([float(lgmet(m)) for m in np.linspace(8, 12, 41)]) >= 0)


def test_each_parameter_does_what_it_says():
    base = float(lgmet(10.5))
    assert float(lgmet(10.5, zero_point=0.2)) == pytest.approx(base + 0.2)
    assert float(lgmet(11.5, slope=0.1)) == pytest.approx(float(lgmet(11.5)) + 0.1)
    assert float(lgmet(10.5, z=0.5, evolution=-0.4)) == pytest.approx(base - 0.2)
    assert float(lgmet(10.5, normal=2.0, scatter=0.1)) == pytest.approx(base + 0.2)
    assert float(lgmet(10.5, lg_ssfr=-14, quenched_offset=0.3)) == pytest.approx(base + 0.3, abs=1e-3)
    assert float(lgmet(10.5, lg_ssfr=-9, quenched_offset=0.3)) == pytest.approx(base, abs=1e-3)
    heavy = float(lgmet(11.5))
    assert float(lgmet(11.5, lg_ssfr=-14, quenched_slope=-0.2)) == pytest.approx(heavy - 0.2, abs=1e-3)
    assert float(lgmet(11.5, lg_ssfr=-9, quenched_slope=-0.2)) == pytest.approx(heavy, abs=1e-3)


@pytest.mark.parametrize("lg_ssfr", [-25.0, -12.0, -8.0])
@pytest.mark.parametrize("lg_mstar", [5.0, 10.0, 13.0])
def test_gradients_are_finite_far_out(lg_mstar, lg_ssfr):
    def of(params, mass, ssfr):
        return MODEL(params, galaxy(mass, ssfr, 0.1), jnp.ones(1)).lgmet

    params = jax.tree.map(jnp.asarray, MassMetallicityParams())
    gradient = jax.grad(of, argnums=(0, 1, 2))(params, jnp.asarray(lg_mstar), jnp.asarray(lg_ssfr))
    assert all(np.isfinite(x) for x in jax.tree.leaves(gradient))
