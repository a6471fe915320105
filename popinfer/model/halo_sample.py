"""Halo samples for a survey: its slices' lightcones, with halos where it sees galaxies.

Most halos of a lightcone make no galaxy that a survey sees. A pilot sample tells the share of the galaxies
that are seen at each halo mass, and halos are drawn in proportion to its square root too
(`popinfer.halos.lightcone`). A wrong pilot costs variance, never bias: weights are exact.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.errors import InputError
from popinfer.halos.lightcone import LightconeSpec, detection_curve, draw_slice_batches, draw_slices
from popinfer.model.counts import galaxies_seen
from popinfer.model.population import PopulationModel
from popinfer.model.survey import AnySurvey
from popinfer.population.parameters import ModelParams
from popinfer.random import stream
from popinfer.records import Galaxies, Halos
from popinfer.survey.redshift import Photoz

_PILOT = 1536  # halos of a slice


@dataclass(frozen=True)
class HaloSpec:
    """Size of a survey's halo sample.

    Attributes
    ----------
    n_batch : independent batches; their scatter tells the sample's noise, so that 64 are good and 2 the least
        for a fit.
    n_halo : halos of a slice in each batch.
    lgm_min : log10 of the lowest peak halo mass [Msun], one for all slices or one a slice.
    flatten : halos are drawn in proportion to (abundance)^flatten, see `LightconeSpec`.
    """

    n_batch: int = 64
    n_halo: int = 64
    lgm_min: float | tuple[float, ...] = 11.0
    flatten: float = 1.0


def lightcones(
    slices: Sequence[tuple[float, float]], photoz: Photoz | None, n_normal: int, spec: HaloSpec
) -> list[LightconeSpec]:
    """The slices' lightcones before anything is known of what the survey sees.

    Parameters
    ----------
    slices, photoz : Sequence[tuple[float, float]], Photoz or None
        Of the survey.
    n_normal : int
        Standard normal numbers of each halo, see `ForwardModel.n_normals`.
    spec : HaloSpec
        Size of the sample.

    Raises
    ------
    InputError
        Lowest masses are given for another number of slices, or a slice is impossible.
    """
    lowest = spec.lgm_min if isinstance(spec.lgm_min, tuple) else (spec.lgm_min,) * len(slices)
    if len(lowest) != len(slices):
        raise InputError(f"lgm_min: {len(lowest)} halo masses for {len(slices)} slices")
    return [
        LightconeSpec(
            *(limits if photoz is None else photoz.true_range(index)),
            n_halo=spec.n_halo,
            lgm_min=lowest[index],
            n_normal=n_normal,
            flatten=spec.flatten,
            redshifts=None if photoz is None else photoz.proposal(index),
        )
        for index, limits in enumerate(slices)
    ]


def weights_of_halos(
    galaxies: Galaxies,
) -> tuple[Float[np.ndarray, "slice halo"], Float[np.ndarray, "slice halo"]]:
    """Weights of each halo's two galaxies together: those that the survey sees, and all."""
    seen, made = (np.asarray(w) for w in (galaxies.weight, galaxies.weight_all))
    return seen.reshape(len(seen), 2, -1).sum(axis=1), made.reshape(len(made), 2, -1).sum(axis=1)


def aimed(specs: Sequence[LightconeSpec], pilot: Halos, galaxies: Galaxies) -> list[LightconeSpec]:
    """Lightcones that draw halos where a survey sees galaxies.

    Parameters
    ----------
    specs : Sequence[LightconeSpec]
        Of each slice.
    pilot : Halos
        Halos [slice, halo] drawn from them.
    galaxies : Galaxies
        What the survey sees of these.
    """
    seen, made = weights_of_halos(galaxies)
    lgm = np.asarray(pilot.logmp0)
    return [
        dataclasses.replace(spec, detection=detection_curve(lgm[i], seen[i], made[i]))
        for i, spec in enumerate(specs)
    ]


@eqx.filter_jit
def predict_seen(model: PopulationModel, survey: AnySurvey, params: ModelParams, halos: Halos) -> Galaxies:
    """Galaxies of all slices for physical parameters, as a survey would list them."""
    return galaxies_seen(model, survey.photoz, params, halos, survey.observe)


def draw_halo_batches(
    key: PRNGKeyArray, model: PopulationModel, survey: AnySurvey, spec: HaloSpec, params: ModelParams
) -> Halos:
    """Halo batches [batch, slice, halo] in JAX's default precision, where a survey sees a model's galaxies.

    Parameters
    ----------
    key : PRNGKeyArray
        Equal keys give equal halos.
    model : PopulationModel
        In the survey's bands and slices.
    survey : AnySurvey
        What is seen.
    spec : HaloSpec
        How many.
    params : ModelParams
        Of the pilot's galaxies.
    """
    n_normal = model.forward.n_normals(len(survey.bands))
    cones = lightcones(survey.slices, survey.photoz, n_normal, spec)
    many = lightcones(survey.slices, survey.photoz, n_normal, dataclasses.replace(spec, n_halo=_PILOT))
    pilot = jax.tree.map(jnp.asarray, draw_slices(stream(key, "pilot"), many, model.cosmology))
    cones = aimed(cones, pilot, predict_seen(model, survey, params, pilot))
    keys = [stream(key, "batch", index) for index in range(spec.n_batch)]
    return jax.tree.map(jnp.asarray, draw_slice_batches(keys, cones, model.cosmology))
