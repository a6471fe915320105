"""Surveys simulated in the place of the real one, for calibration.

The real survey is the design: it lends the number of galaxies, selection, detection limits, the relation of
noise to magnitude, and its kernels: their places, and how they overlap. Given a layout, the likelihood of
soft counts doesn't depend on how it was chosen, so truths from the prior must be covered. Kernels laid out by
each simulated survey's own galaxies would follow the truth, and carry information that the likelihood leaves
out; then coverage over the prior isn't implied. The real run does lay them out by its own galaxies (centers
aren't counted, but whitening and overlap are those of all): that step isn't tested here.

Where the run file allows for errors of the model, each simulated survey has a draw of them in its counts.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from popinfer.loss.kernel_counts import KernelCounts
from popinfer.model import Survey, model_error_cov
from popinfer.random import numpy_generator, stream
from popinfer.records import Catalog
from popinfer.run.abundance import build_abundances
from popinfer.run.observed import without
from popinfer.run.prepare import Run
from popinfer.run.progress import Silent
from popinfer.run.simulate import draw_galaxies, number_counts


def observing(key: PRNGKeyArray, run: Run, truth: Float[np.ndarray, "par"]) -> Run:
    """The run with a simulated catalog in place of the real one.

    Parameters
    ----------
    key : of the simulated survey, of the model's errors, and of the analysis, whose root is a stream of it.
    run : the design.
    truth : true parameters, unconstrained.
    """
    survey, config = run.survey, run.config
    as_many = tuple(int(n) for n in np.asarray(survey.kernels.n_obs))
    numbers = as_many if number_counts(survey) is None else None
    z, mag = draw_galaxies(stream(key, "survey"), run, truth, numbers, Silent())
    sigma = np.asarray(survey.noise.sigma(jnp.nan_to_num(jnp.asarray(mag))))
    sigma = np.where(np.isnan(mag), np.nan, sigma)
    catalog: Catalog = dataclasses.replace(run.catalog, z=z, mag=mag, mag_err=sigma, dropped=(), losses=())
    catalog = without(catalog, ~_recognised(survey, catalog), "unlike the survey in their bands")
    features = survey.features_in(catalog)
    counts = survey.kernels.counting(features, survey.patterns_in(catalog))
    counts = _with_model_error(stream(key, "model_error"), counts, config.kernels.model_error)
    counts = counts.keeping(config.kernels.min_count)
    abundances = build_abundances(config, tuple(len(x) for x in features), survey.photoz)
    survey = dataclasses.replace(survey, features=features, kernels=counts, abundances=abundances)
    return dataclasses.replace(run, catalog=catalog, survey=survey, key=stream(key, "analysis"))


def _recognised(survey: Survey, catalog: Catalog) -> Bool[np.ndarray, "gal"]:
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
