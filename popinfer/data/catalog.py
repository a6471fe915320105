"""Turn a survey's table into clean AB magnitudes and errors.

How a value becomes a magnitude is in `popinfer.data.photometry_columns`; what is plausible, in
`popinfer.data.catalog_checks`. Every row left out is counted under the first reason that applies to it. What
can only be a mistake in the run file (fluxes called magnitudes, negative errors, a column that is mostly
empty) is refused rather than dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from popinfer.data.catalog_checks import (
    Z_CEILING,
    Verdicts,
    check_dereddening,
    check_errors,
    check_extinction,
    check_present,
    check_redshift,
    check_repeated,
    check_trend,
    check_values,
)
from popinfer.data.catalog_io import Column, fingerprint, read_columns, user_path
from popinfer.data.conditions import Condition, parse_conditions
from popinfer.data.embedded import asset_path
from popinfer.data.photometric_units import System, Unit
from popinfer.data.photometry_columns import BandColumns, BandPhotometry, ErrorKind, convert, reading_of
from popinfer.errors import InputError
from popinfer.records import Catalog

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
EMBEDDED_SAMPLE = "sdss_mgs"
MISSING = (-9999.0, -999.0, -99.0, 99.0, 999.0)  # stand for "not measured" in most surveys' tables
_LARGEST_ZERO_POINT, _LARGEST_FLOOR = 2.0, 1.0  # mag


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
    missing : numbers and words that stand for "not measured" in any column, besides `MISSING`.
    keep_missing : keep rows that lack some bands (NaN there), as long as the selection band, the required
        bands and one more band are there; otherwise such rows are dropped.
    required : further bands that every row needs when rows that lack bands are kept.
    table : which table of the file: name or number of a FITS HDU, path in an HDF5 file.
    where : conditions on columns that a row has to fulfil; see `popinfer.data.conditions`.
    id : column of the galaxies' names, kept in the catalog.
    duplicates : "refuse" a catalog in which more than a hundredth of the galaxies are copies, or "allow"
    them.
    plausibility : "refuse" what is implausible of a whole column, or "warn" of it.
    file_units : "believe" the units that the file states, or "ignore" them.
    slices : redshift limits for which rows left out are counted apart, the upper excluded.
    """

    path: str | Path
    bands: Mapping[str, BandColumns]
    redshift: str = "z"
    format: str = "auto"
    z_min: float = 0.0
    z_max: float = Z_CEILING
    selection_band: str | None = None
    mag_bright: float | None = None
    mag_faint: float | None = None
    missing: tuple[float | str, ...] = ()
    keep_missing: bool = False
    required: tuple[str, ...] = ()
    table: str | int | None = None
    where: tuple[str, ...] = ()
    id: str | None = None
    duplicates: Literal["refuse", "allow"] = "refuse"
    plausibility: Literal["refuse", "warn"] = "refuse"
    file_units: Literal["believe", "ignore"] = "believe"
    slices: tuple[tuple[float, float], ...] = ()


class _Sieve:
    """Which rows are still in, and for which reason the others left."""

    def __init__(self, rows: int) -> None:
        self.keep: BoolArray = np.ones(rows, dtype=bool)
        self._why = np.full(rows, -1, np.int16)
        self._reasons: list[str] = []

    def drop(self, bad: BoolArray, reason: str) -> None:
        """Leave out the rows that are `bad` and still in."""
        leaving = self.keep & bad
        if leaving.any():
            if reason not in self._reasons:
                self._reasons.append(reason)
            self._why[leaving] = self._reasons.index(reason)
            self.keep &= ~bad

    def dropped(self, rows: BoolArray | slice = slice(None)) -> tuple[tuple[str, int], ...]:
        """Reasons in the order of their first use, each with the number of `rows` that left for it."""
        counts = np.bincount(self._why[rows] + 1, minlength=len(self._reasons) + 1)[1:]
        return tuple((why, int(n)) for why, n in zip(self._reasons, counts, strict=True) if n)


def load_catalog(spec: CatalogSpec, say: Callable[[str], None] | None = None) -> Catalog:
    """Read, convert and clean a catalog.

    Parameters
    ----------
    spec : CatalogSpec
        File, columns, and cuts.
    say : callable, optional
        Gets a line now and then while a large file is read.

    Returns
    -------
    Catalog
        ``z [gal]``, ``mag`` and ``mag_err [gal band]``; ``dropped`` lists (reason, rows), ``warnings`` what
        the user should look at.

    Raises
    ------
    InputError
        The file or a column can't be read, has negative errors or mostly missing values, looks like another
        unit, contradicts the run file or isn't plausible, or no row is left. The message names the file, the
        column and what would be right.
    """
    _check_spec(spec)
    path = asset_path(EMBEDDED_SAMPLE) if str(spec.path) == EMBEDDED_SAMPLE else user_path(spec.path)
    conditions = parse_conditions(spec.where)
    verdicts = Verdicts(path, spec.plausibility == "refuse")
    table = _read(path, spec, conditions, say)
    columns = _numbers(table, spec)
    z = columns[spec.redshift]
    if z.size == 0:
        _refuse(path, "has no rows")
    check_redshift(verdicts, spec.redshift, table[spec.redshift].unit, z, _values_of(spec, columns))
    bands = {name: _band(verdicts, name, spec, table, columns) for name in spec.bands}
    sieve = _Sieve(z.size)
    for condition in conditions:
        _sift_condition(path, condition, table[condition.column].values, sieve, spec)
    _sift_redshift(z, spec, sieve)
    inside = _inside(sieve.keep, bands, spec)
    for name, band in bands.items():
        check_errors(verdicts, name, spec.bands[name], columns, band, inside)
        check_present(verdicts, name, spec.bands[name].value, band, spec.keep_missing)
    _sift_bands(bands, spec, sieve)
    if not sieve.keep.any():
        _refuse(path, _nothing_left(z, bands, spec, sieve))
    return _catalog(spec, path, table, (z, bands, sieve), verdicts)


def _catalog(
    spec: CatalogSpec,
    path: Path,
    table: Mapping[str, Column],
    sifted: tuple[FloatArray, Mapping[str, BandPhotometry], _Sieve],
    verdicts: Verdicts,
) -> Catalog:
    """The rows that are left, after checks that need them."""
    z, bands, sieve = sifted
    kept = sieve.keep
    mag = np.stack([band.mag[kept] for band in bands.values()], axis=-1)
    ids = None if spec.id is None else tuple(str(x) for x in table[spec.id].values[kept])
    check_repeated(verdicts, z[kept], mag, ids, allowed=spec.duplicates == "allow")
    judged = list(bands).index(spec.selection_band) if spec.selection_band else 0
    check_trend(verdicts, spec.redshift, z[kept], mag[:, judged])
    absorbed = {b: x.extinction[kept] for b, x in enumerate(bands.values()) if x.extinction is not None}
    check_dereddening(verdicts, z[kept], mag, absorbed, tuple(bands))
    by_slice = [((low, high), sieve.dropped((z >= low) & (z < high))) for low, high in spec.slices]
    extinction = [
        None if x.extinction is None else float(np.nanmedian(x.extinction[kept])) for x in bands.values()
    ]
    return Catalog(
        z=z[kept],
        mag=mag,
        mag_err=np.stack([band.err[kept] for band in bands.values()], axis=-1),
        bands=tuple(bands),
        filter_names=tuple(band.filter_name for band in spec.bands.values()),
        dropped=sieve.dropped(),
        source=str(spec.path),
        sha256=fingerprint(path),
        id=ids,
        warnings=tuple(dict.fromkeys(verdicts.warnings)),
        dropped_by_slice=tuple(by_slice),
        extinction=tuple(extinction),
    )


def _check_spec(spec: CatalogSpec) -> None:
    """Refuse what can't be right before the file is opened."""
    where = spec.path
    if not spec.bands:
        _refuse(where, "the catalog needs at least one band")
    for name, band in spec.bands.items():
        _check_band(where, name, band)
    _check_columns(where, spec)
    if not 0 <= spec.z_min < spec.z_max:
        _refuse(where, f"z_min {spec.z_min} has to be 0 or more and below z_max {spec.z_max}")
    limits = [limit for limit in (spec.mag_bright, spec.mag_faint) if limit is not None]
    if spec.selection_band is not None and spec.selection_band not in spec.bands:
        _refuse(where, f"selection_band {spec.selection_band!r} is not one of {', '.join(spec.bands)}")
    if limits and spec.selection_band is None:
        _refuse(where, "mag_bright and mag_faint need a selection_band")
    if limits != sorted(set(limits)) or not np.isfinite(limits).all():
        _refuse(where, f"mag_bright {spec.mag_bright} has to be below mag_faint {spec.mag_faint}")


def _check_band(where: str | Path, name: str, band: BandColumns) -> None:
    """Refuse a band's settings that can't be right."""
    for key, types in (("unit", Unit), ("error_unit", Unit), ("error_kind", ErrorKind), ("system", System)):
        given, known = getattr(band, key), get_args(types)
        if given not in known and not (given is None and key != "error_kind"):
            right = (
                "has to be sigma or ivar" if key == "error_kind" else f"is unknown; one of {', '.join(known)}"
            )
            _refuse(where, f"band {name}: {key} {given!r} {right}")
    if not 0 <= band.error_floor <= _LARGEST_FLOOR:
        _refuse(
            where,
            f"band {name}: error_floor {band.error_floor:g} has to be 0 or more, and at most "
            f"{_LARGEST_FLOOR:g} mag",
        )
    if not abs(band.zero_point) <= _LARGEST_ZERO_POINT:
        _refuse(
            where,
            f"band {name}: zero_point {band.zero_point:g} has to be finite and within "
            f"+-{_LARGEST_ZERO_POINT:g} mag; "
            "a flux scale is said with unit or ab_of_unit_mag, Vega magnitudes with system: vega",
        )
    if band.unit is not None and band.ab_of_unit is not None:
        _refuse(where, f"band {name}: unit and ab_of_unit_mag both say what a unit of flux is; keep one")
    if band.softening is not None and not 0 < band.softening < 1e-6:
        _refuse(
            where, f"band {name}: softening {band.softening:g} has to be above 0 and below 1e-6, like 1.2e-10"
        )
    if isinstance(band.error, str):
        return
    if band.error_kind == "ivar":
        _refuse(where, f"band {name}: a number as the error is a standard deviation; leave error_kind out")
    if not 0 < band.error < np.inf:
        _refuse(where, f"band {name}: error {band.error:g} has to be above 0")


def _check_columns(where: str | Path, spec: CatalogSpec) -> None:
    """Refuse columns that are asked to be two things at once."""
    roles: dict[str, str] = {spec.redshift: "the redshift"}
    errors = {band.error: name for name, band in spec.bands.items()}
    for name, band in spec.bands.items():
        if band.value in roles:
            _refuse(
                where,
                f"band {name}: column {band.value!r} is {roles[band.value]} too; each has its own column",
            )
        if band.value in errors:
            of = errors[band.value]
            _refuse(where, f"band {name}: column {band.value!r} is the value here and the error of band {of}")
        roles[band.value] = f"the value of band {name}"
        if band.extinction is not None:
            if band.extinction in roles or band.extinction in errors:
                what = roles.get(band.extinction, "an error")
                _refuse(
                    where,
                    f"band {name}: extinction column {band.extinction!r} is {what} too; extinction differs "
                    "from band "
                    "to band, E(B-V) is no extinction",
                )
            roles[band.extinction] = f"the extinction of band {name}"
    for name, band in spec.bands.items():
        if band.error == spec.redshift:
            _refuse(where, f"band {name}: column {band.error!r} is the redshift, not an error")


def _column_names(spec: CatalogSpec) -> list[str]:
    """Columns of numbers that bands and redshift need."""
    names = [spec.redshift]
    for band in spec.bands.values():
        names += [name for name in (band.value, band.error, band.extinction) if isinstance(name, str)]
    return list(dict.fromkeys(names))


def _read(
    path: Path, spec: CatalogSpec, conditions: Sequence[Condition], say: Callable[[str], None] | None
) -> dict[str, Column]:
    """All columns that are needed, of numbers, flags and text."""
    names = _column_names(spec)
    if spec.id in names:
        _refuse(path, f"id: column {spec.id!r} is used as a number too; id has to name the galaxies")
    flags = [c.column for c in conditions if c.comparison is None and c.column not in names]
    compared = [c.column for c in conditions if c.column not in (*names, *flags)]
    ids = [] if spec.id is None else [spec.id]
    if spec.id in (*flags, *compared):
        _refuse(path, f"id: column {spec.id!r} is used under where too; conditions are on numbers")
    words = tuple(word for word in spec.missing if isinstance(word, str))
    return read_columns(
        path,
        [*names, *flags, *compared, *ids],
        spec.format,
        spec.table,
        text=ids,
        flags=flags,
        missing=words,
        say=say,
    )


def _numbers(table: Mapping[str, Column], spec: CatalogSpec) -> dict[str, FloatArray]:
    """Columns of bands and redshift, NaN where a value means "not measured"."""
    missing = (*MISSING, *(float(x) for x in spec.missing if not isinstance(x, str)))
    return {name: _without_sentinels(table[name].values, missing) for name in _column_names(spec)}


def _without_sentinels(values: FloatArray, missing: Sequence[float]) -> FloatArray:
    """NaN for values that mean "not measured", also when the column held them in single precision."""
    absent = np.zeros(values.shape, bool)
    for sentinel in missing:
        absent |= (values == sentinel) | (values == np.float32(sentinel))
    return np.where(absent, np.nan, values)


def _values_of(spec: CatalogSpec, columns: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {band.value: columns[band.value] for band in spec.bands.values()}


def _band(
    verdicts: Verdicts,
    name: str,
    spec: CatalogSpec,
    table: Mapping[str, Column],
    columns: Mapping[str, FloatArray],
) -> BandPhotometry:
    """One band's magnitudes and errors, after checks of its columns."""
    band, path = spec.bands[name], Path(verdicts.path)
    reading = reading_of(path, name, band, table, believe=spec.file_units == "believe")
    verdicts.warnings.extend(reading.notes)
    check_values(verdicts, name, band.value, columns[band.value])
    if band.extinction is not None:
        extinction = table[band.extinction]
        unit = extinction.unit if spec.file_units == "believe" else None
        check_extinction(verdicts, name, band.extinction, unit, columns[band.extinction])
    return convert(path, name, band, columns, reading)


def _inside(kept: BoolArray, bands: Mapping[str, BandPhotometry], spec: CatalogSpec) -> BoolArray:
    """Rows within redshift and magnitude limits, whatever their errors; all rows where none is."""
    inside = kept.copy()
    if spec.selection_band is not None:
        mag = bands[spec.selection_band].stated_mag
        with np.errstate(invalid="ignore"):
            inside &= ~(mag > (np.inf if spec.mag_faint is None else spec.mag_faint))
            inside &= ~(mag < (-np.inf if spec.mag_bright is None else spec.mag_bright))
    return inside if inside.any() else np.ones_like(inside)


def _sift_condition(
    path: Path, condition: Condition, values: FloatArray, sieve: _Sieve, spec: CatalogSpec
) -> None:
    """Drop rows that don't fulfil a condition of the run file."""
    missing = (*MISSING, *(float(x) for x in spec.missing if not isinstance(x, str)))
    values = _without_sentinels(values, [x for x in missing if x != condition.number])
    usable = values[np.isfinite(values)]
    if condition.comparison is None and not np.isin(usable, (0.0, 1.0)).all():
        odd = float(usable[~np.isin(usable, (0.0, 1.0))][0])
        _refuse(
            path,
            f"where: column {condition.column!r} isn't one of true and false, it holds {odd:g}; write a "
            "condition, "
            f"as in '{condition.column} == 0'",
        )
    holds = condition.holds(values)
    if holds.size and not holds.any():
        seen = (
            f"its values run from {usable.min():g} to {usable.max():g}" if usable.size else "it has no values"
        )
        _refuse(path, f"where: '{condition.text}' holds for none of {holds.size} rows; {seen}")
    sieve.drop(
        ~holds, f"not {condition.text}" if condition.comparison is None else f"without {condition.text}"
    )


def _sift_redshift(z: FloatArray, spec: CatalogSpec, sieve: _Sieve) -> None:
    sieve.drop(~np.isfinite(z), "no redshift")
    sieve.drop(z <= 0, "redshift not positive")
    sieve.drop(z > Z_CEILING, f"redshift above {Z_CEILING:g}")
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


def _nothing_left(
    z: FloatArray, bands: Mapping[str, BandPhotometry], spec: CatalogSpec, sieve: _Sieve
) -> str:
    """Why no row is left, with the ranges of what the limits look at."""
    reasons = ", ".join(f"{reason} ({rows})" for reason, rows in sieve.dropped())
    seen = []
    shown = {spec.redshift: z}
    if spec.selection_band is not None:
        shown[f"magnitude {spec.selection_band}"] = bands[spec.selection_band].mag
    for name, values in shown.items():
        usable = values[np.isfinite(values)]
        if usable.size:
            low, middle, high = np.percentile(usable, [0, 50, 100])
            seen.append(f"{name} runs from {low:.4g} to {high:.4g}, median {middle:.4g}")
    return f"none of its {z.size} rows is left: {reasons}; {'; '.join(seen)}"


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
