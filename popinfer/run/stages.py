"""The stages of a run, each reading what the former left in the run's folder.

``search`` finds where the posterior is, ``halos`` draws halos where the survey sees galaxies there, ``fit``
finds the best population and how well it is known, ``sample`` draws from the posterior and predicts,
``report`` writes the page to read. `run_all` does all five. Nothing is written before the run file and the
data passed every check.
"""

import json
import time
import warnings
from pathlib import Path

import arviz as az
import numpy as np

from popinfer.errors import InputError, NotConvergedError
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.fisher import Identifiability, identifiability
from popinfer.infer.search import likelihood_at
from popinfer.report import RunSummary, Verdict, judge, write_report
from popinfer.run.batches import batch_shape
from popinfer.run.fitting import FitResult, fit_population, read_fit, write_fit
from popinfer.run.folder import RunFolder, check_fingerprint, check_writable, need, write_halos, write_text
from popinfer.run.posterior import sample_posterior, write_posterior
from popinfer.run.prepare import Population, Run, load_population
from popinfer.run.progress import Reporter, Silent
from popinfer.run.run_summary import summary_of_run
from popinfer.run.search import (
    Region,
    draw_run_halos,
    read_region,
    search_posterior,
    write_region,
)


def search(run: Run, say: Reporter | None = None) -> Region:
    """Find where the posterior is, on few halos."""
    region = search_posterior(run, say or Silent())
    run.folder.create()
    write_text(run.folder.config, run.config.to_yaml())
    write_region(run, region)
    return region


def halos(run: Run, say: Reporter | None = None, region: Region | None = None) -> Population:
    """Draw the run's halos around the search's maxima."""
    say, start, config = say or Silent(), time.perf_counter(), run.config
    region = read_region(run) if region is None else region
    with say.task("Halos", batch_shape(config.halos.n_per_slice)[0]) as update:
        batches = draw_run_halos(run, region, update)
    write_halos(run.folder, batches, run.fingerprint("halos"), time.perf_counter() - start)
    return load_population(run)


def fit(
    run: Run,
    say: Reporter | None = None,
    population: Population | None = None,
    region: Region | None = None,
) -> FitResult:
    """Fit the stored halos' population to the catalog."""
    population = load_population(run) if population is None else population
    region = read_region(run) if region is None else region
    result = fit_population(run, population, region, say or Silent())
    write_fit(run, result)
    return result


def fisher(run: Run, say: Reporter | None = None) -> tuple[Identifiability, str]:
    """What the data can tell about each free parameter, and where that was evaluated.

    At the stored fit where there is one, else at the prior's centre; the search is made and halos are drawn
    where none are stored.
    """
    say = say or Silent()
    if run.folder.halos.is_file():
        population = load_population(run)
    else:
        population = halos(run, say, read_region(run) if run.folder.search.is_file() else search(run, say))
    stored = read_fit(run, population.data) if run.folder.fit.is_file() else None
    with say.task("Information"):
        u = np.zeros(run.model.space.size) if stored is None else stored.approx.mean
        likelihood = (
            likelihood_at(population.counts, population.data, u)
            if stored is None
            else stored.surrogate.likelihood
        )
        information = likelihood.information(*log_counts_and_jacobian(population.counts, u)).fisher
    result = identifiability(run.model.space.names, information)
    where = "prior's centre" if stored is None else "best fit"
    content = {"fingerprint": run.fingerprint("fit"), "evaluated_at": where, **result.to_dict()}
    write_text(run.folder.fisher, json.dumps(content, indent=2) + "\n")
    return result, where


def sample(
    run: Run,
    say: Reporter | None = None,
    population: Population | None = None,
    result: FitResult | None = None,
) -> Verdict:
    """Sample the posterior around the stored fit; return the convergence gate's verdict."""
    say = say or Silent()
    population = load_population(run) if population is None else population
    result = read_fit(run, population.data) if result is None else result
    idata = sample_posterior(run, population, result, say)
    write_text(run.folder.config, run.config.to_yaml())
    write_posterior(idata, run.folder.posterior)
    write_text(run.folder.summary, summary_of_run(run, population, result, idata).to_json() + "\n")
    return judge(idata)


def read_results(folder: RunFolder) -> tuple[az.InferenceData, RunSummary]:
    """Draws and numbers that the sample stage left; InputError when they are absent or of different runs."""
    path = need(folder.posterior, "sample")
    summary = RunSummary.read(need(folder.summary, "sample"))
    try:
        idata = az.from_netcdf(str(path), engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: can't be read ({type(error).__name__}); run 'popinfer sample' again"
        ) from None
    check_fingerprint(folder.summary, summary.fingerprint, idata.posterior.attrs.get("fingerprint"), "sample")
    return idata, summary


def report(folder: RunFolder | Path, say: Reporter | None = None) -> Verdict:
    """Write the report from what a run's folder holds; return the verdict that it shows."""
    folder = RunFolder(folder) if isinstance(folder, Path) else folder
    say = say or Silent()
    idata, summary = read_results(folder)
    check_writable(folder.path)
    with say.task("Report"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # relations are NaN where a mass has no galaxies
        write_report(idata, summary, folder.path)
    return judge(idata)


def run_all(run: Run, say: Reporter | None = None, *, allow_unconverged: bool = False) -> Verdict:
    """All stages.

    Raises
    ------
    NotConvergedError
        After everything was written, when the convergence gate fails, unless `allow_unconverged`.
    """
    region = search(run, say)
    population = halos(run, say, region)
    result = fit(run, say, population, region)
    sample(run, say, population, result)
    verdict = report(run.folder, say)
    if not verdict.converged and not allow_unconverged:
        raise NotConvergedError(str(verdict))
    return verdict
