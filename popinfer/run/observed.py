"""The observed side of a run: the catalog with the run file's cuts, and what the survey does to galaxies."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from popinfer.config import RunConfig
from popinfer.config.survey import BandConfig
from popinfer.data import BandColumns, CatalogSpec, FilterFile, load_catalog, slice_losses
from popinfer.errors import InputError
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.model import Survey
from popinfer.population.parameters import PhotozParams
from popinfer.random import root_key
from popinfer.records import Catalog
from popinfer.run.abundance import build_abundances
from popinfer.run.cuts import build_selection
from popinfer.survey.detection import Detection, fit_limit
from popinfer.survey.integrated_noise import IntegratedNoise
from popinfer.survey.noise import NoiseModel
from popinfer.survey.redshift import Photoz
from popinfer.survey.selection import Selection


def build_photoz(config: RunConfig) -> Photoz | None:
    """Errors of photometric redshifts; None where redshifts are spectroscopic."""
    section = config.catalog.photoz
    if section is None:
        return None
    expected = PhotozParams(section.scatter, section.bias, section.outlier_fraction)
    return Photoz(tuple(config.slices), expected, section.outlier_range)


def feature_matrix(config: RunConfig) -> Float[np.ndarray, "band feature"]:
    """Features are linear in magnitudes: columns are differences of bands, or single bands."""
    bands = list(config.catalog.bands)
    matrix = np.zeros((len(bands), len(config.features)))
    for column, feature in enumerate(config.features):
        first, _, second = feature.partition("-")
        matrix[bands.index(first), column] += 1
        if second:
            matrix[bands.index(second), column] -= 1
    return matrix


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
    for inside in slice_members(config, np.asarray(catalog.z)):
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
    needs = feature_matrix(config) != 0
    n_features = np.sum(~np.any(needs & ~measured[:, :, None], axis=1), axis=1)
    few = (number[which.ravel()] < config.kernels.min_pattern) & ~measured.all(axis=1)
    return few | (n_features == 0)


def slice_members(config: RunConfig, z: np.ndarray) -> list[np.ndarray]:
    """Boolean membership of each slice."""
    z = np.asarray(z)
    return [(z >= low) & (z < high) for low, high in config.slices]


def build_survey(config: RunConfig, catalog: Catalog) -> Survey:
    """Kernels, noise model, selection and detection from the catalog."""
    features, detection = features_of_slices(config, catalog), build_detection(config, catalog)
    photoz = build_photoz(config)
    noise, selection = NoiseModel.fit(catalog, config.catalog.correlation_matrix()), build_selection(config)
    used = () if detection is None else detection.bands
    return Survey(
        tuple(config.catalog.bands),
        feature_matrix(config),
        features,
        build_kernels(config, catalog, detection),
        noise,
        selection,
        detection,
        photoz,
        build_abundances(config, tuple(len(x) for x in features), photoz),
        build_integrated(config, noise, selection, used),
    )


def build_kernels(config: RunConfig, catalog: Catalog, detection: Detection | None) -> KernelCounts:
    """Kernels and the catalog's counts."""
    section, patterns = config.kernels, patterns_of_slices(config, catalog, detection)
    spec = KernelSpec(section.n_centers, section.bandwidth, section.floor_mag, section.min_count)
    # Centers are part of the statistic: another choice moves posteriors where the model doesn't fit (by two
    # standard deviations of sfh.quenching_mass in configs/sdss_quick.yaml). They are drawn from the root key
    # itself, from which nothing else is drawn, and so stay those of NumPy's generator of the plain seed.
    return KernelCounts.build(root_key(config.seed), features_of_slices(config, catalog), spec, patterns)


def _mags_of_slices(config: RunConfig, catalog: Catalog) -> list[Float[np.ndarray, "_ band"]]:
    return [np.asarray(catalog.mag)[inside] for inside in slice_members(config, np.asarray(catalog.z))]


def features_of_slices(config: RunConfig, catalog: Catalog) -> list[Float[np.ndarray, "_ feature"]]:
    """Features of each slice's galaxies, NaN where a band that they need is missing."""
    return [_features(mag, feature_matrix(config)) for mag in _mags_of_slices(config, catalog)]


def build_integrated(
    config: RunConfig, noise: NoiseModel, selection: Selection, detection_bands: tuple[int, ...]
) -> IntegratedNoise | None:
    """Noise to integrate over; it is drawn in bands that further cuts or detection use."""
    if config.catalog.noise == "drawn":
        return None
    bands = list(config.catalog.bands)
    used = {bands.index(name) for cut in config.catalog.all_cuts for name in cut.uses} | set(detection_bands)
    if len(used) == len(bands):
        raise InputError(
            "catalog.noise: analytic needs a band that catalog.cuts don't use and no galaxy lacks; use drawn"
        )
    return IntegratedNoise.split(noise, selection, tuple(sorted(used)))


def _features(
    mag: Float[np.ndarray, "gal band"], matrix: Float[np.ndarray, "band feature"]
) -> Float[np.ndarray, "gal feature"]:
    """Features of observed galaxies, NaN where a band that they need is missing."""
    missing = np.isnan(mag)
    features = np.where(missing, 0.0, mag) @ matrix
    return np.where(missing @ (matrix != 0), np.nan, features)


def build_detection(config: RunConfig, catalog: Catalog) -> Detection | None:
    """Limits of the bands that some galaxies lack, given or fitted; None where none lacks any."""
    mag = np.asarray(catalog.mag)
    inside = np.any(slice_members(config, np.asarray(catalog.z)), axis=0)
    missing = np.isnan(mag[inside])
    optional = tuple(int(b) for b in np.flatnonzero(missing.any(axis=0)))
    if not optional:
        return None
    complete = tuple(b for b in range(mag.shape[1]) if b not in optional)
    limits = []
    for b in optional:
        band = config.catalog.bands[catalog.bands[b]]
        if band.detection_mag is None:
            limits.append(fit_limit(catalog, b, complete))
        else:
            limits.append((band.detection_mag, band.detection_width_mag, band.observed_fraction))
    found, number = np.unique(~missing[:, optional], axis=0, return_counts=True)
    patterns = tuple(tuple(bool(x) for x in found[i]) for i in np.argsort(-number, kind="stable"))
    limit, width, ceiling = (np.array(column) for column in zip(*limits, strict=True))
    return Detection(limit, width, ceiling, optional, patterns)


def patterns_of_slices(
    config: RunConfig, catalog: Catalog, detection: Detection | None
) -> list[Int[np.ndarray, "_"]] | None:
    """Each galaxy's pattern of measured bands, -1 for one that the detection doesn't list."""
    if detection is None:
        return None
    seen = [np.isfinite(mag[:, detection.bands]) for mag in _mags_of_slices(config, catalog)]
    same = [np.all(one[:, None, :] == np.array(detection.patterns), axis=-1) for one in seen]
    return [np.where(one.any(axis=1), np.argmax(one, axis=1), -1) for one in same]
