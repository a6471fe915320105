"""Plain tables of halos: Parquet, FITS, CSV, ECSV and HDF5, with a map of columns.

Quantities that a column can be named for, in the run file's ``halos.source.columns``:

    id, mass                         needed; whole numbers, and peak masses
    host                             outermost host (-1 or the own id for none); or, without it,
    central or rank                  1 for centrals; 0 for centrals
    group                            with these: names the group in which a satellite's central is to be found
    redshift                         of each halo on a lightcone, or of its snapshot
    x, y, z, vx, vy, vz              comoving positions, peculiar velocities [km/s]
    logm0, logtc, early_index, late_index, t_peak      diffmah parameters [log10 Msun; Gyr]
    mass_infall, host_mass_infall, t_infall            of satellites when they fell in; [Gyr]
    p_merge, half_mass_scale         probability of disruption; scale factor of half the peak mass

A name may be a path within an HDF5 file (``SO/200_crit/TotalMass``), or an element of vectors (``pos[0]``).
Units are the file's where it says them, else the run file's; masses without either are refused. Velocities
and times are converted from what the file says, and are km/s and Gyr where it says nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from astropy import units as astropy_units
from astropy.io import fits
from astropy.table import Table
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.halos.forests import rows_of
from popinfer.halos.table import CHUNK, DISTINCT, Asked, HaloHeader, HaloReader, HaloTable
from popinfer.halos.units import Unit, length_unit, mass_unit

QUANTITIES = (
    *("id", "mass", "host", "central", "rank", "group", "redshift", "x", "y", "z", "vx", "vy", "vz"),
    *DiffmahParams._fields,
    *("mass_infall", "host_mass_infall", "t_infall", "p_merge", "half_mass_scale"),
)
_NEEDED = ("id", "mass")
MASSES = ("mass", "mass_infall", "host_mass_infall")
_LARGEST_LOG = 30.0  # masses below, in Msun or Msun/h, and above, as logarithms, are the other
_EXACT_FLOAT = 2**53  # largest whole number that a float column holds
_GROUP_NEEDS = ("central", "rank")
_NAMED = ("id", "host", "group", "descendant", "tree")  # whole numbers that tell halos apart
_FIXED_UNITS = {
    **dict.fromkeys(("vx", "vy", "vz"), "km/s"),
    **dict.fromkeys(("t_peak", "t_infall"), "Gyr"),
}
_ELEMENT = re.compile(r"(.+)\[(\d)\]")
_NO_CENTRAL = -2  # host of a satellite whose group has no central here: no halo's name


@dataclass(frozen=True)
class Columns:
    """Columns of a chunk by quantity, in the file's units."""

    values: Mapping[str, np.ndarray]

    def get(self, name: str, default: float = np.nan) -> np.ndarray:
        """A column of floats, or one value for all halos."""
        if name in self.values:
            return np.asarray(self.values[name], float)
        return np.full(len(self.values["id"]), default)

    def vector(self, *names: str) -> np.ndarray:
        """Columns side by side."""
        return np.stack([self.get(name) for name in names], axis=1)


class PlainTable(HaloReader):
    """A table of halos with a map of columns.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        "parquet", "fits", "hdf5", "csv" or "ecsv".
    asked : Asked
        What the run file says.
    units : Mapping[str, str], optional
        Of quantities, where they are known from elsewhere; the file's own when absent.

    Raises
    ------
    InputError
        No column is named for the id or the mass, or the unit of masses isn't known.
    """

    def __init__(self, path: Path, kind: str, asked: Asked, units: Mapping[str, str] | None = None) -> None:
        self._path, self._kind, self._asked, self._known_units = path, kind, asked, units
        self._columns = dict(asked.columns)
        missing = [name for name in _NEEDED if name not in self._columns]
        if missing:
            raise InputError(
                f"halos.source.columns: names no column for {' and '.join(missing)} of {path}; write "
                "columns: {id: ..., mass: ..., host: ...}"
            )
        named = set(self._columns)
        if "group" in named and not named & {"host", *_GROUP_NEEDS}:
            raise InputError(
                f"halos.source.columns.group: doesn't say which halos of {path} are centrals; name a column "
                "for central or rank, too"
            )

    @cached_property
    def header(self) -> HaloHeader:
        """What the run file and the columns' units say."""
        claims = any(name in self._columns for name in ("host", "central", "rank"))
        cosmology = self._asked.agreed(None, str(self._path))
        self._unit("mass")  # refused before anything is read
        return HaloHeader(
            str(self._path),
            self._kind,
            cosmology,
            units=f"masses in {self._said('mass') or self._asked.mass_unit}",
            claims_satellites=claims,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them."""
        for table, _ in self.rows(size):
            yield table

    def rows(self, size: int = CHUNK) -> Iterator[tuple[HaloTable, Columns]]:
        """Halos as the file lists them, and all their columns."""
        h = (self.header.cosmology or PLANCK15).h
        for values in _read(self._path, self._kind, self._columns, size):
            columns = self._numbers(values)
            yield self._table(columns, h), columns

    def _numbers(self, values: Mapping[str, np.ndarray]) -> Columns:
        """Columns of numbers: names as they are, others as floats, NaN where the file has none."""
        return Columns(
            {
                quantity: whole_numbers(column, self._place(quantity))
                if quantity in _NAMED
                else _floats(column, self._place(quantity))
                for quantity, column in values.items()
            }
        )

    def _place(self, quantity: str) -> str:
        """A column, for messages."""
        return f"{self._path}: column '{self._columns[quantity]}'"

    @cached_property
    def _units_said(self) -> Mapping[str, str]:
        known = self._known_units
        return _stated_units(self._path, self._kind, self._columns) if known is None else known

    def _said(self, quantity: str) -> str:
        """What the file says of a quantity's unit; "" for nothing."""
        return self._units_said.get(quantity, "")

    def _unit(self, quantity: str) -> Unit:
        """Unit of a mass or a length: the file's, which the run file's must agree with."""
        is_mass = quantity in MASSES
        parse, kind = (mass_unit, "mass") if is_mass else (length_unit, "length")
        asked, said = getattr(self._asked, f"{kind}_unit"), self._said(quantity)
        if not asked and not said:
            example = "Msun or Msun/h" if is_mass else "Mpc or Mpc/h"
            raise InputError(
                f"halos.source.units.{kind}: is missing, and {self._path} doesn't say the unit of column "
                f"'{self._columns[quantity]}'; write {example}"
            )
        unit = parse(said, f"{self._path}: column '{self._columns[quantity]}'") if said else None
        wanted = parse(asked, f"halos.source.units.{kind}") if asked else None
        if unit is not None and wanted is not None and unit != wanted:
            raise InputError(
                f"halos.source.units.{kind}: is {asked}, and {self._path} says {said} of column "
                f"'{self._columns[quantity]}'; leave it out to take the file's"
            )
        return unit or wanted  # type: ignore[return-value]

    def _lg_mass(self, columns: Columns, quantity: str, h: float) -> np.ndarray:
        """Log10 masses [Msun]; NaN where there is no such column."""
        if quantity not in self._columns:
            return columns.get(quantity)
        values, unit, place = columns.get(quantity), self._unit(quantity), self._place(quantity)
        largest = np.nanmax(values, initial=-np.inf)
        if not unit.log10 and 0 < largest < _LARGEST_LOG:
            raise InputError(
                f"{place}: masses up to {largest:.4g} look like logarithms; write halos.source.units.mass as "
                "log10 Msun, or log10 Msun/h"
            )
        if unit.log10 and largest > _LARGEST_LOG:
            raise InputError(
                f"{place}: masses up to {largest:.4g} can't be logarithms; write halos.source.units.mass as "
                "Msun, or Msun/h"
            )
        if unit.log10:
            return values + np.log10(unit.scale(h))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(values * unit.scale(h))

    def _table(self, columns: Columns, h: float) -> HaloTable:
        z = columns.get("redshift")
        position = columns.vector("x", "y", "z")
        if "x" in self._columns:
            unit = self._unit("x")
            position = position * unit.scale(h) * (self._growth(z)[:, None] if unit.physical else 1.0)
        halo_id = columns.values["id"]
        host_id = self._hosts(columns, halo_id)
        return HaloTable.of(
            halo_id,
            host_id,
            self._lg_mass(columns, "mass", h),
            z=z,
            position=position,
            velocity=np.stack([self._fixed(columns, name) for name in ("vx", "vy", "vz")], axis=1),
            mah_params=DiffmahParams(*(self._fixed(columns, name) for name in DiffmahParams._fields)),
            lgm_infall=self._lg_mass(columns, "mass_infall", h),
            lgmhost_infall=self._lg_mass(columns, "host_mass_infall", h),
            t_infall=self._fixed(columns, "t_infall"),
            p_merge=columns.get("p_merge", 0.0),
            half_mass_scale=columns.get("half_mass_scale"),
        )

    def _growth(self, z: np.ndarray) -> np.ndarray:
        """What physical lengths are multiplied by to be comoving."""
        given = self._asked.redshifts
        if np.isnan(z).all() and len(given) != 1:
            raise InputError(
                f"{self._place('x')}: holds physical lengths, of halos without redshift; give "
                "halos.source.geometry.redshift of the box"
            )
        return 1 + (np.full(len(z), given[0]) if np.isnan(z).all() else z)

    def _fixed(self, columns: Columns, quantity: str) -> np.ndarray:
        """A column in the unit that its quantity always has here."""
        values, said, wanted = columns.get(quantity), self._said(quantity), _FIXED_UNITS.get(quantity, "")
        if not said or not wanted:
            return values
        try:
            return values * astropy_units.Unit(said).to(wanted)
        except (ValueError, TypeError):
            raise InputError(f"{self._place(quantity)}: its unit is {said}; it has to be {wanted}") from None

    def _hosts(self, columns: Columns, halo_id: np.ndarray) -> np.ndarray:
        """Outermost hosts by name, -1 for none."""
        if "host" in columns.values:
            host = columns.values["host"]
            return np.where((host == halo_id) | (host < 0), DISTINCT, host)
        central = _central(columns)
        host = np.full(len(halo_id), _NO_CENTRAL)
        if "group" in columns.values:
            groups, names = self._centrals
            row = rows_of(groups, np.arange(len(groups)), columns.values["group"])
            host = np.where(row >= 0, np.append(names, _NO_CENTRAL)[row], _NO_CENTRAL)
        return np.where(central, DISTINCT, host)

    @cached_property
    def _centrals(self) -> tuple[np.ndarray, np.ndarray]:
        """Groups of the whole file, ascending, and the names of their centrals."""
        wanted = {
            name: self._columns[name] for name in ("id", "group", *_GROUP_NEEDS) if name in self._columns
        }
        groups, names = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for values in _read(self._path, self._kind, wanted, CHUNK):
            columns = self._numbers(values)
            some = _central(columns) & (columns.values["group"] >= 0)  # those below zero are in none
            groups.append(columns.values["group"][some])
            names.append(columns.values["id"][some])
        group = np.concatenate(groups)
        order = np.argsort(group, kind="stable")
        group = group[order]
        if (group[1:] == group[:-1]).any():
            twice = group[1:][group[1:] == group[:-1]][0]
            raise InputError(
                f"{self._place('group')}: {twice} has two centrals; each has to have one (write every "
                "snapshot to a file of its own)"
            )
        return group, np.concatenate(names)[order]


def _central(columns: Columns) -> np.ndarray:
    """Halos that are in no other; all where the file doesn't say."""
    if "central" in columns.values:
        return columns.get("central") > 0.5
    return columns.get("rank", 0.0) == 0


def _floats(values: np.ndarray, place: str) -> np.ndarray:
    """Numbers, NaN where there are none.

    Raises
    ------
    InputError
        A value is no number.
    """
    try:
        if isinstance(values, np.ma.MaskedArray):
            return np.ma.filled(values.astype(float), np.nan)
        return np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: has to hold numbers ({error})") from None


def whole_numbers(values: np.ndarray, place: str) -> np.ndarray:
    """Names as whole numbers.

    Parameters
    ----------
    values : np.ndarray
        As a file has them.
    place : str
        Opens the message.

    Raises
    ------
    InputError
        They aren't, or are too large for the floats that the file holds.
    """
    if np.issubdtype(values.dtype, np.integer) and not np.ma.is_masked(values):
        return np.asarray(values).astype(np.int64)
    numbers = _floats(values, place)
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        raise InputError(f"{place}: names of halos have to be whole numbers")
    if np.abs(numbers).max(initial=0) >= _EXACT_FLOAT:
        raise InputError(f"{place}: holds floats, which can't tell names above {_EXACT_FLOAT} apart")
    return numbers.astype(np.int64)


def base_of(name: str) -> tuple[str, int | None]:
    """A column, and which element of its vectors; None where it has none.

    Parameters
    ----------
    name : str
        Such as ``pos[0]``.
    """
    match = _ELEMENT.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def _element_of(column: Any, element: int | None) -> np.ndarray:
    values = column if isinstance(column, np.ma.MaskedArray) else np.asarray(column)
    return values if element is None else values[:, element]


def _read(path: Path, kind: str, columns: Mapping[str, str], size: int) -> Iterator[dict[str, np.ndarray]]:
    """Chunks of columns by quantity."""
    try:
        if kind == "parquet":
            yield from _read_parquet(path, columns, size)
        elif kind == "csv":
            with pd.read_csv(
                path, usecols=sorted(set(columns.values())), comment="#", chunksize=size
            ) as parts:
                for part in parts:
                    yield {quantity: part[name].to_numpy() for quantity, name in columns.items()}
        else:
            yield from _read_slices(path, kind, columns, size)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: columns {', '.join(columns.values())} can't be read ({error})") from None


def _read_parquet(path: Path, columns: Mapping[str, str], size: int) -> Iterator[dict[str, np.ndarray]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    lacking = sorted(set(columns.values()) - set(file.schema_arrow.names))
    if lacking:
        raise InputError(f"{path}: has no column '{lacking[0]}'; it has {', '.join(file.schema_arrow.names)}")
    wanted = sorted(set(columns.values()))
    for group in range(
        file.num_row_groups
    ):  # over the whole file at once, what was read would stay in memory
        for batch in file.iter_batches(size, row_groups=[group], columns=wanted):
            part = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in wanted}
            yield {quantity: part[name] for quantity, name in columns.items()}


def _read_slices(
    path: Path, kind: str, columns: Mapping[str, str], size: int
) -> Iterator[dict[str, np.ndarray]]:
    """From formats whose columns can be sliced."""
    places = {quantity: base_of(name) for quantity, name in columns.items()}
    if kind == "hdf5":
        with h5py.File(path, "r") as file:
            group = hdf5_group(file, path, [name for name, _ in places.values()])
            yield from _read_rows(group, places, size)
    elif kind == "fits":
        with fits.open(path, memmap=True) as units:
            data = next((unit.data for unit in units if isinstance(unit, fits.BinTableHDU)), None)
            if data is None:
                raise InputError(f"{path}: has no table")
            yield from _read_rows(data, places, size)
    else:
        yield from _read_rows(Table.read(path, format="ascii.ecsv"), places, size)


def _read_rows(
    source: Any, places: Mapping[str, tuple[str, int | None]], size: int
) -> Iterator[dict[str, np.ndarray]]:
    n = len(source[places["id"][0]])
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        yield {
            quantity: _native(_element_of(source[name][rows], element))
            for quantity, (name, element) in places.items()
        }


def _native(values: np.ndarray) -> np.ndarray:
    """FITS holds big-endian numbers, which pandas and JAX don't take."""
    return values.astype(values.dtype.newbyteorder("="))


def hdf5_group(file: h5py.File, path: Path, names: list[str]) -> Any:
    """The group that holds all columns: the file itself, or one of its groups.

    Raises
    ------
    InputError
        None holds them all.
    """
    groups: list[Any] = [file, *(item for item in file.values() if isinstance(item, h5py.Group))]
    for group in groups:
        if all(name in group for name in names):
            return group
    lacking = next(name for name in names if name not in file)
    raise InputError(f"{path}: has no column '{lacking}'; it has {', '.join(list(file)[:20])}")


def _stated_units(path: Path, kind: str, columns: Mapping[str, str]) -> dict[str, str]:
    """What the file says of the columns' units, by quantity."""
    names = {quantity: base_of(name)[0] for quantity, name in columns.items()}
    if kind == "hdf5":
        with h5py.File(path, "r") as file:
            group = hdf5_group(file, path, list(names.values()))
            said = {q: dict(group[name].attrs) for q, name in names.items()}
        texts = {q: attrs.get("unit", attrs.get("units", "")) for q, attrs in said.items()}
        return {q: text.decode() if isinstance(text, bytes) else str(text) for q, text in texts.items()}
    if kind == "fits":
        with fits.open(path) as units:
            table = next((unit for unit in units if isinstance(unit, fits.BinTableHDU)), None)
            columns_there: Any = () if table is None else table.columns
            unit_of = {column.name: str(column.unit or "") for column in columns_there}
        return {q: unit_of.get(name, "") for q, name in names.items()}
    if kind == "ecsv":
        table = Table.read(path, format="ascii.ecsv")
        return {q: str(table[name].unit or "") for q, name in names.items() if name in table.colnames}
    if kind == "parquet":
        import pyarrow.parquet as pq

        schema = pq.ParquetFile(path).schema_arrow
        notes = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
        return {q: notes.get(name, "") for q, name in names.items()}
    return {}
