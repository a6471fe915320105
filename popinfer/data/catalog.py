"""Turn a survey's table into clean AB magnitudes and errors.

How a value becomes a magnitude is in `popinfer.data.photometry_columns`. Every row left out is counted under
the first reason that applies to it. What can only be a mistake in the run file (fluxes called magnitudes,
negative errors, a column that is mostly empty, galaxies listed twice) is refused rather than dropped.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popinfer.data.band_columns import BandColumns, check_columns
from popinfer.data.band_doubts import shared_column_doubts
from popinfer.data.catalog_io import fingerprint, read_columns, user_path
from popinfer.data.conditions import Condition, conflicts
from popinfer.data.embedded import asset_path
from popinfer.data.photometry_columns import BandPhotometry, convert
from popinfer.data.tables.request import Column
from popinfer.data.units import parse_unit
from popinfer.errors import InputError
from popinfer.records import Catalog, SliceLoss

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
EMBEDDED_SAMPLE = "sdss_mgs"
MISSING = (-9999.0, -999.0, -99.0, 99.0, 999.0)  # what surveys write for "not measured"
MAX_REPEATED = 0.01  # of the rows
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
    table : which table of a file that holds several: name or number of a FITS HDU, path of an HDF5 group.
    id : column of the galaxies' names; None where they have none.
    where : conditions on rows, a column of true and false or "column < number"; rows that meet them all are
        used.
    z_min, z_max : redshifts to keep, both included.
    selection_band : band that the two limits apply to.
    mag_bright, mag_faint : magnitudes to keep in that band, both included, after zero point and extinction.
    missing : further values and words that stand for "not measured" in any column, besides `MISSING`.
    keep_missing : keep rows that lack some bands (NaN there), as long as the selection band, the required
        bands and one more band are there; otherwise such rows are dropped.
    required : further bands that every row needs when rows that lack bands are kept.
    duplicates : "refuse" a table where more than `MAX_REPEATED` of the rows repeat another, or "allow" it.
    implausible : "refuse" a table whose medians or errors no survey has, or "warn" of it.
    file_units : "believe" what the file says of its columns' units and systems, or "ignore" it.
    slices : ranges of redshift by which losses are counted too.
    """

    path: str | Path
    bands: Mapping[str, BandColumns]
    redshift: str = "z"
    format: str = "auto"
    table: str | int | None = None
    id: str | None = None
    where: tuple[str, ...] = ()
    z_min: float = 0.0
    z_max: float = _Z_CEILING
    selection_band: str | None = None
    mag_bright: float | None = None
    mag_faint: float | None = None
    missing: tuple[float | str, ...] = ()
    keep_missing: bool = False
    required: tuple[str, ...] = ()
    duplicates: Literal["refuse", "allow"] = "refuse"
    implausible: Literal["refuse", "warn"] = "refuse"
    file_units: Literal["believe", "ignore"] = "believe"
    slices: tuple[tuple[float, float], ...] = ()


class _Sieve:
    """Which rows are still in, and how many left for which reason."""

    def __init__(self, z: FloatArray, slices: Sequence[tuple[float, float]]) -> None:
        self.keep: BoolArray = np.ones(z.size, dtype=bool)
        self.dropped: dict[str, int] = {}
        self.losses: list[SliceLoss] = []
        self._z, self._slices = z, slices

    def drop(self, bad: BoolArray, reason: str, band: str = "") -> None:
        """Leave out the rows that are `bad` and still in."""
        leaving = self.keep & bad
        if leaving.any():
            self.dropped[reason] = self.dropped.get(reason, 0) + int(leaving.sum())
            self.losses += slice_losses(self._slices, self._z[leaving], reason, band)
            self.keep &= ~bad

    def lack(self, band: str, unusable: Mapping[str, BoolArray]) -> None:
        """Count the values that rows which are still in lack in a band, each under its first reason."""
        unnamed = self.keep.copy()
        for reason, bad in unusable.items():
            self.losses += slice_losses(self._slices, self._z[unnamed & bad], reason, band)
            unnamed &= ~bad


def slice_losses(
    slices: Sequence[tuple[float, float]], z: FloatArray, reason: str, band: str = ""
) -> tuple[SliceLoss, ...]:
    """How many of the galaxies that are lost for a reason each slice loses.

    Parameters
    ----------
    slices : sequence of (low, high)
        Ranges of redshift, from low to below high.
    z : array
        Redshifts of the galaxies, shape (gal,).
    reason : str
        Why they are lost.
    band : str
        Whose values the reason is about; empty where it is about galaxies as such.
    """
    numbers = [int(np.sum((z >= low) & (z < high))) for low, high in slices]
    pairs = zip(slices, numbers, strict=True)
    return tuple(SliceLoss(low, high, band, reason, n) for (low, high), n in pairs if n)


def catalog_path(path: str | Path) -> Path:
    """The file of a catalog: the embedded sample's by its name, else the user's own.

    Raises
    ------
    InputError
        There is no file of a name that is nearly the embedded sample's, or no home folder for ``~``.
    """
    if str(path) == EMBEDDED_SAMPLE:
        return asset_path(EMBEDDED_SAMPLE)
    file = user_path(path)
    alike = "." not in str(path) and difflib.get_close_matches(
        str(path).lower(), [EMBEDDED_SAMPLE], cutoff=0.8
    )
    if alike and not file.exists():
        raise InputError(f"{path}: no such file; the embedded sample is called {EMBEDDED_SAMPLE}")
    return file


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
        a person should look at.

    Raises
    ------
    InputError
        The file or a column can't be read, has negative errors or mostly missing values, looks like another
        unit, or no row is left. The message names the file, the column and what would be right.
    """
    conditions = _conditions(spec)
    _check_spec(spec, conditions)
    path = catalog_path(spec.path)
    columns = _read(path, spec, conditions, say)
    z = columns[spec.redshift].values
    if z.size == 0:
        _refuse(path, "has no rows")
    _check_redshift_unit(path, spec, columns[spec.redshift].unit)
    bands = _converted(path, spec, columns)
    shared = shared_column_doubts(spec.bands, columns)
    doubts = [*(doubt for band in bands.values() for doubt in band.doubts), *(doubt for _, doubt in shared)]
    sharing = {name for pair, _ in shared for name in pair}
    if doubts and spec.implausible == "refuse":
        _refuse_all(path, [f"{doubt}; if that is right, set implausible: warn" for doubt in doubts])
    absent = [_half_absent(name, band, spec) for name, band in bands.items()]
    _refuse_all(path, [why for why in absent if why])
    sieve = _Sieve(z, spec.slices)
    for condition, text in zip(conditions, spec.where, strict=True):
        sieve.drop(~condition.met(columns[condition.column].values), f"not {text}")
    _sift_redshift(path, z, spec, sieve)
    _sift_bands(bands, spec, sieve)
    if not sieve.keep.any():
        reasons = ", ".join(f"{reason} ({rows})" for reason, rows in sieve.dropped.items())
        _refuse(path, f"none of its {z.size} rows is left: {reasons}; {_medians(z, bands)}")
    mag = np.stack([band.mag[sieve.keep] for band in bands.values()], axis=-1)
    names = None if spec.id is None else tuple(columns[spec.id].values[sieve.keep])
    repeated = _repeated(path, spec, np.flatnonzero(sieve.keep), np.column_stack([z[sieve.keep], mag]), names)
    return Catalog(
        z=z[sieve.keep],
        mag=mag,
        mag_err=np.stack([band.err[sieve.keep] for band in bands.values()], axis=-1),
        bands=tuple(bands),
        filter_names=tuple(str(getattr(band.filter, "path", band.filter)) for band in spec.bands.values()),
        dropped=tuple(sieve.dropped.items()),
        losses=tuple(sieve.losses),
        source=str(spec.path),
        sha256=fingerprint(path),
        id=names,
        warnings=(*doubts, *repeated),
        doubtful_bands=tuple(name for name, band in bands.items() if band.doubts or name in sharing),
        notes=tuple(note for band in bands.values() for note in band.notes),
    )


def _read(
    path: Path, spec: CatalogSpec, conditions: list[Condition], say: Callable[[str], None] | None
) -> dict[str, Column]:
    """All columns that the run file names, values that mean "not measured" as NaN."""
    measured = [spec.redshift, *(name for band in spec.bands.values() for name in band.columns)]
    others = [*(condition.column for condition in conditions), *((spec.id,) if spec.id else ())]
    table = read_columns(
        path,
        list(dict.fromkeys([*measured, *others])),
        spec.format,
        spec.table,
        text=(spec.id,) if spec.id else (),
        flags=tuple(condition.column for condition in conditions if not condition.operator),
        missing=tuple(word for word in spec.missing if isinstance(word, str)),
        say=say,
    )
    sentinels = (*MISSING, *(number for number in map(_as_number, spec.missing) if np.isfinite(number)))
    for name in set(measured):  # names and flags may well hold such a value as one of their own
        values = _without_sentinels(table[name].values, sentinels)
        table[name] = replace(table[name], values=values)
    if spec.file_units == "ignore":
        table = {name: replace(column, unit=None, description=None) for name, column in table.items()}
    return table


def _as_number(value: float | str) -> float:
    """A value that means "not measured" as a number; NaN for a word."""
    try:
        return float(value)
    except ValueError:
        return np.nan


def _medians(z: FloatArray, bands: Mapping[str, BandPhotometry]) -> str:
    """Medians of the whole table, which show what was misread."""
    columns = {"redshift": z, **{name: band.mag for name, band in bands.items()}}
    finite = {name: values[np.isfinite(values)] for name, values in columns.items()}
    said = [f"{name} {np.median(values):.4g}" for name, values in finite.items() if values.size]
    return f"medians of all rows: {', '.join(said) or 'none'}"


def _check_redshift_unit(path: Path, spec: CatalogSpec, unit: str | None) -> None:
    """Refuse a column that has a unit: a redshift has none."""
    said = parse_unit(unit)
    if said is not None and said.kind != "unknown":
        _refuse(
            path,
            f"column {spec.redshift!r} is in {unit!r}, as the file says; a redshift has no unit (of a "
            "velocity in km/s: divide by 299792.458)",
        )


def _repeated(
    path: Path, spec: CatalogSpec, rows: NDArray[np.int_], values: FloatArray, names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """What is to be said of galaxies that repeat another; InputError where there are too many.

    Parameters
    ----------
    rows : NDArray[np.int_]
        Where the galaxies are in the file.
    values : FloatArray
        Redshift and magnitudes of each.
    names : tuple[str, ...] or None
        Of the galaxies.
    """
    compared = [("redshift and all magnitudes", pd.DataFrame(values).duplicated().to_numpy())]
    if names is not None:
        series = pd.Series(names, dtype=object)
        compared.append((f"id (column {spec.id!r})", (series.duplicated() & (series != "")).to_numpy()))
    said = []
    for what, again in compared:
        if not again.any():
            continue
        text = (
            f"{int(again.sum())} of {len(rows)} galaxies repeat another's {what}, first in row "
            f"{rows[again][0]}"
        )
        if again.mean() > MAX_REPEATED and spec.duplicates == "refuse":
            _refuse(
                path,
                f"{text}: a galaxy that is listed twice counts twice; list each once, or set "
                "duplicates: allow",
            )
        said.append(text)
    return tuple(said)


def _conditions(spec: CatalogSpec) -> list[Condition]:
    """What rows have to meet; InputError for a text that is no condition."""
    try:
        return [Condition.parse(text) for text in spec.where]
    except ValueError as error:
        _refuse(spec.path, f"where: {error}")


def _check_spec(spec: CatalogSpec, conditions: list[Condition]) -> None:
    """Refuse what can't be right before the file is opened."""
    where = spec.path
    if not spec.bands:
        _refuse(where, "the catalog needs at least one band")
    for name, band in spec.bands.items():
        check_columns(where, name, band)
    for problem in conflicts(spec.bands, spec.redshift, spec.id, conditions):
        _refuse(where, problem.text)
    if not 0 <= spec.z_min < spec.z_max:
        _refuse(where, f"z_min {spec.z_min} has to be 0 or more and below z_max {spec.z_max}")
    limits = [limit for limit in (spec.mag_bright, spec.mag_faint) if limit is not None]
    if spec.selection_band is not None and spec.selection_band not in spec.bands:
        _refuse(where, f"selection_band {spec.selection_band!r} is not one of {', '.join(spec.bands)}")
    if limits and spec.selection_band is None:
        _refuse(where, "mag_bright and mag_faint need a selection_band")
    if not np.all(np.isfinite(limits)):
        _refuse(where, f"mag_bright {spec.mag_bright} and mag_faint {spec.mag_faint} have to be finite")
    if limits != sorted(limits):
        _refuse(where, f"mag_bright {spec.mag_bright} has to be below mag_faint {spec.mag_faint}")


def _without_sentinels(values: FloatArray, missing: tuple[float, ...]) -> FloatArray:
    """NaN for values that mean "not measured", also when the column held them in single precision."""
    absent = np.zeros(values.shape, bool)
    for value in missing:
        absent |= (values == value) | (values == np.float32(value))
    return np.where(absent, np.nan, values)


def _converted(path: Path, spec: CatalogSpec, columns: Mapping[str, Column]) -> dict[str, BandPhotometry]:
    """Magnitudes of all bands; InputError with a line for each that can't be converted."""
    bands, wrong = {}, []
    for name, band in spec.bands.items():
        try:
            bands[name] = convert(path, name, band, columns)
        except InputError as error:
            wrong += error.lines
    if wrong:
        raise InputError.of_lines(wrong)
    return bands


def _half_absent(name: str, band: BandPhotometry, spec: CatalogSpec) -> str:
    """What is wrong with a band that is mostly absent, of a wrong column or not in the sample; else ""."""
    lost, rows = int(np.isnan(band.mag).sum()), band.mag.size
    accidents = [bad for reason, bad in band.unusable.items() if reason.startswith(("zero", "implausible"))]
    nonsense = np.any(accidents, axis=0).sum() > (rows - lost)
    if lost > rows / 2 and (not spec.keep_missing or lost == rows or nonsense):
        why = ", ".join(f"{reason} ({int(bad.sum())})" for reason, bad in band.unusable.items() if bad.any())
        return (
            f"band {name} can't be used in {lost} of {rows} rows: {why}; check column "
            f"{spec.bands[name].value!r} or leave the band out"
        )
    return ""


def _sift_redshift(path: Path, z: FloatArray, spec: CatalogSpec, sieve: _Sieve) -> None:
    finite = np.isfinite(z)
    absurd = finite & ((z < -0.1) | (z > _Z_CEILING))
    where = f"column {spec.redshift!r}"
    if absurd.sum() > finite.sum() / 2:
        middle = np.median(z[finite])
        hint = "; is it a velocity in km/s? Divide by 299792.458" if middle > 200 else ""
        hint = ", not its logarithm" if -10 < middle < 0 else hint
        _refuse(
            path,
            f"{where} is outside 0..{_Z_CEILING:g} in {int(absurd.sum())} rows, first in row "
            f"{np.flatnonzero(absurd)[0]} ({z[absurd][0]:g}); redshift has to name the redshift{hint}",
        )
    if finite.sum() > 1 and np.ptp(z[finite]) == 0:
        _refuse(path, f"{where} holds {z[finite][0]:g} in every row; redshift has to name the redshift")
    if (z[finite] <= 0).sum() > finite.sum() / 2:
        _refuse(
            path,
            f"{where} is zero or negative in most rows, first in row "
            f"{np.flatnonzero(finite & (z <= 0))[0]}; redshift has to name the redshift, not its logarithm",
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
            sieve.drop(bad, reason, name)
    measured = np.sum([np.isfinite(band.mag) for band in bands.values()], axis=0)
    sieve.drop(measured < min(2, len(bands)), "fewer than two bands measured")
    if spec.selection_band is not None:
        mag = bands[spec.selection_band].mag
        if spec.mag_faint is not None:
            sieve.drop(mag > spec.mag_faint, f"fainter than {spec.selection_band} = {spec.mag_faint:g}")
        if spec.mag_bright is not None:
            sieve.drop(mag < spec.mag_bright, f"brighter than {spec.selection_band} = {spec.mag_bright:g}")
    for name in bands:
        if name not in needed:
            sieve.lack(name, bands[name].unusable)


def _refuse_all(path: str | Path, reasons: Sequence[str]) -> None:
    """Raise one InputError for all reasons, if there are any."""
    if reasons:
        raise InputError.of_lines([f"{path}: {why}" for why in reasons])


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
