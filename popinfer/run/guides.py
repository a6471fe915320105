"""What leads the fit from far away to the region of the posterior's maxima.

A guide is a log-density of u. That of the soft counts is fair weight x Poisson log-likelihood + log-prior
(`popinfer.infer.likelihood`), climbed on a schedule of kernels that are first wider than the run's: the same
centers, the catalog counted anew at each bandwidth (centers among the others: one of hundreds). Wide kernels
see far, and blur the structure that stops a climb. The end of each level is the start of the next; the last
is the run's own.

Other losses are distances between features (`popinfer.loss.energy`), each in units in which a small shift of
all galaxies by delta, in standard deviations of the observed ones, costs delta^2. The guide is then

    -N loss / 2 + log-likelihood of abundances + log-prior,

N the number of observed galaxies: for a shift, the log-likelihood of the mean of N galaxies.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from popinfer.infer.optimise import Composite, Fit, Progress, adam, lbfgs, levenberg_marquardt
from popinfer.loss.kernel_counts import KernelCounts
from popinfer.run.losses import FeatureDensity, build_loss, complete_features
from popinfer.run.prepare import Population, Run

OPTIMISERS: dict[str, Callable[..., Fit]] = {
    "levenberg_marquardt": levenberg_marquardt,
    "adam": adam,
    "lbfgs": lbfgs,
}


@dataclass(frozen=True)
class Guide:
    """A log-density and how to climb it.

    Attributes
    ----------
    levels : from coarse to fine; the last is the guide.
    optimiser : one of `OPTIMISERS`.
    max_steps : of each level.
    """

    levels: tuple[Composite | FeatureDensity, ...]
    optimiser: str
    max_steps: int

    def value(self, u: np.ndarray) -> float:
        """Log-density at u."""
        return float(self.levels[-1].value(jnp.asarray(u)))

    def climb(self, u: np.ndarray, progress: Progress | None = None) -> Fit:
        """From u up all levels; progress hears of each step, with its level's log-density."""
        done = 0
        for level in self.levels:
            say = None if progress is None else lambda step, value, done=done: progress(done + step, value)
            end = OPTIMISERS[self.optimiser](level, u, max_steps=self.max_steps, progress=say)
            u, done = end.u, done + end.n_steps
        return replace(end, n_steps=done)


def build_guide(run: Run, population: Population, u: np.ndarray) -> Guide:
    """The guide that the run file asks for; its weight is that at u."""
    settings = run.config.fit
    if settings.loss.kind == "soft_counts":
        levels = _soft_counts(run, population, u)
    else:
        features = complete_features(run.config, run.survey)
        loss, survey_model = build_loss(run.config, run.survey), run.survey_model
        halos = population.some_halos
        levels = (FeatureDensity.build(survey_model, halos, loss, sum(len(x) for x in features)),)
    return Guide(levels, settings.optimiser, settings.max_steps)


def _soft_counts(run: Run, population: Population, u: np.ndarray) -> tuple[Composite, ...]:
    """One level for each bandwidth of the schedule."""
    levels = []
    for widening in run.config.fit.bandwidths:
        counts, data = population.counts, population.data
        if widening != 1:
            wide = replace(run.survey, kernels=_wider_kernels(run, widening))
            counts, data = run.counts(population.halos, wide), run.data(wide)
        levels.append(Composite(counts, data).with_fair_weight(u))
    return tuple(levels)


def _wider_kernels(run: Run, factor: float) -> KernelCounts:
    """The survey's kernels, wider by a factor, over all galaxies of its catalog."""
    kernels, config = run.survey.kernels, run.config
    wide = replace(kernels, bandwidth=np.asarray(factor * float(kernels.bandwidth)))
    return wide.over_galaxies(run.survey.features, run.survey.patterns_in(run.catalog)).with_least_count(
        config.kernels.min_count
    )
