"""The search stage: where the posterior is, on few halos, and which halos the survey sees there.

Most halos of a lightcone make no galaxy that the survey sees. Halos are therefore drawn in two steps:
candidates from a proposal in mass, shaped by the share that the survey sees at each mass, and of these a
fraction, thinned by what each candidate's own galaxies do (`popinfer.halos.thinning`). Both need
parameters near the answer:

1. From the run file's pilot values a first sample is drawn, and the guide (`run.guides`) climbs on it from
   the prior's center to a first answer.
2. Halos are thinned around it. On half of them the guide climbs from draws of the prior, and from every end
   the posterior density is climbed to its maxima on all of them (`popinfer.infer.search`).

The `halos` stage then draws the run's halos around those maxima.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.config import RunConfig
from popinfer.halos.lightcone import LightconeSpec
from popinfer.halos.source import HaloPart, drawn_slices
from popinfer.halos.thinning import thin
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.optimise import Fit
from popinfer.infer.search import MAX_ROUNDS, Search, find_maxima
from popinfer.journal import began, kept
from popinfer.model import SurveyModel, predict_galaxies
from popinfer.population.parameters import ModelParams, with_values
from popinfer.random import numpy_generator, stream
from popinfer.records import Halos
from popinfer.run.batches import CANDIDATES, LEARNED_FROM, MORE, TOGETHER, batch_shape
from popinfer.run.build import detectable, in_precision, lightcones
from popinfer.run.folder import columns_of, halos_of, read_json, write_json
from popinfer.run.guides import Guide, build_guide
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter

# halos of a slice for the maxima, which move by a fraction of the posterior's width; no more than the run has
SEARCH_HALOS, SEARCH_BATCHES = 2048, 8
GUIDE_BATCHES = 4  # of those; the guide's ends are but starts
ENOUGH = 0.5  # effective number of seen galaxies among candidates, for every halo that is kept
N_AROUND = 3  # parameters at which shares are taken
SPREAD_FIRST = 0.3  # of them around the first answer, in units of the priors' widths
SPREAD = 2.0  # around the maxima, in their standard deviations


@dataclass(frozen=True)
class Region:
    """What the search leaves: where the posterior is, and what each start led to.

    Attributes
    ----------
    mixture : Laplace approximations of the maxima, weighted by their mass.
    starts : what the report lists, one entry a start.
    """

    mixture: Mixture
    starts: list[dict[str, Any]]
    wall_time_s: float


def search_posterior(run: Run, say: Reporter) -> Region:
    """Find the posterior's maxima; see the module's text for the steps."""
    begin, key = began(), stream(run.key, "search")
    model = run.model
    size = min(SEARCH_HALOS, run.config.halos.n_per_slice) // SEARCH_BATCHES
    with say.task("Search: halos near the pilot", GUIDE_BATCHES) as update:
        batches = draw_batches(stream(key, "pilot"), run, [_pilot(run)], (GUIDE_BATCHES, size), update)
    center = np.zeros(model.space.size)
    answer = _climb(
        build_guide(run, _population(run, batches), center), center, say, "Search: first answer"
    ).u
    around = Mixture.single(Laplace(answer, SPREAD_FIRST**2 * np.eye(answer.size)))
    with say.task("Search: halos near the first answer", SEARCH_BATCHES) as update:
        points = points_around(stream(key, "around"), run, around)
        batches = draw_batches(stream(key, "batches"), run, points, (SEARCH_BATCHES, size), update)
    population = _population(run, batches)
    few = _population(run, jax.tree.map(lambda x: x[:GUIDE_BATCHES], batches))
    guide = build_guide(run, few, answer)
    starts = _starts(stream(key, "starts"), run, guide, answer, say)
    with say.task("Search: maxima of the posterior", MAX_ROUNDS) as update:
        ended = find_maxima(
            population.counts,
            population.data,
            starts,
            lambda step, moved: update(step, f"moved by {moved:.1f} sd"),
        )
    return Region(ended.mixture, listed_starts(ended), time.perf_counter() - begin)


def _pilot(run: Run) -> ModelParams:
    """Parameters at the pilot's values; arrays where those at any u are, so that both share programs."""
    model = run.model
    pilot, at_center = (
        with_values(model.params, run.config.halos.pilot),
        model.params_at(jnp.zeros(model.space.size)),
    )

    def as_there(value: Any, there: Any) -> Any:
        return jnp.asarray(value, there.dtype) if isinstance(there, jax.Array) else value

    return jax.tree.map(as_there, pilot, at_center)


def _population(run: Run, batches: Halos) -> Population:
    counts = run.counts(batches)
    return Population(counts, run.data(), 0.0)


def _stacked(batches: list[Halos]) -> Halos:
    """Batches [batch, slice, halo] from a list of them."""
    return jax.tree.map(lambda *x: np.stack(x), *batches)


def _starts(key: PRNGKeyArray, run: Run, guide: Guide, answer: np.ndarray, say: Reporter) -> list[np.ndarray]:
    """Where to look for maxima: the first answer, the guide's ends from draws of the prior, and a reflection.

    Where the posterior has two maxima on a ridge, the guide's only optimum often lies between them: the
    reflection of one maximum in it leads to the other.
    """
    rng = numpy_generator(key)
    ends = [
        _climb(guide, u, say, f"Search: from prior draw {i + 1}")
        for i, u in enumerate(rng.normal(size=(run.config.fit.n_prior_starts, answer.size)))
    ]
    if not ends:
        return [answer]
    between = max(ends, key=lambda end: end.log_density).u
    return [answer, *(end.u for end in ends), 2 * between - answer]


def _climb(guide: Guide, u: np.ndarray, say: Reporter, title: str) -> Fit:
    with say.task(title, guide.max_steps * len(guide.levels)) as update:
        end = guide.climb(u, lambda step, value: update(step, f"log-density {value:.1f}"))
        ended = "converged" if end.converged else "stopped"
        update(end.n_steps, f"log-density {end.log_density:.1f}, {ended} after {end.n_steps} steps")
    return end


def listed_starts(search: Search) -> list[dict[str, Any]]:
    """Where each start ended: start 0 is the first answer; distance from the best in its standard deviations.

    Maxima that only the search along the ridge led to follow.
    """
    best = search.maxima[0]
    listed = [
        {
            "start": i,
            "log_density": None if end is None else end.log_density,
            "distance": None if end is None else best.distance(end.approx.mean),
            "converged": end is not None,
        }
        for i, end in enumerate(search.ends)
    ]
    reached = {id(end) for end in search.ends}
    return listed + [
        {
            "start": "ridge",
            "log_density": maximum.log_density,
            "distance": best.distance(maximum.approx.mean),
            "converged": True,
        }
        for maximum in search.maxima
        if id(maximum) not in reached
    ]


def draw_run_halos(run: Run, region: Region, update: Any) -> Halos:
    """The run's halo batches [batch, slice, halo], around the search's maxima; `update` hears of each."""
    key = stream(run.key, "halos")
    points = points_around(stream(key, "around"), run, region.mixture.with_widths_times(SPREAD))
    return draw_batches(key, run, points, batch_shape(run.config.halos.n_per_slice), update)


def points_around(key: PRNGKeyArray, run: Run, around: Mixture) -> list[ModelParams]:
    """Parameters that fill a region, its main center first."""
    points = [around.main.mean, *around.fill(key, N_AROUND)]
    return [run.model.params_at(jnp.asarray(u)) for u in points]


def draw_batches(
    key: PRNGKeyArray, run: Run, points: list[ModelParams], shape: tuple[int, int], update: Any
) -> Halos:
    """Halo batches [batch, slice, halo] for parameters in a region.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key.
    run : Run
        What the model and the data are.
    points : list[ModelParams]
        Parameters that fill the region, the likeliest first.
    shape : tuple[int, int]
        Number of batches, halos of a slice in each.
    update : Any
        Hears of each batch.
    """
    n_batch, n_halo = shape
    survey_model = run.survey_model
    specs = _candidates(stream(key, "specs"), run, points[0], n_halo)
    batches, together = [], _drawn_together(n_batch, specs[0].n_halo)

    def drawn(index: range) -> dict[str, np.ndarray]:
        parts = [HaloPart(i, n_batch) for i in index]
        candidates = run.source.draw([stream(key, "candidates", i) for i in index], specs, parts)
        seen = shares_seen(survey_model, points, candidates, run.config)
        thinned = [
            _thinned(stream(key, "thinning", i), jax.tree.map(lambda x, n=n: x[n], candidates), row, n_halo)
            for n, (i, row) in enumerate(zip(index, seen, strict=True))
        ]
        return columns_of(_stacked(thinned))

    drawn_by = {"key": np.asarray(jax.random.key_data(key)), "shape": np.array(shape)}
    for first in range(0, n_batch, together):
        index = range(first, first + together)
        inputs = {**drawn_by, "first": np.array(first)}
        batches.append(halos_of(kept("halos", inputs, lambda index=index: drawn(index))))
        update(first + together, "")
    return jax.tree.map(lambda *x: np.concatenate(x), *batches)


def _drawn_together(n_batch: int, n_candidates: int) -> int:
    """How many batches are drawn at once: a divisor of their number, so that all draws share programs."""
    most = max(TOGETHER // n_candidates, 1)
    return next(n for n in range(min(most, n_batch), 0, -1) if n_batch % n == 0)


def _thinned(key: PRNGKeyArray, candidates: Halos, seen: np.ndarray, n_halo: int) -> Halos:
    """Of candidates [slice, halo] those that are kept, by the share of each that the survey sees."""
    slices = [jax.tree.map(lambda x, s=s: np.asarray(x)[s], candidates) for s in range(len(seen))]
    return _stacked([thin(stream(key, s), halos, seen[s], n_halo) for s, halos in enumerate(slices)])


def _candidates(key: PRNGKeyArray, run: Run, params: ModelParams, n_halo: int) -> list[LightconeSpec]:
    """Candidates' lightcones for a model, for batches of n halos."""
    config, survey_model = run.config, run.survey_model
    many = [dataclasses.replace(spec, n_halo=LEARNED_FROM) for spec in lightcones(config)]
    specs = detectable(stream(key, "detectable"), config, survey_model, many, params, run.source)
    halos = in_precision(config, drawn_slices(run.source, stream(key, "halos"), specs))
    weight = np.asarray(predict_galaxies(survey_model, params, halos).weight, float)
    effective = weight.sum(axis=1) ** 2 / np.sum(weight**2, axis=1)
    scarce = effective.min() < ENOUGH * LEARNED_FROM / CANDIDATES
    n = CANDIDATES * n_halo * (MORE if scarce else 1)
    return [dataclasses.replace(spec, n_halo=n) for spec in specs]


def shares_seen(
    survey_model: SurveyModel, points: list[ModelParams], candidates: Halos, config: RunConfig
) -> Float[np.ndarray, "batch slice halo"]:
    """Share of each candidate's galaxies that the survey sees, mean over parameters.

    Parameters
    ----------
    survey_model : SurveyModel
        The model.
    points : list[ModelParams]
        Its parameters.
    candidates : Halos
        Halos [batch, slice, halo].
    config : RunConfig
        Says in which precision to compute.
    """
    n_batch, n_slice, n_halo = candidates.weight.shape

    def joined(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.asarray(x), 0, 1).reshape(n_slice, n_batch * n_halo, *x.shape[3:])

    halos = in_precision(config, jax.tree.map(joined, candidates))
    weight = np.maximum(np.asarray(halos.weight, float), np.finfo(float).tiny)
    shares = []
    for params in points:
        galaxies = predict_galaxies(survey_model, params, halos)
        kinds = np.asarray(galaxies.weight, float).reshape(n_slice, 2, -1)
        shares.append(kinds.sum(axis=1) / weight)
    return np.moveaxis(np.mean(shares, axis=0).reshape(n_slice, n_batch, n_halo), 0, 1)


def write_region(run: Run, region: Region) -> None:
    """Store the search's result."""
    content = {
        "weights": region.mixture.weights.tolist(),
        "means": [part.mean.tolist() for part in region.mixture.components],
        "covs": [part.cov.tolist() for part in region.mixture.components],
        "starts": region.starts,
        "wall_time_s": region.wall_time_s,
    }
    write_json(run.folder.search, content, "search", run.fingerprint("search"))


def read_region(run: Run) -> Region:
    """Load what `write_region` stored; InputError when it is absent or of another configuration."""
    content = read_json(run.folder.search, "search", "search", run.fingerprint("search"))
    parts = zip(content["means"], content["covs"], strict=True)
    mixture = Mixture(
        tuple(Laplace(np.array(mean), np.array(cov)) for mean, cov in parts), np.array(content["weights"])
    )
    return Region(mixture, content["starts"], content["wall_time_s"])
