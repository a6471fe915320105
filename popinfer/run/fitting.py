"""The fit stage: best fit, other optima, width of the posterior, and what the fit can't tell.

1. Gauss-Newton on share x composite likelihood + prior from the prior's centre and from draws of the prior,
   with share = 1 / overcounting at the centre; the best end is refined with the share found there.
2. Godambe information there, the curvature adjustment, the Laplace approximation moved to the mode.
3. Flat directions, the Monte Carlo share of the variance, goodness of fit.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from popinfer.infer.goodness import Goodness, determined_parameters, goodness_of_fit
from popinfer.infer.laplace import Laplace, flat_directions, laplace, polish
from popinfer.infer.likelihood import (
    Adjustment,
    Information,
    Problem,
    curvature_adjustment,
    information,
    overcounting,
)
from popinfer.infer.optimise import Compiled, Fit, adam, gauss_newton, lbfgs
from popinfer.run.folder import RunFolder, atomic, check_fingerprint, need, write_text
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter

EDGE_WIDTH = 0.1  # dex above halos.lgm_min
MAX_EDGE_SHARE = 0.01  # of a slice's predicted galaxies

OPTIMISERS: dict[str, Callable[..., Fit]] = {"gauss_newton": gauss_newton, "adam": adam, "lbfgs": lbfgs}


@dataclass(frozen=True)
class FitResult:
    """What the fit stage leaves for sampling and the report.

    Attributes
    ----------
    u : optimum of share x composite likelihood + prior; log_density : its value.
    adjustment : curvature adjustment of the likelihood.
    approx : Laplace approximation of the adjusted posterior at its mode.
    share : weight of the composite likelihood while optimising.
    mc_direction : Monte Carlo share of the variance along the directions that the data measure.
    mc_counts : the same for each soft count; count_sd : errors of observed minus model counts.
    goodness, per_slice : goodness of fit at the mode.
    modes : where the other starts ended. flat : names of parameters with flat profiles.
    cautions : sentences for the reader on the optimiser and the halo sample.
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
    wall_time_s: float = math.nan


def with_share(base: Compiled, share: float) -> Compiled:
    """The same compiled functions with another weight of the likelihood; `base` has weight one."""

    def value(u: Array) -> Array:
        return share * base.value(u) - 0.5 * (1 - share) * jnp.sum(u**2)

    def value_and_grad(u: Array) -> tuple[Array, Array]:
        v, g = base.value_and_grad(u)
        return share * v - 0.5 * (1 - share) * jnp.sum(u**2), share * g - (1 - share) * u

    return dataclasses.replace(base, share=share, value=value, value_and_grad=value_and_grad)


def adjusted(base: Compiled, adjustment: Adjustment) -> Callable[[Array], tuple[Array, Array]]:
    """Value and gradient of the adjusted log-density without compiling the model again."""

    @jax.custom_vjp
    def composite(u: Array) -> Array:
        return base.value(u) + 0.5 * jnp.sum(u**2)

    def forward(u: Array) -> tuple[Array, Array]:
        value, gradient = base.value_and_grad(u)
        return value + 0.5 * jnp.sum(u**2), gradient + u

    composite.defvjp(forward, lambda gradient, cotangent: (cotangent * gradient,))
    return jax.value_and_grad(lambda u: adjustment(composite, u) - 0.5 * jnp.sum(u**2))


def fit_population(run: Run, population: Population, say: Reporter) -> FitResult:
    """Fit the population model; see the module's text for the steps."""
    start = time.perf_counter()
    problem = population.problem
    base = Compiled.of(problem, 1.0)
    with say.task("Compiling the model"):
        compiled = _with_due_share(base, np.zeros(problem.size))
    ends = _optimise_all(run, compiled, say)
    best = max(ends, key=lambda end: end.log_density)
    compiled = _with_due_share(base, best.u)
    best = _optimise(run, compiled, best.u, say, "Fit, likelihood weighted where it ended")
    with say.task("Width of the posterior"):
        info = information(problem, best.u, base.jacobian)
        adjustment = curvature_adjustment(info, best.u)
        density = adjusted(base, adjustment)
        approx = polish(density, laplace(adjustment, info))
        flat = flat_directions(lambda u: density(u)[0], problem.names, approx)
    values = [_revalued(compiled, end) for end in ends]
    result = FitResult(
        best.u,
        best.log_density,
        adjustment,
        approx,
        compiled.share,
        modes=_modes(values, best, approx),
        flat=sorted({one.name for one in flat}),
        cautions=_cautions(run, population, best, approx),
        **_quality(problem, base, info, approx),
    )
    return dataclasses.replace(result, wall_time_s=time.perf_counter() - start)


def _with_due_share(base: Compiled, u: np.ndarray) -> Compiled:
    """Give the composite likelihood the weight that its information at u asks for."""
    share = 1 / overcounting(information(base.problem, u, base.jacobian))
    return with_share(base, share)


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


def _revalued(compiled: Compiled, end: Fit) -> Fit:
    """The same end with the objective's final weight."""
    return dataclasses.replace(end, log_density=float(compiled.value(jnp.asarray(end.u))))


def _modes(ends: list[Fit], best: Fit, approx: Laplace) -> list[dict[str, Any]]:
    """Where each start ended: start 0 is the prior's centre; distance in posterior standard deviations."""
    precision = np.linalg.inv(approx.cov)
    distance = [float(np.sqrt((e.u - best.u) @ precision @ (e.u - best.u))) for e in ends]
    return [
        {"start": i, "log_density": e.log_density, "distance": d, "converged": e.converged}
        for i, (e, d) in enumerate(zip(ends, distance, strict=True))
    ]


def _quality(problem: Problem, base: Compiled, info: Information, approx: Laplace) -> dict[str, Any]:
    """Monte Carlo shares and goodness of fit at the posterior's mode."""
    counts = np.exp(np.asarray(base.log_counts(jnp.asarray(approx.mean))))
    replicates = problem.replicates(jnp.asarray(approx.mean))
    data, model = np.diag(problem.data_cov), replicates.var(axis=0, ddof=1)
    together, per_slice = goodness_of_fit(problem, counts, replicates, determined_parameters(approx.cov))
    return {
        "mc_direction": info.monte_carlo_share(),
        "mc_counts": model / (data + model),
        "count_sd": np.sqrt(data + model),
        "goodness": together,
        "per_slice": per_slice,
    }


def _cautions(run: Run, population: Population, best: Fit, approx: Laplace) -> list[str]:
    """Whether the optimiser finished, and whether the lowest halos still matter to the sample."""
    cautions = []
    if not best.converged:
        cautions.append(
            "The optimiser stopped before it converged: raise fit.max_steps or look at the modes."
        )
    galaxies = population.galaxies(jnp.asarray(approx.mean))
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
        Adjustment(**{f.name: arrays[f"adjustment_{f.name}"] for f in dataclasses.fields(Adjustment)}),
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
        content["wall_time_s"],
    )
