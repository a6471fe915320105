"""Galaxies that the survey would list if the model were true.

Halos and noise are independent of those of any run, and of each other: a run's Sobol numbers would leave a
tenth of the counting noise out of galaxies picked from them. Galaxies are picked from more model galaxies
inside the survey's hard limits than are listed, each at most once as far as weights allow, with probability
in proportion to its weight: rejection sampling, after which they are distributed as independent draws of the
model would be, however many there are to choose from. (Draws with replacement would have a variance 1 + N / n
times as large, n the effective number of model galaxies.)
With the survey's solid angle, their number follows from the model too, cosmic variance included.

A calibration simulates surveys in the place of the real one. The real survey is the design: it lends the
number of galaxies, selection, detection limits, the relation of noise to magnitude, and its kernels: their
places, and how they overlap. Given a layout, the likelihood of soft counts doesn't depend on how it was
chosen, so truths from the prior must be covered. Kernels laid out by each simulated survey's own galaxies
would follow the truth, and carry information that the likelihood leaves out; then coverage over the prior
isn't implied. The real run does lay them out by its own galaxies (centers aren't counted, but whitening and
overlap are those of all): that step isn't tested here. Where the run file allows for errors of the model,
each simulated survey has a draw of them in its counts.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray
from scipy.stats import poisson

from popinfer.errors import InputError
from popinfer.halos.source import drawn_slices
from popinfer.loss.kernel_counts import KernelCounts
from popinfer.model import Survey, model_error_cov, predict_galaxies
from popinfer.population.parameters import ModelParams
from popinfer.random import numpy_generator, stream
from popinfer.records import Catalog
from popinfer.resampling import systematic
from popinfer.run.build import detectable, in_precision, lightcones
from popinfer.run.catalog import without
from popinfer.run.observed import number_counts, true_ranges
from popinfer.run.prepare import Run
from popinfer.run.progress import Reporter, Silent
from popinfer.survey.abundance import Abundance, NumberCounts

EFFECTIVE_PER_GALAXY = 2  # model galaxies of equal weight for every listed one
MAX_TWICE = 0.01  # of the listed galaxies are others once more: those too heavy to be picked once only
_CHUNK, _MAX_CHUNKS = 8192, 1000  # halos a slice at once; how often at most
_PUBLISHED_CHUNKS = 4  # for abundances at the truth, whose noise is some percent then

# of one slice: redshifts [point], magnitudes [point, band], weights [point]
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
Wanted = int | tuple[int, ...] | None  # galaxies of each slice


def area_counts(survey: Survey) -> NumberCounts | None:
    """What follows from the survey's solid angle; None where numbers aren't part of the data."""
    return next((x for x in survey.abundances if isinstance(x, NumberCounts)), None)


class _Numbers:
    """Galaxies of each slice: as asked for, else as the survey's solid angle says, else as observed.

    Random numbers are drawn once; as the model's density becomes known better, the numbers follow it.
    """

    def __init__(self, key: PRNGKeyArray, run: Run, n_galaxies: Wanted) -> None:
        self._counts = area_counts(run.survey) if n_galaxies is None else None
        wanted = run.n_galaxies if n_galaxies is None else np.broadcast_to(n_galaxies, len(run.n_galaxies))
        fixed = [int(n) for n in wanted]
        self.drawn = fixed
        if self._counts is not None:
            rng = numpy_generator(key)
            self._field, self._uniform = rng.standard_normal(len(fixed)), rng.random(len(fixed))

    def draw(self, density: Float[np.ndarray, "slice"]) -> None:
        """Numbers for this density of listed galaxies [1/Mpc^3]."""
        if self._counts is not None:
            field = 1 + np.sqrt(self._counts.relative_cosmic_variance) * self._field
            expected = np.maximum(np.asarray(self._counts.volume) * density * field, 0)
            self.drawn = [int(n) for n in poisson.ppf(self._uniform, expected)]


def draw_survey(
    key: PRNGKeyArray, run: Run, u: np.ndarray, n_galaxies: Wanted, say: Reporter
) -> tuple[np.ndarray, np.ndarray]:
    """Redshifts [galaxy] and measured AB magnitudes [galaxy, band], slice by slice.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of halos, noise and the choice of galaxies.
    run : Run
        The survey and the model.
    u : np.ndarray
        True parameters, unconstrained.
    n_galaxies : Wanted
        Of every slice, or one number a slice; as the survey's solid angle says, or as observed, when None.
    say : Reporter
        Hears about progress.

    Raises
    ------
    InputError
        A slice would hold no galaxies.
    """
    params = run.model.params_at(jnp.asarray(u))
    numbers = _Numbers(stream(key, "numbers"), run, n_galaxies)
    slices = _model_galaxies(stream(key, "model"), run, params, numbers, say)
    z_listed, mag_listed = [], []
    for index, n in enumerate(numbers.drawn):
        z, mag, weight = slices[index]
        picked = _pick(stream(key, "pick", index), weight, n)
        z_listed.append(_redshifts(stream(key, "redshifts", index), run, params, z[picked], index))
        mag_listed.append(mag[picked])
    return np.concatenate(z_listed), _detect_bands(stream(key, "detected"), run, np.concatenate(mag_listed))


def _model_galaxies(
    key: PRNGKeyArray, run: Run, params: ModelParams, numbers: "_Numbers", say: Reporter
) -> list[Columns]:
    """Model galaxies inside the survey's hard limits, slice by slice.

    Halos are drawn where galaxies of these parameters enter the survey, until their effective number
    suffices for those to be listed, and none is too heavy; InputError when so many can't be had.
    """
    sparse = [dataclasses.replace(spec, n_halo=_CHUNK, independent=True) for spec in lightcones(run.config)]
    with say.task("Pilot halos: which does the survey see?"):
        specs = detectable(
            stream(key, "detectable"), run.config, run.survey_model, sparse, params, run.source
        )
    survey_model = run.survey_model
    parts: list[list[Columns]] = []
    with say.task("Mock galaxies", 100) as update:
        while len(parts) < _MAX_CHUNKS:
            halos = in_precision(
                run.config, drawn_slices(run.source, stream(key, "halos", len(parts)), specs)
            )
            galaxies = predict_galaxies(survey_model, params, halos)
            mag, weight = np.asarray(galaxies.mag, float), np.asarray(galaxies.weight_all, float)
            z = np.tile(np.asarray(halos.z_obs, float), (1, 2))
            weight = weight * run.survey.selection.sharp(mag) * _membership(run, params, z)
            weight = _one_a_halo(stream(key, "kind", len(parts)), weight)
            seen = [np.flatnonzero(row) for row in weight]
            parts.append([(z[s, i], mag[s, i], weight[s, i]) for s, i in enumerate(seen)])
            numbers.draw(np.array([sum(part[2].sum() for part in s) for s in _by_slice(parts)]) / len(parts))
            ready = min(
                _readiness(parts_of_slice, n)
                for parts_of_slice, n in zip(_by_slice(parts), numbers.drawn, strict=True)
            )
            update(round(100 * min(1.0, ready)), "")
            if ready >= 1:
                break
        else:
            raise InputError(_too_few(parts, numbers.drawn))
    return [_together(parts_of_slice) for parts_of_slice in _by_slice(parts)]


def _one_a_halo(key: PRNGKeyArray, weight: Float[np.ndarray, "slice gal"]) -> Float[np.ndarray, "slice gal"]:
    """Weights of which one kind of galaxy has all in each halo, the other none.

    The model has two galaxies in a halo, one of either kind, with a probability each; in a survey there is
    one. Lists that hold both would scatter more: they are alike in all that the halo decides.
    """
    kinds = weight.reshape(len(weight), 2, -1)
    total = kinds.sum(axis=1)
    first = numpy_generator(key).random(total.shape) * total < kinds[:, 0]
    return np.stack([total * first, total * ~first], axis=1).reshape(weight.shape)


def _by_slice(parts: list[list[Columns]]) -> list[tuple[Columns, ...]]:
    """Chunks of each slice, from slices of each chunk."""
    return list(zip(*parts, strict=True))


def _readiness(parts: tuple[Columns, ...], n: int) -> float:
    """How near model galaxies are to enough for n to be picked: one when they are, zero without any."""
    weight = np.concatenate([weight for *_, weight in parts])
    if not weight.sum() > 0:
        return 0.0
    if n == 0:
        return 1.0
    twice = np.maximum(n * weight / weight.sum() - 1, 0).sum() / n
    ready = _effective(weight) / (EFFECTIVE_PER_GALAXY * n)
    return ready if twice < MAX_TWICE else min(ready, 0.99)


def _effective(weight: Float[np.ndarray, "gal"]) -> float:
    """Effective number of weighted galaxies (Kish), zero without any."""
    return float(weight.sum() ** 2 / max(np.sum(weight**2), np.finfo(float).tiny))


def _too_few(parts: list[list[Columns]], wanted: list[int]) -> str:
    """Why the search for model galaxies was given up."""
    effective = [
        _effective(np.concatenate([weight for *_, weight in parts_of_slice]))
        for parts_of_slice in _by_slice(parts)
    ]
    worst = int(np.argmin([size / max(n, 1) for size, n in zip(effective, wanted, strict=True)]))
    return (
        f"redshift slice {worst}: {wanted[worst]} galaxies need {EFFECTIVE_PER_GALAXY} times as many model "
        f"galaxies that the survey sees; {_MAX_CHUNKS * _CHUNK} halos make {effective[worst]:.0f} (effective "
        "number). Ask for fewer galaxies, or raise halos.lgm_min if the lowest halos make none"
    )


def _together(parts: tuple[Columns, ...]) -> Columns:
    z, mag, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return z, mag, weight


def _membership(run: Run, params: ModelParams, z: np.ndarray) -> np.ndarray | float:
    """Probability of each slice's galaxies to be put there."""
    photoz = run.survey.photoz
    return 1.0 if photoz is None else np.asarray(photoz.membership(params.photoz, jnp.asarray(z)))


def _redshifts(key: PRNGKeyArray, run: Run, params: ModelParams, z: np.ndarray, index: int) -> np.ndarray:
    """Redshifts of a slice's galaxies as the catalog lists them."""
    photoz = run.survey.photoz
    return z if photoz is None else photoz.draw(key, params.photoz, z, index)


def _detect_bands(key: PRNGKeyArray, run: Run, mag: np.ndarray) -> np.ndarray:
    """Magnitudes with NaN in bands that the survey doesn't detect."""
    detection = run.survey.detection
    if detection is None:
        return mag
    uniform = numpy_generator(key).random((len(mag), len(detection.bands)))
    seen = uniform < np.asarray(detection.band_probability(mag))
    mag = mag.copy()
    mag[:, detection.bands] = np.where(seen, mag[:, detection.bands], np.nan)
    return mag


def _pick(key: PRNGKeyArray, weight: np.ndarray, n: int) -> np.ndarray:
    """n points, each with probability in proportion to its weight: systematic sampling in random order."""
    if not weight.sum() > 0:
        raise InputError("at these parameters the survey would see no galaxy in a slice")
    rng = numpy_generator(key)
    order = rng.permutation(len(weight))
    return order[systematic(weight[order], n, rng.random())]


def simulate_run(key: PRNGKeyArray, run: Run, truth: Float[np.ndarray, "par"]) -> Run:
    """The run with a simulated catalog in place of the real one.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the simulated survey, of the model's errors, and of the analysis, whose root is a stream
        of it.
    run : Run
        The design.
    truth : Float[np.ndarray, "par"]
        True parameters, unconstrained.
    """
    survey, config = run.survey, run.config
    as_many = tuple(int(n) for n in np.asarray(survey.kernels.n_obs))
    numbers = as_many if area_counts(survey) is None else None
    z, mag = draw_survey(stream(key, "survey"), run, truth, numbers, Silent())
    sigma = np.asarray(survey.noise.sigma(jnp.nan_to_num(jnp.asarray(mag))))
    sigma = np.where(np.isnan(mag), np.nan, sigma)
    catalog: Catalog = dataclasses.replace(run.catalog, z=z, mag=mag, mag_err=sigma, dropped=(), losses=())
    catalog = without(catalog, ~_in_known_patterns(survey, catalog), "unlike the survey in their bands")
    features = survey.features_in(catalog)
    counts = survey.kernels.over_galaxies(features, survey.patterns_in(catalog))
    counts = _with_model_error(stream(key, "model_error"), counts, config.kernels.model_error)
    counts = counts.with_least_count(config.kernels.min_count)
    abundances = _abundances(stream(key, "abundances"), run, truth, tuple(len(x) for x in features))
    survey = dataclasses.replace(survey, features=features, kernels=counts, abundances=abundances)
    return dataclasses.replace(run, catalog=catalog, survey=survey, key=stream(key, "analysis"))


def _abundances(
    key: PRNGKeyArray, run: Run, truth: Float[np.ndarray, "par"], numbers: tuple[int, ...]
) -> tuple[Abundance, ...]:
    """Numbers of the simulated galaxies, and published abundances as the truth has them, errors and all."""
    counts = number_counts(run.config, numbers, true_ranges(run.config, run.survey.photoz))
    published = [not isinstance(abundance, NumberCounts) for abundance in run.survey.abundances]
    simulated: list[Abundance] = [] if counts is None else [counts]
    if any(published):
        expected = _expected_abundances(key, run, truth)
        for i, place in enumerate(np.flatnonzero(published)):
            abundance = run.survey.abundances[place]
            rng = numpy_generator(stream(key, "errors", i))
            error = rng.multivariate_normal(np.zeros(len(abundance.observed)), abundance.relative_cov)
            simulated.append(abundance.observed_as(expected[place] * np.exp(error)))
    return tuple(simulated)


def _expected_abundances(
    key: PRNGKeyArray, run: Run, truth: Float[np.ndarray, "par"]
) -> list[Float[np.ndarray, "_"]]:
    """What the truth predicts of every abundance of the survey, a mean over many halos."""
    params, specs = run.model.params_at(jnp.asarray(truth)), lightcones(run.config)
    specs = [dataclasses.replace(spec, n_halo=_CHUNK, independent=True) for spec in specs]
    chunks = []
    for i in range(_PUBLISHED_CHUNKS):
        halos = in_precision(run.config, drawn_slices(run.source, stream(key, "halos", i), specs))
        galaxies = predict_galaxies(run.survey_model, params, halos)
        chunks.append(run.survey_model.abundances(params, galaxies, halos))
    terms = [np.mean([np.asarray(x, float) for x in each], axis=0) for each in zip(*chunks, strict=True)]
    return [np.asarray(Abundance.numbers(x)) for x in terms]


def _in_known_patterns(survey: Survey, catalog: Catalog) -> Bool[np.ndarray, "gal"]:
    """Galaxies whose pattern of measured bands is among those that the survey counts in their slice."""
    good = np.ones(catalog.z.shape, bool)
    patterns = survey.patterns_in(catalog)
    if patterns is None:
        return good
    members, counted = survey.members(catalog.z), np.asarray(survey.kernels.counted) > 0
    for inside, label, kept in zip(members, patterns, counted, strict=True):
        good[inside] = (label >= 0) & kept[label]
    return good


def _with_model_error(key: PRNGKeyArray, kernels: KernelCounts, fraction: float) -> KernelCounts:
    """Soft counts that differ from the galaxies' own as the run file says that the model may be wrong.

    Their variance follows them, as it would if there were so many more galaxies or fewer.
    """
    rng = numpy_generator(key)
    observed, data_cov = np.array(kernels.observed), np.array(kernels.data_cov)
    for i, cov in enumerate(np.asarray(kernels.layout_cov)):
        used = np.flatnonzero(np.asarray(kernels.mask)[i] > 0)
        values, vectors = np.linalg.eigh(model_error_cov(fraction, cov[np.ix_(used, used)]))
        error = vectors @ (np.sqrt(np.maximum(values, 0)) * rng.standard_normal(len(used)))
        observed[i, used] *= np.exp(error)
        data_cov[i][np.ix_(used, used)] *= np.exp(0.5 * np.add.outer(error, error))
    return dataclasses.replace(kernels, observed=observed, data_cov=data_cov)
