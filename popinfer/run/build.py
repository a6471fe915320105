"""Where the run file becomes objects: catalog, tables, halos, kernels, counts and data."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.config import RunConfig
from popinfer.cosmology import age
from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.halos.lightcone import LightconeSpec
from popinfer.halos.source import HaloSource, LightconeSource, drawn_slices
from popinfer.model import (
    HaloSpec,
    Light,
    PopulationModel,
    SurveyModel,
    aimed,
    predict_galaxies,
    weights_of_halos,
)
from popinfer.model import lightcones as model_lightcones
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import ModelParams, declared_parameters
from popinfer.records import Halos
from popinfer.run.catalog import curve_of
from popinfer.run.observed import build_photoz
from popinfer.run.simulation import SURVIVAL, cosmology_of, simulation_of

_NONE_LISTED = 1e-12  # of the galaxies of a slice: rounding, or the far wings of a soft limit


def build_light(config: RunConfig) -> Light:
    """Filter curves, stellar populations, and the gas around young stars."""
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    ssp = load_ssp(config.model.ssp, universe_age(config))
    return Light(ssp, filters, None if config.model.nebular.kind == "none" else load_nebular())


def build_forward(config: RunConfig) -> ForwardModel:
    """The chain, of the components that the run file names."""
    return ForwardModel(cosmology_of(config), **config.model.components(tuple(config.catalog.bands)))


def build_model(config: RunConfig, light: Light) -> PopulationModel:
    """The population model in a survey's bands and slices."""
    free = {name: prior.prior_of() for name, prior in config.free.items()}
    forward = build_forward(config)
    fixed = fixed_values(config, forward)
    return PopulationModel.build(light, config.slices, free, forward, fixed, build_photoz(config))


def fixed_values(config: RunConfig, forward: ForwardModel) -> dict[str, float]:
    """Values of parameters that aren't their components' own: the run file's, and those of its halos."""
    fixed = dict(config.model.fixed)
    if simulation_of(config) is not None and SURVIVAL in declared_parameters(forward.components):
        fixed[SURVIVAL] = 1.0  # simulations list the subhalos that are left
    return fixed


def universe_age(config: RunConfig) -> float:
    """Age of the universe [Gyr] at the lowest redshift: no star is older."""
    return float(age(cosmology_of(config), min(low for low, _ in config.slices)))


def lightcones(config: RunConfig) -> list[LightconeSpec]:
    """The slices' lightcones before anything is known of what the survey sees."""
    lowest = tuple(config.lgm_min_of(index) for index in range(len(config.slices)))
    spec = HaloSpec(1, config.halos.n_per_slice, lowest, config.halos.flatten)
    n_normal = build_forward(config).n_normals(len(config.catalog.bands))
    return model_lightcones(config.slices, build_photoz(config), n_normal, spec)


def detectable(
    key: PRNGKeyArray,
    config: RunConfig,
    survey_model: SurveyModel,
    specs: list[LightconeSpec],
    params: ModelParams,
    source: HaloSource | None = None,
) -> list[LightconeSpec]:
    """Lightcones that draw halos where the survey sees galaxies, learned from a pilot sample.

    The pilot's selection probability against halo mass, kept above a floor, shapes the proposal. A wrong
    pilot costs variance, never bias: weights are exact.
    """
    source = LightconeSource(survey_model.model.cosmology) if source is None else source
    pilot = in_precision(config, drawn_slices(source, key, specs))
    galaxies = predict_galaxies(survey_model, params, pilot)
    check_listed(config, np.asarray(galaxies.mag_true), *weights_of_halos(galaxies))
    return aimed(specs, pilot, galaxies)


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
            f"{selection.faint_mag:g}{cuts}. Check the limits and their band, units and magnitude system of "
            "the catalog, the unit of model.ssp, and halos.pilot"
        )


def in_precision(config: RunConfig, halos: Halos) -> Halos:
    """Halos as JAX arrays in the run's precision."""
    dtype = jnp.float32 if config.precision == "single" else jnp.float64
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), halos)
