"""Galaxies of diffsky's kernels: the other code's half of `closure_diffsky.py`, run by a Python of its own.

    python diffsky_mock.py FOLDER

reads request.json, ssp.h5 and filters.h5 (DSPS layout) there and writes galaxies.npz. Nothing of popinfer is
imported. diffhalos draws an unweighted lightcone of halos and subhalos, diffstarpop draws each galaxy's star
formation history and whether it is quenched, and `diffsky_light.py` makes their light, with the request's
``refine`` for galaxies near the survey's limit. The fate of satellites is diffsky's own where the request's
``take`` names merging.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffsky.experimental import mc_diffstarpop_wrappers as starpop
from diffsky.experimental.kernels import ssp_weight_kernels as weights
from diffsky.experimental.lc_generators.lc_data_sfh import mc_lc_data_sfh
from diffsky.merging import compute_x_tot_from_x_in_situ
from diffsky.merging.merging_kernels import get_mc_p_merge
from diffsky.merging.merging_model import get_p_merge_from_merging_params
from diffsky.param_utils.diffsky_param_wrapper_merging import DEFAULT_PARAM_COLLECTION as DIFFSKY
from diffsky_light import make_light, read_filters, read_ssp
from diffstar.defaults import FB
from diffstar.diffstarpop import DEFAULT_DIFFSTARPOP_PARAMS
from dsps.cosmology.flat_wcdm import PLANCK15
from dsps.data_loaders.defaults import SSPData

LIGHT = 1.5e7  # galaxies times bands times SSPs at once
FAINTEST = 0.5  # mag beyond the faint limit that are still written, for noise to scatter in
ROUGH = 0.2  # mag by which unrefined light may be off
UNREFINED = SimpleNamespace(n_table=100, ages=1, metallicities=1, bands=1)
N_Z = 12  # redshifts of diffsky's magnitude table
WRITTEN = ["z", "t_obs", "is_central", "slice", "mah", "sfh", "is_q"]
WRITTEN += ["lg_mstar", "lg_ssfr", "lgmet", "av", "flicker", "mag"]


def draw_randoms(key: Any, n: int) -> dict[str, Any]:
    normal = ["lgmet_normal", "av_normal", "flicker"]
    uniform = ["burst", "av_uniform", "delta_uniform", "funo_uniform"]
    keys = jax.random.split(key, len(normal) + len(uniform))
    draws = {k: jax.random.normal(keys[i], (n,)) for i, k in enumerate(normal)}
    return draws | {k: jax.random.uniform(keys[3 + i], (n,)) for i, k in enumerate(uniform)}


def make_histories(ask: SimpleNamespace, ssp: SSPData, surviving: np.ndarray) -> Any:
    """Compiled map from a chunk of halos to star formation histories and the galaxies' other draws."""
    pop = DEFAULT_DIFFSTARPOP_PARAMS._make(
        ask.diffstarpop[name] for name in DEFAULT_DIFFSTARPOP_PARAMS._fields
    )

    @jax.jit
    def one(key: Any, halo: dict[str, Any]) -> dict[str, Any]:
        sfh_key, other = jax.random.split(key)
        x = SimpleNamespace(**halo)
        mah = DEFAULT_MAH_PARAMS._make(x.mah.T)
        infall = (x.upid, x.lgmu_infall, x.logmhost_infall, x.gyr_since_infall)
        drawn = starpop.mc_diffstarpop_wrapper(pop, sfh_key, mah, *infall, PLANCK15)
        info = starpop.get_diffstar_info(mah, drawn.sfh_params, x.t_obs, PLANCK15, FB, ask.refine.n_table)
        smooth = weights.get_age_weights_smooth(info.t_table, info.sfh_table, ssp, x.t_obs)
        lg_mstar = info.logsm_obs + jnp.log10(smooth @ surviving)
        made = {"is_q": drawn.mc_is_q, "lg_mstar": lg_mstar, "sfh": jnp.stack(drawn.sfh_params, axis=1)}
        made["lg_ssfr"] = info.logssfr_obs + info.logsm_obs - lg_mstar
        return made | draw_randoms(other, x.z_obs.size)

    return one


def draw_lightcone(key: Any, ask: SimpleNamespace, index: int) -> dict[str, np.ndarray]:
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
        "mah": np.stack(lc.mah_params, axis=1),
    }
    return {k: np.asarray(v) for k, v in halo.items()}


def in_chunks(kernel: Any, key: Any, rows: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """All rows, chunk by chunk of equal size (the last repeats a few), so that one program does."""
    n, parts = len(rows["z_obs"]), []
    for start in range(0, n, size):
        some = np.arange(start, start + size) % n
        key, this = jax.random.split(key)
        out = kernel(this, {k: jnp.asarray(v[some]) for k, v in rows.items()})
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


def galaxies_of(
    ask: SimpleNamespace, folder: Path, keys: tuple[Any, Any], rng: Any, index: int
) -> dict[str, np.ndarray]:
    """Galaxies of one slice near the survey's limit; how near is first judged by unrefined light."""
    name = "ssp_flux_without_clouds" if "dust" in ask.take else "ssp_flux"
    low, high = ask.slices[index]
    z_table = np.linspace(low - 1e-3, high + 1e-3, N_Z)
    ssp, surviving = read_ssp(folder / "ssp.h5", name)
    halo = draw_lightcone(keys[0], ask, index)
    halo |= in_chunks(make_histories(ask, ssp, surviving), keys[1], halo, 4096)

    def light(
        bands: list[str], refine: SimpleNamespace, rows: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        filters, shares = read_filters(folder / "filters.h5", bands, refine.bands)
        n_light = ssp.ssp_flux[..., 0].size * refine.ages * refine.metallicities * len(filters)
        kernel = make_light(ask, refine, ssp, filters, z_table)
        made = in_chunks(kernel, keys[1], rows, int(LIGHT // n_light) + 1)
        made["flux"] = np.einsum("gbp,bp->gb", made["flux"].reshape(-1, *shares.shape), shares)
        return made

    if "merging" not in ask.take:
        rough = light([ask.bands[ask.selection_band]], UNREFINED, halo)["flux"][:, 0]
        near = -2.5 * np.log10(rough) < ask.faint_mag + FAINTEST + ROUGH
        halo = {k: v[near] for k, v in halo.items()}
    made = halo | light(ask.bands, ask.refine, halo)
    flux, left = satellites(ask, rng, halo, made.pop("flux"))
    made |= {
        "mag": -2.5 * np.log10(flux),
        "is_central": halo["upid"] == -1,
        "slice": np.full(len(left), index),
    }
    made["z"] = made["z_obs"]
    left &= made["mag"][:, ask.selection_band] < ask.faint_mag + FAINTEST
    print(f"slice {index}: {left.sum()} galaxies near the limit", flush=True)
    return {k: made[k][left] for k in WRITTEN}


def main(folder: Path) -> None:
    ask = json.loads((folder / "request.json").read_text(), object_hook=lambda d: SimpleNamespace(**d))
    ask.diffstarpop = vars(ask.diffstarpop)
    key, rng, columns = jax.random.key(ask.seed), np.random.default_rng(ask.seed), []
    for index in range(len(ask.slices)):
        key, halo_key, galaxy_key = jax.random.split(key, 3)
        columns.append(galaxies_of(ask, folder, (halo_key, galaxy_key), rng, index))
    np.savez(folder / "galaxies.npz", **{k: np.concatenate([c[k] for c in columns]) for k in WRITTEN})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
