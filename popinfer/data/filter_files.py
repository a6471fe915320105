"""Filter curves in files: which columns, in which unit, and whether the numbers can be a filter's.

Text (two columns, blanks, commas or semicolons between them, ``#`` before comments), ECSV, FITS and VOTable
tables, and HDF5 in the DSPS layout (datasets ``wave`` and ``transmission``). A file's own unit of wavelength
is believed; without one it has to be Angstrom, or is named.

A photon-counting curve T weighs F_nu with T d(ln lambda). A curve R that is a response to energy (``counts:
energy``) weighs F_nu with R dnu, that is with (R / lambda) d(ln lambda): T is R / lambda, up to a constant.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import h5py
import numpy as np
from astropy import units
from numpy.typing import NDArray

from popinfer.data.wavelengths import length
from popinfer.errors import InputError, first_line
from popinfer.expansion import check_file

FloatArray = NDArray[np.float64]
Curve = tuple[FloatArray, FloatArray]

# Curves with less than this fraction of the peak at either end are cut there, as sedpy does: leaks of 1e-5
# can't be told from noise in the measured curve but may reach beyond the SED.
_EDGE = 1e-5
_HDF5, _FITS, _VOTABLE = (".h5", ".hdf5", ".hdf"), (".fits", ".fit", ".fits.gz"), (".xml", ".vot", ".votable")
_LARGEST = 50_000_000  # bytes: a hundred times the finest measured curve
_PIVOT_RANGE = (912.0, 3e5)  # Angstrom: no starlight on one side, no stars on the other
_CUT = 0.5  # of the peak, at an end: the curve goes on beyond the file
_NOISE = 0.01  # of the peak: negative values of a measured curve
_STAND_IN = 10.0  # times all others and above one: no transmission
_FINE = 0.005  # steps in ln(wavelength) at which R / lambda is linear to 1e-5
# Any: astropy's types do not know what its units are made from
_UNIT: Any = units.Unit
_IN_HEADER = re.compile(
    r"[\[(]\s*(nm|nano-?met(?:er|re)s?|um|µm|μm|microns?|micromet(?:er|re)s?)\s*[\])]", re.I
)


@dataclass(frozen=True)
class FilterFile:
    """A filter curve in a file, or a known one's name, with what has to be said of it.

    Attributes
    ----------
    path : file, or name of a known curve.
    columns : names (or numbers, from one) of the wavelengths and the transmissions in a file of more than two
        columns.
    unit : of the wavelengths, such as ``nm`` or ``micron``; Angstrom where neither this nor the file says.
    counts : ``photon`` for a chance of detection, ``energy`` for a response to energy.
    """

    path: str | Path
    columns: tuple[str | int, str | int] | None = None
    unit: str | None = None
    counts: Literal["photon", "energy"] | None = None


def read_curve(path: Path, said: FilterFile) -> Curve:
    """Wavelengths [Angstrom] and transmissions of a file, ascending and checked, photon-counting.

    Raises
    ------
    InputError
        The file can't be read, needs more to be said of it, or holds no filter curve.
    """
    if path.stat().st_size > _LARGEST:
        _refuse(path, f"has {path.stat().st_size / 1e6:.0f} MB; a filter curve is a short table")
    wave, trans, unit = _read(path, said)
    if unit and said.unit and length(path, unit) != length(path, said.unit):
        _refuse(path, f"says that its wavelengths are in {unit}, the run file says {said.unit}: keep one")
    scale = length(path, said.unit or unit or "angstrom")
    wave, trans = checked(path, wave * scale, trans, believed=bool(unit or said.unit))
    return to_photons(wave, trans) if said.counts == "energy" else (wave, trans)


def to_photons(wave: FloatArray, response: FloatArray) -> Curve:
    """Photon-counting curve of a response to energy, on nodes between which R / lambda is nearly linear."""
    n = int(np.ceil(np.log(wave[-1] / wave[0]) / _FINE)) + 1
    fine = np.union1d(wave, np.clip(np.geomspace(wave[0], wave[-1], n), wave[0], wave[-1]))
    curve = np.interp(fine, wave, response) / fine
    return fine, curve * (response.max() / curve.max())


def trimmed(wave: FloatArray, trans: FloatArray) -> Curve:
    """The curve between its first and last sign of light, one node kept outside at each end."""
    lit = np.flatnonzero(trans > _EDGE * trans.max())
    kept = slice(max(lit[0] - 1, 0), lit[-1] + 2)
    return wave[kept], trans[kept]


def ascending(wave: FloatArray, trans: FloatArray) -> Curve:
    """In order of wavelength, without negative values, each wavelength once."""
    order = np.argsort(wave, kind="stable")
    wave, trans = wave[order], np.clip(trans[order], 0.0, None)
    distinct = np.append(True, np.diff(wave) > 0)
    return wave[distinct], trans[distinct]


def pivot(wave: FloatArray, trans: FloatArray) -> float:
    """Pivot wavelength [Angstrom]: sqrt(int T lambda d(lambda) / int T d(ln lambda))."""
    return float(np.sqrt(np.trapezoid(trans * wave, wave) / np.trapezoid(trans / wave, wave)))


def checked(name: str | Path, wave: FloatArray, trans: FloatArray, believed: bool = False) -> Curve:
    """A clean curve from what a file holds, or a refusal; a unit that is believed may be in the far infrared.

    Raises
    ------
    InputError
        Names the row and value, or the wavelengths, that no filter can have.
    """
    wave, trans = np.asarray(wave, np.float64), np.asarray(trans, np.float64)
    if wave.ndim != 1 or wave.shape != trans.shape:
        _refuse(name, f"wavelengths {wave.shape} and transmissions {trans.shape} differ in shape")
    for what, values in (("wavelength", wave), ("transmission", trans)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            _refuse(
                name, f"row {row + 1}: the {what} is {values[row]}; NaN and infinite values aren't allowed"
            )
    if wave.size < 2 or trans.max() <= 0:
        _refuse(name, "has no positive transmission at two or more wavelengths")
    _check_values(name, wave, trans)
    wave, trans = ascending(wave, trans)
    _check_ends(name, wave, trans)
    _check_pivot(name, pivot(wave, trans), believed)
    return trimmed(wave, trans)


def _check_values(name: str | Path, wave: FloatArray, trans: FloatArray) -> None:
    """Refuse stand-ins for missing values, negative ones, and two transmissions at one wavelength."""
    if wave.min() <= 0:
        row = int(np.argmin(wave))
        _refuse(name, f"row {row + 1}: wavelength {wave[row]:g} isn't positive")
    top, others = trans.max(), trans[trans < trans.max()]
    rest = others.max(initial=0.0)
    if top > 1 and 0 < rest <= 1 and top > _STAND_IN * rest:
        row = int(np.argmax(trans))
        _refuse(
            name,
            f"row {row + 1}: transmission {top:g}, while all others are at most {rest:g}; is it a "
            "stand-in for 'not measured'? Leave such rows out",
        )
    if trans.min() < -_NOISE * top:
        row = int(np.argmin(trans))
        _refuse(
            name, f"row {row + 1}: transmission {trans[row]:g} is negative; write 0, or leave the row out"
        )
    order = np.argsort(wave, kind="stable")
    w, t = wave[order], trans[order]
    twice = np.flatnonzero((np.diff(w) == 0) & (np.diff(t) != 0))
    if twice.size:
        i = int(twice[0])
        _refuse(
            name,
            f"wavelength {w[i]:g} is listed twice, with transmissions {t[i]:g} and {t[i + 1]:g}; write a "
            "step as two wavelengths that differ a little",
        )


def _check_ends(name: str | Path, wave: FloatArray, trans: FloatArray) -> None:
    """Refuse curves that are cut off, or upside down."""
    first, last, top = trans[0], trans[-1], trans.max()
    if min(first, last) > _CUT * top and trans.min() < _CUT * top:
        _refuse(
            name,
            f"is highest at both ends ({first:g} at {wave[0]:g}, {last:g} at {wave[-1]:g}); is it a "
            "magnitude or -log10 of the transmission? The transmission itself is needed",
        )
    for value, at in ((first, wave[0]), (last, wave[-1])):
        if value > _CUT * top:
            _refuse(
                name,
                f"has {value:g} of at most {top:g} at its end at {at:g}: the curve is cut there. Add the "
                "rows that are missing, or one of transmission 0 if the filter ends so sharply",
            )


def _check_pivot(name: str | Path, at: float, believed: bool) -> None:
    """Refuse wavelengths that no survey of galaxies has; say in which unit they would be plausible."""
    if at >= _PIVOT_RANGE[0] and (at <= _PIVOT_RANGE[1] or believed):
        return
    likely = [
        unit
        for unit, low, high in (("nm", 91.2, 912), ("micron", 0.0912, 30), ("m", 9.12e-8, 3e-5))
        if low <= at < high
    ]
    guess = "wavelengths have to be in Angstrom, or 'unit' has to name theirs"
    if likely:
        guess = f"are the wavelengths in {likely[0]}? Say so, 'filter: {{path: ..., unit: {likely[0]}}}'"
    _refuse(name, f"has a pivot wavelength of {at:.4g} Angstrom, outside 912 Angstrom to 30 micron; {guess}")


def _read(path: Path, said: FilterFile) -> tuple[FloatArray, FloatArray, str | None]:
    """Raw wavelengths and transmissions of a file, and its own unit of wavelength."""
    check_file(path)
    name = path.name.lower()
    if name.endswith(_HDF5):
        return _read_hdf5(path, said)
    if name.endswith((".ecsv", *_FITS, *_VOTABLE)):
        return _read_table(path, said)
    return _read_text(path, said)


def _read_hdf5(path: Path, said: FilterFile) -> tuple[FloatArray, FloatArray, str | None]:
    names = [str(name) for name in said.columns or ("wave", "transmission")]
    try:
        with h5py.File(path, "r") as store:
            data: list[Any] = [store.get(name) for name in names]
            if not all(isinstance(item, h5py.Dataset) for item in data):
                _refuse(path, f"needs the datasets {' and '.join(names)}; it holds {sorted(store)}")
            wave, trans = (_floats(path, item[()]) for item in data)
            attrs = dict(data[0].attrs)
    except OSError as error:
        raise InputError(f"filter {path}: can't be read as HDF5 ({first_line(error)})") from error
    unit = attrs.get("unit", attrs.get("units"))
    return wave, trans, unit.decode() if isinstance(unit, bytes) else unit and str(unit)


def _read_table(path: Path, said: FilterFile) -> tuple[FloatArray, FloatArray, str | None]:
    """Two columns of an ECSV, FITS or VOTable file, with the first one's unit."""
    kind, table = _astropy_table(path)
    if kind == "VOTable" and said.counts is None and str((table.meta or {}).get("DetectorType")) == "0":
        _refuse(
            path,
            "its DetectorType says that it counts energy, which services give for some curves that count "
            "photons too: say 'counts: energy' or 'counts: photon'",
        )
    first, second = chosen(path, table.colnames, said.columns)
    wave, trans = table[first], table[second]
    unit = None if wave.unit is None else str(wave.unit)
    return _floats(path, wave), _floats(path, trans), unit or None


def _astropy_table(path: Path) -> tuple[str, Any]:
    """Format and table; tables of astropy load for a third of a second, and few filters are in them."""
    from astropy.io import votable
    from astropy.table import Table

    kind = (
        "ECSV"
        if path.suffix.lower() == ".ecsv"
        else "FITS"
        if path.name.lower().endswith(_FITS)
        else "VOTable"
    )
    try:
        if kind == "ECSV":
            return kind, Table.read(path, format="ascii.ecsv")
        if kind == "FITS":
            return kind, _fits_table(path)
        tree: Any = votable.parse_single_table(str(path), verify="ignore")
        table = tree.to_table()
        table.meta.update({p.name: p.value for p in tree.params})
        return kind, table
    except InputError:
        raise
    except Exception as error:  # astropy raises many kinds for damaged files
        raise InputError(f"filter {path}: can't be read as {kind} ({first_line(error)})") from error


def _fits_table(path: Path) -> Any:
    """The file's only table; units stay text, as many are written in ways that the standard doesn't know."""
    from astropy.io import fits
    from astropy.table import Table

    opened: Any = fits.open(path)
    with opened as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if len(tables) != 1:
            _refuse(path, f"has {len(tables)} tables; a filter file has one")
        columns: Any = tables[0].columns
        table: Any = Table({c.name: np.array(tables[0].data[c.name]) for c in columns})
        for column in columns:
            if column.unit:
                table[column.name].unit = _UNIT(column.unit, parse_strict="silent")
        return table


def _read_text(path: Path, said: FilterFile) -> tuple[FloatArray, FloatArray, str | None]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"filter {path}: can't be read ({error.strerror})") from error
    comments, rows = _rows(path, text)
    if not rows:
        _refuse(path, "is empty: two columns of numbers are needed, wavelength and transmission")
    widths = {len(cells) for _, cells in rows}
    if len(widths) > 1:
        line = next(number for number, cells in rows if len(cells) != len(rows[0][1]))
        _refuse(path, f"line {line}: has another number of columns than the first row's {len(rows[0][1])}")
    numbers = np.array([cells for _, cells in rows])
    names = _names(comments, numbers.shape[1])
    pair = chosen(path, names, said.columns)
    header = _IN_HEADER.search(" ".join(comments))
    if header and not said.unit:
        _refuse(
            path, f"its header speaks of '{header[1]}': say so, 'filter: {{path: ..., unit: {header[1]}}}'"
        )
    wave, trans = (numbers[:, names.index(name)] for name in pair)
    return wave, trans, None


def _rows(path: Path, text: str) -> tuple[list[str], list[tuple[int, list[float]]]]:
    """Comment and header lines, and the numbers of all other lines with their line numbers."""
    comments: list[str] = []
    rows: list[tuple[int, list[float]]] = []
    headed = False
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].strip().strip(",;")
        if not content:
            if line.strip():
                comments.append(line.strip().lstrip("#"))
            continue
        if ";" in content and re.search(r"\d,\d", content):
            _refuse(path, f"line {number}: '{line.strip()[:40]}' has decimal commas; write decimal points")
        cells = [cell for cell in re.split(r"[,;\s]+", content) if cell]
        try:
            rows.append((number, [float(cell) for cell in cells]))
        except ValueError:
            if rows or headed:  # one line of column names may come before the numbers
                _refuse(path, f"line {number}: '{content[:40]}' isn't two columns of numbers")
            headed = True
            comments.append(" ".join(cells))
    return comments, rows


def _names(comments: Sequence[str], n: int) -> list[str]:
    """Column names from the last header line where it has as many words as there are columns, or numbers."""
    words = re.split(r"[,;\s]+", comments[-1].strip()) if comments else []
    return words if len(words) == n and len(set(words)) == n else [str(i + 1) for i in range(n)]


def chosen(path: Path, names: Sequence[str], columns: tuple[str | int, str | int] | None) -> tuple[str, str]:
    """The names of the wavelength and transmission columns: the only two, or those that are asked for."""
    listed = ", ".join(map(str, names))
    if columns is None:
        if len(names) != 2:
            example = f"[{names[0]}, {names[1]}]" if len(names) > 1 else "[wave, transmission]"
            _refuse(
                path,
                f"has {len(names)} column{'s' * (len(names) != 1)} ({listed}), two columns are needed: name "
                f"wavelength and transmission, 'filter: {{path: ..., columns: {example}}}'",
            )
        return names[0], names[1]
    pair = []
    for column in columns:
        if isinstance(column, int) and 1 <= column <= len(names):
            pair.append(names[column - 1])
        elif str(column) in names:
            pair.append(str(column))
        else:
            _refuse(path, f"has no column '{column}'; it has {listed}")
    if pair[0] == pair[1]:
        _refuse(path, f"columns: wavelength and transmission are both '{pair[0]}'")
    return pair[0], pair[1]


def _floats(path: Path, column: object) -> FloatArray:
    """A column as numbers; masked entries become NaN."""
    try:
        return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"filter {path}: needs numbers in both columns ({first_line(error)})") from error


def _refuse(name: str | Path, why: str) -> NoReturn:
    raise InputError(f"filter {name}: {why}")
