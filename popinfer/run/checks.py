"""Posterior predictive checks of a run: the ``checks`` group of `popinfer.report`."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from popinfer.infer.feature_checks import (
    HaloNoise,
    Replicator,
    dividing_colors,
    expected_statistics,
    feature_checks,
    observed_statistics,
)
from popinfer.infer.posterior_check import posterior_check
from popinfer.infer.predictive import Bins
from popinfer.loss.kernel_counts import KernelCounts
from popinfer.random import numpy_generator, stream
from popinfer.records import Galaxies
from popinfer.run.fitting import FitResult
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter


@dataclass(frozen=True)
class Checker:
    """Collects what the checks need while predictions are made, draw by draw.

    Attributes
    ----------
    names : of the features. observed : their observed numbers [slice, statistic, feature].
    replicator : draws replicate surveys. replicates : those drawn, one array a posterior draw.
    bins : of the histograms. histogram_noise : what the halo sample does to these.
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
                features, weight = _listed(run, galaxies)
                numbers.append(expected_statistics(features, weight, dividing))
                histograms.append(bins.expected(features, weight, run.n_galaxies))
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
        found = feature_checks(self.names, self.observed, np.concatenate(self.replicates), dividing)
        together, slices = posterior_check(fit.surrogate.likelihood, np.stack(self.log_counts))
        numbers: dict[str, Any] = {
            "chi2": (("chain", "draw"), together.chi2[None]),
            "chi2_slice": (("chain", "draw", "slice"), np.stack([one.chi2 for one in slices], axis=-1)[None]),
            "n_modes": together.n_modes,
            "n_modes_slice": (("slice",), [one.n_modes for one in slices]),
            "p_chi2": together.p_value,
            "p_chi2_slice": (("slice",), [one.p_value for one in slices]),
        }
        return found.assign(numbers)


def kernel_centers(kernels: KernelCounts) -> Float[np.ndarray, "slice kernel feature"]:
    """Kernel centers as features [mag], NaN for features that a kernel's pattern of bands lacks."""
    white, found = np.asarray(kernels.centers, float), np.zeros(np.shape(kernels.centers))
    starts = np.cumsum((0, *kernels.sizes))
    for i, p in np.ndindex(*np.shape(kernels.counted)):
        own, whiten = slice(starts[p], starts[p + 1]), np.asarray(kernels.whiten)[i, p]
        found[i, own] = white[i, own] @ np.linalg.pinv(whiten) + np.asarray(kernels.mean)[i, p]
        found[i, own, ~whiten.any(axis=1)] = np.nan
    return found


def _listed(run: Run, galaxies: Galaxies) -> tuple[np.ndarray, np.ndarray]:
    """Features [slice, galaxy, feature] and weights [slice, galaxy] of galaxies as the survey lists them."""
    features = jnp.asarray(run.survey.features_of(galaxies.mag))
    rows, weight = run.survey.listed(galaxies.mag, features, galaxies.weight)
    return np.asarray(rows), np.asarray(weight)
