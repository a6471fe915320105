"""Galaxies of diffsky's kernels: the other code's half of `closure_diffsky.py`, run by a Python of its own.

    python diffsky_mock.py FOLDER

reads request.json, ssp.h5 and filters.h5 (DSPS layout) there and writes galaxies.npz. Nothing of popinfer is
imported. diffhalos draws an unweighted lightcone of halos and subhalos, diffstarpop draws each galaxy's star
formation history and whether it is quenched, dsps gives SSP weights, diffsky interpolates its SSP magnitudes
and dims them band by band. Metallicities, dust, bursts and the fate of satellites are diffsky's own where the
request's ``take`` names them, else popinfer's relations, written again here from their documentation.
"""

import json
import sys
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
from diffsky.experimental.lc_generators.lc_data_sfh import mc_lc_data_sfh
from diffsky.experimental.photometry_interpolation import interpolate_ssp_photmag_table
from diffsky.experimental.precompute_ssp_phot import get_precompute_ssp_mag_redshift_table
from diffsky.merging import compute_x_tot_from_x_in_situ
from diffsky.merging.merging_kernels import get_mc_p_merge
from diffsky.merging.merging_model import get_p_merge_from_merging_params
from diffsky.param_utils.diffsky_param_wrapper_merging import DEFAULT_PARAM_COLLECTION as DIFFSKY
from diffsky.utils.phot_utils import get_wave_eff_table
from diffstar.defaults import FB
from diffstar.diffstarpop import DEFAULT_DIFFSTARPOP_PARAMS
from dsps.cosmology.flat_wcdm import PLANCK15
from dsps.data_loaders.defaults import SSPData, TransmissionCurve
from dsps.dust.att_curves import _frac_transmission_from_k_lambda, noll09_k_lambda
from dsps.sed.metallicity_weights import calc_lgmet_weights_from_lognormal_mdf

LIGHT = 4096 * 6  # galaxies times metallicities at once
FAINTEST = 1.0  # mag beyond the faint limit that are still written, for noise to scatter in
N_Z = 12  # redshifts of diffsky's magnitude table
LG_SOLAR = np.log10(0.02)


def read_ssp(file: Path, flux: str, parts: int) -> tuple[SSPData, np.ndarray]:
    """SSP grid, each interval of lgmet divided by linear interpolation; surviving mass of its solar row."""
    with h5py.File(file) as store:
        lgmet, *rest, light = (store[k][...] for k in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", flux))
        surviving = store["ssp_surviving_mstar_frac"][...]
    nodes = np.arange(len(lgmet))
    fine = np.interp(np.arange(nodes[-1] * parts + 1) / parts, nodes, lgmet)
    hats = np.stack([np.interp(fine, lgmet, one) for one in np.eye(len(lgmet))], axis=1)
    grid = SSPData(fine, *rest, np.tensordot(hats, light, axes=1))
    return grid, surviving[np.argmin(np.abs(lgmet - LG_SOLAR))]


def read_filters(file: Path, bands: list[str]) -> list[TransmissionCurve]:
    with h5py.File(file) as store:
        return [TransmissionCurve(store[b]["wave"][...], store[b]["transmission"][...]) for b in bands]


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


def age_and_lgmet(
    ask: SimpleNamespace, ssp: SSPData, info: Any, halo: Any, draws: Any
) -> tuple[Any, Any, Any, Any]:
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
        lgmet = relation_lgmet(ask.metallicity, halo.lg_mstar, halo.lg_ssfr, halo.z_obs, draws["lgmet"])
        one = jax.vmap(calc_lgmet_weights_from_lognormal_mdf, in_axes=(0, None, None))
        by_lgmet = one(lgmet, ask.metallicity.mdf_scatter, ssp.ssp_lgmet)
    if "bursts" in ask.take:
        args = (draws["burst"], halo.is_q, lg_formed, info.logssfr_obs, by_age, by_lgmet, ssp)
        bursty = weights.compute_burstiness(*args, DIFFSKY.spspop_params.burstpop_params)[0]
        return bursty.sum(axis=1), by_lgmet, lg_formed, lgmet
    by_age = by_age * flicker(ask.burstiness, 10**ssp.ssp_lg_age_gyr, draws["flicker"])
    total = by_age.sum(axis=1)
    return by_age / total[:, None], by_lgmet, lg_formed + jnp.log10(total), lgmet


def transmission(ask: SimpleNamespace, ssp: SSPData, info: Any, halo: Any, wave: Any, draws: Any) -> Any:
    """Fraction of light that dust transmits [galaxy, band, age], and A_V."""
    if "dust" in ask.take:
        uniforms = [draws[k] for k in ("av_uniform", "delta_uniform", "funo_uniform")]
        args = (*uniforms, info.logsm_obs, info.logssfr_obs, ssp, halo.z_obs, wave)
        both = (DIFFSKY.spspop_params.dustpop_params, DIFFSKY.scatter_params)
        trans, params = weights.compute_dust_attenuation(*args, *both)
        return trans, params.av[:, 0, -1]
    p = ask.dust
    av = relation_av(p, halo.lg_mstar, halo.lg_ssfr, draws["av"])
    curve = noll09_k_lambda(wave.ravel() * 1e-4, 0.85 - 1.9 * p.delta, p.delta).reshape(wave.shape)
    dimmed = _frac_transmission_from_k_lambda(curve, av[:, None])
    trans = p.f_unobscured + (1 - p.f_unobscured) * dimmed
    return jnp.broadcast_to(trans[..., None], (*trans.shape, len(ssp.ssp_lg_age_gyr))), av


def draw_randoms(key: Any, n: int) -> dict[str, Any]:
    normal, uniform = ("lgmet", "av", "flicker"), ("burst", "av_uniform", "delta_uniform", "funo_uniform")
    keys = jax.random.split(key, len(normal) + len(uniform))
    draws = {k: jax.random.normal(keys[i], (n,)) for i, k in enumerate(normal)}
    return draws | {k: jax.random.uniform(keys[3 + i], (n,)) for i, k in enumerate(uniform)}


def make_kernel(ask: SimpleNamespace, ssp: SSPData, surviving: np.ndarray, table: tuple) -> Any:
    """Compiled map from a chunk of halos to galaxies."""
    z_table, mags, wave_eff = table
    pop = DEFAULT_DIFFSTARPOP_PARAMS._make(
        ask.diffstarpop[name] for name in DEFAULT_DIFFSTARPOP_PARAMS._fields
    )

    @jax.jit
    def one(key: Any, halo: dict[str, Any], mah: Any) -> dict[str, Any]:
        sfh_key, other = jax.random.split(key)
        x = SimpleNamespace(**halo)
        infall = (x.upid, x.lgmu_infall, x.logmhost_infall, x.gyr_since_infall)
        drawn = starpop.mc_diffstarpop_wrapper(pop, sfh_key, mah, *infall, PLANCK15)
        info = starpop.get_diffstar_info(mah, drawn.sfh_params, x.t_obs, PLANCK15, FB, ask.n_table)
        smooth = weights.get_age_weights_smooth(info.t_table, info.sfh_table, ssp, x.t_obs)
        x.lg_mstar = info.logsm_obs + jnp.log10(smooth @ surviving)
        x.lg_ssfr = info.logssfr_obs + info.logsm_obs - x.lg_mstar
        x.is_q = drawn.mc_is_q
        draws = draw_randoms(other, x.z_obs.size)
        by_age, by_lgmet, lg_formed, lgmet = age_and_lgmet(ask, ssp, info, x, draws)
        wave = jax.vmap(lambda y: jnp.interp(x.z_obs, z_table, y), in_axes=1, out_axes=1)(wave_eff)
        trans, av = transmission(ask, ssp, info, x, wave, draws)
        light = 10 ** (-0.4 * interpolate_ssp_photmag_table(x.z_obs, z_table, mags))
        both = weights.combine_age_met_weights(by_age, by_lgmet)
        flux = weights._compute_obs_flux_from_weights(lg_formed, trans, jnp.ones_like(wave), light, both)
        kept = {"is_q": x.is_q, "lg_mstar": x.lg_mstar, "lg_ssfr": x.lg_ssfr, "flux": flux}
        sfh = jnp.stack(drawn.sfh_params, axis=1)
        return kept | {"lgmet": lgmet, "av": av, "flicker": draws["flicker"], "sfh": sfh}

    return one


def draw_lightcone(key: Any, ask: SimpleNamespace, index: int) -> tuple[dict[str, np.ndarray], Any]:
    """Halos and subhalos of one slice, as many as the solid angle holds, and their diffmah parameters."""
    (low, high), lgm_min = ask.slices[index], ask.lgm_min[index]
    # the cutoff of diffhalos itself, not that of diffsky's wrapper: the flow was trained from 10^10 up
    lc = mc_lc_data_sfh(
        key, low, high, lgm_min, lgm_min, ask.area_deg2, cosmo_params=PLANCK15, logmp_cutoff=10.0
    )
    central = np.asarray(lc.is_central) == 1
    upid = np.where(central, -1, np.asarray(lc.halo_indx))
    infall = (lc.logmp_infall, lc.logmhost_infall, lc.t_obs, lc.t_infall)
    halo = {
        "z_obs": lc.z_obs,
        "t_obs": lc.t_obs,
        "upid": upid,
        "lgmu_infall": lc.logmp_infall - lc.logmhost_infall,
        "logmhost_infall": lc.logmhost_infall,
        "gyr_since_infall": lc.t_obs - lc.t_infall,
        "p_merge": get_p_merge_from_merging_params(DIFFSKY.merging_params, *infall, upid),
        "host": lc.halo_indx,
    }
    return {k: np.asarray(v) for k, v in halo.items()}, [np.asarray(x) for x in lc.mah_params]


def in_chunks(
    kernel: Any, key: Any, halo: dict[str, np.ndarray], mah: list[np.ndarray], size: int
) -> dict[str, Any]:
    """All galaxies, chunk by chunk of equal size (the last repeats a few), so that one program does."""
    n, parts = len(halo["z_obs"]), []
    for start in range(0, n, size):
        rows = np.arange(start, start + size) % n
        key, this = jax.random.split(key)
        some = {k: jnp.asarray(v[rows]) for k, v in halo.items()}
        out = kernel(this, some, DEFAULT_MAH_PARAMS._make(jnp.asarray(x[rows]) for x in mah))
        parts.append({k: np.asarray(v)[: n - start] for k, v in out.items()})
    return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}


def satellites(ask: SimpleNamespace, rng: Any, halo: dict[str, np.ndarray], flux: np.ndarray) -> tuple:
    """Fluxes after satellites were lost, and which galaxies are left."""
    uniform, central = rng.random(len(flux)), halo["upid"] == -1
    if "merging" not in ask.take:
        return flux, central | (uniform < ask.satellite_survival)
    merged = get_mc_p_merge(uniform, halo["p_merge"])
    total = compute_x_tot_from_x_in_situ(flux, merged[:, None], np.ones((len(flux), 1)), halo["host"])
    return np.asarray(total), np.asarray(merged) < 0.5


def main(folder: Path) -> None:
    ask = json.loads((folder / "request.json").read_text(), object_hook=lambda d: SimpleNamespace(**d))
    ask.diffstarpop = vars(ask.diffstarpop)
    name = "ssp_flux_without_clouds" if "dust" in ask.take else "ssp_flux"
    ssp, surviving = read_ssp(folder / "ssp.h5", name, ask.metallicity_parts)
    filters = read_filters(folder / "filters.h5", ask.bands)
    size = LIGHT // len(ssp.ssp_lgmet)
    key, rng, columns = jax.random.key(ask.seed), np.random.default_rng(ask.seed), []
    for index, (low, high) in enumerate(ask.slices):
        key, halo_key, galaxy_key = jax.random.split(key, 3)
        z_table = np.linspace(low - 1e-3, high + 1e-3, N_Z)
        mags = get_precompute_ssp_mag_redshift_table(filters, ssp, z_table, PLANCK15)
        table = (z_table, mags, get_wave_eff_table(z_table, filters))
        halo, mah = draw_lightcone(halo_key, ask, index)
        made = in_chunks(make_kernel(ask, ssp, surviving, table), galaxy_key, halo, mah, size)
        flux, left = satellites(ask, rng, halo, made.pop("flux"))
        made["mag"] = -2.5 * np.log10(flux)
        left &= made["mag"][:, ask.selection_band] < ask.faint_mag + FAINTEST
        extra = {"z": halo["z_obs"], "t_obs": halo["t_obs"], "is_central": halo["upid"] == -1}
        made |= extra | {"mah": np.stack(mah, axis=1), "slice": np.full(len(left), index)}
        columns.append({k: v[left] for k, v in made.items()})
        print(f"slice {index}: {len(left)} halos, {left.sum()} galaxies near the limit", flush=True)
    np.savez(folder / "galaxies.npz", **{k: np.concatenate([c[k] for c in columns]) for k in columns[0]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
