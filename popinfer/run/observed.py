"""The observed side of a run: the catalog with the run file's cuts, what the survey does to galaxies, and the
absolute abundances that are compared: numbers of galaxies in each slice, stellar mass functions.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from popinfer.config import RunConfig
from popinfer.config.survey import BandConfig, MassFunctionConfig
from popinfer.cosmology import comoving_volume
from popinfer.data import (
    BandColumns,
    CatalogSpec,
    FilterFile,
    load_catalog,
    read_mass_function,
    slice_losses,
)
from popinfer.errors import InputError
from popinfer.loss.kernel_counts import KernelSpec
from popinfer.model import Design, Survey
from popinfer.model.survey import NoBandToIntegrateError, feature_matrix, slice_members
from popinfer.population.parameters import PhotozParams
from popinfer.random import root_key
from popinfer.records import Catalog
from popinfer.run.cuts import build_selection
from popinfer.run.simulation import cosmology_of
from popinfer.survey.abundance import Abundance, MassFunction, NumberCounts
from popinfer.survey.cosmic_variance import FULL_SKY_DEG2, slice_variance
from popinfer.survey.redshift import Photoz


def build_photoz(config: RunConfig) -> Photoz | None:
    """Errors of photometric redshifts; None where redshifts are spectroscopic."""
    section = config.catalog.photoz
    if section is None:
        return None
    expected = PhotozParams(section.scatter, section.bias, section.outlier_fraction)
    return Photoz(tuple(config.slices), expected, section.outlier_range)


def build_catalog(config: RunConfig, say: Callable[[str], None] | None = None) -> Catalog:
    """Read the catalog with the run file's cuts, from the lowest slice to the highest.

    Galaxies that lack bands which too few others lack in the same slice are left out. ``say`` gets a line
    now and then while a large file is read.
    """
    section, selection = config.catalog, build_selection(config)
    spec = CatalogSpec(
        path=section.path,
        bands={name: _columns(band) for name, band in section.bands.items()},
        redshift=section.redshift,
        format=section.format,
        table=section.table,
        id=section.id,
        where=tuple(section.where),
        missing=tuple(section.missing),
        duplicates=section.duplicates,
        implausible=section.implausible,
        file_units=section.file_units,
        slices=tuple(config.slices),
        z_min=min(low for low, _ in config.slices),
        z_max=max(high for _, high in config.slices),
        selection_band=section.selection.band,
        mag_bright=section.selection.bright_mag,
        mag_faint=section.selection.faint_mag,
        keep_missing=section.missing_bands == "keep",
        required=tuple(set().union(*(cut.uses for cut in section.all_cuts))),
    )
    catalog = load_catalog(spec, say)
    catalog = _within_band_limits(config, catalog)
    outside = selection.sharp(np.asarray(catalog.mag)) == 0
    catalog = without(catalog, outside, "outside catalog.cuts", config.slices)
    rare = np.zeros(catalog.z.shape, bool)
    for inside in slice_members(config.slices, catalog.z):
        rare |= inside & _rare(config, np.where(inside[:, None], catalog.mag, np.nan))
    return without(catalog, rare, "few galaxies lack the same bands", config.slices)


def _within_band_limits(config: RunConfig, catalog: Catalog) -> Catalog:
    """The catalog without galaxies beyond a band's own limits, each limit under a reason of its own."""
    for axis, (name, band) in enumerate(config.catalog.bands.items()):
        if band.faint_mag is not None:
            beyond = np.asarray(catalog.mag)[:, axis] > band.faint_mag
            catalog = without(catalog, beyond, f"fainter than {name} = {band.faint_mag:g}", config.slices)
        if band.bright_mag is not None:
            beyond = np.asarray(catalog.mag)[:, axis] < band.bright_mag
            catalog = without(catalog, beyond, f"brighter than {name} = {band.bright_mag:g}", config.slices)
    return catalog


def curve_of(band: BandConfig) -> str | FilterFile:
    """Name or file of a band's filter curve, with all that the run file says of it."""
    curve = band.filter
    return (
        curve if isinstance(curve, str) else FilterFile(curve.path, curve.columns, curve.unit, curve.counts)
    )


def _columns(band: BandConfig) -> BandColumns:
    return BandColumns(
        filter=curve_of(band),
        value=band.value,
        error=band.error,
        extinction=band.extinction,
        zero_point=band.zero_point_mag,
        unit=band.unit,
        error_unit=band.error_unit,
        system=band.system,
        softening=band.softening,
        error_kind=band.error_kind,
        error_floor=band.error_floor_mag,
        detection=band.detection_mag,
    )


def without(
    catalog: Catalog,
    bad: Bool[np.ndarray, "gal"],
    reason: str,
    slices: Sequence[tuple[float, float]] = (),
) -> Catalog:
    """The catalog without some galaxies, counted under a reason, and by slice where slices are given."""
    if not bad.any():
        return catalog
    return dataclasses.replace(
        catalog,
        z=np.asarray(catalog.z)[~bad],
        mag=np.asarray(catalog.mag)[~bad],
        mag_err=np.asarray(catalog.mag_err)[~bad],
        id=None if catalog.id is None else tuple(np.array(catalog.id, object)[~bad]),
        dropped=(*catalog.dropped, (reason, int(bad.sum()))),
        losses=(*catalog.losses, *slice_losses(slices, np.asarray(catalog.z)[bad], reason)),
    )


def _rare(config: RunConfig, mag: Float[np.ndarray, "gal band"]) -> Bool[np.ndarray, "gal"]:
    """Galaxies without any feature, or that lack bands like fewer than `min_pattern` others."""
    measured = np.isfinite(mag)
    if measured.all():
        return np.zeros(len(mag), bool)
    _, which, number = np.unique(measured, axis=0, return_inverse=True, return_counts=True)
    needs = feature_matrix(list(config.catalog.bands), config.features) != 0
    n_features = np.sum(~np.any(needs & ~measured[:, :, None], axis=1), axis=1)
    few = (number[which.ravel()] < config.kernels.min_pattern) & ~measured.all(axis=1)
    return few | (n_features == 0)


def build_survey(config: RunConfig, catalog: Catalog) -> Survey:
    """Kernels, noise model, selection, detection and abundances from the catalog and the run file."""
    section, photoz = config.kernels, build_photoz(config)
    bands = list(config.catalog.bands)
    numbers = tuple(int(inside.sum()) for inside in slice_members(config.slices, catalog.z))
    design = Design(
        kernels=KernelSpec(section.n_centers, section.bandwidth, section.floor_mag, section.min_count),
        correlation=config.catalog.correlation_matrix(),
        limits={
            name: (band.detection_mag, band.detection_width_mag, band.observed_fraction)
            for name, band in config.catalog.bands.items()
            if band.detection_mag is not None
        },
        photoz=photoz,
        abundances=build_abundances(config, numbers, photoz),
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


def build_abundances(
    config: RunConfig, numbers: tuple[int, ...], photoz: Photoz | None
) -> tuple[Abundance, ...]:
    """Abundances beside the soft counts.

    Parameters
    ----------
    config : the run file.
    numbers : observed galaxies in each slice.
    photoz : errors of photometric redshifts, or None.

    Raises
    ------
    InputError
        A table can't be read or can't be right.
    """
    ranges = [
        limits if photoz is None else photoz.true_range(index) for index, limits in enumerate(config.slices)
    ]
    tables = tuple(_mass_function(config, table, ranges) for table in config.joint)
    section = config.catalog.number_density
    if section is None:
        return tables
    cosmology = cosmology_of(config)
    sampled_fraction = section.area_deg2 / FULL_SKY_DEG2 * section.sampling
    volume = np.array([sampled_fraction * comoving_volume(limits, cosmology) for limits in ranges])
    variance = [
        slice_variance(section.area_deg2, limits, section.bias, cosmology) for limits in config.slices
    ]
    names = tuple(f"galaxies at {low:g} < z < {high:g}" for low, high in config.slices)
    return (NumberCounts.build(np.array(numbers, float), volume, np.array(variance), names), *tables)


def _mass_function(
    config: RunConfig, section: MassFunctionConfig, ranges: list[tuple[float, float]]
) -> MassFunction:
    """The slice at the table's redshift; of a lightcone for photometric redshifts, only the slice itself."""
    index = next(i for i, (low, high) in enumerate(config.slices) if low <= section.redshift < high)
    table, limits = (
        read_mass_function(section.path, section.covariance, section.redshift),
        config.slices[index],
    )
    cosmology = cosmology_of(config)
    rescale = comoving_volume(ranges[index], cosmology) / comoving_volume(limits, cosmology)
    return MassFunction(
        table.phi,
        table.cov,
        (index,) * len(table.phi),
        tuple(
            f"log M* {a:g} to {b:g} at z = {section.redshift:g} [1/Mpc3/dex]"
            for a, b in zip(table.low, table.high, strict=True)
        ),
        table.low,
        table.high,
        section.scatter_dex,
        limits,
        rescale,
    )
