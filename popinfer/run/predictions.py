"""What posterior draws predict of a run's survey, next to what was observed, and of galaxies and halos.

Predictions and observations are the groups ``posterior_predictive``, ``observed_data``, ``checks`` and
``derived`` of `popinfer.report`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from popinfer.infer.counts import evaluate
from popinfer.infer.goodness import (
    HaloNoise,
    Replicator,
    chi_square_of_draws,
    dividing_colors,
    expected_statistics,
    feature_checks,
    observed_statistics,
)
from popinfer.infer.prediction_bins import Bins, observed_bins, predict_bins
from popinfer.loss.kernel_counts import KernelCounts
from popinfer.population.parameters import fiducial_params
from popinfer.population.relations import GRIDS, Z_DENSITY, Z_RELATIONS, Relations, summarise
from popinfer.random import numpy_generator, stream
from popinfer.records import Galaxies
from popinfer.run.fitting import FitResult
from popinfer.run.halo_comparison import quenching_in_words
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter
from popinfer.run.simulation import survival_of_drawn

N_RELATION_HALOS = 4096  # in each sample: median stellar masses are known to 0.01 to 0.03 dex then


@dataclass(frozen=True)
class Checker:
    """Collects what the checks need while predictions are made, draw by draw.

    Attributes
    ----------
    names : of the features.
    observed : their observed numbers [slice, statistic, feature].
    replicator : draws replicate surveys.
    replicates : those drawn, one array a posterior draw.
    bins : of the histograms.
    histogram_noise : what the halo sample does to these.
    log_counts : log m of each draw, as the likelihood has them.
    """

    names: tuple[str, ...]
    observed: np.ndarray
    replicator: Replicator
    bins: Bins
    histogram_noise: HaloNoise
    replicates: list[np.ndarray] = field(default_factory=list)
    log_counts: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, population: Population, u: np.ndarray, say: Reporter) -> "Checker":
        """Measure what the halo sample does to the features, on its batches at u."""
        survey, names = run.survey, tuple(run.config.features)
        bins = Bins.around(names, survey.features)
        dividing = dividing_colors(names, survey.features)
        n_batch, n_joined = population.counts.n_batch, population.n_joined
        with say.task("Noise of the halo sample", n_batch) as update:
            numbers, histograms = [], []
            for i in range(n_batch):
                galaxies = population.galaxies(u, jax.tree.map(lambda x, i=i: x[i], population.halos))
                features, weight = _listed_galaxies(run, galaxies)
                numbers.append(expected_statistics(features, weight, dividing))
                histograms.append(bins.expected_histograms(features, weight, run.n_galaxies))
                update(len(numbers), "")
        rng = numpy_generator(stream(run.key, "checks"))
        noise = HaloNoise.of(np.stack(numbers), n_joined)
        replicator = Replicator(run.n_galaxies, dividing, rng, noise)
        observed = observed_statistics(survey.features, dividing)
        return cls(names, observed, replicator, bins, HaloNoise.of(np.stack(histograms), n_joined))

    def add(self, features: np.ndarray, weight: np.ndarray, log_counts: np.ndarray) -> None:
        """Look at the model galaxies and counts of another posterior draw."""
        self.replicates.append(self.replicator(features, weight))
        self.log_counts.append(log_counts)

    def group(self, fit: FitResult) -> xr.Dataset:
        """The checks of everything that was added."""
        dividing = self.replicator.dividing
        checks = feature_checks(self.names, self.observed, np.concatenate(self.replicates), dividing)
        together, slices = chi_square_of_draws(fit.surrogate.likelihood, np.stack(self.log_counts))
        numbers: dict[str, Any] = {
            "chi2": (("chain", "draw"), together.chi2[None]),
            "chi2_slice": (("chain", "draw", "slice"), np.stack([s.chi2 for s in slices], axis=-1)[None]),
            "n_modes": together.n_modes,
            "n_modes_slice": (("slice",), [s.n_modes for s in slices]),
            "p_chi2": together.p_value,
            "p_chi2_slice": (("slice",), [s.p_value for s in slices]),
        }
        return checks.assign(numbers)


def kernel_centers(kernels: KernelCounts) -> Float[np.ndarray, "slice any_kernel feature"]:
    """Kernel centers as features [mag], NaN for features that a kernel doesn't see."""
    white, rows = np.asarray(kernels.centers, float), np.asarray(kernels.marginals, float)
    n_center, n_feature = white.shape[1:]
    starts, centers = np.cumsum((0, *kernels.sizes)), np.full((*kernels.mask.shape, n_feature), np.nan)
    for i, p in np.ndindex(*np.shape(kernels.counted)):
        of_pattern, whiten = slice(starts[p], starts[p + 1]), np.asarray(kernels.whiten)[i, p]
        mean = np.asarray(kernels.mean)[i, p]
        centers[i, of_pattern] = white[i, of_pattern] @ np.linalg.pinv(whiten) + mean
        centers[i, of_pattern, ~whiten.any(axis=1)] = np.nan
        for k, row in enumerate(rows[i, p], n_center + p * rows.shape[2]):
            seen = row[:-1] != 0
            centers[i, k, seen] = row[-1] / row[:-1][seen] + mean[seen]
    return centers


def _listed_galaxies(run: Run, galaxies: Galaxies) -> tuple[np.ndarray, np.ndarray]:
    """Features [slice, galaxy, feature] and weights [slice, galaxy] of galaxies as the survey lists them."""
    features = jnp.asarray(run.survey.features_of(galaxies.mag))
    rows, weight = run.survey.listed(galaxies.mag, features, galaxies.weight)
    return np.asarray(rows), np.asarray(weight)


def predict_survey(
    run: Run, population: Population, fit: FitResult, draws: np.ndarray, say: Reporter
) -> dict[str, xr.Dataset]:
    """The groups ``posterior_predictive``, ``observed_data`` and ``checks`` of draws [draw, par]."""
    config, survey, kernels = run.config, run.survey, run.survey.kernels
    checker = Checker.of(run, population, np.asarray(fit.approx.mean), say)
    bins, noise, halos = checker.bins, checker.histogram_noise, population.some_halos
    mask = np.asarray(kernels.mask) > 0
    numbers: list[np.ndarray] = []
    n = len(draws)
    scale = np.concatenate([np.zeros(0), *run.survey_model.scales])

    @jax.jit
    def list_galaxies(mag: Array, weight: Array) -> tuple[Array, Array]:
        return survey.listed(mag, run.survey.features_of(mag), weight)

    def model(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        galaxies = population.galaxies(draws[index], halos)
        features, weight = (np.asarray(x) for x in list_galaxies(galaxies.mag, galaxies.weight))
        checker.add(features, weight, log_counts[index])
        statistics = np.exp(log_counts[index])
        numbers.append(statistics[mask.size :] / scale)
        return features, weight, np.where(mask, statistics[: mask.size].reshape(mask.shape), 0.0)

    with say.task("Predictions", 2 * n) as update:
        log_counts = evaluate(population.counts, draws, lambda done: update(done, "")).values
        predicted = predict_bins(n, model, bins, run.n_galaxies, noise, lambda done, _: update(n + done, ""))
    observed = observed_bins(
        bins,
        survey.features,
        np.asarray(config.slices, float),
        np.where(mask, np.asarray(kernels.observed), 0.0),
        np.where(mask, fit.count_sd[: mask.size].reshape(mask.shape), 0.0),
    )
    observed["kernel_center"] = (("slice", "kernel", "feature"), kernel_centers(kernels), {"unit": "mag"})
    if survey.abundances:
        predicted["abundance"] = (("chain", "draw", "number"), np.stack(numbers)[None])
        observed["abundance"] = (("number",), np.concatenate([a.observed for a in survey.abundances]))
        sd = np.concatenate([np.sqrt(np.diag(a.cov)) for a in survey.abundances])
        observed["abundance_sd"] = (("number",), sd)
        observed["abundance_name"] = (("number",), [name for a in survey.abundances for name in a.names])
    return {"posterior_predictive": predicted, "observed_data": observed, "checks": checker.group(fit)}


def derived_relations(run: Run, best: np.ndarray, draws: np.ndarray, say: Reporter) -> xr.Dataset:
    """Relations between galaxies and halos: the ``derived`` group of `popinfer.report`.

    Parameters
    ----------
    run : Run
        A run file made ready.
    best : np.ndarray
        Unconstrained vector of the best fit, shape (par,): how satellites are quenched there.
    draws : np.ndarray
        Those of the posterior, shape (draw, par).
    say : Reporter
        Told of progress.
    """
    model = run.model
    with say.task("Derived relations", len(draws) + 1) as update:
        fractions = np.asarray(model.tables.light.outside.fractions)[0]
        key = stream(run.key, "relations")
        survival = survival_of_drawn(run.config)
        relations = Relations.build(key, model.forward, run.light.ssp, fractions, N_RELATION_HALOS, survival)
        compiled = eqx.filter_jit(relations)
        rows = []
        fiducial = fiducial_params(model.forward.components)
        for params in [fiducial, *(model.params_at(jnp.asarray(u)) for u in draws)]:
            population, density = compiled(jax.tree.map(jnp.asarray, params))
            rows.append(summarise(population) | {"csfrd": np.asarray(density)})
            update(len(rows), "")
    axes = {"smhm": "lgmh", "quenched_fraction": "lgmstar", "lg_ssfr": "lgmstar", "csfrd": "z"}
    variables: dict[str, Any] = {}
    for name, axis in axes.items():
        attrs: dict[str, Any] = {} if name == "csfrd" else {"z": Z_RELATIONS}
        if name == "lg_ssfr":
            attrs["definition"] = "star_forming"
        variables[name] = (("draw", axis), np.stack([row[name] for row in rows[1:]]), attrs)
        variables[f"{name}_fiducial"] = ((axis,), rows[0][name])
    coords = {f.name: getattr(GRIDS, f.name) for f in dataclasses.fields(GRIDS)} | {
        "z": np.asarray(Z_DENSITY)
    }
    satellites = quenching_in_words(run, model.params_at(jnp.asarray(best)))
    return xr.Dataset(variables, coords=coords, attrs={"satellites": satellites})
