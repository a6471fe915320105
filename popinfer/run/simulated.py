"""Surveys simulated in the place of the real one, for calibration.

The real survey is the design: it lends the number of galaxies, selection, detection limits, the relation of
noise to magnitude, and its kernels: their places, and how they overlap. Those stay as they are, whatever
galaxies a simulated survey has, because only then is a posterior of the soft counts exact over draws of the
prior. (Were they laid out by each survey's own galaxies, they would know something of the truth that the
likelihood doesn't use.) The real survey's centers aren't counted, so given the parameters its counts don't
depend on them.

Where the run file allows for errors of the model, each simulated survey has a draw of them in its counts.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from popinfer.config import RunConfig
from popinfer.records import Catalog
from popinfer.run.abundance import build_abundances
from popinfer.run.build import model_error_cov
from popinfer.run.observed import (
    Survey,
    build_integrated,
    features_of_slices,
    patterns_of_slices,
    slice_members,
    without,
)
from popinfer.run.prepare import Run
from popinfer.run.progress import Silent
from popinfer.run.simulate import draw_galaxies
from popinfer.survey.noise import NoiseModel


def observing(run: Run, truth: Float[np.ndarray, "par"], seed: int, rng: np.random.Generator) -> Run:
    """The run with a simulated catalog in place of the real one.

    Parameters
    ----------
    run : the design. truth : true parameters, unconstrained.
    seed : of the simulated survey and its analysis. rng : of the model's errors.
    """
    z, mag = draw_galaxies(run, truth, None, seed, Silent())
    sigma = np.asarray(run.survey.noise.sigma(jnp.nan_to_num(jnp.asarray(mag))))
    sigma = np.where(np.isnan(mag), np.nan, sigma)
    catalog: Catalog = dataclasses.replace(run.catalog, z=z, mag=mag, mag_err=sigma, dropped=())
    config = run.config.model_copy(update={"seed": seed})
    catalog = without(
        catalog, ~_recognised(config, run.survey, catalog), "lack bands like none of the survey"
    )
    survey = _with_model_error(_resurveyed(config, run.survey, catalog), config.kernels.model_error, rng)
    return dataclasses.replace(run, config=config, catalog=catalog, survey=survey)


def _recognised(config: RunConfig, survey: Survey, catalog: Catalog) -> Bool[np.ndarray, "gal"]:
    """Galaxies whose pattern of measured bands is among those that the survey counts in their slice."""
    good = np.ones(catalog.z.shape, bool)
    patterns = patterns_of_slices(config, catalog, survey.detection)
    if patterns is None:
        return good
    members, counted = slice_members(config, np.asarray(catalog.z)), np.asarray(survey.kernels.counted) > 0
    for inside, label, kept in zip(members, patterns, counted, strict=True):
        good[inside] = (label >= 0) & kept[label]
    return good


def _resurveyed(config: RunConfig, survey: Survey, catalog: Catalog) -> Survey:
    """The survey with other galaxies in it."""
    features = features_of_slices(config, catalog)
    patterns = patterns_of_slices(config, catalog, survey.detection)
    noise = NoiseModel.fit(catalog, config.catalog.correlation_matrix())
    drawn = () if survey.detection is None else survey.detection.bands
    return dataclasses.replace(
        survey,
        features=features,
        kernels=survey.kernels.counting(features, config.kernels.min_count, patterns),
        noise=noise,
        abundances=build_abundances(config, tuple(len(x) for x in features), survey.photoz),
        integrated=build_integrated(config, noise, survey.selection, drawn),
    )


def _with_model_error(survey: Survey, fraction: float, rng: np.random.Generator) -> Survey:
    """Soft counts that differ from the galaxies' own as the run file says that the model may be wrong.

    Their variance follows them, as it would if there were so many more galaxies or fewer.
    """
    observed, data_cov = np.array(survey.kernels.observed), np.array(survey.kernels.data_cov)
    for i, cov in enumerate(np.asarray(survey.kernels.layout_cov)):
        used = np.flatnonzero(np.asarray(survey.kernels.mask)[i] > 0)
        values, vectors = np.linalg.eigh(model_error_cov(fraction, cov[np.ix_(used, used)]))
        error = vectors @ (np.sqrt(np.maximum(values, 0)) * rng.standard_normal(len(used)))
        observed[i, used] *= np.exp(error)
        data_cov[i][np.ix_(used, used)] *= np.exp(0.5 * np.add.outer(error, error))
    kernels = dataclasses.replace(survey.kernels, observed=observed, data_cov=data_cov)
    return dataclasses.replace(survey, kernels=kernels)
