"""Where the run file becomes objects: catalog, tables, halos, kernels, counts and data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.config import RunConfig
from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.model import Light, PopulationModel, SurveyModel, predict_galaxies
from popinfer.population.forward import ForwardModel
from popinfer.population.halos import LightconeSpec, detection_curve, draw_slices
from popinfer.population.parameters import ModelParams
from popinfer.records import Halos
from popinfer.run.observed import build_photoz, curve_of

_NONE_LISTED = 1e-12  # of the galaxies of a slice: rounding, or the far wings of a soft limit


def build_light(config: RunConfig) -> Light:
    """Filter curves, stellar populations, and the gas around young stars."""
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    ssp = load_ssp(config.model.ssp, universe_age(config))
    return Light(ssp, filters, None if config.model.nebular.kind == "none" else load_nebular())


def build_forward(config: RunConfig) -> ForwardModel:
    """The chain, of the components that the run file names."""
    return ForwardModel(PLANCK15, **config.model.components(tuple(config.catalog.bands)))


def build_model(config: RunConfig, light: Light) -> PopulationModel:
    """The population model in a survey's bands and slices."""
    free = {name: prior.prior_of() for name, prior in config.free.items()}
    return PopulationModel.build(
        light, config.slices, free, build_forward(config), config.model.fixed, build_photoz(config)
    )


def universe_age(config: RunConfig) -> float:
    """Age of the universe [Gyr] at the lowest redshift: no star is older."""
    return float(age(PLANCK15, min(low for low, _ in config.slices)))


def lightcones(config: RunConfig) -> list[LightconeSpec]:
    """The slices' lightcones before anything is known of what the survey sees."""
    photoz, forward = build_photoz(config), build_forward(config)
    return [
        LightconeSpec(
            *(limits if photoz is None else photoz.true_range(index)),
            n_halo=config.halos.n_per_slice,
            lgm_min=config.lgm_min_of(index),
            n_normal=forward.n_normals(len(config.catalog.bands)),
            flatten=config.halos.flatten,
            redshifts=None if photoz is None else photoz.proposal(index),
        )
        for index, limits in enumerate(config.slices)
    ]


def detectable(
    key: PRNGKeyArray,
    config: RunConfig,
    survey_model: SurveyModel,
    specs: list[LightconeSpec],
    params: ModelParams,
) -> list[LightconeSpec]:
    """Lightcones that draw halos where the survey sees galaxies, learned from a pilot sample.

    The pilot's selection probability against halo mass, kept above a floor, shapes the proposal. A wrong
    pilot costs variance, never bias: weights are exact.
    """
    pilot = in_precision(config, draw_slices(key, specs))
    galaxies = predict_galaxies(survey_model, params, pilot)
    seen, all_ = (
        np.asarray(w).reshape(len(specs), 2, -1).sum(axis=1) for w in (galaxies.weight, galaxies.weight_all)
    )
    lgm = np.asarray(pilot.logmp0)
    check_listed(config, np.asarray(galaxies.mag_true), seen, all_)
    return [
        dataclasses.replace(spec, detection=detection_curve(lgm[i], seen[i], all_[i]))
        for i, spec in enumerate(specs)
    ]


def check_listed(
    config: RunConfig,
    mag: Float[np.ndarray, "slice point band"],
    seen: Float[np.ndarray, "slice halo"],
    everything: Float[np.ndarray, "slice halo"],
) -> None:
    """Refuse a model that makes no galaxy which the survey lists, before anything is drawn for it.

    Raises
    ------
    InputError
        Names the slice, the magnitudes that the model makes there and those that the survey lists.
    """
    selection, bands = config.catalog.selection, list(config.catalog.bands)
    for index, (low, high) in enumerate(config.slices):
        share = seen[index].sum() / everything[index].sum()
        if share > _NONE_LISTED:
            continue
        made = mag[index, :, bands.index(selection.band)]
        made = made[np.isfinite(made)]
        range_ = f"{made.min():.4g} to {made.max():.4g}" if made.size else "not a number or infinitely faint"
        further = config.catalog.all_cuts
        cuts = f", and {len(further)} further cuts" if further else ""
        raise InputError(
            f"slices.{index} (z = {low:g} to {high:g}): the model makes no galaxy that the survey lists. Its "
            f"{selection.band} magnitudes are {range_}; catalog.selection lists {selection.bright_mag:g} to "
            f"{selection.faint_mag:g}{cuts}. Check the limits and their band, the unit of model.ssp, and "
            "halos.pilot"
        )


def in_precision(config: RunConfig, halos: Halos) -> Halos:
    """Halos as JAX arrays in the run's precision."""
    dtype = jnp.float32 if config.precision == "single" else jnp.float64
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), halos)
