"""The sample stage: draws of the posterior, predictions, derived relations, stored as one NetCDF file."""

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import jax.numpy as jnp
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

from popinfer.components import load_plug_in
from popinfer.config.inference import OwnSamplerConfig
from popinfer.errors import InputError
from popinfer.infer.counts import log_counts
from popinfer.infer.draw_tables import named_draws
from popinfer.infer.draws import Draws, Sampler
from popinfer.infer.exact_weights import ExactWeightsSpec, SampledPosterior, sample_with_exact_weights
from popinfer.infer.laplace import Mixture
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.nuts import NutsSpec, nuts
from popinfer.infer.tempered import SmcSpec, smc
from popinfer.inference_data import InferenceData, add_groups, from_groups, group_names, read_group
from popinfer.journal import began
from popinfer.random import numpy_generator, stream
from popinfer.run.fitting import FitResult
from popinfer.run.halo_comparison import simulation_group
from popinfer.run.predictions import derived_relations, predict_survey
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter, with_total
from popinfer.run.provenance import versions
from popinfer.storage import write_sealed

N_PRIOR = 2000
SPECS: dict[str, Callable[..., Any]] = {"nuts": ExactWeightsSpec, "nuts_exact": NutsSpec, "smc": SmcSpec}
TITLES = {
    "nuts": "NUTS on the surrogate, exact weights",
    "nuts_exact": "NUTS on the exact density",
    "smc": "Tempered particles",
}


def sample_posterior(run: Run, population: Population, fit: FitResult, say: Reporter) -> InferenceData:
    """Draw from the posterior and predict; nothing is written."""
    attrs, start = _attributes(run), began()
    sampled = draw_posterior(run, population, fit, say)
    draws = sampled.draws
    idata = groups_for_the_gate(run, sampled, fit.mixture, attrs)
    sampling = time.perf_counter() - start
    chosen = _thin(draws.u, run.config.predictive.n_draws)
    add_groups(idata, predict_survey(run, population, fit, chosen, say))
    add_groups(idata, {"derived": derived_relations(run, np.asarray(fit.approx.mean), chosen, say)})
    simulation = simulation_group(run, run.model.params_at(jnp.asarray(fit.approx.mean)))
    if simulation is not None:
        add_groups(idata, {"simulation": simulation})
    total = time.perf_counter() - start
    idata["posterior"].attrs |= {"wall_time_s": total, "sampling_s": sampling}
    return idata


def write_posterior(idata: InferenceData, path: Path, identity: str) -> str:
    """Store an InferenceData; where that can't be done, in the folder of temporary files.

    Returns
    -------
    str
        Hash by which the summary names these draws.

    Raises
    ------
    InputError
        The file can't be written; the message says where the draws are kept instead.
    """
    content = to_netcdf(idata)
    try:
        return write_sealed(path, content, "posterior", identity)
    except InputError as error:
        run = read_group(idata, "posterior").attrs["run"]
        elsewhere = Path(tempfile.gettempdir()) / f"popinfer-{run}-posterior.nc"
        try:
            write_sealed(elsewhere, content, "posterior", identity)
        except InputError:
            raise error from None
        raise InputError(f"{error}. The draws are kept in {elsewhere}") from None


def to_netcdf(idata: InferenceData) -> bytes:
    """An InferenceData as a NetCDF file, made in memory: HDF5's own writing crashes when a disk is full."""
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as store:
        for group in group_names(idata):
            data = read_group(idata, group)
            encoding = {name: {"zlib": True} for name, x in data.variables.items() if x.dtype.kind in "biuf"}
            data.dump_to_store(H5NetCDFStore(store, group=group), encoding=encoding)
    return buffer.getvalue()


def from_netcdf(content: bytes) -> InferenceData:
    """Undo `to_netcdf`."""
    with h5py.File(io.BytesIO(content), "r") as store:
        names = list(store)
    groups = {}
    for name in names:
        with xr.open_dataset(io.BytesIO(content), group=name, engine="h5netcdf") as data:
            groups[name] = data.load()
    return from_groups(groups)


def _attributes(run: Run) -> dict[str, Any]:
    """What a reader of the file alone must know; NetCDF holds strings and numbers only."""
    attrs: dict[str, Any] = {
        "run": run.config.name,
        "config": run.config.to_yaml(),
        "seed": run.config.seed,
        "precision": run.config.precision,
        "sampler": run.config.sample.kind,
    }
    attrs |= {f"version {name}": version for name, version in versions().items()}
    # names of files hold slashes, which netCDF4 refuses in names of attributes
    return attrs | {"sha256": json.dumps(run.hashes())}


def groups_for_the_gate(
    run: Run, sampled: SampledPosterior, mixture: Mixture, attrs: dict[str, Any]
) -> InferenceData:
    """The groups that the convergence gate looks at."""
    space = run.model.space
    groups = {
        "posterior": named_draws(space, sampled.draws.u, attrs),
        "prior": named_draws(space, _prior_draws(run)),
        "sample_stats": sample_statistics(sampled.draws),
        "unconstrained": unconstrained_group(space.names, sampled.draws, mixture),
    }
    if sampled.chains is not None and sampled.proposals is not None:
        groups["chains"] = named_draws(space, sampled.chains.u)
        groups["chain_stats"] = sample_statistics(sampled.chains)
        lost = ~np.isfinite(sampled.draws.attrs["log_weight"])
        undefined = np.concatenate([sampled.surrogate.undefined, sampled.proposals[lost]])
        groups["unconstrained"] = groups["unconstrained"].assign(
            undefined=(("undefined_point", "par"), undefined),
            chains=(("surrogate_chain", "surrogate_draw", "par"), sampled.chains.u),
            proposals=(("proposal", "par"), sampled.proposals),
            nodes=(("node", "par"), sampled.surrogate.nodes.points),
        )
    return from_groups(groups)


def unconstrained_group(names: tuple[str, ...], draws: Draws, mixture: Mixture) -> xr.Dataset:
    """Vectors of draws and of the search's maxima, from which the gate computes again what it judges."""
    arrays = {
        "posterior": (("chain", "draw", "par"), draws.u),
        "maximum_mean": (("maximum", "par"), np.stack([part.mean for part in mixture.components])),
        "maximum_cov": (("maximum", "par", "par_"), np.stack([part.cov for part in mixture.components])),
        "maximum_weight": (("maximum",), mixture.weights),
    }
    return xr.Dataset(arrays, coords={"par": list(names)})


def draw_posterior(run: Run, population: Population, fit: FitResult, say: Reporter) -> SampledPosterior:
    """Draw with the run file's sampler."""
    settings, key = run.config.sample, stream(run.key, "sample")
    if isinstance(settings, OwnSamplerConfig):
        spec = load_plug_in("sampler", settings.component, settings.settings)
        title = type(spec).__name__
    else:
        spec = SPECS[settings.kind](**settings.model_dump(exclude={"kind"}))
        title = TITLES[settings.kind]
    with say.task(title, spec.n_steps) as update:
        if isinstance(spec, Sampler):
            density = LogDensity.of(population.counts, fit.surrogate.likelihood)
            draws = spec(stream(key, "own"), density, fit.mixture, with_total(update))
            draws.attrs["sampler"] = "own"
            sampled = SampledPosterior(draws, None, fit.surrogate)
        elif isinstance(spec, ExactWeightsSpec):
            problem = population.counts, fit.surrogate, fit.mixture
            sampled = sample_with_exact_weights(stream(key, "nuts"), *problem, spec, with_total(update))
        else:
            density = LogDensity.of(population.counts, fit.surrogate.likelihood)
            sampler: Callable[..., Draws] = nuts if isinstance(spec, NutsSpec) else smc
            draws = sampler(
                stream(key, settings.kind),
                density,
                fit.mixture,
                spec,
                with_total(update),
            )
            sampled = SampledPosterior(draws, None, fit.surrogate)
    best, likelihood = np.asarray(fit.approx.mean), sampled.surrogate.likelihood
    sampled.draws.attrs.update(
        region_settled=int(fit.settled),
        halo_share=float(np.max(fit.halo_direction)),
        best_fit_lp=likelihood.log_posterior(log_counts(population.counts, best), best),
    )
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
