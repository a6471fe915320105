"""The sample stage: draws of the posterior, predictions, derived relations, stored as one NetCDF file."""

import dataclasses
import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from popinfer.infer.checked import CheckedSpec, Sampled, sample_checked
from popinfer.infer.counts import evaluate
from popinfer.infer.draw_tables import named_draws
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.predictive import observed_groups, predict
from popinfer.infer.sample import Draws, NutsSpec, SmcSpec, nuts, smc
from popinfer.population.parameters import fiducial_params
from popinfer.population.relations import GRIDS, Z_DENSITY, Z_RELATIONS, Relations, summarise
from popinfer.random import numpy_generator, stream
from popinfer.run.checks import Checker, kernel_centers
from popinfer.run.fitting import FitResult
from popinfer.run.folder import atomic
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter

N_PRIOR = 2000
N_RELATION_HALOS = 4096  # in each sample: median stellar masses are known to 0.01 to 0.03 dex then
SPECS: dict[str, Callable[..., Any]] = {"nuts": CheckedSpec, "nuts_exact": NutsSpec, "smc": SmcSpec}
TITLES = {
    "nuts": "NUTS on the surrogate, exact weights",
    "nuts_exact": "NUTS on the exact density",
    "smc": "Tempered particles",
}
PACKAGES = (
    "popinfer",
    "jax",
    "jaxlib",
    "numpy",
    "equinox",
    "optax",
    "blackjax",
    "arviz",
    "diffmah",
    "diffstar",
    "diffhalos",
    "astro-sedpy",
    "h5py",
    "xarray",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def sample_posterior(run: Run, population: Population, fit: FitResult, say: Reporter) -> az.InferenceData:
    """Draw from the posterior and predict; nothing is written but a test file that is removed again."""
    attrs = _attributes(run)
    _test_write(run, attrs)
    start = time.perf_counter()
    sampled = draw_posterior(run, population, fit, say)
    draws = sampled.draws
    idata = judged_groups(run, sampled, attrs)
    idata.add_groups({"prior": named_draws(run.model.space, _prior_draws(run))})
    sampling = time.perf_counter() - start
    chosen = _thin(draws.u, run.config.predictive.n_draws)
    checker = Checker.of(run, population, np.asarray(fit.approx.mean), say)
    predicted, observed = _predictions(run, population, fit, chosen, say, checker)
    idata.add_groups({"posterior_predictive": predicted, "observed_data": observed})
    idata.add_groups({"checks": checker.group(fit)})
    idata.add_groups({"derived": _derived(run, chosen, say)})
    total = time.perf_counter() - start
    idata.posterior.attrs |= {"wall_time_s": total, "sampling_s": sampling}
    return idata


def write_posterior(idata: az.InferenceData, path: Path) -> None:
    """Write an InferenceData atomically."""
    with atomic(path) as temporary:
        idata.to_netcdf(str(temporary), engine="h5netcdf")


def _attributes(run: Run) -> dict[str, Any]:
    """What a reader of the file alone must know; NetCDF holds strings and numbers only."""
    attrs: dict[str, Any] = {
        "run": run.config.name,
        "config": run.config.to_yaml(),
        "fingerprint": run.fingerprint("sample"),
        "seed": run.config.seed,
        "precision": run.config.precision,
        "sampler": run.config.sample.kind,
    }
    attrs |= {f"version {name}": version for name, version in versions().items()}
    # names of files hold slashes, which netCDF4 refuses in names of attributes
    return attrs | {"sha256": json.dumps(run.hashes())}


def _test_write(run: Run, attrs: dict[str, Any]) -> None:
    """Write and remove a small file: a full disk or a refused attribute shows before hours of sampling."""
    tiny = named_draws(run.model.space, np.zeros((1, 2, run.model.space.size)), attrs)
    path = run.folder.path / ".test.nc"
    write_posterior(az.InferenceData(posterior=tiny), path)
    path.unlink()


def judged_groups(run: Run, sampled: Sampled, attrs: dict[str, Any]) -> az.InferenceData:
    """The groups that the convergence gate looks at."""
    groups = {
        "posterior": named_draws(run.model.space, sampled.draws.u, attrs),
        "sample_stats": sample_statistics(sampled.draws),
    }
    if sampled.chains is not None:
        groups["chains"] = named_draws(run.model.space, sampled.chains.u)
        groups["chain_stats"] = xr.Dataset(
            {k: (("chain", "draw"), v) for k, v in sampled.chains.stats.items()}
        )
    idata = az.InferenceData()
    idata.add_groups(groups)
    return idata


def draw_posterior(run: Run, population: Population, fit: FitResult, say: Reporter) -> Sampled:
    """Draw with the run file's sampler."""
    settings, key = run.config.sample, stream(run.key, "sample")
    spec = SPECS[settings.kind](**settings.model_dump(exclude={"kind"}))
    with say.task(TITLES[settings.kind], spec.n_steps) as update:
        if isinstance(spec, CheckedSpec):
            started = population.counts, fit.emulation, fit.mixture
            sampled = sample_checked(
                stream(key, "nuts"), *started, spec, lambda done, _, text: update(done, text)
            )
        else:
            density = LogDensity.of(population.counts, fit.emulation.likelihood)
            sampler: Callable[..., Draws] = nuts if isinstance(spec, NutsSpec) else smc
            draws = sampler(
                stream(key, settings.kind),
                density,
                fit.mixture,
                spec,
                lambda done, _, text: update(done, text),
            )
            sampled = Sampled(draws, None, fit.emulation)
    draws = sampled.draws
    draws.attrs["region_settled"] = int(fit.settled)
    tried = draws.u if sampled.chains is None else sampled.chains.u
    draws.attrs["missed_mass"] = fit.mixture.missed(tried.reshape(-1, tried.shape[-1]))
    return sampled


def sample_statistics(draws: Draws) -> xr.Dataset:
    """Sampler statistics; arrays of all proposals get an axis of their own."""
    variables: dict[str, Any] = {k: (("chain", "draw"), v) for k, v in draws.stats.items()}
    attrs = {}
    for name, value in draws.attrs.items():
        if isinstance(value, np.ndarray):
            variables[name] = (("proposal",), value.ravel())
        else:
            attrs[name] = value
    return xr.Dataset(variables, attrs=attrs)


def _prior_draws(run: Run) -> np.ndarray:
    return numpy_generator(stream(run.key, "prior")).normal(size=(1, N_PRIOR, run.model.space.size))


def _thin(u: np.ndarray, n: int) -> np.ndarray:
    """Evenly spaced draws of all chains, [n, par]."""
    flat = u.reshape(-1, u.shape[-1])
    return flat[np.linspace(0, len(flat) - 1, min(n, len(flat))).round().astype(int)]


def _predictions(
    run: Run, population: Population, fit: FitResult, draws: np.ndarray, say: Reporter, checker: Checker
) -> tuple[xr.Dataset, xr.Dataset]:
    """Posterior predictive and observed groups; the checker sees every draw."""
    config, survey, kernels = run.config, run.survey, run.survey.kernels
    bins, noise, halos = checker.bins, checker.histogram_noise, population.some_halos
    mask = np.asarray(kernels.mask) > 0
    numbers: list[np.ndarray] = []
    n = len(draws)
    scale = np.concatenate([np.zeros(0), *run.survey_model.scales])

    @jax.jit
    def listed(mag: Array, weight: Array) -> tuple[Array, Array]:
        return survey.listed(mag, run.survey.features_of(mag), weight)

    def model(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        galaxies = population.galaxies(draws[index], halos)
        features, weight = (np.asarray(x) for x in listed(galaxies.mag, galaxies.weight))
        checker.add(features, weight, log_counts[index])
        statistics = np.exp(log_counts[index])
        numbers.append(statistics[mask.size :] / scale)
        return features, weight, np.where(mask, statistics[: mask.size].reshape(mask.shape), 0.0)

    with say.task("Predictions", 2 * n) as update:
        log_counts = evaluate(population.counts, draws, lambda done: update(done, "")).values
        predicted = predict(n, model, bins, run.n_galaxies, noise, lambda done, _: update(n + done, ""))
    observed = observed_groups(
        bins,
        survey.features,
        np.asarray(config.slices, float),
        np.where(mask, np.asarray(kernels.observed), 0.0),
        np.where(mask, fit.count_sd[: mask.size].reshape(mask.shape), 0.0),
    )
    observed["kernel_center"] = (("slice", "kernel", "feature"), kernel_centers(kernels), {"unit": "mag"})
    if survey.abundances:
        predicted["abundance"] = (("chain", "draw", "number"), np.stack(numbers)[None])
        observed["abundance"] = (("number",), np.concatenate([a.observed for a in survey.abundances]))
        sd = np.concatenate([np.sqrt(np.diag(a.cov)) for a in survey.abundances])
        observed["abundance_sd"] = (("number",), sd)
        observed["abundance_name"] = (("number",), [name for a in survey.abundances for name in a.names])
    return predicted, observed


def _derived(run: Run, draws: np.ndarray, say: Reporter) -> xr.Dataset:
    """Relations between galaxies and halos: the ``derived`` group of `popinfer.report`."""
    model = run.model
    with say.task("Derived relations", len(draws) + 1) as update:
        fractions = np.asarray(model.tables.light.fractions)[0]
        key = stream(run.key, "relations")
        relations = Relations.build(key, model.cosmology, run.ssp, fractions, N_RELATION_HALOS)
        compiled = eqx.filter_jit(relations)
        rows = []
        fiducial = fiducial_params(run.config.model.sfh_calibration, model.names)
        for params in [fiducial, *(model.params_at(jnp.asarray(u)) for u in draws)]:
            population, density = compiled(jax.tree.map(jnp.asarray, params))
            rows.append(summarise(population) | {"csfrd": np.asarray(density)})
            update(len(rows), "")
    axes = {"smhm": "lgmh", "quenched_fraction": "lgmstar", "lg_ssfr": "lgmstar", "csfrd": "z"}
    variables: dict[str, Any] = {}
    for name, axis in axes.items():
        attrs: dict[str, Any] = {} if name == "csfrd" else {"z": Z_RELATIONS}
        if name == "lg_ssfr":
            attrs["definition"] = "star_forming"
        variables[name] = (("draw", axis), np.stack([row[name] for row in rows[1:]]), attrs)
        variables[f"{name}_fiducial"] = ((axis,), rows[0][name])
    coords = {f.name: getattr(GRIDS, f.name) for f in dataclasses.fields(GRIDS)} | {
        "z": np.asarray(Z_DENSITY)
    }
    return xr.Dataset(variables, coords=coords)
