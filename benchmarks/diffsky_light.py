"""Light of diffsky's galaxies: SSP weights of dsps, diffsky's SSP magnitudes, dust band by band.

Used by `diffsky_mock.py` in a Python of its own; nothing of popinfer is imported. Metallicities, dust and
bursts are diffsky's own where the request's ``take`` names them, else popinfer's relations, written again
here from their documentation.

diffsky counts all stars of an interval of age or metallicity for one SSP, leaves out stars younger than the
youngest, integrates tabulated SFRs and dims a band at one wavelength. ``refine`` mends these steps: SSPs are
divided by linear interpolation, the youngest stands for younger stars too, the table has more SFRs, and bands
are divided into parts that add up to them.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffsky.experimental import mc_diffstarpop_wrappers as starpop
from diffsky.experimental.kernels import rapid_quenching
from diffsky.experimental.kernels import ssp_weight_kernels as weights
from diffsky.experimental.kernels.constants import LGMET_SCATTER
from diffsky.experimental.photometry_interpolation import interpolate_ssp_photmag_table
from diffsky.experimental.precompute_ssp_phot import get_precompute_ssp_mag_redshift_table
from diffsky.param_utils.diffsky_param_wrapper_merging import DEFAULT_PARAM_COLLECTION as DIFFSKY
from diffsky.utils.phot_utils import get_wave_eff_table
from diffstar.defaults import DEFAULT_DIFFSTAR_PARAMS, FB
from dsps.cosmology.flat_wcdm import PLANCK15
from dsps.data_loaders.defaults import SSPData, TransmissionCurve
from dsps.dust.att_curves import _frac_transmission_from_k_lambda, noll09_k_lambda
from dsps.sed.metallicity_weights import calc_lgmet_weights_from_lognormal_mdf

YOUNGEST = -6.0  # log10 age [Gyr]
LG_SOLAR = np.log10(0.02)


def divided(nodes: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes with each interval divided, and the matrix [fine, node] of linear interpolation to them."""
    steps = np.arange(len(nodes))
    fine = np.interp(np.arange(steps[-1] * parts + 1) / parts, steps, nodes)
    return fine, np.stack([np.interp(fine, nodes, one) for one in np.eye(len(nodes))], axis=1)


def read_ssp(file: Path, flux: str) -> tuple[SSPData, np.ndarray]:
    """SSP grid, and the surviving mass of its solar row."""
    with h5py.File(file) as store:
        lgmet, *rest = (store[k][...] for k in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", flux))
        surviving = store["ssp_surviving_mstar_frac"][...]
    return SSPData(lgmet, *rest), surviving[np.argmin(np.abs(lgmet - LG_SOLAR))]


def read_filters(file: Path, bands: list[str], parts: int) -> tuple[list[TransmissionCurve], np.ndarray]:
    """Filters, each divided into overlapping ones that add up to it, and their shares of its AB flux."""
    curves, shares = [], []
    for band in bands:
        with h5py.File(file) as store:
            wave, trans = store[band]["wave"][...], store[band]["transmission"][...]
        some = np.ones((1, len(wave)))
        if parts > 1:
            nodes = np.linspace(wave[0], wave[-1], parts)
            some = np.stack([np.interp(wave, nodes, one) for one in np.eye(parts)])
        zero_point = np.array([np.trapezoid(one * trans / wave, wave) for one in some])
        curves += [TransmissionCurve(wave, one * trans) for one in some]
        shares.append(zero_point / zero_point.sum())
    return curves, np.stack(shares)


def relation_lgmet(p: SimpleNamespace, lg_mstar: Any, lg_ssfr: Any, z: Any, eps: Any) -> Any:
    """Gallazzi et al. (2005) mass-metallicity relation with offsets and scatter."""
    curve = -0.26 + 0.38 * jnp.tanh((lg_mstar - 10.11) / 0.46)
    quenched = 1 / (1 + 10 ** ((lg_ssfr + 11.0) / 0.3 / np.log(10)))
    shift = p.zero_point + p.quenched_offset * quenched + p.slope * (lg_mstar - 10.5) + p.evolution * z
    return LG_SOLAR + curve + shift + p.scatter * eps


def relation_av(p: SimpleNamespace, lg_mstar: Any, lg_ssfr: Any, eps: Any) -> Any:
    """A_V against mass and sSFR: the latter floored at 10^-12.5, A_V capped at 10^0.7, both softly."""
    floored = -12.5 + 0.25 * jnp.logaddexp(0.0, (lg_ssfr + 12.5) / 0.25)
    lg_av = p.lg_av + p.slope_mass * (lg_mstar - 10.5) + p.slope_ssfr * (floored + 10) + p.scatter * eps
    return 10 ** (0.7 - 0.1 * jnp.logaddexp(0.0, (0.7 - lg_av) / 0.1))


def flicker(p: SimpleNamespace, age_gyr: Any, eps: Any) -> Any:
    """Factor on the SFR of stars of each age: log-normal, mean one, fading over the timescale."""
    sd = p.scatter * np.exp(-age_gyr / 10**p.lg_timescale_gyr)
    return jnp.exp(np.log(10) * sd * eps[:, None] - 0.5 * (np.log(10) * sd) ** 2)


def age_and_lgmet(ask: SimpleNamespace, ssp: SSPData, info: Any, halo: Any) -> tuple[Any, Any, Any, Any]:
    """Weights of SSP ages (adding up to 1), of metallicities, mass formed [log10], and metallicity."""
    by_age = weights.get_age_weights_smooth(info.t_table, info.sfh_table, ssp, halo.t_obs)
    lg_formed = info.logsm_obs
    if "merging" in ask.take:
        by_age = rapid_quenching.get_age_weights_rq_vmap(
            by_age, halo.p_merge, ssp.ssp_lg_age_gyr, rapid_quenching.DEFAULT_RQ_PARAMS
        )[0]
    if "metallicity" in ask.take:
        args = (lg_formed, ssp, halo.t_obs, DIFFSKY.mzr_params, LGMET_SCATTER)
        by_lgmet, lgmet = weights.get_lgmet_weights(*args), jnp.full_like(lg_formed, jnp.nan)
    else:
        lgmet = relation_lgmet(ask.metallicity, halo.lg_mstar, halo.lg_ssfr, halo.z_obs, halo.lgmet_normal)
        one = jax.vmap(calc_lgmet_weights_from_lognormal_mdf, in_axes=(0, None, None))
        by_lgmet = one(lgmet, ask.metallicity.mdf_scatter, ssp.ssp_lgmet)
    if "bursts" in ask.take:
        args = (halo.burst, halo.is_q, lg_formed, info.logssfr_obs, by_age, by_lgmet, ssp)
        bursty = weights.compute_burstiness(*args, DIFFSKY.spspop_params.burstpop_params)[0]
        return bursty.sum(axis=1), by_lgmet, lg_formed, lgmet
    by_age = by_age * flicker(ask.burstiness, 10**ssp.ssp_lg_age_gyr, halo.flicker)
    total = by_age.sum(axis=1)
    return by_age / total[:, None], by_lgmet, lg_formed + jnp.log10(total), lgmet


def transmission(ask: SimpleNamespace, ssp: SSPData, info: Any, halo: Any, wave: Any) -> Any:
    """Fraction of light that dust transmits [galaxy, band, age], and A_V."""
    if "dust" in ask.take:
        uniforms = halo.av_uniform, halo.delta_uniform, halo.funo_uniform
        args = (*uniforms, info.logsm_obs, info.logssfr_obs, ssp, halo.z_obs, wave)
        both = (DIFFSKY.spspop_params.dustpop_params, DIFFSKY.scatter_params)
        trans, params = weights.compute_dust_attenuation(*args, *both)
        return trans, params.av[:, 0, -1]
    p = ask.dust
    av = relation_av(p, halo.lg_mstar, halo.lg_ssfr, halo.av_normal)
    curve = noll09_k_lambda(wave.ravel() * 1e-4, 0.85 - 1.9 * p.delta, p.delta).reshape(wave.shape)
    dimmed = _frac_transmission_from_k_lambda(curve, av[:, None])
    trans = p.f_unobscured + (1 - p.f_unobscured) * dimmed
    return jnp.broadcast_to(trans[..., None], (*trans.shape, len(ssp.ssp_lg_age_gyr))), av


def make_light(
    ask: SimpleNamespace,
    refine: SimpleNamespace,
    ssp: SSPData,
    filters: list[TransmissionCurve],
    z_table: Any,
) -> Any:
    """Compiled map from halos with their galaxies to fluxes in the filters, metallicity and A_V."""
    mags = get_precompute_ssp_mag_redshift_table(filters, ssp, z_table, PLANCK15)
    lgmet, by_met = divided(ssp.ssp_lgmet, refine.metallicities)
    lg_age, by_age = divided(ssp.ssp_lg_age_gyr, refine.ages)
    if refine.ages > 1:  # dsps leaves out stars younger than its youngest SSP
        lg_age, by_age = np.append(YOUNGEST, lg_age), np.append(by_age[:1], by_age, axis=0)
    fine = ssp._replace(ssp_lgmet=lgmet, ssp_lg_age_gyr=lg_age)
    mags = -2.5 * np.log10(np.einsum("xm,ya,zbma->zbxy", by_met, by_age, 10 ** (-0.4 * mags), optimize=True))
    wave_eff = get_wave_eff_table(z_table, filters)

    @jax.jit
    def one(_: Any, galaxy: dict[str, Any]) -> dict[str, Any]:
        x = SimpleNamespace(**galaxy)
        mah, sfh = DEFAULT_MAH_PARAMS._make(x.mah.T), DEFAULT_DIFFSTAR_PARAMS._make(x.sfh.T)
        info = starpop.get_diffstar_info(mah, sfh, x.t_obs, PLANCK15, FB, refine.n_table)
        by_age, by_lgmet, lg_formed, lgmet = age_and_lgmet(ask, fine, info, x)
        wave = jax.vmap(lambda y: jnp.interp(x.z_obs, z_table, y), in_axes=1, out_axes=1)(wave_eff)
        trans, av = transmission(ask, fine, info, x, wave)
        light = 10 ** (-0.4 * interpolate_ssp_photmag_table(x.z_obs, z_table, mags))
        both = weights.combine_age_met_weights(by_age, by_lgmet)
        flux = weights._compute_obs_flux_from_weights(lg_formed, trans, jnp.ones_like(wave), light, both)
        return {"flux": flux, "lgmet": lgmet, "av": av}

    return one
