"""Calibration of a run file's inference: surveys simulated from its prior, each analysed as the real one is.

How surveys are simulated, and what of the real one they keep, says `popinfer.run.simulate`. Trials are files
of their own: an interrupted calibration goes on where it was, a longer one keeps the trials of a shorter one,
and processes share the work.
"""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from popinfer.config import RunConfig, load_config
from popinfer.environment import cache_folder
from popinfer.errors import InputError, NotConvergedError
from popinfer.infer.calibration import Calibration, Trial, assess
from popinfer.infer.data import Data
from popinfer.random import numpy_generator, root_key, stream
from popinfer.report import judge
from popinfer.run.fitting import fit_population
from popinfer.run.folder import RunFolder, at_work, read_json, write_json
from popinfer.run.posterior import draw_posterior, groups_for_the_gate
from popinfer.run.prepare import Run, population_of, prepare, provenance_of
from popinfer.run.progress import Reporter, Silent
from popinfer.run.provenance import code_hash
from popinfer.run.search import draw_run_halos, search_posterior
from popinfer.run.simulate import simulate_run
from popinfer.storage import remove_leftovers

MIN_TRIALS = 20


def _half_covariance(data: Data) -> Data:
    return dataclasses.replace(
        data,
        data_cov=0.5 * data.data_cov,
        relative_cov=0.5 * np.asarray(data.relative_cov),
        model_cov=0.5 * np.asarray(data.model_cov),
    )


def _no_halo_noise(data: Data) -> Data:
    return dataclasses.replace(data, halo_factor=0.0)


# errors that a calibration must find, to show that it would
SABOTAGES: dict[str, Callable[[Data], Data]] = {
    "none": lambda data: data,
    "half_covariance": _half_covariance,
    "no_halo_noise": _no_halo_noise,
}


@dataclass(frozen=True)
class CalibrateSpec:
    """Number of trials and of processes; a deliberate error, named in `SABOTAGES`; seed of the trials.

    ``fresh`` removes the trials that are there, whatever they are.
    """

    n_trials: int = 200
    n_processes: int = 1
    sabotage: str = "none"
    seed: int | None = None
    fresh: bool = False

    def seed_of(self, config: RunConfig) -> int:
        """Seed of the trials, the run file's when none is given."""
        return config.seed if self.seed is None else self.seed


def calibrate(
    file: str | Path | RunConfig,
    spec: CalibrateSpec,
    out: str | Path | None = None,
    say: Reporter | None = None,
) -> tuple[Calibration, RunFolder]:
    """Run the trials that are missing and assess all of them.

    Parameters
    ----------
    file : str or Path or RunConfig
        Run file, or configuration.
    spec : CalibrateSpec
        Size.
    out : str or Path or None
        Folder of results; ``results/<name>-calibration`` when absent.
    say : Reporter or None
        Hears about progress.

    Raises
    ------
    InputError
        When the run file can't be used, or the folder holds trials of another one or of other code.
    """
    say = Silent() if say is None else say
    _check(spec)
    config = file if isinstance(file, RunConfig) else load_config(file)
    suffix = "" if spec.sabotage == "none" else f"-{spec.sabotage}"
    run = prepare(config, out or Path("results") / f"{config.name}-calibration{suffix}", say)
    trials = run.folder.trials
    identity = f"{provenance_of(run).identity}-{spec.sabotage}-{spec.seed_of(config)}"
    with at_work(run.folder, provenance_of(run), "sample", fresh=spec.fresh):
        trials.mkdir(exist_ok=True)
        remove_leftovers(trials, locked=True)
        missing = [i for i in range(spec.n_trials) if _read(trials, i, identity) is None]
        if spec.n_trials > len(missing) > 0:
            say.say(f"{trials}: {spec.n_trials - len(missing)} surveys are there, and are kept")
        with say.task("Simulated surveys", spec.n_trials) as update:
            done = spec.n_trials - len(missing)
            for index, content in _results(run, missing, spec):
                write_json(_path(trials, index), content, "trial", identity)
                done += 1
                update(done, f"{content['wall_time_s']:.0f} s for the last")
        stored = [trial for i in range(spec.n_trials) if (trial := _read(trials, i, identity)) is not None]
        verdict = _assessed(run, stored)
        content = summary(config, spec, verdict)
        write_json(run.folder.path / "calibration.json", content, "calibration", identity)
    return verdict, run.folder


def _assessed(run: Run, stored: list[dict[str, Any]]) -> Calibration:
    """The verdict over all trials."""
    good = [_trial(trial) for trial in stored if "failed" not in trial]
    if len(good) < MIN_TRIALS:
        reason = next(trial["failed"] for trial in stored if "failed" in trial)
        raise InputError(f"{len(stored) - len(good)} of {len(stored)} simulated surveys failed: {reason}")
    return assess(run.model.space.names, good, len(stored) - len(good))


def _check(spec: CalibrateSpec) -> None:
    if spec.n_trials < MIN_TRIALS:
        raise InputError(f"--n {spec.n_trials}: at least {MIN_TRIALS} simulated surveys are needed")
    if spec.n_processes < 1:
        raise InputError(f"--processes {spec.n_processes}: has to be 1 or more")
    if spec.seed is not None and not 0 <= spec.seed < 2**63:
        raise InputError(f"--seed {spec.seed}: has to be 0 or more, and below 2^63")
    if spec.sabotage not in SABOTAGES:
        raise InputError(f"--sabotage {spec.sabotage}: has to be one of {', '.join(SABOTAGES)}")


def _path(trials: Path, index: int) -> Path:
    return trials / f"{index:04d}.json"


def _read(trials: Path, index: int, identity: str) -> dict[str, Any] | None:
    path = _path(trials, index)
    return read_json(path, "trial", "calibrate --fresh", identity) if path.exists() else None


def _trial(content: dict[str, Any]) -> Trial:
    arrays = {name: np.array(content[name]) for name in ("truth", "mean", "sd", "rank")}
    return Trial(**arrays, **{name: content[name] for name in ("tarp", "central", "distance2", "converged")})


def _results(run: Run, missing: list[int], spec: CalibrateSpec) -> Iterator[tuple[int, dict[str, Any]]]:
    """Trials as they are finished."""
    if spec.n_processes == 1 or len(missing) < 2:
        yield from ((index, run_trial(run, index, spec)) for index in missing)
        return
    context = get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(spec.n_processes):
        numbers.put(number)
    pool = ProcessPoolExecutor(
        spec.n_processes,
        mp_context=context,
        initializer=_start_worker,
        initargs=(run.config, str(run.folder.path), numbers),
    )
    try:
        futures = {pool.submit(_worker_trial, index, spec): index for index in missing}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenExecutor:
        raise InputError(
            f"--processes {spec.n_processes}: one of them was killed, perhaps for lack of memory; use fewer. "
            "Surveys that were finished are kept"
        ) from None
    finally:  # when something stops the others, trials that haven't begun are let go
        pool.shutdown(wait=True, cancel_futures=True)


_WORKER: dict[str, Run] = {}


def _start_worker(config: RunConfig, folder: str, numbers: Any) -> None:
    """Prepare the run once a process; one core for each, so that they don't wait for each other."""
    from popinfer import precision

    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[numbers.get() % len(cores)]})
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and leaves
    precision.start(cache_dir=cache_folder())
    _WORKER["run"] = prepare(config, folder)


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it can't stop its workers itself."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _worker_trial(index: int, spec: CalibrateSpec) -> dict[str, Any]:
    return run_trial(_WORKER["run"], index, spec)


def run_trial(run: Run, index: int, spec: CalibrateSpec) -> dict[str, Any]:
    """Simulate and analyse one survey; its truth, a draw of the prior, depends on seed and index only.

    A survey that can't be simulated or analysed leaves the reason, and counts against the calibration.
    """
    start = time.perf_counter()
    key = stream(root_key(spec.seed_of(run.config)), "trial", index)
    truth = numpy_generator(stream(key, "truth")).standard_normal(run.model.space.size)
    try:
        outcome = _analyse(key, run, truth, spec)
    except (InputError, NotConvergedError, np.linalg.LinAlgError) as error:
        outcome = {"failed": str(error), "truth": truth.tolist()}
    return {**outcome, "wall_time_s": time.perf_counter() - start}


def _analyse(key: PRNGKeyArray, run: Run, truth: np.ndarray, spec: CalibrateSpec) -> dict[str, Any]:
    """Truth against posterior, and what the analysis said of itself."""
    trial = simulate_run(key, run, truth)
    region = search_posterior(trial, Silent())
    population = population_of(trial, draw_run_halos(trial, region, lambda *_: None))
    population = dataclasses.replace(population, data=SABOTAGES[spec.sabotage](population.data))
    fit = fit_population(trial, population, region, Silent())
    sampled = draw_posterior(trial, population, fit, Silent())
    verdict = judge(groups_for_the_gate(trial, sampled, fit.mixture, {}))
    draws = sampled.draws.u.reshape(-1, len(truth))
    result = Trial.of(stream(key, "comparison"), truth, draws, verdict.converged)
    return {
        **{name: _plain(value) for name, value in vars(result).items()},
        "failures": list(verdict.failures),
        "cautions": fit.cautions,
        "halo_share": [float(x) for x in fit.halo_direction],
        "n_maxima": len(fit.mixture.components),
        "n_kernels": int(np.sum(trial.survey.kernels.mask)),
        "sampler": {k: v for k, v in sampled.draws.attrs.items() if isinstance(v, int | float | str)},
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def summary(config: RunConfig, spec: CalibrateSpec, verdict: Calibration) -> dict[str, Any]:
    """The verdict as plain numbers."""
    return {
        "run": config.name,
        "seed": spec.seed_of(config),
        "sampler": config.sample.kind,
        "sabotage": spec.sabotage,
        "code": code_hash(),
        "n_trials": verdict.n_trials,
        "n_unconverged": verdict.n_unconverged,
        "n_failed": verdict.n_failed,
        "passed": verdict.passed,
        "p_threshold": verdict.p_threshold,
        "tarp_excursion_sigma": verdict.tarp_excursion,
        "central_excursion_sigma": verdict.central_excursion,
        "distance2_per_parameter": verdict.distance2_per_parameter,
        "parameters": [vars(row) for row in verdict.parameters],
        "ranks": verdict.ranks.tolist(),
        "tarp": verdict.tarp.tolist(),
        "central": verdict.central.tolist(),
    }
