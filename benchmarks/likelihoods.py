"""Which likelihood of kernel soft counts covers the truth, keeps most information, and at what cost?

    python benchmarks/likelihoods.py [--n 24] [--part I N] [--trials FOLDER] [--out FILE]

Written before the first of its surveys was looked at:

Surveys     truths and galaxies are drawn as `popinfer calibrate` draws them, from the prior of
            likelihoods.yaml, and counted by kernels that the real survey laid out; configuration seed
            20261128, indices 0 ... n - 1, with a magnitude limit smoothed over 0.03 mag and
            kernels.model_error 0.05 (a draw of that error is in the counts), so that counting and Monte Carlo
            noise decide as much as the model's error does.
Candidates  those of likelihood_candidates.py, all with 100 kernels a slice of width 1.0 and samples of 1024
            halos; those that aren't controls or near twins also with one of these changed, never two: 50, 200
            kernels; width 0.6; 512, 2048 halos. Monte Carlo noise is taken out by an offset and a slope
            around the mode of the default (the better one of those found from the truth and from the guide's
            optimum), more simply than in popinfer/infer/monte_carlo.py.
Criteria    (mean - truth) cov^-1 (mean - truth) over the number of parameters, median and mean: 1 is right
            for the mean, 0.92 for the median of 8; 68 and 95 % coverage over all parameters; failures:
            squared distances whose chi-square probability is below 0.001; width: the posterior's volume per
            parameter, det(cov)^(1/2p), relative to that of the prior with the information of the unbinned
            survey (likelihood_reference.py), geometric mean; cost: seconds of one evaluation, and evaluations
            for 400 effective draws of a Student-t at the posterior's own moments.
Winner      with 1024 halos, the narrowest of those that are reliable in 9 of 10 surveys and whose mean
            squared distance is within two of its errors, or of a right likelihood's (0.10 for 24 surveys), of
            1. Among those up to 5 % wider than it, one that judges the goodness of fit, then the cheapest.
Sampling    all candidates weigh the same proposals, a mixture of Student-t around what they themselves find;
            ones around the true parameters' mode belong to it, so that no candidate fails because a search
            does. Effective size below 100 or Pareto k-hat above 0.7: not reliable, counted, and left out.

A first study (seed 20261125, 14 surveys) had each survey's own galaxies lay its kernels out, which then
follow the truth, V at the observed counts, and a magnitude limit smoothed over 0.05 mag; it set the number of
proposals, and made them adapt to each survey's worst candidates.

Trials are files: an interrupted study goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
from likelihood_candidates import DEFAULT, Local
from likelihood_local import Counted, composite_peak, linearise
from likelihood_proposals import (
    JITTER,
    Pool,
    Study,
    candidates,
    log_student_t,
    moments,
    needs_both,
    sample,
    weights_of,
)
from likelihood_reference import BLURS, REFERENCE, unbinned_information
from likelihood_summary import summarise
from likelihood_trial import BASE, LAYOUTS, Layout, Simulated, simulate
from scipy.special import logsumexp

from popinfer import precision
from popinfer.config import load_config
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.infer.region import find_region
from popinfer.run.build import build_problem
from popinfer.run.folder import cache_folder, write_text
from popinfer.run.prepare import Run, prepare

CONFIG = Path(__file__).with_suffix(".yaml")
SEED, N_REGISTERED, MODEL_ERROR, WIDTH_MAG = 20261128, 24, 0.05, 0.03


def prepare_study(run: Run, index: int, seconds: dict[str, float]) -> Study:
    clock = Clock(seconds)
    simulated = simulate(run, index)
    clock("survey_and_halos")
    modes = find_modes(simulated)
    clock("modes")
    counted = Counted.around(simulated, *modes[0])
    locals_ = {layout: linearise(counted, layout) for layout in LAYOUTS}
    for layout, local in locals_.items():
        peak = composite_peak(counted, layout, local, needs_both(layout))
        locals_[layout] = Local(**{**vars(local), "composite_peak": peak})
    clock("corrections")
    return Study(simulated, counted, locals_, modes)


def find_modes(simulated: Simulated) -> list[tuple[np.ndarray, np.ndarray]]:
    """Modes of the default, better first, and factors of their covariances: one or two."""
    run, samples = simulated.run, simulated.samples
    problem = build_problem(run.setup, run.survey, samples[0], samples[1:])
    start = np.zeros(problem.size)
    guide = gauss_newton(Compiled(problem).with_fair_share(start), start, max_steps=15)
    region = find_region(problem, [simulated.truth, guide.u], simulated.seed, rounds=1)
    return [(one.approx.mean, one.approx.factor) for one in region.modes[:2]]


class Clock:
    """Adds up seconds by name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.last = seconds, time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


def run_trial(run: Run, index: int) -> dict[str, Any]:
    """Simulate one survey and weigh its proposals by every candidate."""
    seconds: dict[str, float] = {}
    study = prepare_study(run, index, seconds)
    clock, rng = Clock(seconds), np.random.default_rng([SEED, 5, index])
    pool = sample(study, rng)
    clock("proposals")
    posteriors = {
        f"{name} | {layout.name}": posterior(study, pool, name, layout) for name, layout in candidates()
    }
    clock("weights")
    unbinned = unbinned_information(study.simulated, np.random.default_rng([SEED, 6, index]))
    clock("reference")
    volumes = {
        str(h): -0.5 * float(np.log1p(np.maximum(np.linalg.eigvalsh(f), 0)).sum())
        for h, f in unbinned.items()
    }
    return {
        "index": index,
        "truth": study.simulated.truth.tolist(),
        "n_modes": len(study.modes),
        "n_proposals": len(pool.v),
        "log_volume_unbinned": volumes,
        "posteriors": posteriors,
        "seconds": seconds,
    }


def posterior(study: Study, pool: Pool, name: str, layout: Layout) -> dict[str, Any]:
    """Moments and ranks of one candidate, and how far they can be trusted."""
    log_w, weighed = weights_of(study, pool, name, layout)
    truth, p = study.simulated.truth, study.simulated.truth.size
    if np.isfinite(log_w).sum() < 10 * p:
        return {"ess": 0.0, "pareto_k": None}
    smoothed, pareto_k = az.psislw(log_w - log_w.max())
    w = np.exp(np.asarray(smoothed) - logsumexp(smoothed))
    mean, cov = moments(w, weighed.u)
    _, log_det = np.linalg.slogdet(cov)
    if not np.isfinite(log_det):
        return {"ess": 0.0, "pareto_k": None}
    v = pool.v[pool.known(layout)]
    center, spread = moments(w, v)
    own = log_student_t(v, center, np.linalg.cholesky(spread + JITTER * np.eye(p)))
    log_p = weighed.log_density - (logsumexp(log_w) - np.log(len(log_w)))
    keep = w > 0
    away = mean - truth
    return {
        "ess": float(1 / np.sum(w**2)),
        "pareto_k": float(pareto_k),
        "distance2": float(away @ np.linalg.solve(cov, away)),
        "log_volume": 0.5 * float(log_det),
        "rank": (w @ (weighed.u < truth)).tolist(),
        "efficiency": float(np.exp(-logsumexp(log_p[keep] - own[keep], b=w[keep]))),
    }


def evaluation_seconds(run: Run, repeats: int = 41) -> dict[str, float]:
    """Median seconds of one evaluation of each layout's counts; layouts take turns."""
    simulated = simulate(run, 0)
    u, runs = jnp.asarray(simulated.truth), {}
    for layout in LAYOUTS:
        halos = simulated.samples[0]
        if layout.n_halo < BASE.n_halo:
            halos = jax.tree.map(lambda x: x[:, ::2], halos)
        if layout.n_halo > BASE.n_halo:
            halos = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *simulated.samples[:2])
        kernels = simulated.kernels[layout.n_centers, layout.bandwidth]
        problem = build_problem(
            run.setup, type(run.survey)(**{**vars(simulated.run.survey), "kernels": kernels}), halos, []
        )
        runs[layout.name] = problem.raw_log_counts
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, counts in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(counts(u))
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(one)) for name, one in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=N_REGISTERED, help="surveys")
    parser.add_argument("--seed", type=int, default=SEED, help="another one for trying the script out")
    parser.add_argument("--part", type=int, nargs=2, help="only every N-th survey from the I-th, no table")
    parser.add_argument("--trials", type=Path, default=Path("results/likelihoods"))
    parser.add_argument("--out", type=Path, default=Path("results/reference/likelihoods.json"))
    args = parser.parse_args()
    precision.start(cache_dir=str(cache_folder()))
    config = load_config(CONFIG)
    kernels = config.kernels.model_copy(update={"model_error": MODEL_ERROR})
    selection = config.catalog.selection.model_copy(update={"width_mag": WIDTH_MAG})
    catalog = config.catalog.model_copy(update={"selection": selection})
    changed = {"seed": args.seed, "kernels": kernels, "catalog": catalog}
    run = prepare(config.model_copy(update=changed), args.trials)
    args.trials.mkdir(parents=True, exist_ok=True)
    first, step = args.part or (0, 1)
    for index in range(first, args.n, step):
        path = args.trials / f"{args.seed}_{index:04d}.json"
        if not path.is_file():
            begin = time.perf_counter()
            write_text(path, json.dumps(run_trial(run, index)))
            print(f"survey {index}: {time.perf_counter() - begin:.0f} s", flush=True)
    if args.part:
        return
    trials = [json.loads((args.trials / f"{args.seed}_{i:04d}.json").read_text()) for i in range(args.n)]
    meta = {
        "seed": args.seed,
        "model_error": MODEL_ERROR,
        "n_registered": N_REGISTERED,
        "base": BASE.name,
        "blurs": list(BLURS),
        "reference_blur": REFERENCE,
        "evaluation_seconds": evaluation_seconds(run),
    }
    args.out.write_text(
        json.dumps(meta | summarise(trials, str(REFERENCE), f"{DEFAULT} | {BASE.name}"), indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
