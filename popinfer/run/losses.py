"""Losses between features as the run file chooses them, and the log-density that they make a guide of.

They compare galaxies that have all features. Where some lack bands, the model's weights are multiplied by
the probability that all features are measured: galaxies with all features are then compared with what the
survey would list of them, and nothing is biased, but galaxies that lack bands say nothing. Slices with too
few complete galaxies are refused.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import plug_in_class
from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.infer.likelihood import poisson
from popinfer.loss.base import MIN_GALAXIES, Loss
from popinfer.model import Survey, SurveyModel
from popinfer.records import Arr, Halos
from popinfer.survey.abundance import Abundance, EffectiveCounts


def complete_features(config: RunConfig, survey: Survey) -> list[Float[np.ndarray, "_ feature"]]:
    """Features of the observed galaxies that have all, one array a slice.

    Raises
    ------
    InputError
        When a slice has too few for the loss that the run file names.
    """
    features = [x[np.isfinite(x).all(axis=1)] for x in survey.features]
    for limits, x in zip(config.slices, features, strict=True):
        if len(x) < MIN_GALAXIES:
            raise InputError(
                f"fit.loss: {config.fit.loss.component} compares galaxies that have all features; at "
                f"{limits[0]:g} < z < {limits[1]:g} there are {len(x)}, and at least {MIN_GALAXIES} are "
                "needed: use soft_counts"
            )
    return features


def build_loss(config: RunConfig, survey: Survey) -> Loss:
    """The loss that the run file names, for its survey; see `complete_features` for errors."""
    chosen = plug_in_class("loss", config.fit.loss.component)
    return chosen.build(complete_features(config, survey), config.kernels.floor_mag)


class FeatureDensity(eqx.Module):
    """Log-density of u that a loss makes, -N loss / 2 + log-likelihood of abundances + log-prior.

    Attributes
    ----------
    loss : of features.
    n_galaxies : N.
    scale, counts : abundances as Poisson counts, see `EffectiveCounts`; their scale, and the observed ones.
    """

    survey_model: SurveyModel
    halos: Halos
    loss: Loss
    n_galaxies: Float[Arr, ""]
    scale: Float[Arr, "stat"]
    counts: Float[Arr, "stat"]

    @classmethod
    def build(cls, survey_model: SurveyModel, halos: Halos, loss: Loss, n_galaxies: int) -> "FeatureDensity":
        """The density on a halo sample, in the halos' precision."""
        once = np.ones(len(halos.weight))
        effective = [EffectiveCounts.of(abundance, once) for abundance in survey_model.survey.abundances]
        scale, counts = (
            np.concatenate([np.zeros(0), *(getattr(counts_of, name) for counts_of in effective)])
            for name in ("scale", "observed")
        )
        n = np.asarray(float(n_galaxies))
        return cls(survey_model, halos, loss, n, scale, counts)

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, ""]:
        """Log-density at u."""
        survey_model = self.survey_model
        params = survey_model.model.params_at(u)
        galaxies = survey_model.galaxies(params, self.halos)  # with all noise drawn
        weight = survey_model.survey.complete(galaxies.mag, galaxies.weight)
        loss = self.loss(survey_model.survey.features_of(galaxies.mag), weight)
        value = -0.5 * jnp.asarray(self.n_galaxies) * loss - 0.5 * jnp.sum(u**2)
        if self.counts.size == 0:
            return value
        terms = survey_model.abundances(params, galaxies, self.halos)
        abundances = jnp.concatenate([Abundance.numbers(x) for x in terms])
        log_counts = jnp.log(jnp.asarray(self.scale) * (abundances + jnp.finfo(abundances.dtype).tiny))
        return value + poisson(log_counts, self.counts)

    def value(self, u: Array) -> Array:
        """Log-density as a compiled program."""
        return _value(self, u)

    def value_and_grad(self, u: Array) -> tuple[Array, Array]:
        """Log-density and gradient as a compiled program."""
        return _value_and_grad(self, u)


@eqx.filter_jit
def _value(density: FeatureDensity, u: Array) -> Array:
    return density(u)


@eqx.filter_jit
def _value_and_grad(density: FeatureDensity, u: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(density)(u)
