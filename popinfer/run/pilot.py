"""Where to look for galaxies: halos that make galaxies which the survey would see.

Most halos of a lightcone make none, so halos are drawn in two steps. Candidates come from a proposal in mass,
shaped by the share that the survey sees at each mass. Of each sample's candidates a fraction is kept, with
probability

    pi_j proportional to w_j sqrt(s_j),    w_j / pi_j the new weights,

where s_j is the share of the candidate's own galaxies that the survey sees, averaged over parameters around
the modes of a quick fit. That is the choice of least variance for a sum over seen galaxies; it sets the
variance only, the weights are exact whatever the fit. Candidates are picked at equal steps of cumulated
probability, in order of mass.

Counts follow the mean of the run's sample and its replicates: of so many that its noise, along the direction
in which it matters most, is at most a tenth of the variance of data and model error, if the run file lets it.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.config import RunConfig
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import information
from popinfer.infer.mixture import Mixture
from popinfer.infer.monte_carlo import centered
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.infer.region import SEARCH_REPLICATES, find_region
from popinfer.infer.systematic import systematic
from popinfer.population.halos import LightconeSpec
from popinfer.random import numpy_generator, stream
from popinfer.records import Halos
from popinfer.run.build import (
    Predictor,
    Setup,
    build_problem,
    detectable,
    draw_slices,
    in_precision,
    lightcones,
    predict_galaxies,
)
from popinfer.run.folder import HaloSamples
from popinfer.run.observed import Survey
from popinfer.run.progress import Reporter

CANDIDATES, MORE = 6, 4  # for every halo that is kept; times more where they make few galaxies
ENOUGH = 0.5  # effective number of seen galaxies among candidates, for every halo that is kept
MAX_STEPS = 15
N_AROUND = 3  # parameters at which shares are taken
SPREAD_FIRST = 0.3  # of them around the first pilot, in units of the priors' widths
SPREAD = 2.0  # around the second one, in its posterior standard deviations
MIN_SHARE = 1e-4  # of a candidate's galaxies: halos that the pilot thinks invisible are kept with it
MAX_NOISE = 0.1  # Monte Carlo variance of the mean of all samples, in units of all other variance


@dataclass(frozen=True)
class Pilot:
    """Parameters near which halos are to be useful, and candidates' lightcones for them.

    Attributes
    ----------
    u : unconstrained vector. around : where parameters may be.
    specs : of the candidates.
    """

    u: Float[np.ndarray, "par"]
    around: Mixture
    specs: list[LightconeSpec]


def tuned_halos(
    key: PRNGKeyArray, config: RunConfig, setup: Setup, survey: Survey, say: Reporter
) -> HaloSamples:
    """The run's halos and its replicates, drawn where the best-fitting model's galaxies are seen.

    Parameters
    ----------
    key : of pilots and halos.
    config : the run file.
    setup, survey : what the model and the data are.
    say : hears about progress.
    """
    with say.task("Pilot fit: which halos does the survey see?"):
        pilot = _found(stream(key, "search"), config, setup, survey)
    drawing = _samples(stream(key, "samples"), setup, survey, pilot)
    n_samples, samples = config.halos.n_replicates + 1, []
    with say.task("Halos and their replicates", n_samples) as update:
        for one in itertools.islice(drawing, n_samples):
            samples.append(one)
            update(len(samples), "")
    n_more = lacking(setup, survey, samples, pilot.u, config.halos.max_replicates)
    if n_more:
        with say.task("More replicates: Monte Carlo noise is large", n_more) as update:
            for one in itertools.islice(drawing, n_more):
                samples.append(one)
                update(len(samples) - n_samples, "")
    return HaloSamples(samples, pilot.u)


def lacking(
    setup: Setup, survey: Survey, samples: list[Halos], u: Float[np.ndarray, "par"], most: int
) -> int:
    """How many replicates more bring the noise of the samples' mean at u down to `MAX_NOISE`.

    Parameters
    ----------
    setup, survey : what the model and the data are.
    samples : of the run and replicates.
    u : where the posterior is, about.
    most : replicates, unless there are more already.
    """
    problem = centered(build_problem(setup, survey, samples[0], samples[1:]), u)
    share = information(problem, u, Compiled(problem).jacobian).monte_carlo_share()[0]
    wanted = np.ceil(len(samples) * share / max(1 - share, np.finfo(float).tiny) / MAX_NOISE)
    return max(int(min(wanted, most + 1)) - len(samples), 0)


def _found(key: PRNGKeyArray, config: RunConfig, setup: Setup, survey: Survey) -> Pilot:
    """A quick fit on halos that the run file's pilot finds, and a better one on those of the first."""
    specs = detectable(stream(key, "detectable"), setup, survey, lightcones(config))
    problem = build_problem(setup, survey, draw_slices(stream(key, "halos"), specs), [])
    start = np.zeros(problem.size)
    found = gauss_newton(Compiled(problem).with_fair_share(start), start, max_steps=MAX_STEPS)
    near = Mixture.single(Laplace(found.u, SPREAD_FIRST**2 * np.eye(problem.size)))
    first = _pilot(stream(key, "first"), setup, survey, near)
    drawing = _samples(stream(key, "samples"), setup, survey, first)
    few = list(itertools.islice(drawing, SEARCH_REPLICATES + 1))
    problem = build_problem(setup, survey, few[0], few[1:])
    better = find_region(stream(key, "region"), problem, [found.u], rounds=1)
    return _pilot(stream(key, "last"), setup, survey, better.mixture.widened(SPREAD))


def _pilot(key: PRNGKeyArray, setup: Setup, survey: Survey, around: Mixture) -> Pilot:
    """Candidates' lightcones for parameters in a region."""
    u = around.main.mean
    config, params = setup.config, setup.model_params(jnp.asarray(u))
    n = config.halos.n_per_slice
    many = [dataclasses.replace(one, n_halo=CANDIDATES * n) for one in lightcones(config)]
    specs = detectable(stream(key, "detectable"), setup, survey, many, params)
    halos = in_precision(config, draw_slices(stream(key, "candidates"), specs))
    weight = np.asarray(predict_galaxies(Predictor(setup, survey), params, halos).weight, float)
    effective = weight.sum(axis=1) ** 2 / np.sum(weight**2, axis=1)
    if effective.min() < ENOUGH * n:
        specs = [dataclasses.replace(one, n_halo=MORE * one.n_halo) for one in specs]
    return Pilot(u, around, specs)


def _samples(key: PRNGKeyArray, setup: Setup, survey: Survey, pilot: Pilot) -> Iterator[Halos]:
    """Independent samples of tuned halos, without end."""
    predictor = Predictor(setup, survey)
    around = pilot.around.spread(stream(key, "around"), N_AROUND)
    for i in itertools.count():
        candidates = draw_slices(stream(key, "candidates", i), pilot.specs)
        share = shares_seen(predictor, around, candidates)
        yield thinned(stream(key, "thinning", i), candidates, share, setup.config.halos.n_per_slice)


def shares_seen(predictor: Predictor, around: np.ndarray, candidates: Halos) -> np.ndarray:
    """Share of each candidate's galaxies that the survey sees, [slice, halo]."""
    halos, tiny = in_precision(predictor.setup.config, candidates), np.finfo(float).tiny
    shares = []
    for u in around:
        galaxies = predict_galaxies(predictor, predictor.setup.model_params(jnp.asarray(u)), halos)
        kinds = np.asarray(galaxies.weight, float).reshape(len(halos.weight), 2, -1)
        shares.append(kinds.sum(axis=1) / np.maximum(np.asarray(halos.weight, float), tiny))
    return np.maximum(np.mean(shares, axis=0), MIN_SHARE)


def thinned(key: PRNGKeyArray, candidates: Halos, share: np.ndarray, n: int) -> Halos:
    """Keep n halos of each slice; see the module's equations."""
    slices = []
    for i, start in enumerate(numpy_generator(key).random(len(share))):
        one = jax.tree.map(lambda x, i=i: np.asarray(x)[i], candidates)
        order = np.lexsort((one.logmp0, one.is_central))
        probability = inclusion(one.weight[order] * np.sqrt(share[i][order]), n)
        picked = systematic(probability, n, start)
        kept = jax.tree.map(lambda x, k=order[picked]: x[k], one)
        slices.append(dataclasses.replace(kept, weight=kept.weight / probability[picked]))
    return jax.tree.map(lambda *x: np.stack(x), *slices)


def inclusion(size: Float[np.ndarray, "halo"], n: int) -> Float[np.ndarray, "halo"]:
    """Probabilities in proportion to size, none above one, that sum to n where enough sizes are positive."""
    sure = np.zeros(size.shape, bool)
    while True:
        rest = max(size[~sure].sum(), np.finfo(float).tiny)
        probability = np.where(sure, 1.0, size * (n - sure.sum()) / rest)
        more = ~sure & (probability > 1.0)
        if not more.any():
            return probability
        sure |= more
