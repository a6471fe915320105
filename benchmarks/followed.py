"""Does a posterior follow the mean of all its halo samples?

    python benchmarks/followed.py FILE [--survey SEED INDEX ...] [--n 200] [--part I N] [--out FILE]

Fits the run file's galaxies, or those of simulated surveys of `popinfer calibrate FILE --seed SEED`, and
takes n points that fill the posterior, its tails included. At each of them all halo samples are evaluated,
and the density computed with their mean. Two densities that interpolate between nodes are compared with it,
the run's own (`chosen`) and one that follows the run's own halos wherever they are rough (`own`: rho = 1 in
`popinfer.infer.monte_carlo`, all else being equal):

    error: standard deviation over the posterior of the difference of log-densities [nat];
    widths: posterior standard deviation of every parameter over that with the samples' mean, and ess, the
        effective number of points that they are computed from.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import parts

from popinfer import precision
from popinfer.infer.correction import Correction
from popinfer.infer.likelihood import Problem, correction_of, log_density
from popinfer.infer.monte_carlo import centered
from popinfer.infer.region import GivenPrecision
from popinfer.infer.sample.importance import PsisSpec, weigh
from popinfer.run.calibrate import drawn
from popinfer.run.fitting import FitResult, fit_population
from popinfer.run.folder import cache_folder, write_text
from popinfer.run.pilot import tuned_halos
from popinfer.run.prepare import Run, population_of, prepare
from popinfer.run.progress import Silent
from popinfer.run.simulated import observing

ADAPTING = PsisSpec(n_proposals=800, n_rounds=4)


def surveys(run: Run, wanted: list[int] | None, part: list[int] | None) -> Iterator[tuple[str, Run, int]]:
    """Name, run and seed of this part's simulated surveys, or of the run file's own."""
    first, step = parts.take(part)
    if wanted is None:
        yield run.config.name, run, run.config.seed
        return
    seed, *indices = wanted
    for index in indices[first::step]:
        truth, own_seed, rng = drawn(run, seed, index)
        yield f"survey {index}", observing(run, truth, own_seed, rng), own_seed


def compare(run: Run, seed: int, n: int) -> dict[str, Any]:
    """Errors of densities and widths of posteriors."""
    samples = tuned_halos(run.config, run.setup, run.survey, seed, Silent())
    population = population_of(run, samples)
    fit = fit_population(run, population, Silent())
    problem = fit.applied(population.problem)
    density = log_density(problem, fit.precision)
    adapted = weigh(jax.random.key(seed), density, fit.mixture, ADAPTING, lambda *_: None).proposal
    u = adapted.draw(np.random.default_rng(seed), n)
    exact = np.array([log_p(problem, fit, x, centered(problem, x).correction) for x in u])
    log_proposal, chosen = adapted.log_density(u), correction_of(problem)
    found: dict[str, Any] = {"follow": float(chosen.follow)}
    for name, one in (("chosen", chosen), ("own", dataclasses.replace(chosen, follow=jnp.ones(())))):
        interpolated = np.array([log_p(problem, fit, x, one) for x in u])
        found[name] = judged(u, interpolated, exact, log_proposal)
    return found | {"n_samples": len(samples.samples), "monte_carlo_share": float(fit.mc_direction[0])}


def log_p(problem: Problem, fit: FitResult, u: np.ndarray, correction: Correction | None) -> float:
    """Log posterior density at u up to a constant, with counts corrected in one way or another."""
    return GivenPrecision(dataclasses.replace(problem, correction=correction), fit.precision).at(u)[0]


def judged(u: np.ndarray, found: np.ndarray, exact: np.ndarray, log_proposal: np.ndarray) -> dict[str, Any]:
    """Error of a density over the exact posterior, and widths relative to it."""
    weights, error = normalised(exact - log_proposal), found - exact
    ratio = width(u, normalised(found - log_proposal)) / width(u, weights)
    return {
        "error": float(np.sqrt(weights @ (error - weights @ error) ** 2)),
        "widths": ratio.round(3).tolist(),
        "ess": float(1 / np.sum(weights**2)),
    }


def normalised(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def width(u: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Standard deviation of every parameter."""
    return np.sqrt(weights @ (u - weights @ u) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="run file")
    parser.add_argument("--survey", type=int, nargs="+", help="seed of a calibration, indices of its surveys")
    parser.add_argument("--n", type=int, default=200, help="points")
    parser.add_argument("--part", type=int, nargs=2, help="only every N-th survey from the I-th")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    if args.survey is not None and len(args.survey) < 2:
        parser.error("--survey: give a seed and at least one index")
    if args.survey is None and args.part:
        parser.error("--part: is for several surveys (--survey)")
    precision.start(cache_dir=str(cache_folder()))
    run, found = prepare(args.file), {}
    for name, one, own_seed in surveys(run, args.survey, args.part):
        found[name] = compare(one, own_seed, args.n)
        print(f"{name}: {json.dumps(found[name])}", flush=True)
        if args.out:
            write_text(args.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
