"""The fit stage: best fit, other optima, width of the posterior, and what the fit can't tell.

1. The guide (`run.guides`: the soft counts' composite likelihood, or another loss, and the prior) is climbed
   from draws of the prior: it finds the region from far away. The pilot that the halos were drawn for started
   at the prior's centre.
2. From the pilot and from each end to the posterior's modes, and around them the counts corrected for Monte
   Carlo noise (`infer.region`, `infer.monte_carlo`).
3. Flat directions, the Monte Carlo share of the variance, goodness of fit.
"""

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams, mah_singlehalo
from jaxtyping import Array, Float

from popinfer.cosmology import age
from popinfer.errors import percent
from popinfer.infer.correction import Correction
from popinfer.infer.goodness import Goodness, determined_parameters, goodness_of_fit
from popinfer.infer.laplace import Laplace, flat_directions, polish
from popinfer.infer.likelihood import Problem
from popinfer.infer.mixture import Mixture
from popinfer.infer.optimise import Fit, density_and_grad
from popinfer.infer.region import MAX_ROUNDS, SAME, Region, find_region
from popinfer.random import numpy_generator, stream
from popinfer.records import Halos
from popinfer.run.folder import RunFolder, atomic, check_fingerprint, need, write_text
from popinfer.run.guides import Guide, build_guide
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter

EDGE_WIDTH = 0.1  # dex above halos.lgm_min
MAX_EDGE_SHARE = 0.01  # of a slice's predicted galaxies


@dataclass(frozen=True)
class FitResult:
    """What the fit stage leaves for sampling and the report.

    Attributes
    ----------
    log_density : of the posterior at the best of `modes`, up to a constant.
    precision : P of the likelihood.
    approx : Laplace approximation at the posterior's densest mode. mixture : of all its modes.
    mc_direction : Monte Carlo share of the variance along the directions that the data measure. mc_counting :
        that of the variance without the errors allowed to the model.
    mc_counts : the same for each soft count; count_sd : errors of observed minus model counts.
    goodness, per_slice : goodness of fit at the mode.
    modes : where the starts ended. flat : names of parameters with flat profiles.
    cautions : sentences for the reader on the halo sample.
    correction, expected : of the fitted problem, see `Problem`.
    settled : whether the modes stayed where they were when counts were corrected there.
    """

    log_density: float
    precision: np.ndarray
    approx: Laplace
    mixture: Mixture
    mc_direction: np.ndarray
    mc_counting: np.ndarray
    mc_counts: np.ndarray
    count_sd: np.ndarray
    goodness: Goodness
    per_slice: list[Goodness]
    modes: list[dict[str, Any]] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    correction: Correction | None = None
    expected: np.ndarray | None = None
    settled: bool = True
    wall_time_s: float = math.nan

    def applied(self, problem: Problem) -> Problem:
        """The problem as it was fitted: with counts corrected, and the covariance of counting at the fit."""
        return dataclasses.replace(problem, correction=self.correction, expected=self.expected)


def fit_population(run: Run, population: Population, say: Reporter) -> FitResult:
    """Fit the population model; see the module's text for the steps."""
    start = time.perf_counter()
    with say.task("Compiling the model"):
        guide = build_guide(run, population)
    starts = _optimise_all(run, population, guide, say)
    with say.task("Modes and width of the posterior", MAX_ROUNDS) as update:

        def progress(step: int, length: float) -> None:
            update(step, f"moved by {length:.1f} sd")

        region = find_region(stream(run.key, "fit", "region"), population.problem, starts, progress=progress)
        target = region.density
        density = density_and_grad(target)
        approx = polish(density, region.modes[0].approx)
        flat = flat_directions(lambda u: density(u)[0], region.problem.names, approx)
    result = FitResult(
        region.modes[0].log_density,
        np.asarray(target.precision),
        approx,
        region.mixture,
        modes=listed_modes(region),
        flat=sorted({one.name for one in flat}),
        cautions=_cautions(run, population, approx.mean),
        correction=region.problem.correction,
        expected=region.problem.expected,
        settled=region.converged,
        **_quality(region, approx),
    )
    return dataclasses.replace(result, wall_time_s=time.perf_counter() - start)


def _optimise_all(run: Run, population: Population, guide: Guide, say: Reporter) -> list[np.ndarray]:
    """Where to look for modes: the pilot's end, fits of the guide from draws of the prior, and a reflection.

    Where the posterior has two modes on a ridge, the guide's only optimum often lies between them: the
    reflection of one mode in it leads to the other.
    """
    settings, size = run.config.fit, population.problem.size
    rng = numpy_generator(stream(run.key, "fit", "starts"))
    ends = [
        _optimise(guide, u, say, f"Fit from prior draw {i + 1}")
        for i, u in enumerate(rng.normal(size=(settings.n_prior_starts, size)))
    ]
    if not ends:
        return [population.pilot]
    between = max(ends, key=lambda end: end.log_density).u
    return [population.pilot, *(end.u for end in ends), 2 * between - population.pilot]


def _optimise(guide: Guide, u: np.ndarray, say: Reporter, title: str) -> Fit:
    with say.task(title, guide.max_steps * len(guide.levels)) as update:
        found = guide.climb(u, lambda step, value: update(step, f"log-density {value:.1f}"))
        ended = "converged" if found.converged else "stopped"
        update(found.n_steps, f"log-density {found.log_density:.1f}, {ended} after {found.n_steps} steps")
    return found


def listed_modes(region: Region) -> list[dict[str, Any]]:
    """Where each start ended: start 0 is the pilot; distance from the best in its standard deviations.

    Ends are those of the search; their log-densities are put on the final density's scale. Modes that only
    the search along the ridge found follow.
    """
    known = [one for one in region.ends if one is not None]
    # without any, a mode along the ridge outweighs them all
    best = max(known, key=lambda one: one.log_density) if known else region.modes[0]
    shift = region.modes[0].log_density - best.log_density
    found = [
        _end(i, None, None)
        if one is None
        else _end(i, one.log_density + shift, best.distance(one.approx.mean))
        for i, one in enumerate(region.ends)
    ]
    for one in region.modes[1:] if known else region.modes:
        if all(one.distance(end.approx.mean) > SAME for end in known):
            found.append(_end("ridge", one.log_density, best.distance(one.approx.mean)))
    return found


def _end(start: int | str, log_density: float | None, distance: float | None) -> dict[str, Any]:
    found = {"log_density": log_density, "distance": distance, "converged": log_density is not None}
    return {"start": start, **found}


def _quality(region: Region, approx: Laplace) -> dict[str, Any]:
    """Monte Carlo shares and goodness of fit at the posterior's mode."""
    problem, info = region.problem, region.information(approx.mean)
    model = np.sum(region.noise**2, axis=0)
    data = np.diag(problem.log_cov)
    counting = dataclasses.replace(info, cov=info.modes.T @ problem.counting_cov @ info.modes)
    together, per_slice = goodness_of_fit(info, problem.slice_of, determined_parameters(approx.cov))
    return {
        "mc_direction": info.monte_carlo_share(),
        "mc_counting": counting.monte_carlo_share(),
        "mc_counts": np.where(problem.used, model / np.where(problem.used, data + model, 1.0), np.nan),
        "count_sd": problem.observed * np.sqrt(data + model),
        "goodness": together,
        "per_slice": per_slice,
    }


def _cautions(run: Run, population: Population, u: np.ndarray) -> list[str]:
    """Whether the lowest halos still matter, and whether galaxies are missing from the sample's number."""
    cautions = _uncounted(run)
    galaxies = population.galaxies(jnp.asarray(u))
    lgm = _observed_mass(run, population.halos)
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


def _observed_mass(run: Run, halos: Halos) -> Float[np.ndarray, "slice halo"]:
    """log10 of peak masses at observation [Msun], which the lowest halo mass refers to, not to today's."""
    lg_today = float(np.log10(age(run.setup.cosmology, 0.0)))

    def one(mah: DiffmahParams, t: Array) -> Array:
        return mah_singlehalo(mah, t[None], lg_today)[1][0]

    return np.asarray(jax.vmap(jax.vmap(one))(halos.mah_params, jnp.asarray(halos.t_obs)))


def _uncounted(run: Run) -> list[str]:
    """Galaxies left out by conditions or for their photometry, where their number is part of the data."""
    if run.config.catalog.number_density is None:
        return []
    cuts = ("fainter than", "brighter than", "outside catalog.cuts")
    photometry = [
        one for one in run.catalog.dropped if "redshift" not in one[0] and not one[0].startswith(cuts)
    ]
    n = sum(rows for _, rows in photometry)
    if n == 0:
        return []
    return [
        f"{n} galaxies were left out by catalog.where or for their photometry "
        f"({percent(n / (n + run.catalog.z.size))} of the sample) and lack in its number density: "
        "catalog.number_density.sampling has to hold their share, or catalog.missing_bands: keep has to keep "
        "those that lack a band."
    ]


def write_fit(run: Run, result: FitResult) -> None:
    """Store the fit twice: JSON for people, arrays for the next stage."""
    folder, approx = run.folder, result.approx
    arrays = {
        "precision": result.precision,
        "mean": np.asarray(approx.mean),
        "cov": np.asarray(approx.cov),
        "mixture_weights": result.mixture.weights,
        "mixture_means": np.stack([one.mean for one in result.mixture.components]),
        "mixture_covs": np.stack([one.cov for one in result.mixture.components]),
        "mc_direction": result.mc_direction,
        "mc_counting": result.mc_counting,
        "mc_counts": result.mc_counts,
        "count_sd": result.count_sd,
        "expected": result.expected,
        **{f"correction_{k}": np.asarray(v) for k, v in vars(result.correction).items()},
    }
    content = {
        "fingerprint": run.fingerprint("fit"),
        "mode": {name: float(x) for name, x in run.physical(approx.mean).items()},
        "log_density": result.log_density,
        "goodness": dataclasses.asdict(result.goodness),
        "per_slice": [dataclasses.asdict(one) for one in result.per_slice],
        "modes": result.modes,
        "flat": result.flat,
        "cautions": result.cautions,
        "settled": result.settled,
        "monte_carlo_share": [float(x) for x in result.mc_direction],
        "monte_carlo_share_of_counting": [float(x) for x in result.mc_counting],
        "wall_time_s": result.wall_time_s,
    }
    with atomic(folder.fit_arrays) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
    write_text(folder.fit, json.dumps(content, indent=2) + "\n")


def read_fit(run: Run) -> FitResult:
    """Load what `write_fit` stored; InputError when it is absent or of another configuration."""
    folder: RunFolder = run.folder
    content = json.loads(need(folder.fit, "fit").read_text(encoding="utf-8"))
    check_fingerprint(folder.fit, content.get("fingerprint"), run.fingerprint("fit"), "fit")
    with np.load(need(folder.fit_arrays, "fit")) as stored:
        arrays = dict(stored)
    return FitResult(
        content["log_density"],
        arrays["precision"],
        Laplace(arrays["mean"], arrays["cov"]),
        Mixture(
            tuple(map(Laplace, arrays["mixture_means"], arrays["mixture_covs"])), arrays["mixture_weights"]
        ),
        arrays["mc_direction"],
        arrays["mc_counting"],
        arrays["mc_counts"],
        arrays["count_sd"],
        Goodness(**content["goodness"]),
        [Goodness(**one) for one in content["per_slice"]],
        content["modes"],
        content["flat"],
        content["cautions"],
        Correction(**{f.name: arrays[f"correction_{f.name}"] for f in dataclasses.fields(Correction)}),
        arrays["expected"],
        content["settled"],
        content["wall_time_s"],
    )
