import dataclasses

import numpy as np
import pytest

from popinfer.data import load_ssp
from popinfer.population.forward import solar_survivors
from popinfer.population.relations import LG_SSFR_QUENCHED, Grids, Sample, summarise


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Stellar mass follows halo mass; one galaxy in four is quenched, a satellite in three."""
    rng = np.random.default_rng(0)
    n = 60_000
    lgm_halo = rng.uniform(11, 14.5, n)
    central = (rng.random(n) < 0.7).astype(float)
    lg_mstar = 10 + 0.5 * (lgm_halo - 12) + 0.1 * rng.normal(size=n) + 3 * (1 - central)
    quenched = rng.random(n) < 0.25
    lg_ssfr = np.where(quenched, -12.0, -10.0) + 0.1 * rng.normal(size=n)
    masses = lg_mstar - 3 * (1 - central)
    return Sample(lgm_halo, central, masses, lg_ssfr, lg_ssfr - 0.1, rng.uniform(0.5, 1.5, n))


GRIDS = Grids(np.arange(11.5, 14.1, 0.25), np.arange(9.9, 10.9, 0.1))


def test_relations_are_recovered(sample):
    found = summarise(sample, GRIDS)
    np.testing.assert_allclose(found["smhm"], 10 + 0.5 * (GRIDS.lgmh - 12), atol=0.02)
    np.testing.assert_allclose(found["quenched_fraction"], 0.25, atol=0.02)
    np.testing.assert_allclose(found["lg_ssfr"], -10.1, atol=0.02)
    assert LG_SSFR_QUENCHED == -11.0


def test_empty_masses_are_nan(sample):
    found = summarise(sample, Grids(np.array([12.0, 16.0]), np.array([10.5, 14.0])))
    for values in found.values():
        assert np.isfinite(values[0])
        assert np.isnan(values[1])


def test_a_grid_without_surviving_masses_loses_as_much_as_fsps_says():
    """Not all that was formed: with remnants, 0.6 of it after 10 Gyr (Conroy 2013, section 2)."""
    ssp = load_ssp()
    without = dataclasses.replace(ssp, ssp_surviving_mstar_frac=None)
    told, fit = solar_survivors(ssp), solar_survivors(without)
    old = np.asarray(ssp.ssp_lg_age_gyr) > 0
    assert np.all((fit - told)[old] > 0.03) and np.all((fit - told)[old] < 0.17)
    np.testing.assert_allclose(fit[np.argmin(np.abs(ssp.ssp_lg_age_gyr - 1))], 0.59, atol=0.03)
