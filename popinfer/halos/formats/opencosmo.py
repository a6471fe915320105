"""OpenCosmo HDF5 files: diffsky mocks ("synthetic_galaxies"), halo properties, and what popinfer writes.

``/data`` holds one dataset a column with attributes ``unit`` (astropy's words; h is ``littleh``) and
``description``; lightcones may have several groups ``<step>_<name>/data``. ``/header/file`` says whether the
file is a lightcone, its redshift, and the convention of units (``scalefree``: Mpc/h and Msun/h throughout;
``physical``: lengths are to be multiplied by 1 + z);
``/header/cosmology`` and ``/header/simulation`` hold parameters. diffsky gives diffmah parameters
(``has_diffmah_fit`` tells which are fitted), ``logmp_obs``, hosts as row numbers (``top_host_idx``), masses
at infall, and ``p_merge``; the time of infall is t_peak (`popinfer.halos.completed`).
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.table import CHUNK, DISTINCT, Asked, HaloHeader, HaloReader, HaloTable
from popinfer.halos.units import Unit, length_unit, mass_unit

_NAMES = {
    "id": ("halo_id", "core_tag", "fof_halo_tag", "unique_tag"),
    "host": ("upid", "host_id"),
    "host_row": ("top_host_idx",),
    "central": ("central", "is_central"),
    "lg_mass": ("logmp_obs", "lg_mass"),
    "mass": ("sod_halo_M200c", "fof_halo_mass", "sod_halo_mass"),
    "redshift": ("redshift_true", "redshift"),
    "lgm_infall": ("logmp_infall",),
    "lgmhost_infall": ("logmhost_infall",),
    "t_infall": ("t_infall",),
    "p_merge": ("p_merge",),
    "fitted": ("has_diffmah_fit",),
    "x": ("x", "fof_halo_center_x"),
    "y": ("y", "fof_halo_center_y"),
    "z": ("z", "fof_halo_center_z"),
    "vx": ("vx", "fof_halo_com_vx"),
    "vy": ("vy", "fof_halo_com_vy"),
    "vz": ("vz", "fof_halo_com_vz"),
}
_NO_HOST = -2  # host of a satellite for which none is named: no halo's name
_FAR = 4  # chunks: hosts within so many rows are read in one piece
_REDSHIFT_KEYS = ("redshift", "z")


class OpenCosmo(HaloReader):
    """A file in the OpenCosmo layout.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._asked = path, asked

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology, snapshot and box of the file."""
        with h5py.File(self._path, "r") as file:
            said = _header_attributes(file)
            groups = _data_groups(file, self._path)
            claims = any(_found(group, "host", "host_row", "central") for group in groups)
        cosmology = self._asked.agreed(_cosmology(said), str(self._path))
        redshift = next((float(said[k]) for k in _REDSHIFT_KEYS if _is_number(said.get(k))), None)
        side = said.get("box_size_mpc")
        if side is None and "box_size" in said:  # HACC's own parameters are Mpc/h
            side = float(said["box_size"]) / cosmology.h
        lightcone = said.get("is_lightcone")
        return HaloHeader(
            str(self._path),
            "opencosmo",
            cosmology,
            None if side is None else float(side),
            () if redshift is None else (redshift,),
            units="in the file (attribute unit)",
            claims_satellites=claims,
            is_lightcone=None if lightcone is None else bool(lightcone),
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them, group after group."""
        header = self.header
        with h5py.File(self._path, "r") as file:
            convention = _text(_header_attributes(file).get("unit_convention"))
            for group in _data_groups(file, self._path):
                reader = _Group(group, self._path, header, convention)
                n = len(group[reader.name("id")])
                for first in range(0, n, size):
                    yield reader.table(slice(first, min(first + size, n)))


class _Group:
    """One group of columns."""

    def __init__(self, group: Any, path: Path, header: HaloHeader, convention: str) -> None:
        self._group, self._path, self._header = group, path, header
        self._scalefree, self._physical = convention == "scalefree", convention == "physical"
        self._h = (header.cosmology or PLANCK15).h

    def name(self, quantity: str) -> str:
        """Column of a quantity that there has to be."""
        name = _found(self._group, quantity)
        if not name:
            raise InputError(f"{self._path}: has no column {' or '.join(_NAMES[quantity])}")
        return name

    def column(self, quantity: str, rows: slice, default: float = np.nan) -> np.ndarray:
        """A column of floats, or one value for all halos."""
        name = _found(self._group, quantity)
        if not name:
            return np.full(rows.stop - rows.start, default)
        return np.asarray(self._group[name][rows], float)

    def lg_mass(self, rows: slice) -> np.ndarray:
        """Log10 peak masses [Msun]."""
        name = _found(self._group, "lg_mass")
        if name:
            values, unit = self._group[name][rows], _text(self._group[name].attrs.get("unit"))
            return np.asarray(values, float) - (np.log10(self._h) if "littleh" in unit else 0.0)
        unit = self._unit(self.name("mass"), mass_unit)
        if unit.log10:
            return self.column("mass", rows) + np.log10(unit.scale(self._h))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(self.column("mass", rows) * unit.scale(self._h))

    def _unit(self, column: str, parse: Any) -> Unit:
        if self._scalefree:
            return Unit(1.0, per_h=True)
        said = _text(self._group[column].attrs.get("unit"))
        if not said:
            raise InputError(f"{self._path}: column '{column}' has no attribute unit")
        return parse(said, f"{self._path}: column '{column}'")

    def position(self, rows: slice) -> np.ndarray:
        """Comoving positions [Mpc]."""
        if not _found(self._group, "x"):
            return np.full((rows.stop - rows.start, 3), np.nan)
        unit = self._unit(self.name("x"), length_unit)
        position = np.stack([self.column(axis, rows) for axis in "xyz"], axis=1) * unit.scale(self._h)
        return position * (1 + self.redshift(rows)[:, None]) if unit.physical or self._physical else position

    def velocity(self, rows: slice) -> np.ndarray:
        """Peculiar velocities [km/s]: comoving ones, as HACC has them, are divided by 1 + z."""
        names = [_found(self._group, axis) for axis in ("vx", "vy", "vz")]
        velocity = np.stack([self.column(axis, rows) for axis in ("vx", "vy", "vz")], axis=1)
        units = [_text(self._group[name].attrs.get("unit")) for name in names if name]
        is_comoving = any("comoving" in unit for unit in units)
        return velocity / (1 + self.redshift(rows)[:, None]) if is_comoving else velocity

    def redshift(self, rows: slice) -> np.ndarray:
        """Redshifts of the halos, or of the snapshot."""
        snapshot = self._header.redshifts[0] if self._header.redshifts else np.nan
        return self.column("redshift", rows, snapshot)

    def hosts(self, rows: slice, halo_id: np.ndarray) -> np.ndarray:
        """Names of outermost hosts, -1 for none."""
        name = _found(self._group, "host")
        if name:
            host = self._group[name][rows].astype(np.int64)
            return np.where((host == halo_id) | (host < 0), DISTINCT, host)
        central = self.column("central", rows, 1.0) > 0.5
        name = _found(self._group, "host_row")
        if not name:
            return np.where(central, DISTINCT, _NO_HOST)
        row = self._group[name][rows].astype(np.int64)
        row_itself = np.arange(rows.start, rows.stop)
        elsewhere = (row >= 0) & (row != row_itself)
        if not _found(self._group, "central"):
            central = ~elsewhere
        host = np.where(central, DISTINCT, _NO_HOST)
        inside = elsewhere & ~central
        host[inside] = self._names_at(row[inside], rows.stop - rows.start)
        return host

    def _names_at(self, rows: np.ndarray, chunk: int) -> np.ndarray:
        """Names of the halos in some rows."""
        names = self._group[self.name("id")]
        if not len(rows):
            return rows
        first, last = int(rows.min()), int(rows.max()) + 1
        if last > len(names):
            raise InputError(f"{self._path}: top_host_idx names row {last - 1} of {len(names)}")
        if last - first <= _FAR * chunk:
            return names[first:last][rows - first].astype(np.int64)
        wanted, place = np.unique(rows, return_inverse=True)
        return names[wanted][place].astype(np.int64)

    def mah_params(self, rows: slice) -> DiffmahParams:
        """Diffmah parameters, NaN where there is no fit."""
        if any(name not in self._group for name in DiffmahParams._fields):
            nan = np.full(rows.stop - rows.start, np.nan)
            return DiffmahParams(*(nan,) * 5)
        mah = [np.asarray(self._group[name][rows], float) for name in DiffmahParams._fields]
        bad = self.column("fitted", rows, 1.0) < 0.5
        return DiffmahParams(*(np.where(bad, np.nan, column) for column in mah))

    def table(self, rows: slice) -> HaloTable:
        """Some rows."""
        halo_id = self._group[self.name("id")][rows].astype(np.int64)
        host_id, mah = self.hosts(rows, halo_id), self.mah_params(rows)
        satellite = host_id != DISTINCT
        return HaloTable.of(
            halo_id,
            host_id,
            self.lg_mass(rows),
            z=self.redshift(rows),
            position=self.position(rows),
            velocity=self.velocity(rows),
            mah_params=mah,
            lgm_infall=np.where(satellite, self.column("lgm_infall", rows), np.nan),
            lgmhost_infall=np.where(satellite, self.column("lgmhost_infall", rows), np.nan),
            t_infall=np.where(satellite, self.column("t_infall", rows), np.nan),
            p_merge=np.where(satellite, self.column("p_merge", rows, 0.0), 0.0),
        )


def _found(group: Any, *quantities: str) -> str:
    """The first of the quantities' columns that there is; "" for none."""
    return next((name for quantity in quantities for name in _NAMES[quantity] if name in group), "")


def _data_groups(file: h5py.File, path: Path) -> list[Any]:
    """Groups of columns: /data, or those of a lightcone's steps."""
    groups: list[Any] = [file["data"]] if "data" in file else []
    groups += [item["data"] for item in file.values() if isinstance(item, h5py.Group) and "data" in item]
    if not groups:
        raise InputError(f"{path}: has no group data; it isn't in the OpenCosmo layout")
    return groups


def _header_attributes(file: h5py.File) -> dict[str, Any]:
    """All attributes below the header, of whichever of its groups; the first of each name."""
    said: dict[str, Any] = {}
    headers: list[Any] = [file["header"]] if "header" in file else []
    headers += [item["header"] for item in file.values() if isinstance(item, h5py.Group) and "header" in item]

    def visit(_: str, item: Any) -> None:
        for name, value in item.attrs.items():
            said.setdefault(name, value)

    for header in headers:
        visit("", header)
        header.visititems(visit)
    return said


def _cosmology(said: Mapping[str, Any]) -> Cosmology | None:
    om0 = said.get("omega_m", said.get("Om0"))
    if om0 is None and "omega_cdm" in said and "omega_b" in said:
        om0 = said["omega_cdm"] + said["omega_b"]
    h = said.get("h", said.get("hubble"))
    if om0 is None or h is None:
        return None
    baryons = said.get("omega_b", said.get("Ob0"))
    fb = PLANCK15.fb if baryons is None else float(baryons) / float(om0)
    w0, wa = float(said.get("w_0", said.get("w0", -1.0))), float(said.get("w_a", said.get("wa", 0.0)))
    return Cosmology(om0=float(om0), h=float(h), w0=w0, wa=wa, fb=fb)


def _is_number(value: Any) -> bool:
    return value is not None and np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number)


def _text(value: Any) -> str:
    return "" if value is None else value.decode() if isinstance(value, bytes) else str(value)
