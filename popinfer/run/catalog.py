"""The observed catalog with the run file's cuts; nothing of the model is loaded for it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from popinfer.config import RunConfig
from popinfer.config.survey import BandConfig
from popinfer.data import BandColumns, CatalogSpec, FilterFile, load_catalog, slice_losses
from popinfer.records import Catalog
from popinfer.run.cuts import build_selection
from popinfer.survey.features import feature_matrix, slice_members


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
