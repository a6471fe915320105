import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cosmology import PLANCK15, age
from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_nebular
from popinfer.errors import InputError
from popinfer.records import Filters
from popinfer.sps.age_weights import age_weights
from popinfer.sps.band_nodes import gauss_nodes, redshift_grid
from popinfer.sps.band_refinement import refined_table
from popinfer.sps.band_table import BandTable, smooth_sfh_fluxes, z_weights
from popinfer.sps.dust import Calzetti00, Salim18, frac_trans
from popinfer.sps.metallicity import lgmet_weights
from popinfer.sps.nebular import add_nebular
from popinfer.sps.photometry import band_fluxes, magnitudes
from popinfer.sps.sed import rest_sed


@pytest.fixture(scope="module")
def table(ssp, sdss):
    return BandTable.build(ssp, sdss, np.array([0.06, 0.065, 0.07]))


def test_parts_add_up_to_the_band(ssp, sdss, table):
    flux = table.to_bands(jnp.asarray(table.flux))[1, 4, 50]
    mag = magnitudes(ssp.ssp_wave, jnp.asarray(ssp.ssp_flux)[4, 50], sdss, 0.065)
    np.testing.assert_allclose(-2.5 * np.log10(flux), mag, rtol=1e-10)


def test_gauss_nodes_integrate_polynomials(sdss):
    wave, trans = np.asarray(sdss.wave[1]), np.asarray(sdss.trans[1])
    x = np.log(np.linspace(wave[0], wave[-1], 200_001))
    w = np.interp(np.exp(x), wave, trans) * np.gradient(x)
    y = np.log(gauss_nodes(wave, trans, 2)) - x.mean()
    x = x - x.mean()
    moments = [np.sum(w * x**k) / w.sum() for k in range(4)]
    a = (moments[1] - y[1]) / (y[0] - y[1])  # weights from the first two moments predict the other two
    np.testing.assert_allclose([a * y[0] ** k + (1 - a) * y[1] ** k for k in (2, 3)], moments[2:], rtol=2e-3)


@pytest.mark.parametrize("law", [Calzetti00(), Salim18()])
def test_dust_in_the_table_agrees_with_the_full_sed(ssp, sdss, table, law):
    error = np.abs(table.check(ssp, sdss, 2.0, law))
    assert np.percentile(error, 99) < 0.005 and error.max() < 0.01
    coarse = BandTable.build(ssp, sdss, np.array([0.065]), n_sub=1)
    assert np.abs(coarse.check(ssp, sdss, 2.0, law)).max() > 0.05  # what one effective wavelength would do


@pytest.mark.parametrize(
    "bands",
    [
        [f"sdss_{b}0" for b in "ugriz"],
        pytest.param([f"lsst_baseline_{b}" for b in "ugrizy"], marks=pytest.mark.slow),
        pytest.param([f"vista_vircam_{b}" for b in ("Z", "Y", "J", "H", "Ks")], marks=pytest.mark.slow),
    ],
    ids=["sdss", "lsst", "vista"],
)
def test_surveys_agree_with_the_full_sed_out_to_redshift_two(ssp, bands):
    """Default tolerances, A_V = 2; the 2175 Angstrom bump crosses u, g and r."""
    filters = load_filters(bands)
    table = BandTable.build(ssp, filters, redshift_grid(ssp, filters, 0.0, 2.0))
    for law in (Salim18(), Calzetti00()):
        error = np.abs(table.check(ssp, filters, 2.0, law))
        assert np.percentile(error, 99, axis=(0, 1)).max() < 0.005 and error.max() < 0.01


@pytest.mark.parametrize("n_sub", [2, 3])
def test_fixed_number_of_parts(ssp, sdss, n_sub):
    table = BandTable.build(ssp, sdss, np.array([0.1]), n_sub=n_sub)
    assert table.band_index == tuple(b for b in range(5) for _ in range(n_sub))
    assert np.abs(table.check(ssp, sdss, 2.0)).max() < 0.006


def test_smooth_route_agrees_with_the_full_route(ssp, sdss, table):
    """SFR at lookback nodes, metallicity shares, dust: against SED, filters and a fine SFH table."""
    z = 0.0675
    t_obs = float(age(PLANCK15, jnp.asarray(z)))

    def sfr_at(t):
        return (t / 2) ** 1.5 * jnp.exp(-t / 2.5)

    law = Salim18()
    shares = lgmet_weights(-1.8, 0.2, ssp.ssp_lgmet)
    smooth = table.for_smooth_sfh(PLANCK15)
    sfr = sfr_at(t_obs * (1 - jnp.asarray(smooth.fractions)))
    flux = smooth_sfh_fluxes(smooth, sfr[None], shares[None], jnp.asarray([z]))[0]
    same = smooth_sfh_fluxes(smooth, sfr[None], shares[None], jnp.asarray(z))[0]
    np.testing.assert_allclose(same, flux, rtol=1e-10)
    dust = frac_trans(law(smooth.wave_obs / (1 + z), law.fiducial), 1.0, 0.1)
    got = -2.5 * jnp.log10(smooth.to_bands(flux * dust))

    t = np.linspace(1e-3, t_obs, 3000)
    sed = rest_sed(ssp, age_weights(t, sfr_at(jnp.asarray(t)), t_obs, ssp.ssp_lg_age_gyr), shares)
    sed = sed * frac_trans(law(ssp.ssp_wave, law.fiducial), 1.0, 0.1)
    np.testing.assert_allclose(got, magnitudes(ssp.ssp_wave, sed, sdss, z), atol=2e-3)


def test_redshift_weights_interpolate_and_differentiate():
    grid = np.array([0.1, 0.2, 0.4])
    z = jnp.asarray([0.05, 0.1, 0.15, 0.3, 0.4, 0.9])
    np.testing.assert_allclose(z_weights(grid, z) @ grid, np.clip(z, 0.1, 0.4), rtol=1e-12)
    np.testing.assert_allclose(z_weights(grid, z).sum(-1), 1, rtol=1e-12)
    assert jax.grad(lambda x: z_weights(grid, x) @ jnp.asarray(grid) ** 2)(0.3) == pytest.approx(0.6)


def test_float32_population(table, ssp):
    smooth = table.for_smooth_sfh(PLANCK15)
    sfr = jnp.asarray(np.random.default_rng(0).uniform(0, 3, (20, 64)))
    shares = jnp.stack([lgmet_weights(m, 0.2, ssp.ssp_lgmet) for m in np.linspace(-2.2, -1.4, 20)])
    z = jnp.linspace(0.06, 0.07, 20)
    low = smooth_sfh_fluxes(
        smooth, sfr.astype(jnp.float32), shares.astype(jnp.float32), z.astype(jnp.float32)
    )
    assert low.dtype == jnp.float32
    high = smooth.to_bands(smooth_sfh_fluxes(smooth, sfr, shares, z))
    np.testing.assert_allclose(2.5 * np.log10(smooth.to_bands(low) / high), 0, atol=1e-4)


def test_redshift_grid_is_as_fine_as_asked(ssp, sdss):
    coarse = redshift_grid(ssp, sdss, 0.05, 0.12, 0.01)
    fine = redshift_grid(ssp, sdss, 0.05, 0.12, 0.002)
    assert fine.size > coarse.size and fine[0] == 0.05 and fine[-1] == 0.12
    error = np.abs(BandTable.build(ssp, sdss, fine, n_sub=1).check(ssp, sdss, 0.0))
    assert np.percentile(error, 99) < 0.002


def some_bands(filters, *which):
    return Filters(*(tuple(getattr(filters, name)[b] for b in which) for name in ("wave", "trans", "names")))


def test_a_tolerance_asked_for_is_met(ssp, sdss):
    """At redshifts that the refinement never looked at, with both laws; r is where Calzetti's law jumps."""
    bands = some_bands(sdss, 0, 2)
    table = refined_table(ssp, bands, 0.0, 0.1, 1e-3)
    z = np.random.default_rng(0).uniform(0.0, 0.1, 40)
    assert max(np.abs(table.check(ssp, bands, 2.0, law, z)).max() for law in (Salim18(), Calzetti00())) < 1e-3
    assert table.z_grid[0] == 0 and table.z_grid[-1] == 0.1
    plain = BandTable.build(ssp, bands, redshift_grid(ssp, bands, 0.0, 0.1, 1e-3))
    assert np.abs(plain.check(ssp, bands, 2.0, Calzetti00())).max() > 1e-3  # what refinement is for


def test_a_tolerance_out_of_reach_is_refused(ssp, sdss):
    with pytest.raises(InputError, match="64 parts of sdss_u0"):
        refined_table(ssp, some_bands(sdss, 0), 0.1, 0.1, 1e-5)
    with pytest.raises(InputError, match="14 dust wavelengths"):
        BandTable.build(ssp, some_bands(sdss, 0), np.array([0.1]), tol=1e-5)
    with pytest.raises(InputError, match=r"redshifts 0\.0001 apart"):
        redshift_grid(ssp, some_bands(sdss, 0), 0.1, 0.1001, 1e-12)


def test_redshifts_are_split_where_they_are_too_far_apart(ssp, sdss):
    """Dust and nebular lines ask for one redshift more than `redshift_grid` gives."""
    gas, g = add_nebular(ssp, load_nebular()), some_bands(sdss, 1)
    table = refined_table(gas, g, 0.1, 0.12, 1e-3, 1.0)
    assert table.z_grid.size > redshift_grid(gas, g, 0.1, 0.12, 1e-3).size
    assert np.abs(table.check(gas, g, 1.0)).max() < 1e-3


def test_the_intergalactic_medium_can_be_left_out_of_the_redshift_grid(ssp, sdss):
    u = some_bands(sdss, 0)
    grids = [redshift_grid(ssp, u, 3.0, 3.2, 2e-3, igm) for igm in (True, False)]
    assert grids[0].size > grids[1].size


def test_the_intergalactic_medium_absorbs_in_both_routes(ssp, sdss):
    table = BandTable.build(ssp, sdss, np.array([2.5]), n_sub=1)
    clear = BandTable.build(ssp, sdss, np.array([2.5]), n_sub=1, igm=False)
    ratio = (table.flux / clear.flux)[0, 4, 0]
    assert 0.6 < ratio[0] < 0.9 and np.all(ratio[2:] == 1)
    flux = jnp.asarray(ssp.ssp_flux)[4, 0]
    np.testing.assert_allclose(band_fluxes(ssp.ssp_wave, flux, sdss, 2.5), table.flux[0, 4, 0], rtol=1e-9)
