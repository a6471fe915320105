"""The stages of a run, each reading what the former left in the run's folder.

``search`` finds where the posterior is, ``halos`` draws halos where the survey sees galaxies there, ``fit``
finds the best population and how well it is known, ``sample`` draws from the posterior and predicts,
``report`` writes the page to read. `run_all` does all five, and leaves out those whose results are there. A
stage that was killed goes on where it was. Nothing is written before the run file and the data passed every
check.
"""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.fisher import Identifiability, identifiability
from popinfer.infer.search import likelihood_at
from popinfer.inference_data import InferenceData
from popinfer.journal import began, kept_in
from popinfer.report import Outcome, RunSummary, outcome_of, write_report
from popinfer.report.pdf import pdf_maker
from popinfer.run.batches import batch_shape
from popinfer.run.fitting import FitResult, fit_population, read_fit, write_fit
from popinfer.run.folder import (
    RunFolder,
    at_work,
    check_writable,
    refuse_others,
    remove_pages,
    write_halos,
    write_json,
)
from popinfer.run.posterior import from_netcdf, sample_posterior, write_posterior
from popinfer.run.prepare import Population, Run, load_population, provenance_of
from popinfer.run.progress import Reporter, Silent
from popinfer.run.provenance import Provenance, named
from popinfer.run.resolution import galaxies_missing
from popinfer.run.run_summary import summary_of_run
from popinfer.run.search import (
    Region,
    draw_run_halos,
    read_region,
    search_posterior,
    write_region,
)
from popinfer.storage import only_process, read_sealed, write_sealed

_PARTS = 20  # of the report's bar; how many figures there are is known late


def search(run: Run, say: Reporter | None = None, *, fresh: bool = False) -> Region:
    """Find where the posterior is, on few halos.

    Parameters
    ----------
    run : Run
        Run file made ready.
    say : Reporter or None
        Hears about progress.
    fresh : bool
        Remove what its folder holds, whatever it is, and start over.

    Raises
    ------
    InputError
        The folder holds results of another run, or another process is at work there.
    """
    with at_work(run.folder, provenance_of(run), "fit", fresh=fresh):
        return _search(run, say or Silent())


def halos(run: Run, say: Reporter | None = None, region: Region | None = None) -> Population:
    """Draw the run's halos around the search's maxima."""
    refuse_others(run.folder, provenance_of(run), "fit")
    region = read_region(run) if region is None else region
    with at_work(run.folder, provenance_of(run), "fit"):
        return _halos(run, say or Silent(), region)


def fit(
    run: Run,
    say: Reporter | None = None,
    population: Population | None = None,
    region: Region | None = None,
) -> FitResult:
    """Fit the stored halos' population to the catalog."""
    refuse_others(run.folder, provenance_of(run), "fit")
    population = load_population(run) if population is None else population
    region = read_region(run) if region is None else region
    with at_work(run.folder, provenance_of(run), "fit"):
        return _fit(run, say or Silent(), population, region)


def sample(
    run: Run,
    say: Reporter | None = None,
    population: Population | None = None,
    result: FitResult | None = None,
) -> Outcome:
    """Sample the posterior around the stored fit; return the verdicts on draws and model."""
    refuse_others(run.folder, provenance_of(run), "fit")
    population = load_population(run) if population is None else population
    result = read_fit(run, population.data) if result is None else result
    with at_work(run.folder, provenance_of(run), "fit"):
        return _sample(run, say or Silent(), population, result)


def _search(run: Run, say: Reporter) -> Region:
    if not run.folder.posterior.exists():
        _write_config(run)
    with _stage(run, "search", say):
        region = search_posterior(run, say)
        write_region(run, region)
    return read_region(run)


def _halos(run: Run, say: Reporter, region: Region) -> Population:
    with _stage(run, "halos", say):
        start = began()
        for line in galaxies_missing(run, run.model.params_at(jnp.asarray(region.mixture.main.mean))):
            say.say(f"warning: {line}")
        with say.task("Halos", batch_shape(run.config.halos.n_per_slice)[0]) as update:
            batches = draw_run_halos(run, region, update)
        write_halos(run.folder, batches, run.fingerprint("halos"), time.perf_counter() - start)
    return load_population(run)


def _fit(run: Run, say: Reporter, population: Population, region: Region) -> FitResult:
    with _stage(run, "fit", say):
        write_fit(run, fit_population(run, population, region, say))
    return read_fit(run, population.data)


def _sample(run: Run, say: Reporter, population: Population, result: FitResult) -> Outcome:
    with _stage(run, "sample", say):
        idata = sample_posterior(run, population, result, say)
        summary = summary_of_run(run, population, result, idata)
        _store_draws(run, idata, summary)
    return outcome_of(idata, summary)


@contextlib.contextmanager
def _stage(run: Run, name: str, say: Reporter) -> Iterator[None]:
    """Keep what a stage computes until it is done, and say where it goes on."""
    with kept_in(run.folder.journal(name), provenance_of(run).identity) as journal:
        if journal.n_stored:
            say.say(f"{name}: goes on after {journal.n_stored} steps that an earlier process has kept")
        yield


def _write_config(run: Run) -> None:
    """Store what the results are made from, in full and as a run file."""
    provenance_of(run).write(run.folder.provenance)
    write_sealed(run.folder.config, run.config.to_yaml().encode(), "config", run.fingerprint("sample"))


def _store_draws(run: Run, idata: InferenceData, summary: RunSummary) -> None:
    """Store draws and summary; what is there of other draws goes first, so that nothing is mixed."""
    folder, identity = run.folder, run.fingerprint("sample")
    remove_pages(folder)
    folder.summary.unlink(missing_ok=True)
    digest = write_posterior(idata, folder.posterior, identity)
    _write_config(run)
    dataclasses.replace(summary, posterior=digest).write(folder.summary, identity)


def fisher(run: Run, say: Reporter | None = None) -> tuple[Identifiability, str]:
    """What the data can tell about each free parameter, and where that was evaluated.

    At the stored fit where there is one, else at the prior's centre; the search is made and halos are drawn
    where none are stored.
    """
    say = say or Silent()
    with at_work(run.folder, provenance_of(run), "fit"):
        population = _stored_population(run, say)
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
        content = {"evaluated_at": where, **result.to_dict()}
        write_json(run.folder.fisher, content, "fisher", run.fingerprint("fit"))
    return result, where


def _stored_population(run: Run, say: Reporter) -> Population:
    """The stored halos, with the search and the drawing of halos where they are missing."""
    if run.folder.halos.exists():
        return load_population(run)
    region = read_region(run) if run.folder.search.exists() else _search(run, say)
    return _halos(run, say, region)


def read_results(folder: RunFolder) -> tuple[InferenceData, RunSummary]:
    """Draws and numbers that the sample stage left; InputError when absent, damaged or of different runs."""
    stored = read_sealed(folder.posterior, "posterior", "sample")
    summary = RunSummary.read(folder.summary)
    if summary.posterior != stored.digest:
        raise InputError(
            f"{folder.summary}: of other draws than {folder.posterior}; run 'popinfer sample' again"
        )
    read_sealed(folder.config, "config", "sample", stored.identity)
    return from_netcdf(stored.content), summary


def refuse_other_run(folder: RunFolder, config: RunConfig) -> None:
    """InputError, with what differs, when a folder's draws are of another run file; no data are read."""
    stored = Provenance.read(folder.provenance)
    differences = stored.config_differences(Provenance.of(config, stored.files), "sample")
    if differences:
        raise InputError(
            f"{folder.path}: holds results of another run file: {named(differences)}. "
            f"'popinfer report {folder.path}' reports on what is there"
        )


def report(folder: RunFolder | Path, say: Reporter | None = None, *, pdf: bool = False) -> Outcome:
    """Write the report from what a run's folder holds; return the verdicts that it shows.

    Parameters
    ----------
    folder : RunFolder or Path
        Of the results.
    say : Reporter or None
        Hears about progress.
    pdf : bool
        Write the page as PDF too.

    Raises
    ------
    InputError
        Results are absent, damaged or of different runs; or a PDF can't be made here.
    """
    if pdf:
        pdf_maker()  # refused before anything is read
    folder = RunFolder(folder) if isinstance(folder, Path) else folder
    say = say or Silent()
    idata, summary = read_results(folder)
    check_writable(folder.path)
    with only_process(folder.path):
        return _report(folder, idata, summary, say, pdf=pdf)


def _report(
    folder: RunFolder, idata: InferenceData, summary: RunSummary, say: Reporter, *, pdf: bool = False
) -> Outcome:
    with say.task("Report", _PARTS) as update, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # relations are NaN where a mass has no galaxies

        def heard(done: int, total: int) -> None:
            update(round(_PARTS * done / total), "")

        write_report(idata, summary, folder.path, heard, pdf=pdf)
        return outcome_of(idata, summary)


def run_all(run: Run, say: Reporter | None = None, *, fresh: bool = False) -> Outcome:
    """All stages; those whose results are in the folder are left out.

    Parameters
    ----------
    run : Run
        Run file made ready.
    say : Reporter or None
        Hears about progress.
    fresh : bool
        Remove what the folder holds, whatever it is, and start over.

    Returns
    -------
    Outcome
        Whether the draws are converged, and whether the model describes the data.

    Raises
    ------
    InputError
        The folder holds results of another run, a damaged file, or another process is at work there.
    """
    say, folder = say or Silent(), run.folder
    depends = "sample" if folder.posterior.exists() else "fit"
    with at_work(folder, provenance_of(run), depends, fresh=fresh):
        _say_what_is_there(folder, say)
        region = read_region(run) if folder.search.exists() else _search(run, say)
        population = load_population(run) if folder.halos.exists() else _halos(run, say, region)
        fitted = folder.fit.exists()
        result = read_fit(run, population.data) if fitted else _fit(run, say, population, region)
        if not folder.summary.exists():
            _sample(run, say, population, result)
        return _report(folder, *read_results(folder), say)


def _say_what_is_there(folder: RunFolder, say: Reporter) -> None:
    done = [path.name for path in (folder.search, folder.halos, folder.fit, folder.summary) if path.exists()]
    if done:
        say.say(f"{folder.path}: goes on from {', '.join(done)}; --fresh starts over")
