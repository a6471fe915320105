"""Halos through the whole forward model against diffstar's and dsps' kernels, put together by hand.

diffstarpop's means and covariances with the same standard normals, diffstar's histories on a fine table, and
dsps' age and metallicity weights, attenuation curve and filter integrals on a full SED. The relations of
metallicity, dust and bursts are written again from their documentation. dsps gives each star the SSP of its
bin, popinfer interpolates between SSPs: dsps gets the grid interpolated so finely that both are the same.
"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffstar import calc_sfh_galpop
from diffstar.defaults import DiffstarUParams, get_bounded_diffstar_params
from diffstar.diffstarpop import DiffstarPopParams
from diffstar.diffstarpop.kernels.diffstarpop_mgash import (
    DEFAULT_Q_U_PARAMS_UNQUENCHED,
    _diffstarpop_means_covs,
)

from popinfer import precision

with precision.keep_precision():
    pytest.importorskip("dsps")
    from dsps.dust import att_curves
    from dsps.photometry import photometry_kernels as dsps_phot
    from dsps.sed import metallicity_weights as dsps_met
    from dsps.sed.stellar_age_weights import calc_age_weights_from_sfh_table


from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.population.forward import ForwardModel, build_tables
from popinfer.population.parameters import fiducial_params, with_values
from popinfer.population.template import TemplateKnots
from popinfer.records import Filters, Halos
from popinfer.sps.nebular import add_nebular

BANDS, KNOTS = ("u", "g", "r", "i", "z"), (3200.0, 8300.0)
MODEL = ForwardModel(template=TemplateKnots(KNOTS)).in_bands(BANDS)
VALUES = {
    "metallicity.quenched_offset": 0.05,
    "metallicity.slope": 0.03,
    "metallicity.quenched_slope": -0.1,
    "dust.lg_av": -0.2,
    "dust.slope_ssfr": 0.5,
    "dust.f_unobscured": 0.1,
    "dust.quenched_scatter": -0.3,
    "sfh.efficiency_tilt": 0.2,
    "sfh.quenching_slope": 0.5,
    "sfh.quenching_curvature": -0.2,
    "template.old_3550": 0.1,
    "template.old_4700": -0.02,
    "satellites.survival": 0.3,
    "nebular.logu": -2.8,
    "nebular.f_esc": 0.2,
    "birth_cloud.av": 0.6,
}
COSMOLOGY = (PLANCK15.om0, PLANCK15.w0, PLANCK15.wa, PLANCK15.h)
N = 4
MET_PARTS, AGE_PARTS = 10, 4  # of each interval of the SSP grid, for dsps
LOGT0 = float(np.log10(age(PLANCK15, jnp.asarray(0.0))))


@pytest.fixture(scope="module")
def halos():
    rng = np.random.default_rng(11)
    z = np.linspace(0.061, 0.089, N)
    t_obs = np.asarray(age(PLANCK15, jnp.asarray(z)))
    mass = rng.uniform(11.5, 13.5, N)
    mah = DEFAULT_MAH_PARAMS._make(
        (mass, rng.uniform(0, 0.5, N), rng.uniform(2, 3, N), rng.uniform(0.2, 0.8, N), rng.uniform(9, 12, N))
    )
    central = (np.arange(N) % 2).astype(float)
    return Halos(
        z_obs=z,
        t_obs=t_obs,
        mah_params=mah,
        logmp0=mass,
        is_central=central,
        lgmu_infall=np.where(central, 0.0, -1.5),
        logmhost_infall=np.where(central, 0.0, mass + 1.5),
        gyr_since_infall=np.where(central, -100.0, t_obs - mah.t_peak),
        weight=rng.uniform(1, 2, N),
        normals=rng.standard_normal((N, MODEL.n_normals(len(BANDS)))),
    )


@pytest.fixture(scope="module")
def ssp():
    """With nebular emission, and behind birth clouds of Charlot & Fall (2000)."""
    shining = add_nebular(load_ssp(), load_nebular(), VALUES["nebular.logu"], f_esc=VALUES["nebular.f_esc"])
    clear = 10 ** (-0.4 * VALUES["birth_cloud.av"] * (np.asarray(shining.ssp_wave) / 5500) ** -0.7)
    age_share = 1 / (1 + np.exp((np.asarray(shining.ssp_lg_age_gyr) + 2) / 0.0125))
    dimmed = 1 - age_share[:, None] * (1 - clear)
    return dataclasses.replace(shining, ssp_flux=np.asarray(shining.ssp_flux) * dimmed)


@pytest.fixture(scope="module")
def fine_ssp(ssp):
    """Linear between the grid's nodes in lgmet and in lg age, between 2500 and 13,000 Angstrom."""
    lgmet, lg_age, wave = (np.asarray(x) for x in (ssp.ssp_lgmet, ssp.ssp_lg_age_gyr, ssp.ssp_wave))
    optical = (wave > 2500) & (wave < 13_000)
    fine_lgmet, to_met = refine(lgmet, MET_PARTS)
    fine_lg_age, to_age = refine(lg_age, AGE_PARTS)
    solar = np.asarray(ssp.ssp_surviving_mstar_frac)[np.argmin(np.abs(lgmet - np.log10(0.02)))]
    flux = np.einsum("mi,aj,ijw->maw", to_met, to_age, np.asarray(ssp.ssp_flux)[..., optical], optimize=True)
    return SimpleNamespace(
        lgmet=fine_lgmet, lg_age=fine_lg_age, wave=wave[optical], flux=flux, surviving=to_age @ solar
    )


def refine(nodes, parts):
    """Finer nodes, and the matrix that interpolates to them."""
    fine = np.interp(np.arange((len(nodes) - 1) * parts + 1) / parts, np.arange(len(nodes)), nodes)
    return fine, np.stack([np.interp(fine, nodes, column) for column in np.eye(len(nodes))], axis=1)


@pytest.fixture(scope="module")
def params():
    return with_values(fiducial_params(MODEL.components), VALUES)


@pytest.fixture(scope="module")
def ours(halos, params):
    filters = load_filters([f"sdss_{b}0" for b in BANDS])
    tables = build_tables(load_ssp(), filters, np.linspace(0.06, 0.09, 4), MODEL, load_nebular())
    everything = jax.jit(lambda p, h: MODEL(p, h, tables, lambda m, _: (m, jnp.ones(m.shape[0]))))
    return everything(params, jax.tree.map(jnp.asarray, halos))


def diffstarpops_own(params):
    return DiffstarPopParams(**{name: getattr(params.sfh, name) for name in DiffstarPopParams._fields})


def diffstarpop_draws(params, halos):
    """Diffstar parameters of main-sequence and quenched galaxies, and quenched probabilities."""
    host = (halos.lgmu_infall, halos.logmhost_infall, halos.gyr_since_infall)
    moments = jax.vmap(lambda *x: _diffstarpop_means_covs(diffstarpops_own(params), *x))(
        jnp.asarray(halos.logmp0), jnp.asarray(halos.mah_params.t_peak), *(jnp.asarray(x) for x in host)
    )
    std = [np.sqrt(np.diagonal(c, axis1=1, axis2=2)) for c in moments[4:]]
    u_ms = np.stack(moments[2], axis=1) + std[0] * halos.normals[:, :4]
    u_q = np.stack(moments[3], axis=1) + np.hstack(std[1:]) * halos.normals[:, 4:12]
    u_ms = np.hstack([u_ms, np.tile(np.asarray(DEFAULT_Q_U_PARAMS_UNQUENCHED), (N, 1))])
    draws = [jax.vmap(get_bounded_diffstar_params)(DiffstarUParams(*jnp.asarray(u).T)) for u in (u_ms, u_q)]
    return draws, np.where(halos.is_central > 0.5, moments[0], moments[1])


def history(sfh, halos, index, t):
    sfh, mah = (jax.tree.map(lambda x: jnp.asarray(x)[index : index + 1], x) for x in (sfh, halos.mah_params))
    sfr = np.asarray(calc_sfh_galpop(sfh, mah, jnp.asarray(t), lgt0=LOGT0, fb=PLANCK15.fb))[0]
    return sfr * (t / 10) ** VALUES["sfh.efficiency_tilt"]


def galaxy(sfh, halos, index, ssp, params):
    """SED in Lsun/Hz, surviving mass and sSFR of one galaxy."""
    t_obs, z, eps = halos.t_obs[index], halos.z_obs[index], halos.normals[index, 12:15]
    # dense near t_obs, because dsps interpolates the cumulative mass
    lookback = np.r_[np.geomspace(t_obs - 0.01, 1e-6, 20_000), 0]
    t = t_obs - lookback
    sfr = history(sfh, halos, index, t)
    smooth = calc_age_weights_from_sfh_table(t, sfr, ssp.lg_age, t_obs)
    lg_mstar = np.log10(1e9 * np.trapezoid(sfr, t) * float(smooth @ ssp.surviving))
    lg_ssfr = np.log10(sfr[-1]) - lg_mstar

    p = params.metallicity
    lgmet = np.log10(0.02) - 0.26 + 0.38 * np.tanh((lg_mstar - 10.11) / 0.46) + p.evolution * z
    lgmet += p.zero_point + p.slope * (lg_mstar - 10.5) + p.scatter * eps[0]
    quenched = 1 / (1 + np.exp((lg_ssfr + 11) / 0.3))
    lgmet += (p.quenched_offset + p.quenched_slope * (lg_mstar - 10.5)) * quenched
    p = params.dust
    floored = -12.5 + 0.25 * np.log1p(np.exp((lg_ssfr + 12.5) / 0.25))
    lg_av = p.lg_av + p.slope_mass * (lg_mstar - 10.5) + p.slope_ssfr * (floored + 10)
    lg_av += p.scatter * 10 ** (p.quenched_scatter * quenched) * eps[1]
    av = 10 ** (0.7 - 0.1 * np.log1p(np.exp((0.7 - lg_av) / 0.1)))
    p = params.burstiness
    sd = np.log(10) * p.scatter * np.exp(-lookback / 10**p.lg_timescale_gyr)
    sfr = sfr * np.exp(sd * eps[2] - 0.5 * sd**2)

    by_age = calc_age_weights_from_sfh_table(t, sfr, ssp.lg_age, t_obs)
    by_lgmet = dsps_met.calc_lgmet_weights_from_lognormal_mdf(
        lgmet, params.metallicity.mdf_scatter, ssp.lgmet
    )
    formed = 1e9 * np.trapezoid(sfr, t)
    sed = formed * np.einsum("m,a,maw->w", by_lgmet, by_age, ssp.flux, optimize=True)
    delta = params.dust_law.delta
    curve = att_curves.noll09_k_att_curve(ssp.wave * 1e-4, av, 0.85 - 1.9 * delta, delta)
    clear = params.dust.f_unobscured
    return sed * (clear + (1 - clear) * 10 ** (-0.4 * curve)), lg_mstar, lg_ssfr


@pytest.fixture(scope="module")
def theirs(halos, fine_ssp, params):
    """Magnitudes [branch, galaxy, band], stellar masses and sSFRs [branch, galaxy]."""
    sdss = load_filters([f"sdss_{b}0" for b in BANDS])
    wave = [np.arange(w[0], w[-1], 0.5) for w in sdss.wave]
    trans = [np.interp(w, *c) for w, *c in zip(wave, sdss.wave, sdss.trans, strict=True)]
    fine = Filters(wave=tuple(wave), trans=tuple(trans), names=sdss.names)
    draws, _ = diffstarpop_draws(params, halos)
    made = [[galaxy(sfh, halos, i, fine_ssp, params) for i in range(N)] for sfh in draws]
    mag = [
        [
            [
                dsps_phot.calc_obs_mag(fine_ssp.wave, one[0], *curve, halos.z_obs[i], *COSMOLOGY)
                for curve in zip(fine.wave, fine.trans, strict=True)
            ]
            for i, one in enumerate(branch)
        ]
        for branch in made
    ]
    return np.array(mag), *(np.array([[one[k] for one in branch] for branch in made]) for k in (1, 2))


def test_masses_and_star_formation_rates(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours.lg_mstar).reshape(2, N), theirs[1], rtol=0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(ours.lg_ssfr).reshape(2, N), theirs[2], rtol=0, atol=1e-3)


def old_error(halos, lg_ssfr):
    """Template errors of quenched galaxies [branch, galaxy, band], linear in log wavelength to 6200 A."""
    pivots = np.array([3557.0, 4702.0, 6176.0, 7491.0, 8946.0])  # of SDSS, Fukugita et al. 1996
    knots = np.log([3550.0, 4700.0, 6200.0])
    errors = [VALUES["template.old_3550"], VALUES["template.old_4700"], 0.0]
    at = np.array([np.interp(np.log(pivots / (1 + z)), knots, errors) for z in halos.z_obs])
    return at / (1 + np.exp((lg_ssfr[..., None] + 11) / 0.3))


def test_magnitudes(ours, theirs, halos):
    """Band tables act with dust at two wavelengths a band, tabulate four redshifts and 64 lookback times."""
    difference = np.abs(np.asarray(ours.mag).reshape(2, N, -1) - theirs[0] - old_error(halos, theirs[2]))
    assert difference.max() < 0.01
    assert np.median(difference) < 0.002


def test_weights_are_those_of_both_branches(ours, halos, params):
    _, frac_q = diffstarpop_draws(params, halos)
    above = np.asarray(halos.logmp0) - 12.3
    logit = np.log(frac_q / (1 - frac_q)) + above * (
        VALUES["sfh.quenching_slope"] + VALUES["sfh.quenching_curvature"] * above
    )
    frac_q = 1 / (1 + np.exp(-logit))
    occupied = halos.weight * np.where(halos.is_central > 0.5, 1.0, VALUES["satellites.survival"])
    want = np.concatenate([occupied * (1 - frac_q), occupied * frac_q])
    np.testing.assert_allclose(ours.weight_all, want, rtol=1e-6)
