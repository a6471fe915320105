"""Where the run file becomes objects: catalog, tables, halos, kernels, and the `Problem` that infer sees."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.config import RunConfig
from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.data import BandColumns, CatalogSpec, load_catalog, load_filters, load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.infer.likelihood import Problem
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.params import FreeParam, ParamSpace, Prior
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.forward import ForwardModel, SliceTables, build_tables, n_normals
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
from popinfer.records import SSP, Catalog, Filters, Galaxies, Halos
from popinfer.sps.birth_cloud import behind_birth_clouds
from popinfer.sps.dust import DustLaw, KriekConroy13, Salim18
from popinfer.sps.nebular import add_nebular
from popinfer.survey.noise import NoiseModel
from popinfer.survey.selection import MagnitudeLimit

DUST_LAWS: dict[str, Callable[[], DustLaw]] = {"kriek_conroy13": KriekConroy13, "salim18": Salim18}
Z_NODES = 4  # redshifts at which each slice's band table is computed


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
        return mag @ self.feature_matrix().astype(mag.dtype)

    def feature_matrix(self) -> Float[np.ndarray, "band feature"]:
        """Features are linear in magnitudes: columns are differences of bands, or single bands."""
        matrix = np.zeros((len(self.bands), len(self.config.features)))
        for column, feature in enumerate(self.config.features):
            first, _, second = feature.partition("-")
            matrix[self.bands.index(first), column] += 1
            if second:
                matrix[self.bands.index(second), column] -= 1
        return matrix


def build_setup(config: RunConfig) -> Setup:
    """Parameters, SSP tables and the forward model of a run."""
    names = ParamNames(tuple(config.catalog.bands), tuple(config.model.template_knots_angstrom))
    space = build_space(config, names)
    params = with_values(fiducial_params(config.model.sfh_calibration, names), config.model.fixed, names)
    both = set(config.model.fixed) & set(space.names)
    if both:
        raise InputError(f"parameter '{min(both)}' is both free and fixed: keep one")
    filters = load_filters([band.filter for band in config.catalog.bands.values()])
    ssp = load_ssp(config.model.ssp)
    if config.model.nebular is not None:
        ssp = add_nebular(ssp, load_nebular(), config.model.nebular.logu)
    ssp = behind_birth_clouds(ssp, config.model.birth_cloud_av_mag)
    tables = [
        build_tables(ssp, filters, np.linspace(*z, Z_NODES), PLANCK15, names.knots) for z in config.slices
    ]
    stacked = jax.tree.map(lambda *x: np.stack(x), *tables)
    law = DUST_LAWS[config.model.dust_law]()
    forward = ForwardModel(PLANCK15, law, MassMetallicity(), DustPopulation(), Burstiness())
    return Setup(config, space, names, params, forward, filters, ssp, stacked, PLANCK15)


def build_space(config: RunConfig, names: ParamNames) -> ParamSpace:
    """Free parameters with their priors."""
    check_names(config.free, names)
    free = []
    for name, prior in config.free.items():
        unit, text = meaning(name)
        free.append(FreeParam(name, Prior(prior.prior, **prior.numbers()), unit, text))
    return ParamSpace(tuple(free))


def build_catalog(config: RunConfig) -> Catalog:
    """Read the catalog with the run file's cuts, from the lowest slice to the highest."""
    section = config.catalog
    bands = {
        name: BandColumns(
            filter=b.filter,
            value=b.value,
            error=b.error,
            extinction=b.extinction,
            zero_point=b.zero_point_mag,
            unit=b.unit,
            error_kind=b.error_kind,
            error_floor=b.error_floor_mag,
        )
        for name, b in section.bands.items()
    }
    spec = CatalogSpec(
        path=section.path,
        bands=bands,
        redshift=section.redshift,
        format=section.format,
        missing=tuple(section.missing),
        z_min=min(low for low, _ in config.slices),
        z_max=max(high for _, high in config.slices),
        selection_band=section.selection.band,
        mag_bright=section.selection.bright_mag,
        mag_faint=section.selection.faint_mag,
    )
    return load_catalog(spec)


def slice_members(config: RunConfig, z: np.ndarray) -> list[np.ndarray]:
    """Boolean membership of each slice."""
    z = np.asarray(z)
    return [(z >= low) & (z < high) for low, high in config.slices]


class Survey(eqx.Module):
    """The observed side: features per slice, kernels, noise and selection."""

    features: list[np.ndarray]
    kernels: KernelCounts
    noise: NoiseModel
    selection: MagnitudeLimit


def build_survey(setup: Setup, catalog: Catalog) -> Survey:
    """Kernels, noise model and selection from the catalog."""
    config = setup.config
    members = slice_members(config, np.asarray(catalog.z))
    features = [np.asarray(setup.features(np.asarray(catalog.mag)[m])) for m in members]
    kernels = config.kernels
    spec = KernelSpec(kernels.n_centers, kernels.bandwidth, kernels.floor_mag, kernels.min_count)
    limit = config.catalog.selection
    selection = MagnitudeLimit(
        setup.bands.index(limit.band), limit.bright_mag, limit.faint_mag, limit.width_mag
    )
    return Survey(
        features, KernelCounts.build(features, spec, config.seed), NoiseModel.fit(catalog), selection
    )


def lightcones(config: RunConfig) -> list[LightconeSpec]:
    """The slices' lightcones before anything is known of what the survey sees."""
    return [
        LightconeSpec(
            low,
            high,
            n_halo=config.halos.n_per_slice,
            lgm_min=config.lgm_min_of(index),
            n_normal=n_normals(len(config.catalog.bands)),
            flatten=config.halos.flatten,
        )
        for index, (low, high) in enumerate(config.slices)
    ]


def draw_slices(specs: list[LightconeSpec], seed: int) -> Halos:
    """Halos of all slices, stacked on a leading slice axis."""
    drawn = [draw_halos(seed + 7919 * index, spec) for index, spec in enumerate(specs)]
    return jax.tree.map(lambda *x: np.stack(x), *drawn)


def detectable(setup: Setup, survey: Survey, specs: list[LightconeSpec], seed: int) -> list[LightconeSpec]:
    """Lightcones that draw halos where the survey sees galaxies, learned from a pilot sample.

    The pilot's selection probability against halo mass, kept above a floor, shapes the proposal. A wrong
    pilot costs variance, never bias: weights are exact.
    """
    pilot = in_precision(setup.config, draw_slices(specs, seed))
    params = with_values(setup.params, setup.config.halos.pilot, setup.names)
    galaxies = predict_galaxies(Predictor(setup, survey), params, pilot)
    seen, all_ = (
        np.asarray(w).reshape(len(specs), 2, -1).sum(axis=1) for w in (galaxies.weight, galaxies.weight_all)
    )
    lgm = np.asarray(pilot.logmp0)
    return [
        dataclasses.replace(spec, detection=detection_curve(lgm[i], seen[i], all_[i]))
        for i, spec in enumerate(specs)
    ]


class Predictor(eqx.Module):
    """Unconstrained vector and halos -> model galaxies of every slice (leading axis).

    Arrays of the survey are arguments of compiled programs: another catalog needs no other program.
    """

    setup: Setup = eqx.field(static=True)
    survey: Survey

    def __init__(self, setup: Setup, survey: Survey) -> None:
        self.setup = setup
        # the catalog itself, of varying size, isn't needed any more
        self.survey = dataclasses.replace(survey, features=[])

    def __call__(self, u: Float[Array, "par"], halos: Halos) -> Galaxies:
        """Predict all slices, in the halos' precision."""
        return self.galaxies(self.setup.model_params(u), halos)

    def galaxies(self, params: ModelParams, halos: Halos) -> Galaxies:
        """Predict all slices from physical parameters."""
        setup, dtype = self.setup, halos.weight.dtype
        noise = jax.tree.map(lambda x: jnp.asarray(x, dtype), self.survey.noise)

        def one(halos: Halos, tables: SliceTables) -> Galaxies:
            return setup.forward(params, halos, tables, noise.sigma, self.survey.selection)

        return jax.vmap(one)(halos, setup.tables)

    def log_counts(self, u: Float[Array, "par"], halos: Halos) -> Float[Array, "slice kernel"]:
        """Logarithm of the model's soft counts."""
        galaxies, kernels = self(u, halos), self.survey.kernels
        log_shares = kernels.log_shares(jnp.asarray(self.setup.features(galaxies.mag)), galaxies.weight)
        log_m = log_shares + jnp.log(jnp.asarray(kernels.n_obs))[:, None]
        return jnp.where(jnp.asarray(kernels.mask) > 0, log_m, 0.0)


predict_galaxies = eqx.filter_jit(Predictor.galaxies)
_predict_log_counts = eqx.filter_jit(Predictor.log_counts)


class SampleCounts(eqx.Module):
    """Unconstrained vector -> log-counts of one halo sample, all slices and kernels in one array."""

    predictor: Predictor
    halos: Halos

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Logarithm of the soft counts; zero for kernels that aren't in use."""
        return self.predictor.log_counts(u, self.halos).ravel()


def build_problem(setup: Setup, survey: Survey, halos: Halos, replicates: list[Halos]) -> Problem:
    """What inference needs: log-counts, data, covariance, and counts of replicate halo samples."""
    predictor, kernels = Predictor(setup, survey), survey.kernels
    used = np.asarray(kernels.mask).ravel() > 0
    n_slice, n_kernel = kernels.mask.shape
    samples = [in_precision(setup.config, one) for one in replicates]

    def replicate_counts(u: Array) -> np.ndarray:
        return np.exp(np.stack([np.asarray(_predict_log_counts(predictor, u, x)).ravel() for x in samples]))

    data_cov = np.asarray(jax.scipy.linalg.block_diag(*np.asarray(kernels.data_cov)))
    data_cov = np.where(np.outer(used, used), data_cov, 0.0)
    observed = np.where(used, np.asarray(kernels.observed).ravel(), 1.0)
    return Problem(
        names=setup.space.names,
        raw_log_counts=SampleCounts(predictor, in_precision(setup.config, halos)),
        observed=observed,
        data_cov=data_cov,
        model_cov=model_error_cov(setup.config.kernels.model_error, observed, data_cov),
        slice_of=np.repeat(np.arange(n_slice), n_kernel),
        replicates=replicate_counts,
    )


def model_error_cov(
    fraction: float, observed: Float[np.ndarray, "stat"], data_cov: Float[np.ndarray, "stat stat"]
) -> Float[np.ndarray, "stat stat"]:
    """Covariance of counts that the model gets wrong by a fraction of themselves.

    Errors of two kernels are correlated as their counting noise is: as far as they see the same galaxies.
    """
    sd = np.sqrt(np.diag(data_cov))
    relative = np.divide(observed, sd, out=np.zeros_like(sd), where=sd > 0)
    return fraction**2 * data_cov * np.outer(relative, relative)


def in_precision(config: RunConfig, halos: Halos) -> Halos:
    """Halos as JAX arrays in the run's precision."""
    dtype = jnp.float32 if config.precision == "single" else jnp.float64
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), halos)
