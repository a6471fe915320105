"""The observed side of a run: the catalog with the run file's cuts, and what the survey does to galaxies.

Absolute abundances that are compared belong to it: numbers of galaxies in each slice, stellar mass functions.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from popinfer.components import load_plug_in
from popinfer.config import RunConfig
from popinfer.config.abundance import (
    LuminosityFunctionConfig,
    MainSequenceConfig,
    MassFunctionConfig,
    SfrDensityConfig,
)
from popinfer.cosmology import comoving_volume
from popinfer.data import (
    load_filters,
    read_mass_function,
)
from popinfer.data.mass_function import MassFunctionTable
from popinfer.data.published import (
    BAUER13,
    BLANTON03,
    baldry12,
    listed_density,
    madau14_lg_csfrd,
    typical_color,
)
from popinfer.errors import InputError, first_line
from popinfer.loss.kernel_counts import KernelSpec
from popinfer.model import Design, Survey
from popinfer.model.survey import NoBandToIntegrateError
from popinfer.population.parameters import PhotozParams
from popinfer.population.relations import draw_shells
from popinfer.random import root_key, stream
from popinfer.records import Catalog
from popinfer.run.catalog import curve_of
from popinfer.run.cuts import build_selection
from popinfer.run.simulation import cosmology_of, survival_of_drawn
from popinfer.sps.band_nodes import pivot_wavelength
from popinfer.survey.abundance import (
    LG_SSFR_UNIT,
    Abundance,
    ListedDensity,
    MainSequence,
    MassFunction,
    NumberCounts,
    SfrDensity,
)
from popinfer.survey.cosmic_variance import FULL_SKY_DEG2, slice_variance
from popinfer.survey.features import slice_members
from popinfer.survey.noise import MagnitudeErrors
from popinfer.survey.redshift import Photoz

# of a shell: their noise in the SFR density, 0.01 to 0.02 dex, is small against what is known of it, and they
# cost a tenth of a batch
_SHELL_HALOS = 512


def build_photoz(config: RunConfig) -> Photoz | None:
    """Errors of photometric redshifts; None where redshifts are spectroscopic."""
    section = config.catalog.photoz
    if section is None:
        return None
    expected = PhotozParams(section.scatter, section.bias, section.outlier_fraction)
    return Photoz(tuple(config.slices), expected, section.outlier_range)


def build_survey(config: RunConfig, catalog: Catalog) -> Survey:
    """Kernels, noise model, selection, detection and abundances from the catalog and the run file."""
    section, photoz = config.kernels, build_photoz(config)
    bands = list(config.catalog.bands)
    numbers = tuple(int(inside.sum()) for inside in slice_members(config.slices, catalog.z))
    design = Design(
        kernels=KernelSpec(
            section.n_centers,
            section.bandwidth,
            section.floor_mag,
            section.min_count,
            section.marginal_bandwidth,
        ),
        correlation=config.catalog.correlation_matrix(),
        errors=build_errors(config),
        limits={
            name: (band.detection_mag, band.detection_width_mag, band.observed_fraction)
            for name, band in config.catalog.bands.items()
            if band.detection_mag is not None
        },
        photoz=photoz,
        abundances=build_abundances(config, catalog, numbers, photoz),
        integrate_noise=config.catalog.noise == "analytic",
        filters=tuple(curve_of(band) for band in config.catalog.bands.values()),
        drawn_bands=tuple({bands.index(name) for cut in config.catalog.all_cuts for name in cut.uses}),
    )
    # Centers are part of the statistic: another choice moves posteriors where the model doesn't fit (by two
    # standard deviations of sfh.quenching_mass in configs/sdss_quick.yaml). They are drawn from the root key
    # itself, from which nothing else is drawn, and so stay those of NumPy's generator of the plain seed.
    key = root_key(config.seed)
    selection = build_selection(config)
    try:
        return Survey.from_catalog(key, catalog, config.slices, config.features, selection, design)
    except NoBandToIntegrateError:
        raise InputError(
            "catalog.noise: analytic needs a band that catalog.cuts don't use and no galaxy lacks; use drawn"
        ) from None


def build_errors(config: RunConfig) -> MagnitudeErrors | None:
    """Errors of the user's own, tried on magnitudes; None where they are fitted."""
    section, bands = config.catalog.errors, tuple(config.catalog.bands)
    if section.kind == "fitted":
        return None
    errors = load_plug_in("errors", section.kind, section.settings)
    mag = jnp.linspace(10.0, 30.0, 41)[:, None] * jnp.ones(len(bands))
    try:
        sigma = np.asarray(errors.sigma(mag))
    except (Exception, SystemExit) as error:
        raise InputError(f"catalog.errors: {section.kind} fails on magnitudes: {first_line(error)}") from None
    if sigma.shape != mag.shape or not np.all(np.isfinite(sigma) & (sigma >= 0)):
        raise InputError(
            f"catalog.errors: {section.kind} has to give a finite error [mag], 0 or more, for each galaxy "
            f"and band; for magnitudes 10 to 30, {mag.shape}, it gives {sigma.shape} with {sigma.min()} to "
            f"{sigma.max()}"
        )
    return errors


def build_abundances(
    config: RunConfig, catalog: Catalog, numbers: tuple[int, ...], photoz: Photoz | None
) -> tuple[Abundance, ...]:
    """Abundances beside the soft counts.

    Parameters
    ----------
    config : RunConfig
        The run file.
    catalog : Catalog
        The galaxies; their colors take luminosity functions to the survey's band.
    numbers : tuple[int, ...]
        Of galaxies in each slice.
    photoz : Photoz or None
        Errors of photometric redshifts, or None.

    Raises
    ------
    InputError
        A table can't be read or can't be right.
    """
    ranges = true_ranges(config, photoz)
    joint: list[Abundance] = []
    for section in config.joint:
        if isinstance(section, MassFunctionConfig):
            joint.append(_mass_function(config, section, ranges))
        elif isinstance(section, LuminosityFunctionConfig):
            joint.append(_listed_density(config, section, catalog))
        elif isinstance(section, MainSequenceConfig):
            joint.append(_main_sequence(config, section))
        else:
            joint.append(_sfr_density(config, section))
    counts = number_counts(config, numbers, ranges)
    return (*joint,) if counts is None else (counts, *joint)


def true_ranges(config: RunConfig, photoz: Photoz | None) -> list[tuple[float, float]]:
    """Redshifts from which the galaxies of each slice may come."""
    return [
        limits if photoz is None else photoz.true_range(index) for index, limits in enumerate(config.slices)
    ]


def number_counts(
    config: RunConfig, numbers: tuple[int, ...], ranges: list[tuple[float, float]]
) -> NumberCounts | None:
    """Numbers of galaxies in each slice as data; None where the solid angle isn't given."""
    section = config.catalog.number_density
    if section is None:
        return None
    cosmology = cosmology_of(config)
    sampled_fraction = section.area_deg2 / FULL_SKY_DEG2 * section.sampling
    volume = np.array([sampled_fraction * comoving_volume(limits, cosmology) for limits in ranges])
    variance = [
        slice_variance(section.area_deg2, limits, section.bias, cosmology) for limits in config.slices
    ]
    names = tuple(f"galaxies at {low:g} < z < {high:g}" for low, high in config.slices)
    return NumberCounts.build(np.array(numbers, float), volume, np.array(variance), names)


def _listed_density(config: RunConfig, section: LuminosityFunctionConfig, catalog: Catalog) -> ListedDensity:
    """Density of listed galaxies; errors of all slices are one and the same."""
    selection, bands = config.catalog.selection, list(config.catalog.bands)
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    curves = zip(filters.wave, filters.trans, strict=True)
    wave = np.array([pivot_wavelength(np.asarray(w), np.asarray(t)) for w, t in curves])
    band, z, mag = bands.index(selection.band), np.asarray(catalog.z), np.asarray(catalog.mag)
    whole, density = np.isfinite(mag).all(axis=1), []
    for low, high in config.slices:
        shifted = BLANTON03.wave * (1 + np.array([low, high])) / (1 + BLANTON03.z)
        if shifted.min() < 0.98 * wave.min() or shifted.max() > 1.02 * wave.max():
            raise InputError(
                f"joint: luminosity_function {section.published} is of a band that {low:g} < z < {high:g} "
                f"moves to {shifted[0]:.0f}..{shifted[1]:.0f} Angstrom; the survey's bands lie at "
                f"{wave.min():.0f}..{wave.max():.0f}. Use catalog.number_density, or leave it out"
            )
        inside = whole & (z >= low) & (z < high)
        color = typical_color(BLANTON03, z[inside], mag[inside], wave, band)
        limits = selection.bright_mag + section.fainter_mag, selection.faint_mag + section.fainter_mag
        density.append(listed_density(BLANTON03, (low, high), limits, color, cosmology_of(config)))
    observed = np.array(density)
    error = section.error_dex * np.log(10) * observed
    # the normalisation is common to all slices; a tenth of its variance is each slice's own, of the evolution
    cov = np.outer(error, error) * (0.9 + 0.1 * np.eye(len(error)))
    names = tuple(f"listed galaxies at {low:g} < z < {high:g} [1/Mpc3]" for low, high in config.slices)
    return ListedDensity(observed, cov, tuple(range(len(error))), names)


def _sfr_density(config: RunConfig, section: SfrDensityConfig) -> SfrDensity:
    sfh: Any = config.model.component("sfh", tuple(config.catalog.bands))
    key = stream(root_key(config.seed), "sfr_density")
    cosmology, survival = cosmology_of(config), survival_of_drawn(config)
    shells = draw_shells(key, section.redshifts, _SHELL_HALOS, sfh.n_normal, cosmology, survival)
    density = 10 ** madau14_lg_csfrd(np.array(section.redshifts))
    cov = np.diag((section.error_dex * np.log(10) * density) ** 2)
    names = tuple(f"cosmic SFR density at z = {z:g} [Msun/yr/Mpc3]" for z in section.redshifts)
    return SfrDensity(density, cov, (0,) * len(density), names, shells)


def _slice_of(config: RunConfig, redshift: float) -> tuple[int, tuple[float, float]]:
    """The slice that contains a redshift: its place and limits."""
    return next((i, (low, high)) for i, (low, high) in enumerate(config.slices) if low <= redshift < high)


def _main_sequence(config: RunConfig, section: MainSequenceConfig) -> MainSequence:
    """Published medians of log10 sSFR: of a symmetric scatter, the means that the model has."""
    index, limits = _slice_of(config, section.redshift)
    lgm, lg_ssfr = BAUER13[:, :2].T
    inside = (lgm > section.lgm_range[0]) & (lgm < section.lgm_range[1])
    lgm, lg_ssfr = lgm[inside], lg_ssfr[inside]
    # half of the variance is common to all bins: that of the calibration of star formation rates
    cov = section.error_dex**2 * (0.5 + 0.5 * np.eye(len(lgm)))
    names = tuple(f"log10 sSFR of star-forming galaxies of log M* {m:g} [1e-14/yr]" for m in lgm)
    at = (index,) * len(lgm)
    edges = lgm - 0.25, lgm + 0.25
    return MainSequence(lg_ssfr - LG_SSFR_UNIT, cov, at, names, *edges, section.scatter_dex, limits)


def _mass_function(
    config: RunConfig, section: MassFunctionConfig, ranges: list[tuple[float, float]]
) -> MassFunction:
    """The slice at the table's redshift; of a lightcone for photometric redshifts, only the slice itself."""
    index, limits = _slice_of(config, section.redshift)
    if section.path is not None:
        table = read_mass_function(section.path, section.covariance, section.redshift)
    else:
        edges = np.arange(section.lgm_range[0], section.lgm_range[1] + 1e-6, 0.2)
        phi = baldry12(0.5 * (edges[1:] + edges[:-1]))
        cov = np.diag((section.error_dex * np.log(10) * phi) ** 2)
        table = MassFunctionTable(edges[:-1], edges[1:], phi, cov)
    cosmology = cosmology_of(config)
    rescale = comoving_volume(ranges[index], cosmology) / comoving_volume(limits, cosmology)
    return MassFunction(
        table.phi,
        table.cov,
        (index,) * len(table.phi),
        tuple(
            f"log M* {a:.4g} to {b:.4g} at z = {section.redshift:g} [1/Mpc3/dex]"
            for a, b in zip(table.low, table.high, strict=True)
        ),
        table.low,
        table.high,
        section.scatter_dex,
        limits,
        rescale,
    )
