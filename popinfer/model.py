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

from popinfer.cosmology import Cosmology
from popinfer.infer.counts import BatchedCounts
from popinfer.infer.data import Data
from popinfer.loss.kernel_counts import KernelCounts
from popinfer.params import ParamSpace
from popinfer.population.forward import ForwardModel, Observe, SliceTables
from popinfer.population.parameters import ModelParams, ParamNames, with_values
from popinfer.records import Arr, Galaxies, Halos
from popinfer.survey.abundance import Abundance, EffectiveCounts, overcounting_of
from popinfer.survey.detection import Detection
from popinfer.survey.integrated_noise import IntegratedNoise
from popinfer.survey.noise import NoiseModel
from popinfer.survey.redshift import Photoz
from popinfer.survey.selection import Selection


class PopulationModel(eqx.Module):
    """The population's parameters and the chain from halos to galaxies.

    Attributes
    ----------
    space : free parameters and their priors.
    names : what the components of array-valued parameters are called.
    params : values of all parameters that aren't free.
    forward : the chain.
    tables : light of stellar populations in a survey's bands, with a leading axis of redshift slices.
    """

    space: ParamSpace = eqx.field(static=True)
    names: ParamNames = eqx.field(static=True)
    params: ModelParams
    forward: ForwardModel
    tables: SliceTables

    @property
    def cosmology(self) -> Cosmology:
        """Of ages, distances and volumes."""
        return self.forward.cosmology

    def params_at(self, u: Float[Array, "par"]) -> ModelParams:
        """All parameters, physical, where the free ones are at the unconstrained vector u."""
        return with_values(self.params, self.space.to_physical(u), self.names)

    def galaxies(self, params: ModelParams, halos: Halos, observe: Observe) -> Galaxies:
        """Galaxies of every slice (leading axis) as `observe` sees them, in the halos' precision."""

        def one_slice(halos: Halos, tables: SliceTables) -> Galaxies:
            return self.forward(params, halos, tables, observe)

        return jax.vmap(one_slice)(halos, self.tables)


class Survey(eqx.Module):
    """What a survey does to galaxies, and what it saw of them, in redshift slices.

    Attributes
    ----------
    bands : names of the bands, in the order of every band axis.
    combine : features are linear in magnitudes, mag @ combine: columns are differences of bands, or bands.
    features : those of the observed galaxies, an array [galaxy, feature] a slice, NaN where missing.
    kernels : where soft counts are taken, and the observed ones.
    noise : errors of magnitudes. selection : probability to be in the sample.
    detection : which bands a galaxy lacks; None where none lacks any.
    photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
    abundances : numbers of galaxies that are compared beside the soft counts.
    integrated : noise that soft counts are averaged over; None where they are those of drawn noise.
    """

    bands: tuple[str, ...] = eqx.field(static=True)
    combine: Float[Arr, "band feature"]
    features: list[np.ndarray]
    kernels: KernelCounts
    noise: NoiseModel
    selection: Selection
    detection: Detection | None = None
    photoz: Photoz | None = eqx.field(static=True, default=None)
    abundances: tuple[Abundance, ...] = ()
    integrated: IntegratedNoise | None = None

    def features_of(self, mag: Float[Arr, "*n band"]) -> Float[Array, "*n feature"]:
        """Colors and magnitudes from magnitudes."""
        return jnp.matmul(jnp.asarray(mag), jnp.asarray(self.combine, mag.dtype), precision="highest")

    def observe(
        self, mag: Float[Array, "point band"], normals: Float[Array, "point band"]
    ) -> tuple[Float[Array, "point band"], Float[Array, "point"]]:
        """Magnitudes with all noise drawn, and the probability to be in the sample."""
        measured = jax.tree.map(lambda x: jnp.asarray(x, mag.dtype), self.noise)(mag, normals)
        return measured, self.selection(measured)

    def expect(
        self, mag: Float[Array, "point band"], normals: Float[Array, "point band"]
    ) -> tuple[Float[Array, "point band"], Float[Array, "point"]]:
        """Magnitudes with the noise that can't be integrated over, and the expected probability."""
        return (self if self.integrated is None else self.integrated).observe(mag, normals)

    def patterns(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n pattern"] | None:
        """Probability of each pattern of measured bands; None where all galaxies have all bands."""
        return None if self.detection is None else self.detection(mag)

    def effective_counts(self) -> list[EffectiveCounts]:
        """The abundances in the form of counts."""
        if not self.abundances:
            return []
        kernels = self.kernels
        overcounting = []
        for used, observed, cov in zip(kernels.mask, kernels.observed, kernels.data_cov, strict=True):
            own = np.flatnonzero(np.asarray(used) > 0)
            overcounting.append(overcounting_of(np.asarray(observed)[own], np.asarray(cov)[np.ix_(own, own)]))
        return [EffectiveCounts.of(one, np.array(overcounting)) for one in self.abundances]

    def density(
        self, mag: Float[Array, "slice point band"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """Mean number of galaxies per volume that the catalog lists [1/Mpc^3]."""
        if self.detection is None:
            return jnp.sum(weight, axis=1)
        listed = jnp.sum(self.detection(mag) * jnp.asarray(self.kernels.counted)[:, None, :], axis=-1)
        return jnp.sum(weight * listed.astype(weight.dtype), axis=1)

    def complete(
        self, mag: Float[Array, "slice point band"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice point"]:
        """Weights of model galaxies times the probability that all their features are measured."""
        if self.detection is None:
            return weight
        has_all = jnp.asarray(self.kernels.whiten).any(axis=-1).all(axis=-1)
        probability = jnp.sum(self.detection(mag) * has_all[:, None, :], axis=-1)
        return weight * probability.astype(weight.dtype)

    def listed(
        self,
        mag: Float[Array, "slice point band"],
        features: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
    ) -> tuple[Float[Array, "slice row feature"], Float[Array, "slice row"]]:
        """Model galaxies as the catalog lists them: a row a galaxy and pattern, NaN where missing."""
        if self.detection is None:
            return features, weight
        lacking = jnp.asarray(np.asarray(self.kernels.whiten).any(axis=-1) == 0)
        counted = jnp.asarray(self.kernels.counted, weight.dtype)
        each = weight[..., None] * self.detection(mag) * counted[:, None, :]
        rows = jnp.where(lacking[:, None], jnp.nan, features[:, :, None, :])
        n_slice, n_feature = len(features), features.shape[-1]
        return rows.reshape(n_slice, -1, n_feature), each.reshape(n_slice, -1)


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
        return self._seen(self.model.params_at(u), halos, self.survey.expect)

    def galaxies(self, params: ModelParams, halos: Halos) -> Galaxies:
        """Galaxies of all slices for physical parameters, as the survey would list them."""
        return self._seen(params, halos, self.survey.observe)

    def _seen(self, params: ModelParams, halos: Halos, observe: Observe) -> Galaxies:
        galaxies = self.model.galaxies(params, halos, observe)
        if self.survey.photoz is None:
            return galaxies
        inside = self.survey.photoz.membership(params.photoz, jnp.tile(jnp.asarray(halos.z_obs), (1, 2)))
        return eqx.tree_at(
            lambda g: g.weight, galaxies, galaxies.weight * inside.astype(galaxies.weight.dtype)
        )

    def abundances(self, galaxies: Galaxies, halos: Halos) -> list[Float[Array, "_"]]:
        """What the model says of each of the survey's abundances."""
        listed = self.survey.density(galaxies.mag, galaxies.weight)
        return [one(galaxies, listed, jnp.asarray(halos.z_obs)) for one in self.survey.abundances]

    def log_statistics(self, u: Float[Array, "par"], halos: Halos) -> Float[Array, "stat"]:
        """Logarithm of all counts: soft counts of all kernels, then abundances as effective counts."""
        galaxies = self(u, halos)
        soft = self.log_counts(galaxies).ravel()
        effective = [
            jnp.log(jnp.asarray(scale) * (y + jnp.finfo(y.dtype).tiny))
            for scale, y in zip(self.scales, self.abundances(galaxies, halos), strict=True)
        ]
        return jnp.concatenate([soft, *effective])

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
    """Vector u -> log-counts of each batch of halos: all slices and kernels, then abundances.

    Attributes
    ----------
    batches : halos, arrays [batch, slice, halo]; their dtype is the precision of the computation.
    survey_model : what is counted.
    """

    batches: Halos
    survey_model: SurveyModel

    def of_batch(self, batch: Halos, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of the counts; zero for kernels that aren't in use."""
        return self.survey_model.log_statistics(u, batch)


def survey_data(survey: Survey, model_error: float) -> Data:
    """What the model's counts are compared with.

    Parameters
    ----------
    survey : its observed counts and abundances.
    model_error : error allowed to the model, a fraction of each soft count.
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
        n_soft=n_slice * n_kernel,
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
