"""Turn a survey's table into clean AB magnitudes and errors.

How a value becomes a magnitude is in `popinfer.data.photometry_columns`. Every row left out is counted
under the first reason that applies to it. What can only be a mistake in the run file (fluxes called
magnitudes, negative errors, a column that is mostly empty) is refused rather than dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from popinfer.data.catalog_io import fingerprint, read_columns, user_path
from popinfer.data.embedded import asset_path
from popinfer.data.photometry_columns import BandColumns, BandPhotometry, ErrorKind, Unit, convert
from popinfer.errors import InputError
from popinfer.records import Catalog

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
EMBEDDED_SAMPLE = "sdss_mgs"
_Z_CEILING = 20.0


@dataclass(frozen=True)
class CatalogSpec:
    """Which table to read and which of its rows to use.

    Attributes
    ----------
    path : file, or the name of the embedded sample, "sdss_mgs".
    bands : band name -> columns, in the order of the band axis.
    redshift : column name of the redshift.
    format : "auto" (by suffix), "parquet", "fits", "hdf5", "csv" or "ecsv".
    z_min, z_max : redshifts to keep, both included.
    selection_band : band that the two limits apply to.
    mag_bright, mag_faint : magnitudes to keep in that band, both included, after zero point and extinction.
    missing : values that stand for "not measured" in any column.
    keep_missing : keep rows that lack some bands (NaN there), as long as the selection band, the required
        bands and one more band are there; otherwise such rows are dropped.
    required : further bands that every row needs when rows that lack bands are kept.
    """

    path: str | Path
    bands: Mapping[str, BandColumns]
    redshift: str = "z"
    format: str = "auto"
    z_min: float = 0.0
    z_max: float = _Z_CEILING
    selection_band: str | None = None
    mag_bright: float | None = None
    mag_faint: float | None = None
    missing: tuple[float, ...] = (-9999.0, -999.0, -99.0, 99.0, 999.0)
    keep_missing: bool = False
    required: tuple[str, ...] = ()


class _Sieve:
    """Which rows are still in, and how many left for which reason."""

    def __init__(self, rows: int) -> None:
        self.keep: BoolArray = np.ones(rows, dtype=bool)
        self.dropped: dict[str, int] = {}

    def drop(self, bad: BoolArray, reason: str) -> None:
        """Leave out the rows that are `bad` and still in."""
        leaving = self.keep & bad
        if leaving.any():
            self.dropped[reason] = self.dropped.get(reason, 0) + int(leaving.sum())
            self.keep &= ~bad


def load_catalog(spec: CatalogSpec) -> Catalog:
    """Read, convert and clean a catalog.

    Parameters
    ----------
    spec : CatalogSpec
        File, columns, and cuts.

    Returns
    -------
    Catalog
        ``z [gal]``, ``mag`` and ``mag_err [gal band]``; ``dropped`` lists (reason, rows).

    Raises
    ------
    InputError
        The file or a column can't be read, has negative errors or mostly missing values, looks like another
        unit, or no row is left. The message names the file, the column and what would be right.
    """
    _check_spec(spec)
    path = asset_path(EMBEDDED_SAMPLE) if str(spec.path) == EMBEDDED_SAMPLE else user_path(spec.path)
    table = read_columns(path, _column_names(spec), spec.format)
    columns = {name: _without_sentinels(column.values, spec.missing) for name, column in table.items()}
    z = columns[spec.redshift]
    if z.size == 0:
        _refuse(path, "has no rows")
    bands = {name: convert(path, name, band, columns) for name, band in spec.bands.items()}
    for name, band in bands.items():
        _check_half_present(path, name, band, spec)
    sieve = _Sieve(z.size)
    _sift_redshift(path, z, spec, sieve)
    _sift_bands(bands, spec, sieve)
    if not sieve.keep.any():
        reasons = ", ".join(f"{reason} ({rows})" for reason, rows in sieve.dropped.items())
        _refuse(path, f"none of its {z.size} rows is left: {reasons}")
    return Catalog(
        z=z[sieve.keep],
        mag=np.stack([band.mag[sieve.keep] for band in bands.values()], axis=-1),
        mag_err=np.stack([band.err[sieve.keep] for band in bands.values()], axis=-1),
        bands=tuple(bands),
        filter_names=tuple(band.filter for band in spec.bands.values()),
        dropped=tuple(sieve.dropped.items()),
        source=str(spec.path),
        sha256=fingerprint(path),
    )


def _check_spec(spec: CatalogSpec) -> None:
    """Refuse what can't be right before the file is opened."""
    where = spec.path
    if not spec.bands:
        _refuse(where, "the catalog needs at least one band")
    for name, band in spec.bands.items():
        if band.unit not in get_args(Unit):
            _refuse(where, f"band {name}: unit {band.unit!r} is unknown; one of {', '.join(get_args(Unit))}")
        if band.error_kind not in get_args(ErrorKind):
            _refuse(where, f"band {name}: error_kind {band.error_kind!r} has to be sigma or ivar")
        if not band.error_floor >= 0 or not np.isfinite(band.zero_point):
            _refuse(where, f"band {name}: error_floor has to be 0 or more, zero_point finite")
    if not 0 <= spec.z_min < spec.z_max:
        _refuse(where, f"z_min {spec.z_min} has to be 0 or more and below z_max {spec.z_max}")
    limits = [limit for limit in (spec.mag_bright, spec.mag_faint) if limit is not None]
    if spec.selection_band is not None and spec.selection_band not in spec.bands:
        _refuse(where, f"selection_band {spec.selection_band!r} is not one of {', '.join(spec.bands)}")
    if limits and spec.selection_band is None:
        _refuse(where, "mag_bright and mag_faint need a selection_band")
    if limits != sorted(limits):
        _refuse(where, f"mag_bright {spec.mag_bright} has to be below mag_faint {spec.mag_faint}")


def _column_names(spec: CatalogSpec) -> list[str]:
    names = [spec.redshift]
    for band in spec.bands.values():
        names += [band.value, band.error] + ([band.extinction] if band.extinction else [])
    return list(dict.fromkeys(names))


def _without_sentinels(values: FloatArray, missing: tuple[float, ...]) -> FloatArray:
    """NaN for values that mean "not measured", also when the column held them in single precision."""
    found = np.zeros(values.shape, bool)
    for one in missing:
        found |= (values == one) | (values == np.float32(one))
    return np.where(found, np.nan, values)


def _check_half_present(path: Path, name: str, band: BandPhotometry, spec: CatalogSpec) -> None:
    """Refuse a band that is mostly absent: a wrong column, or a band the sample does not have."""
    lost, rows = int(np.isnan(band.mag).sum()), band.mag.size
    if lost > rows / 2 and (not spec.keep_missing or lost == rows):
        why = ", ".join(f"{reason} ({int(bad.sum())})" for reason, bad in band.unusable.items() if bad.any())
        _refuse(
            path,
            f"band {name} can't be used in {lost} of {rows} rows: {why}; check column "
            f"{spec.bands[name].value!r} or leave the band out",
        )


def _sift_redshift(path: Path, z: FloatArray, spec: CatalogSpec, sieve: _Sieve) -> None:
    finite = np.isfinite(z)
    absurd = finite & ((z < -0.1) | (z > _Z_CEILING))
    if absurd.sum() > finite.sum() / 2:
        _refuse(
            path,
            f"column {spec.redshift!r} is outside 0..{_Z_CEILING:g} in {int(absurd.sum())} rows, first in "
            f"row {np.flatnonzero(absurd)[0]} ({z[absurd][0]:g}); redshift has to name the redshift",
        )
    sieve.drop(~finite, "no redshift")
    sieve.drop(z <= 0, "redshift not positive")
    sieve.drop(z > _Z_CEILING, f"redshift above {_Z_CEILING:g}")
    sieve.drop((z < spec.z_min) | (z > spec.z_max), f"redshift outside {spec.z_min:g}..{spec.z_max:g}")


def _sift_bands(bands: Mapping[str, BandPhotometry], spec: CatalogSpec, sieve: _Sieve) -> None:
    """Drop rows without the photometry that is needed, then those beyond the magnitude limits."""
    always = (spec.selection_band, *spec.required)
    needed = [name for name in bands if not spec.keep_missing or name in always]
    for name in needed:
        for reason, bad in bands[name].unusable.items():
            sieve.drop(bad, reason)
    measured = np.sum([np.isfinite(band.mag) for band in bands.values()], axis=0)
    sieve.drop(measured < min(2, len(bands)), "fewer than two bands measured")
    if spec.selection_band is None:
        return
    mag = bands[spec.selection_band].mag
    if spec.mag_faint is not None:
        sieve.drop(mag > spec.mag_faint, f"fainter than {spec.selection_band} = {spec.mag_faint:g}")
    if spec.mag_bright is not None:
        sieve.drop(mag < spec.mag_bright, f"brighter than {spec.selection_band} = {spec.mag_bright:g}")


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
