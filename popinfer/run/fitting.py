"""The fit stage: best fit, other optima, width of the posterior, and what the fit can't tell.

1. Gauss-Newton on share x composite likelihood + prior from the prior's centre and from draws of the prior,
   with share = 1 / overcounting at the centre.
2. From each end to the optimum of several halo samples' mean; from the best one to the mode of the adjusted
   posterior, the counts corrected for Monte Carlo noise there (`infer.settle`, `infer.monte_carlo`).
3. Flat directions, the Monte Carlo share of the variance, goodness of fit.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from popinfer.infer.goodness import Goodness, determined_parameters, goodness_of_fit
from popinfer.infer.laplace import Laplace, flat_directions
from popinfer.infer.likelihood import (
    Adjustment,
    Correction,
    Problem,
)
from popinfer.infer.optimise import Compiled, Fit, adam, gauss_newton, lbfgs
from popinfer.infer.settle import MAX_STEPS, Settled, adjusted, settle
from popinfer.run.folder import RunFolder, atomic, check_fingerprint, need, write_text
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter

EDGE_WIDTH = 0.1  # dex above halos.lgm_min
MAX_EDGE_SHARE = 0.01  # of a slice's predicted galaxies

QUIET_STEPS = 15
SAME_END = 0.05  # in units of the priors' widths
_CURVATURE_SEED = 43
OPTIMISERS: dict[str, Callable[..., Fit]] = {"gauss_newton": gauss_newton, "adam": adam, "lbfgs": lbfgs}


@dataclass(frozen=True)
class FitResult:
    """What the fit stage leaves for sampling and the report.

    Attributes
    ----------
    u : optimum of share x composite likelihood + prior for several halo samples together. log_density : its
        value.
    adjustment : curvature adjustment of the likelihood.
    approx : Laplace approximation of the adjusted posterior at its mode.
    share : weight of the composite likelihood while optimising.
    mc_direction : Monte Carlo share of the variance along the directions that the data measure.
    mc_counts : the same for each soft count; count_sd : errors of observed minus model counts.
    goodness, per_slice : goodness of fit at the mode.
    modes : where the other starts ended. flat : names of parameters with flat profiles.
    cautions : sentences for the reader on the optimiser and the halo sample.
    correction, n_averaged : of the problem's counts for Monte Carlo noise, see `Problem`.
    """

    u: np.ndarray
    log_density: float
    adjustment: Adjustment
    approx: Laplace
    share: float
    mc_direction: np.ndarray
    mc_counts: np.ndarray
    count_sd: np.ndarray
    goodness: Goodness
    per_slice: list[Goodness]
    modes: list[dict[str, Any]] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    correction: Correction | None = None
    n_averaged: int = 1
    wall_time_s: float = math.nan


def fit_population(run: Run, population: Population, say: Reporter) -> FitResult:
    """Fit the population model; see the module's text for the steps."""
    start = time.perf_counter()
    compiled = Compiled(population.problem)
    size = population.problem.size
    with say.task("Compiling the model"):
        compiled = compiled.with_due_share(np.zeros(size))
    ends = _optimise_all(run, compiled, say)
    compiled = compiled.with_due_share(max(ends, key=lambda end: end.log_density).u)
    ends = _quieter(compiled, ends, say)
    best = max(ends, key=lambda end: end.log_density)
    with say.task("Mode and width of the posterior", MAX_STEPS) as update:
        found = settle(
            compiled,
            best.u,
            run.config.seed + _CURVATURE_SEED,
            lambda step, length: update(step, f"step of {length:.1f} sd"),
        )
        density = adjusted(found.compiled, found.adjustment)
        flat = flat_directions(lambda u: density(u)[0], found.compiled.problem.names, found.approx)
    problem = found.compiled.problem
    result = FitResult(
        best.u,
        best.log_density,
        found.adjustment,
        found.approx,
        compiled.share,
        modes=_modes(ends, best, found.approx),
        flat=sorted({one.name for one in flat}),
        cautions=_cautions(run, population, best, found),
        correction=problem.correction,
        n_averaged=problem.n_averaged,
        **_quality(found),
    )
    return dataclasses.replace(result, wall_time_s=time.perf_counter() - start)


def _optimise_all(run: Run, compiled: Compiled, say: Reporter) -> list[Fit]:
    """Fit from the prior's centre and from draws of the prior."""
    settings, size = run.config.fit, compiled.problem.size
    rng = np.random.default_rng(run.config.seed + 31)
    starts = [np.zeros(size), *rng.normal(size=(settings.n_prior_starts, size))]
    titles = ["Fit from the prior's centre"] + [
        f"Fit from prior draw {i + 1}" for i in range(len(starts) - 1)
    ]
    return [_optimise(run, compiled, u, say, title) for u, title in zip(starts, titles, strict=True)]


def _optimise(run: Run, compiled: Compiled, u: np.ndarray, say: Reporter, title: str) -> Fit:
    settings = run.config.fit
    with say.task(title, settings.max_steps) as update:
        found = OPTIMISERS[settings.kind](
            compiled,
            u,
            max_steps=settings.max_steps,
            progress=lambda step, value: update(step, f"log-density {value:.1f}"),
        )
        ended = "converged" if found.converged else "stopped"
        update(found.n_steps, f"log-density {found.log_density:.1f}, {ended} after {found.n_steps} steps")
    return found


def _quieter(compiled: Compiled, ends: list[Fit], say: Reporter) -> list[Fit]:
    """The ends where several halo samples have them: one sample's own noise may be many data errors."""
    compiled, found = Compiled(compiled.problem.averaged, compiled.share), []
    with say.task("Fit to the mean of halo samples", len(ends)) as update:
        for i, end in enumerate(ends):
            near = [j for j in range(i) if np.abs(ends[j].u - end.u).max() < SAME_END]
            quiet = found[near[0]] if near else gauss_newton(compiled, end.u, max_steps=QUIET_STEPS)
            found.append(dataclasses.replace(quiet, converged=quiet.converged and end.converged))
            update(i + 1, f"log-density {quiet.log_density:.1f}")
    return found


def _modes(ends: list[Fit], best: Fit, approx: Laplace) -> list[dict[str, Any]]:
    """Where each start ended: start 0 is the prior's centre; distance in posterior standard deviations."""
    precision = np.linalg.inv(approx.cov)
    distance = [float(np.sqrt((e.u - best.u) @ precision @ (e.u - best.u))) for e in ends]
    return [
        {"start": i, "log_density": e.log_density, "distance": d, "converged": e.converged}
        for i, (e, d) in enumerate(zip(ends, distance, strict=True))
    ]


def _quality(found: Settled) -> dict[str, Any]:
    """Monte Carlo shares and goodness of fit at the posterior's mode."""
    compiled, approx, problem = found.compiled, found.approx, found.compiled.problem
    counts = np.exp(np.asarray(compiled.log_counts(jnp.asarray(approx.mean))))
    replicates = problem.replicates(jnp.asarray(approx.mean))
    data, model = np.diag(problem.data_cov), replicates.var(axis=0, ddof=1) / problem.n_averaged
    total = np.where(problem.used, data + model, 1.0)
    together, per_slice = goodness_of_fit(problem, counts, replicates, determined_parameters(approx.cov))
    return {
        "mc_direction": found.info.monte_carlo_share(),
        "mc_counts": np.where(problem.used, model / total, np.nan),
        "count_sd": np.sqrt(data + model),
        "goodness": together,
        "per_slice": per_slice,
    }


def _cautions(run: Run, population: Population, best: Fit, found: Settled) -> list[str]:
    """Whether the optimiser finished, and whether the lowest halos still matter to the sample."""
    cautions = []
    if not best.converged:
        cautions.append(
            "The optimiser stopped before it converged: raise fit.max_steps or look at the modes."
        )
    if not found.converged:
        cautions.append("The search for the posterior's mode didn't settle; its width may be wrong.")
    galaxies = population.galaxies(jnp.asarray(found.approx.mean))
    lgm = np.asarray(population.halos.logmp0)
    weight = np.asarray(galaxies.weight, dtype=float).reshape(len(lgm), 2, -1).sum(axis=1)
    for i, (low, high) in enumerate(run.config.slices):
        edge = run.config.lgm_min_of(i)
        share = weight[i][lgm[i] < edge + EDGE_WIDTH].sum() / weight[i].sum()
        if share > MAX_EDGE_SHARE:
            cautions.append(
                f"At {low} < z < {high}, {100 * share:.1f} % of the predicted galaxies live within "
                f"{EDGE_WIDTH} dex of the lowest halo mass, 10^{edge}: lower halos.lgm_min."
            )
    return cautions


def with_correction(problem: Problem, fit: FitResult) -> Problem:
    """The problem with its counts corrected as in the fit."""
    return dataclasses.replace(problem, correction=fit.correction, n_averaged=fit.n_averaged)


def write_fit(run: Run, result: FitResult) -> None:
    """Store the fit twice: JSON for people, arrays for the next stage."""
    folder, approx = run.folder, result.approx
    arrays = {
        "u": result.u,
        **{f"adjustment_{k}": np.asarray(v) for k, v in vars(result.adjustment).items()},
        "mean": np.asarray(approx.mean),
        "cov": np.asarray(approx.cov),
        "mc_direction": result.mc_direction,
        "mc_counts": result.mc_counts,
        "count_sd": result.count_sd,
        **{f"correction_{k}": np.asarray(v) for k, v in vars(result.correction).items()},
    }
    content = {
        "fingerprint": run.fingerprint("fit"),
        "mode": {name: float(x) for name, x in run.physical(approx.mean).items()},
        "optimum": {name: float(x) for name, x in run.physical(result.u).items()},
        "log_density": result.log_density,
        "share": result.share,
        "goodness": dataclasses.asdict(result.goodness),
        "per_slice": [dataclasses.asdict(one) for one in result.per_slice],
        "modes": result.modes,
        "flat": result.flat,
        "cautions": result.cautions,
        "n_averaged": result.n_averaged,
        "monte_carlo_share": [float(x) for x in result.mc_direction],
        "wall_time_s": result.wall_time_s,
    }
    with atomic(folder.fit_arrays) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
    write_text(folder.fit, json.dumps(content, indent=2) + "\n")


def read_fit(run: Run) -> FitResult:
    """Load what `write_fit` stored; InputError when it is absent or of another configuration."""
    folder: RunFolder = run.folder
    content = json.loads(need(folder.fit, "fit").read_text())
    check_fingerprint(folder.fit, content.get("fingerprint"), run.fingerprint("fit"), "fit")
    with np.load(need(folder.fit_arrays, "fit")) as stored:
        arrays = dict(stored)
    return FitResult(
        arrays["u"],
        content["log_density"],
        _stored(Adjustment, arrays),
        Laplace(arrays["mean"], arrays["cov"]),
        content["share"],
        arrays["mc_direction"],
        arrays["mc_counts"],
        arrays["count_sd"],
        Goodness(**content["goodness"]),
        [Goodness(**one) for one in content["per_slice"]],
        content["modes"],
        content["flat"],
        content["cautions"],
        _stored(Correction, arrays),
        content["n_averaged"],
        content["wall_time_s"],
    )


def _stored(kind: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A record of arrays as `write_fit` stored it."""
    return kind(**{f.name: arrays[f"{kind.__name__.lower()}_{f.name}"] for f in dataclasses.fields(kind)})
