"""The posterior of a population's parameters from one survey or several, without a run file.

    log p(u | data) = log L(u) - |u|^2 / 2,    log L as `popinfer.infer.likelihood` defines it,

with u the vector of all free parameters, each a standard normal number where its prior is
(`popinfer.params`). Each survey has its own bands, slices, features, selection and halos; which parameters
surveys share is in `popinfer.model.sharing`. Surveys are taken as independent: their log-likelihoods add up,
which for surveys of one patch of sky leaves out that they see the same fluctuations.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from popinfer.data import load_filters
from popinfer.errors import InputError
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.data import joined
from popinfer.infer.likelihood import Likelihood, LogDensity, log_prior
from popinfer.infer.search import likelihood_at
from popinfer.model.counts import HaloCounts, SurveyModel, survey_data
from popinfer.model.halo_sample import HaloSpec, draw_halo_batches
from popinfer.model.population import Light, PopulationModel
from popinfer.model.sharing import check_survey_names, joint_space, names_for, survey_with
from popinfer.model.survey import Survey
from popinfer.params import ParamSpace, Prior
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import ModelParams
from popinfer.random import stream
from popinfer.records import SSP, NebularGrid

# programs whose arguments hold all arrays: posteriors of the same shapes share them
_log_density = eqx.filter_jit(lambda density, u: density(u))
_log_likelihood = eqx.filter_jit(lambda density, u: density.log_likelihood(u))
_chi2 = eqx.filter_jit(lambda density, u: density.chi2(u))


@dataclass(frozen=True)
class ModelSpec:
    """What a posterior's models are made of.

    Attributes
    ----------
    ssp : stellar populations, without nebular emission where `nebular` adds it.
    nebular : emission of the gas around young stars; None where there is none.
    forward : the chain's components.
    fixed : values of parameters that are held, by dotted name.
    model_error : error allowed to the model, a fraction of each soft count.
    """

    ssp: SSP
    nebular: NebularGrid | None = None
    forward: ForwardModel = dataclasses.field(default_factory=ForwardModel)
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    model_error: float = 0.0


@dataclass(frozen=True, eq=False)
class Posterior:
    """Log posterior density of the vector u of free parameters.

    Its methods are compiled, and may be part of larger programs: `jax.jit`, `jax.grad` and `jax.vmap` take
    ``posterior.log_density`` as it is, and make halos and tables constants of their program. Where many
    posteriors of the same shapes are to share one program, let it take `density` as an argument
    (`equinox.filter_jit`).

    Attributes
    ----------
    space : free parameters, the axis of u.
    counts : u -> log-counts of each halo batch, of all surveys.
    likelihood : data and covariances, which are taken at one point (see `at`).
    light : stellar populations that the models were made of, and the first survey's bands.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from popinfer import *
    >>> bands = {band: BandColumns(f"sdss_{band}0", band, f"e{band}") for band in "gr"}
    >>> catalog = load_catalog(CatalogSpec("sdss_mgs", bands, "zs", z_min=0.06, z_max=0.09))
    >>> selection = Selection((MagnitudeLimit(1, 14.0, 17.5),))
    >>> design = Design(kernels=KernelSpec(n_centers=20))
    >>> survey = Survey.from_catalog(root_key(1), catalog, [(0.06, 0.09)], ["g-r", "r"], selection, design)
    >>> free = {"dust.lg_av": Prior("normal", -0.4, 0.3)}
    >>> spec = ModelSpec(load_ssp(None), model_error=0.1)
    >>> posterior = Posterior.build(root_key(2), [survey], free, spec, HaloSpec(2, 32))
    >>> bool(jnp.isfinite(jax.jit(posterior.log_density)(jnp.zeros(1))))
    True
    """

    space: ParamSpace
    counts: HaloCounts
    likelihood: Likelihood
    light: Light

    @classmethod
    def build(
        cls,
        key: PRNGKeyArray,
        surveys: Sequence[Survey],
        free: Mapping[str, Prior | None],
        spec: ModelSpec,
        halos: HaloSpec | Sequence[HaloSpec] | None = None,
    ) -> "Posterior":
        """Models of surveys, their halos, and the likelihood with its covariance at the priors' centers.

        Parameters
        ----------
        key : PRNGKeyArray
            Random key of the halos.
        surveys : Sequence[Survey]
            What is fitted.
        free : Mapping[str, Prior | None]
            Free parameters by name with their priors, None for the default one; see `popinfer.model.sharing`.
        spec : ModelSpec
            Stellar populations, components, and the error allowed to the model.
        halos : HaloSpec or Sequence[HaloSpec] or None
            Size of each survey's sample, or of all; every one of as many batches.

        Raises
        ------
        InputError
            A parameter is of no survey, or named twice for one; surveys can't be told apart by their names;
            halo samples have different numbers of batches.
        """
        check_survey_names(surveys)
        space = joint_space(free, surveys, spec.forward)
        for name in spec.fixed:
            survey_with(name, surveys, spec.forward)
        terms = [_SurveyTerm.build(survey, surveys, space, spec) for survey in surveys]
        sizes = _sizes(halos, len(surveys))
        batches = [
            draw_halo_batches(stream(key, "survey", i), term.of.model, term.of.survey, size, term.center)
            for i, (term, size) in enumerate(zip(terms, sizes, strict=True))
        ]
        counts = HaloCounts(
            tuple(batches), tuple(term.of for term in terms), tuple(term.axes for term in terms)
        )
        data = joined([survey_data(survey, spec.model_error) for survey in surveys])
        return cls(space, counts, likelihood_at(counts, data, np.zeros(space.size)), terms[0].light)

    @cached_property
    def density(self) -> LogDensity:
        """The density as a pytree, whose leaves are the data's, the halos' and the tables' arrays."""
        return LogDensity.of(self.counts, self.likelihood)

    @property
    def model(self) -> PopulationModel:
        """The population's model in the first survey's bands and slices."""
        return self.counts.survey_models[0].model

    def log_density(self, u: Float[Array | np.ndarray, "par"]) -> Float[Array, ""]:
        """Log posterior density, of the prior without its constant."""
        return _log_density(self.density, jnp.asarray(u))

    def log_likelihood(self, u: Float[Array | np.ndarray, "par"]) -> Float[Array, ""]:
        """Log L of all surveys' data."""
        return _log_likelihood(self.density, jnp.asarray(u))

    def log_prior(self, u: Float[Array | np.ndarray, "par"]) -> Float[Array, ""]:
        """Log density of the prior, without the constant of a standard normal."""
        return log_prior(jnp.asarray(u))

    def chi2(self, u: Float[Array | np.ndarray, "par"]) -> Float[Array, ""]:
        """Chi-square of the data's modes, of which ``likelihood.modes.shape[1]`` there are."""
        return _chi2(self.density, jnp.asarray(u))

    def fisher(self, u: Float[Array | np.ndarray, "par"]) -> Float[np.ndarray, "par par"]:
        """Fisher information of the data; the prior's, a unit matrix, is not in it. Not for tracing."""
        at = log_counts_and_jacobian(self.counts, jnp.asarray(u))
        return self.likelihood.information(*at).fisher

    def at(self, u: Float[Array | np.ndarray, "par"]) -> "Posterior":
        """The same posterior with the likelihood's covariance taken at u, as it should be where it peaks."""
        likelihood = likelihood_at(self.counts, self.likelihood.data, np.asarray(u))
        return dataclasses.replace(self, likelihood=likelihood)

    def params_at(self, u: Float[Array | np.ndarray, "par"], survey: int = 0) -> ModelParams:
        """All parameters, physical, that one of the surveys has at u."""
        return self.counts.survey_models[survey].model.params_at(self.counts.vector(survey, jnp.asarray(u)))


@dataclass(frozen=True)
class _SurveyTerm:
    """The model of one survey, which components of u are its vector (None: all, in that order), its light."""

    of: SurveyModel
    axes: tuple[int, ...] | None
    light: Light

    @classmethod
    def build(
        cls, survey: Survey, surveys: Sequence[Survey], space: ParamSpace, spec: ModelSpec
    ) -> "_SurveyTerm":
        forward = spec.forward
        held = {
            local: spec.fixed[name] for local, name in names_for(survey, spec.fixed, surveys, forward).items()
        }
        names = names_for(survey, space.names, surveys, forward)
        axes = tuple(space.names.index(name) for name in names.values())
        free = {local: space.free[axis].prior for axis, local in zip(axes, names, strict=True)}
        light = Light(spec.ssp, load_filters(survey.filters), spec.nebular)
        model = PopulationModel.build(
            light, survey.slices, free, forward.in_bands(survey.bands), held, survey.photoz
        )
        in_order = axes == tuple(range(space.size))
        return cls(SurveyModel.of(model, survey), None if in_order else axes, light)

    @property
    def center(self) -> ModelParams:
        """Parameters at the priors' centers."""
        return self.of.model.params_at(jnp.zeros(self.of.model.space.size))


def _sizes(halos: HaloSpec | Sequence[HaloSpec] | None, n_survey: int) -> list[HaloSpec]:
    """The halo sample's size of each survey."""
    if halos is None or isinstance(halos, HaloSpec):
        return [halos or HaloSpec()] * n_survey
    if len(halos) != n_survey or len({size.n_batch for size in halos}) > 1:
        raise InputError("halos: one size for all surveys, or one each with the same number of batches")
    return list(halos)
