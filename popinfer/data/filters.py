"""Read filter curves by name or from a file.

A curve is photon-counting: ``trans`` is the chance that a photon of that wavelength is detected, up to one
constant, and a band flux is the integral of F_nu T d(ln lambda) over the integral of T d(ln lambda).
Names are those of the packages sedpy (``sdss_u0``, ``lsst_baseline_u``, ``hsc_g``, ...) and speclite
(``decam2014-g``, ``Euclid-VIS``, ...), both offline; a shorter name (``sdss_u``, ``lsst_u``) does where
exactly one curve of sedpy can be meant. See `popinfer.data.filter_names` for names and
`popinfer.data.filter_files` for files.
"""

import fnmatch
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from popinfer.data.catalog_io import user_path
from popinfer.data.filter_files import (
    FilterFile,
    ascending,
    pivot,
    read_curve,
    to_photons,
    trimmed,
)
from popinfer.data.filter_names import (
    SOURCES,
    curve_files,
    curve_folder,
    known_filters,
    named_curve,
    package_folder,
    parts_of_names,
    resolve_name,
    suggestion,
)
from popinfer.data.units import LIGHT
from popinfer.data.wavelengths import length
from popinfer.errors import InputError, first_line
from popinfer.records import Filters

__all__ = [
    "FilterFile",
    "FilterName",
    "KnownFilter",
    "curve_notes",
    "known_filters",
    "list_filters",
    "load_filter",
    "load_filters",
    "plot_filters",
    "resolve_name",
    "vega_to_ab",
]

FloatArray = NDArray[np.float64]
FilterName = str | Path | FilterFile

_AB_ZERO = 3631e-23  # erg/s/cm2/Hz, the flux density of AB magnitude zero
_LEAK = 1e-3  # of a curve may lie beyond Vega's spectrum
_OPEN_END = 0.01  # of the peak, at an end: worth a note
_MOST_DRAWN = 40  # curves in one picture


@dataclass(frozen=True)
class KnownFilter:
    """A curve that can be used by name: pivot wavelength and equivalent width (area over peak) [Angstrom]."""

    name: str
    source: str
    pivot: float
    width: float


def load_filters(names: Sequence[FilterName]) -> Filters:
    """Read filter curves.

    Parameters
    ----------
    names : sequence of str, Path or FilterFile
        Names of known curves, unambiguous short forms of them, or files; a `FilterFile` says more of a file.

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


def load_filter(name: FilterName) -> tuple[str, FloatArray, FloatArray]:
    """One filter's full name, wavelengths [Angstrom] and transmissions, each of shape (wave,)."""
    said = name if isinstance(name, FilterFile) else FilterFile(name)
    text = str(said.path)
    path = user_path(text)
    full = named_curve(text, path, described=bool(said.columns or said.unit))
    if full is None:
        return (text, *read_curve(path, said))
    wave, trans = _known_curve(full)
    return (full, *(to_photons(wave, trans) if said.counts == "energy" else (wave, trans)))


def vega_to_ab(name: FilterName) -> float:
    """AB magnitude of Vega in a filter: what has to be added to a Vega magnitude to make it an AB one.

    Vega's spectrum is the one of sedpy, CALSPEC's ``alpha_lyr_stis_005`` (Bohlin 2007, ASPC 364, 315), taken
    to have magnitude zero in every filter. Curve and spectrum are linear between their nodes.

    Parameters
    ----------
    name : str, Path or FilterFile
        As for `load_filters`.

    Returns
    -------
    float
        The difference m_AB - m_Vega [mag].

    Raises
    ------
    InputError
        The filter can't be read, or reaches beyond Vega's spectrum.
    """
    full, wave, trans = load_filter(name)
    star_wave, star = _vega()
    grid = np.union1d(wave, star_wave[(star_wave > wave[0]) & (star_wave < wave[-1])])
    curve = np.interp(grid, wave, trans)
    known = (grid >= star_wave[0]) & (grid <= star_wave[-1])
    of_zero = np.trapezoid(curve / grid, grid) * _AB_ZERO * LIGHT
    if np.trapezoid(curve * ~known / grid, grid) * _AB_ZERO * LIGHT > _LEAK * of_zero:
        _refuse(
            full,
            f"covers {wave[0]:.0f} to {wave[-1]:.0f} Angstrom, but Vega's spectrum is known from "
            f"{star_wave[0]:.0f} to {star_wave[-1]:.0f} only: give AB magnitudes",
        )
    photons = np.trapezoid(curve * np.interp(grid, star_wave, star) * known * grid, grid)
    return float(-2.5 * np.log10(photons / of_zero))


@functools.cache
def _vega() -> tuple[FloatArray, FloatArray]:
    """Wavelengths [Angstrom] and flux [erg/s/cm2/Angstrom] of Vega."""
    from astropy.io import fits  # loads for a quarter of a second, and few surveys are in Vega magnitudes

    # Any: astropy's types do not know that this extension is a table
    hdus: Any = fits.open(package_folder("sedpy") / "data" / "alpha_lyr_stis_005.fits")
    with hdus:
        table = hdus[1].data
        return np.array(table["WAVELENGTH"], np.float64), np.array(table["FLUX"], np.float64)


def list_filters(pattern: str = "") -> tuple[KnownFilter, ...]:
    """Every curve whose name holds `pattern` (in any case; with ``*`` and ``?`` as in a shell), by pivot.

    Where no name holds it, it may be a survey whose curves go by the names of its cameras, as ``desi``.

    Raises
    ------
    InputError
        No name fits.
    """
    word = pattern.lower()
    wanted = [word if set(word) & set("*?[") else f"*{word}*"]
    of_survey = [f"{part}*" for part in parts_of_names(word)]
    rows = _matching(wanted) or _matching(of_survey)
    if not rows:
        _refuse(pattern, f"no known name has this in it{suggestion(pattern)}")
    return tuple(sorted(rows, key=lambda row: (row.source, row.name.split("_")[0].split("-")[0], row.pivot)))


def known_pivot(name: str) -> float:
    """Pivot wavelength [Angstrom] of a curve that comes with a package, by its full name."""
    return pivot(*_known_curve(name))


def plot_filters(names: Sequence[str], path: str | Path) -> None:
    """Draw curves, each divided by its peak, against wavelength.

    Raises
    ------
    InputError
        There are too many to be told apart, the folder isn't there, or the file's suffix is of no picture.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if len(names) > _MOST_DRAWN:
        raise InputError(
            f"{len(names)} filters are too many for one picture: give a pattern ({_MOST_DRAWN} at most)"
        )
    _check_picture(user_path(path))
    figure = Figure(figsize=(7.1, 3.6), layout="constrained")
    axes = figure.add_subplot(
        xlabel="wavelength [Å]", ylabel="transmission / peak", xscale="log", ylim=(0, 1.15)
    )
    colors = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, len(names)))
    for name, color in zip(names, colors, strict=True):
        wave, trans = _known_curve(name)
        axes.plot(wave, trans / trans.max(), color=color, lw=1.2, label=name)
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(lambda at, _: f"{at:g}")
    figure.legend(loc="outside right upper", fontsize=7 if len(names) <= 20 else 5, frameon=False)
    try:
        figure.savefig(user_path(path), dpi=170)
    except ValueError as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror or first_line(error)})") from error


def _check_picture(path: Path) -> None:
    """Refuse a place where no picture can be written, before anything is drawn."""
    try:
        folder, exists, is_folder = path.parent.is_dir(), path.parent.exists(), path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror or first_line(error)})") from error
    if not folder:
        what = "isn't a folder" if exists else "doesn't exist"
        raise InputError(f"{path}: the folder {path.parent} {what}; make it first, or name another one")
    if is_folder:
        raise InputError(f"{path}: is a folder; name a picture in it, such as {path / 'filters.png'}")


def curve_notes(filters: Filters, bands: Sequence[str]) -> tuple[str, ...]:
    """What a person should look at: bands with equal curves, and curves that don't end at zero.

    Parameters
    ----------
    filters : Filters
        The curves.
    bands : sequence of str
        Each one's band.
    """
    notes, curves = [], list(zip(filters.wave, filters.trans, strict=True))
    for i, (wave, trans) in enumerate(curves):
        for j in range(i):
            if all(np.array_equal(x, y) for x, y in zip(curves[j], (wave, trans), strict=True)):
                notes.append(
                    f"bands {bands[j]} and {bands[i]} have the same filter curve ({filters.names[i]})"
                )
        ends = max(float(trans[0]), float(trans[-1])) / float(np.max(trans))
        if ends > _OPEN_END and filters.names[i] not in known_filters():
            notes.append(
                f"band {bands[i]}: the filter curve {filters.names[i]} ends at {100 * ends:.0f} % of its peak"
            )
    return tuple(notes)


def _matching(patterns: Sequence[str]) -> list[KnownFilter]:
    """Curves whose name, in lower case, fits one of the patterns."""
    return [
        _described(file.stem, source)
        for source in SOURCES
        for file in curve_files(source)
        if any(fnmatch.fnmatchcase(file.stem.lower(), pattern) for pattern in patterns)
    ]


def _described(name: str, source: str) -> KnownFilter:
    wave, trans = _known_curve(name)
    return KnownFilter(name, source, pivot(wave, trans), float(np.trapezoid(trans, wave) / trans.max()))


def _known_curve(name: str) -> tuple[FloatArray, FloatArray]:
    """Curve of a package; these are trusted, and only put in order."""
    if name in known_filters("sedpy"):
        rows = np.loadtxt(curve_folder("sedpy") / f"{name}.par", ndmin=2, encoding="utf-8")
        return trimmed(*ascending(rows[:, 0], rows[:, 1]))
    file = curve_folder("speclite") / f"{name}.ecsv"
    # astropy's reader takes 30 times as long
    lines = file.read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    unit = re.search(r"name: wavelength, unit: ([\w.]+)", header)
    n_header = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    cells = (line.replace(",", " ").split() for line in lines[n_header + 1 :] if line.strip())
    rows = np.array([[float(cell) for cell in row[:2]] for row in cells])
    return trimmed(*ascending(rows[:, 0] * length(name, unit[1] if unit else "angstrom"), rows[:, 1]))


def _refuse(name: str | Path, why: str) -> NoReturn:
    raise InputError(f"filter {name}: {why}")
