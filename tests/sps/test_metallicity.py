import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from popinfer.data.filters import load_filters
from popinfer.sps.band_nodes import probe_histories
from popinfer.sps.metallicity import (
    lgmet_from_slope,
    lgmet_from_table,
    lgmet_weights,
    lgmet_weights_by_age,
)
from popinfer.sps.photometry import band_matrix


@pytest.mark.parametrize("lgmet", [-3.7, -2.2, -1.8, -1.35])
def test_shares_are_the_integral_of_the_distribution(ssp, lgmet):
    nodes = ssp.ssp_lgmet
    x = np.linspace(-8, 3, 400_001)
    density = norm.pdf(x, lgmet, 0.15) * (x[1] - x[0])
    hats = np.stack([np.interp(x, nodes, row) for row in np.eye(nodes.size)])
    np.testing.assert_allclose(lgmet_weights(lgmet, 0.15, nodes), hats @ density, atol=1e-9)


@pytest.mark.parametrize("binned", [False, True])
@pytest.mark.parametrize("lgmet", [-9.0, -4.5, -4.01, -2.3, -1.75, -1.31, -1.0, 0.5, 3.0])
def test_the_gradient_vanishes_nowhere_outside_the_grid(ssp, lgmet, binned):
    """Differentiates the mean of the SSP fluxes' stand-in, the node index: it has to rise everywhere."""

    def mean_node(m):
        return jnp.arange(6.0) @ lgmet_weights(m, 0.1, ssp.ssp_lgmet, binned=binned)

    shares = lgmet_weights(lgmet, 0.1, ssp.ssp_lgmet, binned=binned)
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(shares.min()) > -0.1001
    slope = jax.grad(mean_node)(lgmet)
    if not (binned and ssp.ssp_lgmet[0] < lgmet < ssp.ssp_lgmet[-1]):
        assert slope > 1e-5
    want = (mean_node(lgmet + 1e-5) - mean_node(lgmet - 1e-5)) / 2e-5
    assert slope == pytest.approx(float(want), rel=1e-4, abs=1e-9)


def test_shares_are_smooth_across_the_edge_of_the_grid(ssp):
    edge = float(ssp.ssp_lgmet[-1])
    slope = jax.jacobian(lambda m: lgmet_weights(m, 0.05, ssp.ssp_lgmet))
    np.testing.assert_allclose(slope(edge - 1e-7), slope(edge + 1e-7), atol=1e-4)


def test_scatter_has_a_gradient(ssp):
    def f(s):
        return lgmet_weights(-1.8, s, ssp.ssp_lgmet)[3]

    want = (f(0.2 + 1e-6) - f(0.2 - 1e-6)) / 2e-6
    assert jax.grad(f)(0.2) == pytest.approx(float(want), rel=1e-6)


def test_float32_in_float32_out(ssp):
    shares = lgmet_weights(jnp.float32(-1.9), jnp.float32(0.1), ssp.ssp_lgmet)
    assert shares.dtype == jnp.float32
    np.testing.assert_allclose(shares, lgmet_weights(-1.9, 0.1, ssp.ssp_lgmet), atol=1e-5)


def test_histories_of_enrichment(ssp):
    ages = ssp.ssp_lg_age_gyr
    flat = lgmet_weights_by_age(lgmet_from_slope(-1.8, 0.0, ages), 0.1, ssp.ssp_lgmet)
    np.testing.assert_allclose(flat, np.tile(lgmet_weights(-1.8, 0.1, ssp.ssp_lgmet)[:, None], ages.size))
    falling = np.asarray(lgmet_from_slope(-1.8, 0.5, ages))
    assert np.all(np.diff(falling) < 0) and falling[0] == pytest.approx(-1.8, abs=1e-3)
    t = np.linspace(0.1, 13.8, 50)
    table = np.asarray(lgmet_from_table(t, -3 + 0.1 * t, 13.0, ages))
    np.testing.assert_allclose(table, -3 + 0.1 * np.clip(13.0 - 10**ages, 0.1, 13.8), rtol=1e-12)


@pytest.mark.parametrize("lgmet", [-12.0, -1.0, -0.5, 5.0])
def test_bands_stay_positive_far_beyond_the_grid(ssp, lgmet):
    """Extrapolation can turn spectra of one old age negative below 3000 A; no population with a history."""
    names = [f"lsst_baseline_{b}" for b in "ugrizy"] + ["galex_FUV", "galex_NUV", "vista_vircam_Ks"]
    bands = load_filters(names)
    shares = np.asarray(lgmet_weights(lgmet, 0.1, ssp.ssp_lgmet))
    seds = np.einsum("m,maw->aw", shares, ssp.ssp_flux)
    assert seds[:, ssp.ssp_wave > 3000].min() > 0
    for z in (0.0, 0.5, 1.0, 2.0):
        flux = probe_histories(ssp.ssp_lg_age_gyr) @ seds @ band_matrix(ssp.ssp_wave, bands, z)
        assert flux.min() > 0
