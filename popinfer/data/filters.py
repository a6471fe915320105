"""Read filter curves by name or from a file.

A curve is photon-counting: ``trans`` is the chance that a photon of that wavelength is detected, up to one
constant, and a band flux is the integral of F_nu T d(ln lambda) over the integral of T d(ln lambda).
Names are those of the sedpy package (``sdss_u0``, ``lsst_baseline_u``, ``hsc_g``, ...); a shorter name
(``sdss_u``, ``lsst_u``) does where exactly one curve can be meant. Files may be HDF5 in the DSPS layout
(datasets ``wave`` and ``transmission``), ECSV, or text with two columns, wavelengths in Angstrom.
"""

import difflib
import functools
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from popinfer.errors import InputError
from popinfer.records import Filters

FloatArray = NDArray[np.float64]

# Curves with less than this fraction of the peak at either end are cut there, as sedpy does: leaks of 1e-5
# can't be told from noise in the measured curve but may reach beyond the SED.
_EDGE = 1e-5
_HDF5 = (".h5", ".hdf5", ".hdf")


def load_filters(names: Sequence[str | Path]) -> Filters:
    """Read filter curves.

    Parameters
    ----------
    names : sequence of str or Path
        sedpy names, unambiguous short forms of them, or files.

    Returns
    -------
    Filters
        One ascending wavelength array [Angstrom] and one non-negative transmission array a filter; names of
        known curves in their full form.

    Raises
    ------
    InputError
        A name is unknown (the message says which are near it) or a file can't be used.
    """
    loaded = [load_filter(name) for name in names]
    return Filters(
        wave=tuple(wave for _, wave, _ in loaded),
        trans=tuple(trans for _, _, trans in loaded),
        names=tuple(name for name, _, _ in loaded),
    )


def load_filter(name: str | Path) -> tuple[str, FloatArray, FloatArray]:
    """One filter's full name, wavelengths [Angstrom] and transmissions, each of shape (wave,)."""
    text = str(name)
    path = Path(name)
    if path.is_file():
        return (text, *_clean(text, *_read(path)))
    if path.suffix or "/" in text:
        _refuse(text, f"no such file, and no filter has that name{_suggest(text)}")
    full = resolve_name(text)
    return (full, *_clean(full, *_read_ascii(_curve_folder() / f"{full}.par")))


def resolve_name(name: str) -> str:
    """The sedpy name meant by `name`, which may be short: ``sdss_u`` for ``sdss_u0``.

    Raises
    ------
    InputError
        Nothing or more than one curve fits; the message lists the nearest names.
    """
    known = known_filters()
    if name in known:
        return name
    matches = _short_matches(name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        _refuse(name, f"could be any of {', '.join(matches)}; write one of these in full")
    _refuse(name, f"is no known filter and no file{_suggest(name)}")


@functools.cache
def known_filters() -> tuple[str, ...]:
    """Names of all curves that come with sedpy, sorted."""
    return tuple(sorted(file.stem for file in _curve_folder().glob("*.par")))


def _curve_folder() -> Path:
    return Path(str(files("sedpy"))) / "data" / "filters"


def _short_matches(name: str) -> list[str]:
    """Full names that `name` abbreviates: same survey, same band, anything between; band case counts last.

    ``sdss_u`` fits ``sdss_u0``; ``lsst_u`` fits ``lsst_baseline_u``; ``vista_ks`` fits ``vista_vircam_Ks``.
    """
    survey, _, band = name.partition("_")
    if not band:
        return []
    for flags in (re.NOFLAG, re.IGNORECASE):
        tail = "0?" if len(band) == 1 else ""  # sdss_u is sdss_u0, but spitzer_16 is not spitzer_mips_160
        pattern = re.compile(rf"{re.escape(survey)}_(?:\w+_)?{re.escape(band)}{tail}", flags)
        matches = [known for known in known_filters() if pattern.fullmatch(known)]
        if matches:
            return matches
    return []


def _suggest(name: str) -> str:
    """'; did you mean ...?' with the nearest known names, or nothing."""
    stem = Path(name).stem
    near = difflib.get_close_matches(stem, known_filters(), n=4, cutoff=0.5)
    survey = stem.split("_")[0].lower()
    near += [known for known in known_filters() if known.split("_")[0] == survey and known not in near]
    return f"; did you mean {', '.join(near[:6])}?" if near else "; see popinfer.data.filters.known_filters()"


def _read(path: Path) -> tuple[NDArray, NDArray]:
    """Raw wavelengths and transmissions of a file."""
    if path.suffix.lower() in _HDF5:
        return _read_hdf5(path)
    if path.suffix.lower() == ".ecsv":
        return _read_ecsv(path)
    return _read_ascii(path)


def _read_hdf5(path: Path) -> tuple[NDArray, NDArray]:
    try:
        with h5py.File(path, "r") as store:
            if "wave" not in store or "transmission" not in store:
                _refuse(
                    path,
                    f"needs the datasets wave and transmission; it holds {sorted(store)}",
                )
            return np.asarray(store["wave"]), np.asarray(store["transmission"])
    except OSError as error:
        raise InputError(f"{path}: can't be read as HDF5 ({error})") from error


def _read_ecsv(path: Path) -> tuple[NDArray, NDArray]:
    """First two columns; the first is converted to Angstrom where it has a unit."""
    try:
        table = Table.read(path, format="ascii.ecsv")
    except Exception as error:  # astropy raises many kinds for malformed headers
        raise InputError(f"{path}: can't be read as ECSV ({_first_line(error)})") from error
    if len(table.columns) < 2:
        _refuse(path, "needs two columns, wavelength and transmission")
    wave, trans = (table[name] for name in table.colnames[:2])
    if wave.unit is not None:
        try:
            wave = wave.quantity.to("Angstrom").value
        except Exception as error:
            raise InputError(f"{path}: column 1 is in {wave.unit}, which is no length") from error
    return _floats(path, wave), _floats(path, trans)


def _read_ascii(path: Path) -> tuple[NDArray, NDArray]:
    try:
        rows = np.loadtxt(
            path, delimiter="," if path.suffix.lower() == ".csv" else None, ndmin=2, encoding="utf-8"
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: needs two columns of numbers ({_first_line(error)})") from error
    if rows.shape[1] < 2 or rows.shape[0] < 2:
        _refuse(path, f"needs two columns and two rows at least, has {rows.shape[1]} x {rows.shape[0]}")
    return rows[:, 0], rows[:, 1]


def _floats(path: Path, column: object) -> FloatArray:
    """A table column as numbers; masked entries become NaN."""
    try:
        return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: needs numbers in its first two columns ({_first_line(error)})") from error


def _clean(name: str | Path, wave: NDArray, trans: NDArray) -> tuple[FloatArray, FloatArray]:
    """Ascending wavelengths, transmissions without negatives, and one zero kept at each edge."""
    wave, trans = np.asarray(wave, dtype=np.float64), np.asarray(trans, dtype=np.float64)
    if wave.ndim != 1 or wave.shape != trans.shape:
        _refuse(name, f"wavelengths {wave.shape} and transmissions {trans.shape} differ in shape")
    if not (np.isfinite(wave).all() and np.isfinite(trans).all()):
        _refuse(name, "holds NaN or infinite values")
    order = np.argsort(wave, kind="stable")
    wave, trans = wave[order], np.clip(trans[order], 0.0, None)
    distinct = np.append(True, np.diff(wave) > 0)
    wave, trans = wave[distinct], trans[distinct]
    if wave.size < 2 or trans.max() <= 0:
        _refuse(name, "has no positive transmission at two or more wavelengths")
    if wave[0] <= 0 or np.median(wave) < 100:
        _refuse(name, f"has wavelengths {wave[0]:g} to {wave[-1]:g}; they have to be in Angstrom")
    lit = np.flatnonzero(trans > _EDGE * trans.max())
    kept = slice(max(lit[0] - 1, 0), lit[-1] + 2)
    return wave[kept], trans[kept]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _refuse(name: str | Path, why: str) -> NoReturn:
    raise InputError(f"filter {name}: {why}")
