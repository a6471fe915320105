"""Where the run file becomes objects: catalog, tables, halos, kernels, counts and data."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from popinfer.config import RunConfig
from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.model import PopulationModel, SurveyModel, predict_galaxies
from popinfer.params import FreeParam, ParamSpace, Prior
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.forward import ForwardModel, build_tables, n_normals
from popinfer.population.halos import LightconeSpec, detection_curve, draw_halos
from popinfer.population.metallicity import MassMetallicity
from popinfer.population.parameters import (
    ModelParams,
    ParamNames,
    check_names,
    fiducial_params,
    meaning,
    with_values,
)
from popinfer.random import stream
from popinfer.records import SSP, Filters, Halos
from popinfer.run.observed import build_photoz, curve_of
from popinfer.sps.birth_cloud import behind_birth_clouds
from popinfer.sps.dust import DustLaw, KriekConroy13, Salim18
from popinfer.sps.nebular import add_nebular

DUST_LAWS: dict[str, Callable[[], DustLaw]] = {"kriek_conroy13": KriekConroy13, "salim18": Salim18}
Z_NODES = 4  # redshifts at which each slice's band table is computed, at least
Z_SPACING = 0.035  # between them, at most: magnitudes to 0.01 at z < 1
_NONE_LISTED = 1e-12  # of the galaxies of a slice: rounding, or the far wings of a soft limit
OUTLIER_NODES = 8  # further ones for outliers of photometric redshifts


def build_light(config: RunConfig) -> tuple[Filters, SSP]:
    """Filter curves, and stellar populations with what surrounds young stars."""
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    ssp = load_ssp(config.model.ssp, universe_age(config))
    if config.model.nebular is not None:
        ssp = add_nebular(ssp, load_nebular(), config.model.nebular.logu)
    return filters, behind_birth_clouds(ssp, config.model.birth_cloud_av_mag)


def build_model(config: RunConfig, filters: Filters, ssp: SSP) -> PopulationModel:
    """The population model in a survey's bands and slices."""
    names = ParamNames(tuple(config.catalog.bands), tuple(config.model.template_knots_angstrom))
    space = build_space(config, names)
    params = fiducial_params(config.model.sfh_calibration, names)
    photoz = build_photoz(config)
    params = params if photoz is None else params._replace(photoz=photoz.expected)
    params = with_values(params, config.model.fixed, names)
    tables = [build_tables(ssp, filters, z, PLANCK15, names.knots) for z in table_redshifts(config)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *tables)
    law = DUST_LAWS[config.model.dust_law]()
    forward = ForwardModel(PLANCK15, law, MassMetallicity(), DustPopulation(), Burstiness())
    return PopulationModel(space, names, params, forward, stacked)


def universe_age(config: RunConfig) -> float:
    """Age of the universe [Gyr] at the lowest redshift: no star is older."""
    return float(age(PLANCK15, min(low for low, _ in config.slices)))


def table_redshifts(config: RunConfig) -> list[Float[np.ndarray, "z"]]:
    """Redshifts at which each slice's light is tabulated: as many in each slice."""
    photoz, index = build_photoz(config), range(len(config.slices))
    ranges = config.slices if photoz is None else [photoz.core_range(i) for i in index]
    widest = max(high - low for low, high in ranges)
    n = max(Z_NODES, int(np.ceil(widest / Z_SPACING)) + 1)
    if photoz is None:
        return [np.linspace(*limits, n) for limits in ranges]
    return [photoz.nodes(i, n, OUTLIER_NODES) for i in index]


def build_space(config: RunConfig, names: ParamNames) -> ParamSpace:
    """Free parameters with their priors."""
    check_names(config.free, names)
    free = []
    for name, prior in config.free.items():
        unit, text = meaning(name)
        free.append(FreeParam(name, Prior(prior.prior, **prior.numbers()), unit, text))
    return ParamSpace(tuple(free))


def lightcones(config: RunConfig) -> list[LightconeSpec]:
    """The slices' lightcones before anything is known of what the survey sees."""
    photoz = build_photoz(config)
    return [
        LightconeSpec(
            *(limits if photoz is None else photoz.true_range(index)),
            n_halo=config.halos.n_per_slice,
            lgm_min=config.lgm_min_of(index),
            n_normal=n_normals(len(config.catalog.bands)),
            flatten=config.halos.flatten,
            redshifts=None if photoz is None else photoz.proposal(index),
        )
        for index, limits in enumerate(config.slices)
    ]


def draw_slices(key: PRNGKeyArray, specs: list[LightconeSpec]) -> Halos:
    """Halos of all slices, stacked on a leading slice axis."""
    drawn = [draw_halos(stream(key, "slice", index), spec) for index, spec in enumerate(specs)]
    return jax.tree.map(lambda *x: np.stack(x), *drawn)


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
