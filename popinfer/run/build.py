"""Where the run file becomes objects: catalog, tables, halos, kernels, counts and data."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.linalg import block_diag

from popinfer.config import RunConfig
from popinfer.cosmology import PLANCK15, Cosmology, age
from popinfer.data import load_filters, load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.infer.counts import BatchedCounts
from popinfer.infer.data import Data
from popinfer.params import FreeParam, ParamSpace, Prior
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.forward import ForwardModel, Observe, SliceTables, build_tables, n_normals
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
from popinfer.records import SSP, Filters, Galaxies, Halos
from popinfer.run.observed import Survey, build_photoz, curve_of, feature_matrix
from popinfer.sps.birth_cloud import behind_birth_clouds
from popinfer.sps.dust import DustLaw, KriekConroy13, Salim18
from popinfer.sps.nebular import add_nebular

DUST_LAWS: dict[str, Callable[[], DustLaw]] = {"kriek_conroy13": KriekConroy13, "salim18": Salim18}
Z_NODES = 4  # redshifts at which each slice's band table is computed, at least
Z_SPACING = 0.035  # between them, at most: magnitudes to 0.01 at z < 1
_NONE_LISTED = 1e-12  # of the galaxies of a slice: rounding, or the far wings of a soft limit
OUTLIER_NODES = 8  # further ones for outliers of photometric redshifts


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything of a run that doesn't depend on halos or data."""

    config: RunConfig
    space: ParamSpace
    names: ParamNames
    params: ModelParams
    forward: ForwardModel
    filters: Filters
    ssp: SSP
    tables: SliceTables
    cosmology: Cosmology

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""
        return self.names.bands

    def model_params(self, u: Float[Array, "par"]) -> ModelParams:
        """Model parameters for an unconstrained vector."""
        return with_values(self.params, self.space.to_physical(u), self.names)

    def features(self, mag: Array | np.ndarray) -> Array | np.ndarray:
        """Colors and magnitudes [..., feature] from magnitudes [..., band]."""
        return mag @ feature_matrix(self.config).astype(mag.dtype)


def build_setup(config: RunConfig) -> Setup:
    """Parameters, SSP tables and the forward model of a run."""
    names = ParamNames(tuple(config.catalog.bands), tuple(config.model.template_knots_angstrom))
    space = build_space(config, names)
    params = fiducial_params(config.model.sfh_calibration, names)
    photoz = build_photoz(config)
    params = params if photoz is None else params._replace(photoz=photoz.expected)
    params = with_values(params, config.model.fixed, names)
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    ssp = load_ssp(config.model.ssp, universe_age(config))
    if config.model.nebular is not None:
        ssp = add_nebular(ssp, load_nebular(), config.model.nebular.logu)
    ssp = behind_birth_clouds(ssp, config.model.birth_cloud_av_mag)
    tables = [build_tables(ssp, filters, z, PLANCK15, names.knots) for z in table_redshifts(config)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *tables)
    law = DUST_LAWS[config.model.dust_law]()
    forward = ForwardModel(PLANCK15, law, MassMetallicity(), DustPopulation(), Burstiness())
    return Setup(config, space, names, params, forward, filters, ssp, stacked, PLANCK15)


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
    setup: Setup,
    survey: Survey,
    specs: list[LightconeSpec],
    params: ModelParams,
) -> list[LightconeSpec]:
    """Lightcones that draw halos where the survey sees galaxies, learned from a pilot sample.

    The pilot's selection probability against halo mass, kept above a floor, shapes the proposal. A wrong
    pilot costs variance, never bias: weights are exact.
    """
    pilot = in_precision(setup.config, draw_slices(key, specs))
    galaxies = predict_galaxies(Predictor(setup, survey), params, pilot)
    seen, all_ = (
        np.asarray(w).reshape(len(specs), 2, -1).sum(axis=1) for w in (galaxies.weight, galaxies.weight_all)
    )
    lgm = np.asarray(pilot.logmp0)
    check_listed(setup.config, np.asarray(galaxies.mag_true), seen, all_)
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


class Predictor(eqx.Module):
    """Unconstrained vector and halos -> model galaxies of every slice (leading axis).

    Arrays of the survey are arguments of compiled programs: another catalog needs no other program.
    """

    setup: Setup = eqx.field(static=True)
    survey: Survey
    scales: tuple[Float[Array | np.ndarray, "_"], ...]

    def __init__(self, setup: Setup, survey: Survey) -> None:
        self.setup = setup
        self.scales = tuple(one.scale for one in survey.effective_counts())
        # the catalog itself, of varying size, isn't needed any more
        self.survey = dataclasses.replace(survey, features=[])

    def __call__(self, u: Float[Array, "par"], halos: Halos) -> Galaxies:
        """Predict all slices, in the halos' precision, for the counts: noise may be integrated over."""
        return self._predict(self.setup.model_params(u), halos, self.survey.expect)

    def galaxies(self, params: ModelParams, halos: Halos) -> Galaxies:
        """Predict all slices from physical parameters, as the survey would list them."""
        return self._predict(params, halos, self.survey.observe)

    def _predict(self, params: ModelParams, halos: Halos, observe: Observe) -> Galaxies:
        setup, dtype = self.setup, halos.weight.dtype

        def one(halos: Halos, tables: SliceTables) -> Galaxies:
            return setup.forward(params, halos, tables, observe)

        galaxies = jax.vmap(one)(halos, setup.tables)
        if self.survey.photoz is None:
            return galaxies
        inside = self.survey.photoz.membership(params.photoz, jnp.tile(jnp.asarray(halos.z_obs), (1, 2)))
        return eqx.tree_at(lambda g: g.weight, galaxies, galaxies.weight * inside.astype(dtype))

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
        kernels, patterns = self.survey.kernels, self.survey.patterns(galaxies.mag)
        features = jnp.asarray(self.setup.features(galaxies.mag))
        noise, matrix = self.survey.integrated, feature_matrix(self.setup.config)
        scatter = None if noise is None else noise.scatter(galaxies.mag, galaxies.mag_true, matrix)
        log_m = kernels.log_counts(features, galaxies.weight, patterns, scatter)
        return jnp.where(jnp.asarray(kernels.mask) > 0, log_m, 0.0)


predict_galaxies = eqx.filter_jit(Predictor.galaxies)


class HaloCounts(BatchedCounts):
    """Unconstrained vector -> log-counts of each batch of halos: all slices and kernels, then abundances.

    Attributes
    ----------
    batches : halos, arrays [batch, slice, halo].
    predictor : the model and the survey.
    """

    batches: Halos
    predictor: Predictor

    def of_batch(self, batch: Halos, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of the counts; zero for kernels that aren't in use."""
        return self.predictor.log_statistics(u, batch)


def build_counts(setup: Setup, survey: Survey, batches: Halos) -> HaloCounts:
    """The model's counts on halo batches [batch, slice, halo], in the run's precision."""
    return HaloCounts(in_precision(setup.config, batches), Predictor(setup, survey))


def build_data(setup: Setup, survey: Survey) -> Data:
    """What the model's counts are compared with."""
    kernels, effective = survey.kernels, survey.effective_counts()
    n_slice, n_kernel = kernels.mask.shape
    used = np.asarray(kernels.mask).ravel() > 0
    soft = np.where(used, np.asarray(kernels.observed).ravel(), 1.0)
    soft_cov, layout_cov = (
        np.where(np.outer(used, used), np.asarray(block_diag(*np.asarray(cov))), 0.0)
        for cov in (kernels.data_cov, kernels.layout_cov)
    )
    error = model_error_cov(setup.config.kernels.model_error, layout_cov)
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


def in_precision(config: RunConfig, halos: Halos) -> Halos:
    """Halos as JAX arrays in the run's precision."""
    dtype = jnp.float32 if config.precision == "single" else jnp.float64
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), halos)
