"""Closure: galaxies made by diffsky, another forward model, fitted by popinfer.

    python benchmarks/closure_diffsky.py --diffsky-python PYTHON [--take dust ...] [--run FILE] [--out FOLDER]

PYTHON imports diffsky, dsps, diffhalos and h5py (`pip install -c constraints.txt diffsky h5py` in an
environment of its own: they switch float64 on). `diffsky_mock.py`, run by it, draws an unweighted lightcone,
star formation histories and whether they are quenched with diffhalos' and diffstarpop's own Monte Carlo,
and their photometry with dsps' weights and diffsky's kernels on popinfer's SSP grid. Noise, selection and
slices are the run file's. popinfer fits the catalog with the run file's free parameters; printed are

- photometry: the same galaxies (their SFH, metallicity, dust) through popinfer's photometry;
- population: both populations at the truth, as the survey lists them;
- closure: (truth - posterior mean) / sd of each shared parameter, and the squared distance of all.

With ``--take`` (metallicity, dust, bursts, merging) the mock takes these from diffsky's defaults, not from
popinfer's relations: what then is shared are the SFH parameters alone. ``--n-table`` (SFRs), ``--ages``,
``--metallicities`` and ``--bands`` divide diffsky's numerical steps. The last line is one JSON object.
"""

import argparse
import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import arviz as az
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from diffmah.diffmah_kernels import DiffmahParams
from jaxtyping import PRNGKeyArray

from popinfer import RunConfig, load_config, precision, prepare, run_all
from popinfer.cosmology import age, distance_modulus
from popinfer.halos.lightcone import draw_slices
from popinfer.model import predict_galaxies
from popinfer.population.diffstarpop import HaloGalaxies, shift_families, star_formation_histories
from popinfer.population.parameters import with_values
from popinfer.population.relations import LG_SSFR_QUENCHED
from popinfer.random import numpy_generator, root_key, stream
from popinfer.run.build import detectable, in_precision, lightcones
from popinfer.run.prepare import Run
from popinfer.run.progress import Terminal
from popinfer.run.truth import truth_path
from popinfer.sps.dust import transmitted
from popinfer.sps.nebular import add_nebular

TAKE = ("metallicity", "dust", "bursts", "merging")
REFINE = {"n_table": 100, "ages": 1, "metallicities": 1, "bands": 1}  # diffsky's own steps
# inside the run file's prior, away from its centre and from the pilot of its halos
TRUTH = {
    "sfh.critical_mass": -0.15,
    "sfh.efficiency": 0.5,
    "sfh.quenching_mass": -0.3,
    "metallicity.zero_point": 0.06,
    "dust.lg_av": -0.25,
    "dust.slope_ssfr": 0.5,
    "template.4300": 0.0,
    "template.8300": 0.0,
}
OWN = {"metallicity": "metallicity.", "dust": "dust."}  # parameters without a truth when taken from diffsky
LEVELS = (50, 16, 84, 1, 99)  # percentiles
N_HALO = 16384  # a slice, for popinfer's population at the truth
HERE = Path(__file__).resolve().parent


def write_request(run: Run, args: argparse.Namespace, folder: Path) -> None:
    """What diffsky_mock.py reads: parameters, SSP grid with and without birth clouds, filter curves."""
    config, light = run.config, run.light
    params = with_values(run.model.params, TRUTH)
    pop = shift_families(params.sfh)
    request = {
        "seed": args.seed,
        "take": args.take,
        "refine": {name: getattr(args, name) for name in REFINE},
        "area_deg2": args.area,
        "slices": config.slices,
        "lgm_min": [config.lgm_min_of(i) for i in range(len(config.slices))],
        "bands": tuple(config.catalog.bands),
        "selection_band": list(config.catalog.bands).index(config.catalog.selection.band),
        "faint_mag": config.catalog.selection.faint_mag,
        "satellite_survival": float(params.satellites.survival),
        "diffstarpop": {k: float(v) for k, v in pop._asdict().items()},
    }
    for part in ("metallicity", "dust", "burstiness"):
        request[part] = {k: float(v) for k, v in getattr(params, part)._asdict().items()}
    request["dust"]["delta"] = float(params.dust_law.delta)
    (folder / "request.json").write_text(json.dumps(request, indent=2))
    clear, clouds = add_nebular(light.ssp, light.nebular, params.nebular.logu), run.model.forward.birth_cloud
    young = clouds.young(clear.ssp_lg_age_gyr, params.birth_cloud)[:, None]
    dimmed = 1 - young + young * transmitted(clouds(clear.ssp_wave, params.birth_cloud, 0.0))
    shining = dataclasses.replace(clear, ssp_flux=clear.ssp_flux * dimmed)
    with h5py.File(folder / "ssp.h5", "w") as store:
        for name in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux", "ssp_surviving_mstar_frac"):
            store[name] = np.asarray(getattr(shining, name))
        store["ssp_flux_without_clouds"] = np.asarray(clear.ssp_flux)
    with h5py.File(folder / "filters.h5", "w") as store:
        for band, wave, trans in zip(
            config.catalog.bands, light.filters.wave, light.filters.trans, strict=True
        ):
            store[f"{band}/wave"], store[f"{band}/transmission"] = np.asarray(wave), np.asarray(trans)


def diffsky_galaxies(python: str, folder: Path) -> dict[str, np.ndarray]:
    """Run the other code; NPROC keeps its batched Cholesky from deadlocking XLA's pool on few cores."""
    command = [python, str(HERE / "diffsky_mock.py"), str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "NPROC": "8", "PYTHONPATH": ""})
    return dict(np.load(folder / "galaxies.npz"))


def observe(key: PRNGKeyArray, run: Run, galaxies: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Galaxies that the survey lists, with measured magnitudes ``measured``, as many as it has at most."""
    normals = numpy_generator(stream(key, "noise")).standard_normal(galaxies["mag"].shape)
    measured = run.survey.noise(galaxies["mag"], normals)
    galaxies = galaxies | {"measured": np.asarray(measured)}
    listed = np.flatnonzero(run.survey.selection.sharp(galaxies["measured"]) > 0)
    some = []
    for index, n in enumerate(run.n_galaxies):
        order = numpy_generator(stream(key, "order", index))
        here = order.permutation(listed[galaxies["slice"][listed] == index])
        if len(here) < n:
            print(f"slice {index}: {len(here)} galaxies, the survey has {n}; a larger --area gives more")
        some.append(here[:n])
    rows = np.concatenate(some)
    return {k: v[rows] for k, v in galaxies.items()}


def write_catalog(run: Run, listed: dict[str, np.ndarray], args: argparse.Namespace) -> RunConfig:
    """Catalog in the run file's columns, truth beside it, and the configuration that fits it."""
    path = args.out / "diffsky.parquet"
    sigma = np.asarray(run.survey.noise.sigma(jnp.asarray(listed["measured"])))
    columns = {run.config.catalog.redshift: listed["z"]}
    for i, band in enumerate(run.config.catalog.bands.values()):
        columns |= {band.value: listed["measured"][:, i] - band.zero_point_mag, band.error: sigma[:, i]}
    pd.DataFrame(columns).to_parquet(path)
    truth_path(path).write_text(json.dumps({n: TRUTH[n] for n in shared(run, args.take)}, indent=2) + "\n")
    catalog = run.config.catalog.model_copy(update={"path": str(path.resolve()), "format": "auto"})
    error = {} if args.model_error is None else {"model_error": args.model_error}
    kernels = run.config.kernels.model_copy(update=error)
    changed = {"catalog": catalog, "kernels": kernels, "name": "closure_diffsky"}
    return run.config.model_copy(update=changed)


def shared(run: Run, take: list[str]) -> list[str]:
    """Free parameters that mean the same in both codes; template errors stand in for what differs."""
    own = tuple(OWN[part] for part in take if part in OWN) + (("template.",) if take else ())
    return [name for name in run.model.space.names if not name.startswith(own)]


def same_galaxies(run: Run, galaxies: dict[str, np.ndarray]) -> list[list[float]]:
    """popinfer's magnitudes minus diffsky's for its own galaxies, noise-free: `LEVELS` of each band."""
    model = run.model.forward
    params = with_values(run.model.params, TRUTH)
    logt0 = jnp.log10(age(model.cosmology, 0.0))
    difference = np.empty_like(galaxies["mag"])
    for index in range(len(run.config.slices)):
        tables = jax.tree.map(lambda x, i=index: x[i], run.model.tables)
        rows = galaxies["slice"] == index
        x = {k: jnp.asarray(v[rows]) for k, v in galaxies.items()}
        t = jnp.maximum(x["t_obs"][:, None] * (1 - tables.light.fractions), 1e-3)
        branches = HaloGalaxies(x["sfh"][:, :4], x["sfh"], jnp.zeros(len(t)))
        histories = jax.vmap(star_formation_histories, in_axes=(0, 0, 0, None, None))
        both = histories(branches, DiffmahParams(*x["mah"].T), t, logt0, model.cosmology.fb)
        sfr = jnp.where(x["is_q"][:, None], both[:, 1], both[:, 0])
        lookback = x["t_obs"][:, None] * tables.light.fractions
        flicker = jax.vmap(model.burstiness, in_axes=(None, 0, 0))
        sfr = sfr * flicker(params.burstiness, lookback, x["flicker"])
        flux = model._fluxes(params, tables, (sfr, x["lgmet"], x["av"], x["z"]))
        mag = -2.5 * jnp.log10(flux) + distance_modulus(model.cosmology, x["z"])[:, None]
        difference[rows] = np.asarray(mag) - galaxies["mag"][rows]
    return np.percentile(difference, LEVELS, axis=0).T.tolist()


def popinfer_galaxies(key: PRNGKeyArray, run: Run) -> list[dict[str, np.ndarray]]:
    """popinfer's listed population of each slice at the truth, weighted."""
    params = with_values(run.model.params, TRUTH)
    specs = [dataclasses.replace(one, n_halo=N_HALO) for one in lightcones(run.config)]
    specs = detectable(stream(key, "detectable"), run.config, run.survey_model, specs, params)
    halos = in_precision(run.config, draw_slices(stream(key, "halos"), specs))
    out = predict_galaxies(run.survey_model, params, halos)
    central = np.tile(np.asarray(halos.is_central), (1, 2)) > 0.5
    slices = []
    for i in range(len(specs)):
        mag = np.asarray(out.mag[i], float)
        weight = np.asarray(out.weight_all[i], float) * run.survey.selection.sharp(mag)
        columns = {"measured": mag, "weight": weight, "is_central": central[i]}
        slices.append(columns | {k: np.asarray(getattr(out, k)[i]) for k in ("lg_mstar", "lg_ssfr")})
    return slices


def spread(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Median and half the central 68 %."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    low, mid, high = np.interp(np.array([0.16, 0.5, 0.84]) * weight.sum(), below, values[order])
    return float(mid), float((high - low) / 2)


def summary(run: Run, x: dict[str, np.ndarray]) -> dict[str, float]:
    """Medians, widths and fractions of one listed population."""
    weight = x.get("weight", np.ones(len(x["lg_mstar"])))
    found, columns = {}, np.asarray(run.survey.features_of(x["measured"])).T
    named = dict(zip(run.config.features, columns, strict=True))
    for name, values in (named | {k: x[k] for k in ("lg_mstar", "lg_ssfr")}).items():
        found[f"{name} median"], found[f"{name} width"] = spread(values, weight)
    for name, flag in (("quenched", x["lg_ssfr"] < LG_SSFR_QUENCHED), ("satellites", ~x["is_central"])):
        found[f"fraction {name}"] = float(np.average(flag, weights=weight))
    return found


def compare(key: PRNGKeyArray, run: Run, listed: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of the population table; ``sd`` is diffsky's counting noise, by resampling its galaxies."""
    rng, rows = numpy_generator(stream(key, "resampling")), []
    for index, ours in enumerate(popinfer_galaxies(stream(key, "population"), run)):
        here = {k: v[listed["slice"] == index] for k, v in listed.items()}
        n = len(here["z"])
        again = (rng.integers(0, n, n) for _ in range(100))
        boot = [summary(run, {k: v[i] for k, v in here.items()}) for i in again]
        theirs, mine = summary(run, here), summary(run, ours)
        for name, value in theirs.items():
            sd = float(np.std([one[name] for one in boot]))
            row = {"slice": index, "what": name, "diffsky": value, "popinfer": mine[name], "sd": sd}
            rows.append(row | {"sigma": (mine[name] - value) / sd})
    return rows


def fit(run: Run, names: list[str], say: Terminal) -> dict[str, Any]:
    """Run popinfer; posterior against truth in sigmas, squared distance with the posterior's covariance."""
    outcome = run_all(run, say)
    stored = json.loads(run.folder.summary.read_text())
    posterior = az.from_netcdf(str(run.folder.posterior), engine="h5netcdf").posterior
    draws = np.stack([np.asarray(posterior[name]).ravel() for name in names])
    truth, mean, sd = np.array([TRUTH[name] for name in names]), draws.mean(axis=1), draws.std(axis=1)
    sigma, chi2 = (truth - mean) / sd, (truth - mean) @ np.linalg.solve(np.cov(draws), truth - mean)
    columns = {"truth": truth, "mean": mean, "sd": sd, "sigma": sigma}
    table = {name: {k: float(v[i]) for k, v in columns.items()} for i, name in enumerate(names)}
    goodness = {k: stored[k] for k in ("chi2", "n_eff", "p_value")}
    return {"outcome": str(outcome), "fit": goodness, "closure": table, "distance": float(chi2)}


def report(result: dict[str, Any], bands: tuple[str, ...]) -> None:
    if result["photometry"]:
        print("\nphotometry: popinfer - diffsky [mag], the same galaxies")
        print("band   median     16 %     84 %      1 %     99 %")
        for band, row in zip(bands, result["photometry"], strict=True):
            print(f"{band:4s}" + "".join(f"{x:9.4f}" for x in row))
    print("\npopulation at the truth\nslice  what                  diffsky  popinfer   sd      sigma")
    for row in result["population"]:
        numbers = "".join(f"{row[k]:9.4f}" for k in ("diffsky", "popinfer", "sd"))
        print(f"{row['slice']:<7d}{row['what']:20s}{numbers} {row['sigma']:7.1f}")
    if "closure" not in result:
        return
    print("\nclosure\nparameter                 truth     mean       sd   sigma")
    for name, row in result["closure"].items():
        print(f"{name:24s}{row['truth']:7.3f}{row['mean']:9.3f}{row['sd']:9.3f}{row['sigma']:8.2f}")
    print(f"squared distance {result['distance']:.1f} for {len(result['closure'])} parameters")
    print("goodness of fit: chi2 {chi2:.1f} for {n_eff:.1f}, p = {p_value:.3f}".format(**result["fit"]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--diffsky-python", required=True, help="a Python that can import diffsky")
    parser.add_argument("--run", default=str(HERE / "closure_diffsky.yaml"), help="run file")
    parser.add_argument("--out", type=Path, default=Path("results/closure_diffsky"))
    parser.add_argument("--take", nargs="*", choices=TAKE, default=[], help="parts from diffsky's defaults")
    for name, own in REFINE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=own, help="finer if more")
    parser.add_argument("--area", type=float, default=250.0, help="square degrees of the mock")
    parser.add_argument("--no-fit", action="store_true", help="only compare photometry and populations")
    parser.add_argument("--model-error", type=float, help="kernels.model_error; the run file's when absent")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = parse()
    precision.start(cache_dir=os.environ.get("POPINFER_CACHE"))
    args.out.mkdir(parents=True, exist_ok=True)
    say = Terminal()
    run = prepare(load_config(args.run), args.out / "survey", say)
    write_request(run, args, args.out)
    with say.task("Galaxies of diffsky"):
        galaxies = diffsky_galaxies(args.diffsky_python, args.out)
    key = stream(root_key(args.seed), "closure")
    listed = observe(stream(key, "observed"), run, galaxies)
    fitted = prepare(write_catalog(run, listed, args), args.out / "fit", say)
    options = {k: getattr(args, k) for k in ("take", *REFINE, "seed")}
    options |= {"model_error": fitted.config.kernels.model_error, "n_galaxies": fitted.n_galaxies}
    result: dict[str, Any] = options | {"photometry": [] if args.take else same_galaxies(run, listed)}
    result["population"] = compare(stream(key, "compared"), run, listed)
    if not args.no_fit:
        result |= fit(fitted, shared(run, args.take), say)
    report(result, run.survey.bands)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
