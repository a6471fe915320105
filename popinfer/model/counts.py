"""The model of a survey: free parameters and halos -> galaxies as the survey sees them -> log-counts.

    PopulationModel   u -> parameters; with halos -> weighted galaxies (`popinfer.population.forward`)
    Survey            noise, selection, features, and what was observed
    SurveyModel       both: u and halos -> galaxies of every slice -> soft counts and abundances
    HaloCounts        u -> log-counts of each batch of a halo sample, for `popinfer.infer`

Nothing here knows of run files. All arrays are leaves: surveys and halo samples of the same shapes share
compiled programs.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import block_diag

from popinfer.infer.counts import BatchedCounts
from popinfer.infer.data import Data
from popinfer.model.population import PopulationModel
from popinfer.model.survey import Survey
from popinfer.population.forward import Observe
from popinfer.population.parameters import ModelParams
from popinfer.population.relations import sfr_density
from popinfer.records import Arr, Galaxies, Halos
from popinfer.survey.abundance import Population, PublishedAbundance
from popinfer.survey.redshift import Photoz


def galaxies_seen(
    model: PopulationModel, photoz: Photoz | None, params: ModelParams, halos: Halos, observe: Observe
) -> Galaxies:
    """Galaxies of every slice as `observe` sees them, where photometric redshifts may put them elsewhere."""
    galaxies = model.galaxies(params, halos, observe)
    if photoz is None:
        return galaxies
    inside = photoz.membership(params.photoz, jnp.tile(jnp.asarray(halos.z_obs), (1, 2)))
    return eqx.tree_at(lambda g: g.weight, galaxies, galaxies.weight * inside.astype(galaxies.weight.dtype))


class SurveyModel(eqx.Module):
    """A population as a survey sees it.

    Attributes
    ----------
    model : the population's.
    survey : without the catalog itself, whose size changes from one to the next.
    scales : of each abundance, see `EffectiveCounts`.
    """

    model: PopulationModel
    survey: Survey
    scales: tuple[Float[Arr, "_"], ...]

    @classmethod
    def of(cls, model: PopulationModel, survey: Survey) -> "SurveyModel":
        """The model of a survey."""
        scales = tuple(one.scale for one in survey.effective_counts())
        return cls(model, dataclasses.replace(survey, features=[]), scales)

    def __call__(self, u: Float[Array, "par"], halos: Halos) -> Galaxies:
        """Galaxies of all slices at u, for the counts: noise may be integrated over."""
        params = self.model.params_at(u)
        return galaxies_seen(self.model, self.survey.photoz, params, halos, self.survey.expect)

    def galaxies(self, params: ModelParams, halos: Halos) -> Galaxies:
        """Galaxies of all slices for physical parameters, as the survey would list them."""
        return galaxies_seen(self.model, self.survey.photoz, params, halos, self.survey.observe)

    def abundances(
        self, params: ModelParams, galaxies: Galaxies, halos: Halos
    ) -> list[Float[Array, "term _"]]:
        """Terms of each of the survey's abundances, from the model's galaxies in these halos."""
        listed = self.survey.density(galaxies.mag, galaxies.weight)
        dtype, forward = galaxies.weight.dtype, self.model.forward

        def of_shells(shells: Halos) -> Float[Array, "shell"]:
            at = jax.tree.map(lambda x: jnp.asarray(x, dtype), (params, shells))
            return jax.vmap(lambda halos: sfr_density(forward, at[0], halos))(at[1])

        population = Population(galaxies, listed, jnp.asarray(halos.z_obs), of_shells)
        return [abundance(population) for abundance in self.survey.abundances]

    @property
    def n_stat(self) -> int:
        """Number of counts, of all kernels and abundances."""
        return self.survey.kernels.mask.size + sum(len(a.observed) for a in self.survey.abundances)

    @property
    def ratios(self) -> tuple[int, ...]:
        """Places among all counts of the abundances that are ratios."""
        places: list[int] = []
        start = self.survey.kernels.mask.size
        for abundance in self.survey.abundances:
            stop = start + len(abundance.observed)
            places += range(start, stop) if abundance.n_term == 2 else ()
            start = stop
        return tuple(places)

    def log_terms(
        self, u: Float[Array, "par"], halos: Halos
    ) -> tuple[Float[Array, "stat"], Float[Array, "ratio"]]:
        """Logarithm of all counts, and of the denominators of those that are ratios.

        Counts are the soft counts of all kernels, then abundances as effective counts.
        """
        galaxies, params = self(u, halos), self.model.params_at(u)
        soft = self.log_counts(galaxies).ravel()
        terms = [jnp.log(y + jnp.finfo(y.dtype).tiny) for y in self.abundances(params, galaxies, halos)]
        scaled = [jnp.log(jnp.asarray(scale)) + y[0] for scale, y in zip(self.scales, terms, strict=True)]
        denominators = [y[1] for y in terms if len(y) == 2]
        return jnp.concatenate([soft, *scaled]), jnp.concatenate([jnp.zeros(0, soft.dtype), *denominators])

    def log_counts(self, galaxies: Galaxies) -> Float[Array, "slice kernel"]:
        """Logarithm of the soft counts of predicted galaxies; zero for kernels that aren't in use."""
        survey, kernels = self.survey, self.survey.kernels
        noise, patterns = survey.integrated, survey.patterns(galaxies.mag)
        scatter = None
        if noise is not None:
            scatter = noise.scatter(galaxies.mag, galaxies.mag_true, survey.combine)
        log_m = kernels.log_counts(survey.features_of(galaxies.mag), galaxies.weight, patterns, scatter)
        return jnp.where(jnp.asarray(kernels.mask) > 0, log_m, 0.0)


predict_galaxies = eqx.filter_jit(SurveyModel.galaxies)


class HaloCounts(BatchedCounts):
    """Vector u -> log-counts of each batch of halos, of one survey after the other.

    Those of a survey are the soft counts of all slices and kernels, then its abundances. Each survey has
    halos of its own, as many batches of them as every other; their size is its own matter.

    Attributes
    ----------
    batches : halos of each survey, arrays [batch, slice, halo]; their dtype is the precision of the
        computation.
    survey_models : what is counted of each.
    axes : components of u that are each survey model's vector, in its order; None where that is u itself.
    """

    batches: tuple[Halos, ...]
    survey_models: tuple[SurveyModel, ...]
    axes: tuple[tuple[int, ...] | None, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, batches: Halos, survey_model: SurveyModel) -> "HaloCounts":
        """Counts of one survey."""
        return cls((batches,), (survey_model,), (None,))

    def vector(self, index: int, u: Float[Array, "par"]) -> Float[Array, "own"]:
        """The vector of one survey's model."""
        axes = self.axes[index]
        return u if axes is None else u[np.array(axes, int)]

    def of_batch(self, batch: tuple[Halos, ...], u: Float[Array, "par"]) -> Float[Array, "term"]:
        """Logarithm of the terms; zero for kernels that aren't in use."""
        of_surveys = [
            survey_model.log_terms(self.vector(index, u), halos)
            for index, (survey_model, halos) in enumerate(zip(self.survey_models, batch, strict=True))
        ]
        return jnp.concatenate([*(log_m for log_m, _ in of_surveys), *(rest for _, rest in of_surveys)])

    @property
    def ratios(self) -> tuple[int, ...]:
        """Places of the statistics that are ratios."""
        places, start = [], 0
        for survey_model in self.survey_models:
            places += [start + place for place in survey_model.ratios]
            start += survey_model.n_stat
        return tuple(places)


def survey_data(survey: Survey, model_error: float) -> Data:
    """What the model's counts are compared with.

    Parameters
    ----------
    survey : Survey
        Its observed counts and abundances.
    model_error : float
        Error allowed to the model, a fraction of each soft count.

    Returns
    -------
    Data
        Soft counts and abundances [stat], and the covariance of their logarithms.
    """
    kernels, effective = survey.kernels, survey.effective_counts()
    n_slice, n_kernel = kernels.mask.shape
    used = np.asarray(kernels.mask).ravel() > 0
    soft = np.where(used, np.asarray(kernels.observed).ravel(), 1.0)
    soft_cov, layout_cov = (
        np.where(np.outer(used, used), np.asarray(block_diag(*np.asarray(cov))), 0.0)
        for cov in (kernels.data_cov, kernels.layout_cov)
    )
    error = model_error_cov(model_error, layout_cov)
    return Data(
        observed=np.concatenate([soft, *(numbers.observed for numbers in effective)]),
        data_cov=np.asarray(block_diag(soft_cov, *(numbers.cov for numbers in effective))),
        layout_cov=np.asarray(block_diag(layout_cov, *(numbers.cov for numbers in effective))),
        relative_cov=np.asarray(block_diag(0.0 * soft_cov, *(numbers.relative_cov for numbers in effective))),
        model_cov=np.asarray(block_diag(error, *(np.zeros_like(numbers.cov) for numbers in effective))),
        slice_of=np.concatenate(
            [np.repeat(np.arange(n_slice), n_kernel), *(numbers.slices for numbers in effective)]
        ),
        soft=np.concatenate(
            [np.full(n_slice * n_kernel, True), *(np.full(len(n.slices), False) for n in effective)]
        ),
        published=np.concatenate(
            [
                np.full(n_slice * n_kernel, False),
                *(np.full(len(a.slices), isinstance(a, PublishedAbundance)) for a in survey.abundances),
            ]
        ),
    )


def model_error_cov(
    fraction: float, layout_cov: Float[np.ndarray, "stat stat"]
) -> Float[np.ndarray, "stat stat"]:
    """Covariance of log-counts that the model gets wrong by a fraction.

    Errors of two kernels are correlated as counting noise is in the survey that laid them out: as far as they
    see the same galaxies.
    """
    sd = np.sqrt(np.diag(layout_cov))
    inverse = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
    return fraction**2 * layout_cov * np.outer(inverse, inverse)
