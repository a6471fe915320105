"""Agreement with dsps, and where it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer import precision

with precision.keep_precision():
    dsps_age = pytest.importorskip("dsps.sed.stellar_age_weights")
    from dsps import calc_rest_sed_sfh_table_lognormal_mdf
    from dsps.dust import att_curves
    from dsps.imf import remnant_mass as dsps_remnants
    from dsps.imf import surviving_mstar as dsps_mstar
    from dsps.photometry import photometry_kernels as dsps_phot
    from dsps.sed import metallicity_weights as dsps_met
    from dsps.sfh import diffburst

from popinfer.cosmology import PLANCK15, age, distance_modulus
from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_ssp
from popinfer.records import Filters
from popinfer.sps import (
    BurstParams,
    Calzetti00,
    Noll09,
    Salim18,
    add_burst,
    age_weights,
    attenuated_sed,
    band_fluxes,
    lgmet_weights,
    lgmet_weights_by_age,
    magnitudes,
    rest_sed,
)
from popinfer.sps.metallicity import lgmet_from_table
from popinfer.sps.surviving_mass import RETURN_FITS, remnant_fraction, surviving_fraction
from popinfer.sps.units import AB0

WAVE = np.geomspace(950, 30000, 500)
AB_OFFSET = -2.5 * np.log10(dsps_phot.AB0 / AB0)  # dsps rounds its zero point to six digits


@pytest.fixture(scope="module")
def ssp():
    return load_ssp()


def fine_filters(step=0.2):
    """SDSS curves sampled so finely that a trapezoid on them resolves the SED too."""
    sdss = load_filters([f"sdss_{b}0" for b in "ugriz"])
    wave = [np.arange(w[0], w[-1], step) for w in sdss.wave]
    trans = [np.interp(w, *c) for w, *c in zip(wave, sdss.wave, sdss.trans, strict=True)]
    return Filters(wave=tuple(wave), trans=tuple(trans), names=sdss.names)


def test_zero_points_agree():
    assert abs(AB_OFFSET) < 5e-6


@pytest.mark.parametrize("lgmet", [-3.2, -2.25, -1.8, -1.5])
@pytest.mark.parametrize("scatter", [0.05, 0.2, 0.4])
def test_metallicity_weights(ssp, lgmet, scatter):
    want = dsps_met.calc_lgmet_weights_from_lognormal_mdf(lgmet, scatter, ssp.ssp_lgmet)
    got = lgmet_weights(lgmet, scatter, ssp.ssp_lgmet, binned=True)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)


def test_metallicity_table(ssp):
    t = np.linspace(0.1, 13.8, 20_000)  # fine, because dsps interpolates in lg t
    args = (ssp.ssp_lg_age_gyr, 12.0)
    want = dsps_met.calc_lgmet_weights_from_lgmet_table(t, -2.5 + 0.06 * t, 0.2, ssp.ssp_lgmet, *args)
    lgmet = lgmet_from_table(t, -2.5 + 0.06 * t, 12.0, ssp.ssp_lg_age_gyr)
    got = lgmet_weights_by_age(lgmet, 0.2, ssp.ssp_lgmet, binned=True) / ssp.ssp_lg_age_gyr.size
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)


def test_age_weights_where_both_integrate_alike(ssp):
    """SFR proportional to t: its cumulative mass is a power law, which lg-lg interpolation hits exactly."""
    start = 0.01  # dsps takes the SFR before the table as 1e-14 and begins at 0.01 Gyr
    t = np.r_[start * (1 + 1e-9), np.geomspace(0.0101, 13.8, 400)]
    inside = (ssp.ssp_lg_age_gyr > -3.3) & (ssp.ssp_lg_age_gyr < np.log10(10.0))
    lg_age = ssp.ssp_lg_age_gyr
    got = age_weights(t, jnp.asarray(t), 13.8, lg_age, binned=True)[inside]
    logsm = np.log10(0.5e9 * t**2)
    want = dsps_age._calc_age_weights_from_logsm_table(np.log10(t), logsm, lg_age, 13.8)[1][inside]
    np.testing.assert_allclose(got / got.sum(), want / want.sum(), rtol=0, atol=1e-8)


def test_age_weights_converge_to_ours(ssp):
    """dsps interpolates cumulative mass: its error shrinks as the table is refined, to the stars it drops."""
    errors = []
    for n in (100, 1000, 10_000):
        t = np.linspace(0.02, 13.8, n)
        sfr = 3.0 * t * np.exp(-t / 2.0)
        got = age_weights(t, jnp.asarray(sfr), 13.0, ssp.ssp_lg_age_gyr, binned=True)
        # dsps drops stars younger than half a bin below its youngest age
        want = dsps_age.calc_age_weights_from_sfh_table(t, sfr, ssp.ssp_lg_age_gyr, 13.0)
        errors.append(float(np.abs(got / got.sum() - want).max()))
    assert errors[1] < errors[0] / 10 and errors[2] < 3e-6


@pytest.mark.parametrize(("delta", "bump"), [(0.0, 0.0), (-0.4, 2.0), (0.3, 0.5)])
def test_attenuation_curves(delta, bump):
    micron = WAVE * 1e-4
    want = att_curves.noll09_k_att_curve(micron, 1.0, bump, delta)
    np.testing.assert_allclose(Noll09()(WAVE, Noll09.Params(delta, bump)), want, rtol=0, atol=1e-6)
    both = att_curves._l02_below_c00_above(micron) / 4.05
    np.testing.assert_allclose(
        Calzetti00()(WAVE, Calzetti00().fiducial), np.maximum(both, 0), rtol=0, atol=1e-6
    )
    r_mod = 4.05 / (
        5.05 * (4400 / 5500) ** delta - 4.05
    )  # the paper divides its bump by this R_V, dsps by 4.05
    tied = (0.85 - 1.9 * delta) * 4.05 / r_mod
    want = att_curves.sbl18_k_att_curve(micron, 1.0, tied, delta)
    np.testing.assert_allclose(Salim18()(WAVE, Salim18.Params(delta)), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("imf", ["salpeter", "chabrier", "kroupa", "van_dokkum"])
def test_surviving_mass(imf):
    lg_age = np.linspace(5, 10.2, 200)
    want = dsps_mstar.surviving_mstar(lg_age, **getattr(dsps_mstar, f"{imf.upper()}_PARAMS"))
    np.testing.assert_allclose(surviving_fraction(lg_age, RETURN_FITS[imf]), want, rtol=0, atol=1e-6)
    want = dsps_remnants.remnant_mass(lg_age, **getattr(dsps_remnants, f"{imf.upper()}_PARAMS"))
    np.testing.assert_allclose(remnant_fraction(lg_age, RETURN_FITS[imf]), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("burst", [(-3.0, 5.5, 7.0), (-1.2, 7.1, 8.4)])
def test_bursts(ssp, burst):
    smooth = np.random.default_rng(0).uniform(size=ssp.ssp_lg_age_gyr.size)
    smooth /= smooth.sum()
    want = diffburst.calc_bursty_age_weights(burst, smooth, ssp.ssp_lg_age_gyr)
    got = add_burst(BurstParams(*burst), jnp.asarray(smooth), ssp.ssp_lg_age_gyr)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * float(np.max(want)))


def dsps_magnitudes(ssp, filters, sed, z):
    """dsps' photometry at our distance and zero point."""
    cosmology = (PLANCK15.om0, PLANCK15.w0, PLANCK15.wa, PLANCK15.h)
    ours = float(distance_modulus(PLANCK15, jnp.asarray(z))) - 2.5 * np.log10(1 + z)
    offset = ours - dsps_phot._cosmological_dimming(z, *cosmology) + AB_OFFSET
    curves = zip(filters.wave, filters.trans, strict=True)
    return offset + np.array([dsps_phot.calc_obs_mag(ssp.ssp_wave, sed, *c, z, *cosmology) for c in curves])


@pytest.mark.parametrize("z", [0.05, 0.4, 1.2])
def test_magnitudes_of_an_sed(ssp, z):
    """Both on filters that resolve the SED; what is left is dsps' trapezoid between its kinks."""
    filters = fine_filters()
    sed = np.einsum("ma,maw->w", np.ones((6, 94)), np.asarray(ssp.ssp_flux)) * 1e8
    got = magnitudes(
        ssp.ssp_wave, jnp.asarray(sed), filters, z, float(distance_modulus(PLANCK15, jnp.asarray(z)))
    )
    np.testing.assert_allclose(got, dsps_magnitudes(ssp, filters, sed, z), rtol=0, atol=1e-6)
    cosmology = (PLANCK15.om0, PLANCK15.w0, PLANCK15.wa, PLANCK15.h)
    mine = float(distance_modulus(PLANCK15, jnp.asarray(z))) - 2.5 * np.log10(1 + z)
    theirs = float(dsps_phot._cosmological_dimming(z, *cosmology))
    assert mine == pytest.approx(theirs, abs=1e-3)  # dsps' distances are less exact than astropy's


def test_rest_sed_from_the_same_weights(ssp):
    t = np.linspace(0.02, 13.8, 300)
    sfr = 3.0 * t * np.exp(-t / 2.0)
    theirs = calc_rest_sed_sfh_table_lognormal_mdf(
        t, sfr, -1.8, 0.2, ssp.ssp_lgmet, ssp.ssp_lg_age_gyr, ssp.ssp_flux, 13.0
    )
    got = rest_sed(ssp, jnp.asarray(theirs.age_weights), jnp.asarray(theirs.lgmet_weights))
    bright = np.asarray(theirs.rest_sed) > 0
    formed = np.asarray(theirs.rest_sed / got)[bright]
    assert np.ptp(2.5 * np.log10(formed)) < 1e-10
    ours = age_weights(t, jnp.asarray(sfr), 13.0, ssp.ssp_lg_age_gyr).sum()
    assert formed[0] == pytest.approx(float(ours), rel=1e-4)


def age_weights_of_dsps(t, sfr, t_obs, lg_age):
    """Ours, with two habits of dsps: stars younger than half a bin below the first age are left out, and
    their mass is given to the others in proportion."""
    cut = t_obs - 10 ** (lg_age[0] - 0.5 * (lg_age[1] - lg_age[0]))
    kept = np.r_[t[t < cut], cut]
    without = age_weights(kept, jnp.interp(kept, t, sfr), t_obs, lg_age, binned=True)
    return without * age_weights(t, sfr, t_obs, lg_age, binned=True).sum() / without.sum()


@pytest.mark.parametrize("z", [0.1, 0.7])
@pytest.mark.parametrize("tau", [0.5, 3.0])
@pytest.mark.parametrize("lgmet", [-2.3, -1.8])
def test_from_star_formation_history_to_magnitude(ssp, z, tau, lgmet):
    """Age and metallicity weights, dust, filters: where both compute the same integral, to 1e-6 mag.

    The table is dense near t_obs, because dsps interpolates the cumulative mass.
    """
    t_obs = float(age(PLANCK15, jnp.asarray(z)))
    t = t_obs - np.r_[np.geomspace(t_obs - 0.0011, 1e-7, 60_000), 0]
    sfr = jnp.asarray(3.0 * t * np.exp(-t / tau))
    grid = (ssp.ssp_lgmet, ssp.ssp_lg_age_gyr, ssp.ssp_flux)
    sed = calc_rest_sed_sfh_table_lognormal_mdf(t, sfr, lgmet, 0.2, *grid, t_obs).rest_sed
    micron = ssp.ssp_wave * 1e-4
    sed = sed * 10 ** (-0.4 * 0.7 * att_curves.noll09_k_att_curve(micron, 1.0, 1.5, -0.3))
    filters = fine_filters()
    want = dsps_magnitudes(ssp, filters, sed, z)

    mass = age_weights_of_dsps(t, sfr, t_obs, ssp.ssp_lg_age_gyr)
    weights = lgmet_weights(lgmet, 0.2, ssp.ssp_lgmet, binned=True)[:, None] * mass
    sed = attenuated_sed(ssp, weights, Noll09(), Noll09.Params(-0.3, 1.5), 0.7)
    modulus = float(distance_modulus(PLANCK15, jnp.asarray(z)))
    got = magnitudes(ssp.ssp_wave, sed, filters, z, modulus)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_coarse_filters_are_where_we_are_more_exact(ssp):
    """SDSS curves as tabulated, every 25 A: ours is that of a 100 times finer grid, dsps is not."""
    sdss = load_filters(["sdss_u0", "sdss_g0"])
    sed = np.asarray(ssp.ssp_flux)[4, 40]
    ours = np.asarray(band_fluxes(ssp.ssp_wave, jnp.asarray(sed), sdss, 0.1)) / 1.1
    for b, (w, t) in enumerate(zip(sdss.wave, sdss.trans, strict=True)):
        lam = np.linspace(w[0], w[-1], 400_001)
        weight = np.interp(lam, w, t) / lam
        truth = np.sum(weight * np.interp(lam, ssp.ssp_wave * 1.1, sed)) / weight.sum() / AB0
        theirs = dsps_phot._obs_flux_ssp(ssp.ssp_wave, sed, w, t, 0.1) / dsps_phot._flux_ab0_at_10pc(w, t)
        assert abs(2.5 * np.log10(ours[b] / truth)) < 1e-6
        assert abs(2.5 * np.log10(float(theirs) / truth)) > 1e-4


def test_dsps_gradient_dies_outside_the_grid_and_ours_does_not(ssp):
    index = jnp.arange(6.0)
    theirs = jax.grad(lambda m: index @ dsps_met.calc_lgmet_weights_from_lognormal_mdf(m, 0.1, ssp.ssp_lgmet))
    ours = jax.grad(lambda m: index @ lgmet_weights(m, 0.1, ssp.ssp_lgmet))
    assert theirs(-0.9) == 0 and ours(-0.9) > 1e-3
