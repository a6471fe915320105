"""SOAP catalogs of SWIFT simulations, with units, cosmology and box by swiftsimio (``popinfer[swift]``).

Every column knows its unit and whether it is comoving; there is no h. The run file's ``halos.source.columns``
may name others than the usual ones: peak masses are HBT's ``LastMaxMass`` where the catalog has it, else the
mass within 200 times the critical density; satellites belong to the central of their friends-of-friends
group.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from popinfer.cosmology import Cosmology
from popinfer.errors import InputError, first_line
from popinfer.halos.formats.extras import optional_package
from popinfer.halos.formats.plain import MASSES, PlainTable, base_of
from popinfer.halos.table import CHUNK, Asked, HaloHeader, HaloReader, HaloTable

# datasets of each quantity, in the order in which they are looked for
_USUAL = {
    "id": ("InputHalos/HaloCatalogueIndex",),
    "mass": ("InputHalos/HBTplus/LastMaxMass", "SO/200_crit/TotalMass", "BoundSubhalo/TotalMass"),
    "central": ("InputHalos/IsCentral",),
    "group": ("InputHalos/HBTplus/HostFOFID", "InputHalos/FOF/ID"),
    **{axis: (f"InputHalos/HaloCentre[{i}]",) for i, axis in enumerate("xyz")},
    **{f"v{axis}": (f"BoundSubhalo/CentreOfMassVelocity[{i}]",) for i, axis in enumerate("xyz")},
}
# powers of mass, length and time in SWIFT's letters
_POWERS = {"mass": {"M": 1.0}, "length": {"L": 1.0}, "velocity": {"L": 1.0, "t": -1.0}}
_DIMENSIONS = {
    **dict.fromkeys(MASSES, ("Msun", "mass")),
    **dict.fromkeys(("x", "y", "z"), ("Mpc", "length")),
    **dict.fromkeys(("vx", "vy", "vz"), ("km/s", "velocity")),
}


class SwiftCatalog(HaloReader):
    """A SOAP catalog.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.

    Raises
    ------
    InputError
        swiftsimio isn't installed.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._asked = path, asked
        self._swiftsimio = optional_package("swiftsimio", "swift", "swift")

    @cached_property
    def _metadata(self) -> Any:
        """What the file says of itself."""
        try:
            return self._swiftsimio.load(str(self._path)).metadata
        except Exception as error:  # of any kind: files lack this or that
            raise InputError(f"{self._path}: swiftsimio can't load it ({first_line(error)})") from error

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology, snapshot and box of the file."""
        said, cosmology = self._metadata, None
        if said.cosmology is not None:
            of = {name: float(getattr(said.cosmology, name)) for name in ("Om0", "Ob0", "w0", "wa", "h")}
            cosmology = Cosmology(of["Om0"], of["w0"], of["wa"], of["h"], of["Ob0"] / of["Om0"])
        return HaloHeader(
            str(self._path),
            "swift",
            self._asked.agreed(cosmology, str(self._path)),
            float(np.ravel(said.boxsize.to("Mpc").value)[0]),
            (float(said.z),),
            units="in the file (swiftsimio)",
            claims_satellites="central" in self._columns or "host" in self._columns,
            is_lightcone=False,
        )

    @cached_property
    def _columns(self) -> dict[str, str]:
        """Dataset of each quantity: the run file's, else the usual one."""
        given = dict(self._asked.columns)
        with h5py.File(self._path, "r") as file:
            usual = {
                quantity: next((name for name in names if base_of(name)[0] in file), "")
                for quantity, names in _USUAL.items()
            }
        if "host" in given:
            usual |= {"central": "", "group": ""}
        return {quantity: name for quantity, name in (usual | given).items() if name}

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them."""
        header = self.header
        asked = Asked(tuple(self._columns.items()), redshifts=header.redshifts, cosmology=header.cosmology)
        for table in PlainTable(self._path, "hdf5", asked, self._units()).chunks(size):
            yield replace(table, z=np.full(len(table), header.redshifts[0]))

    def _units(self) -> Mapping[str, str]:
        """Units of columns, as `popinfer.halos.units` and astropy read them."""
        with h5py.File(self._path, "r") as file:
            return {
                quantity: self._unit(file, name, _DIMENSIONS[quantity])
                for quantity, name in self._columns.items()
                if quantity in _DIMENSIONS
            }

    def _unit(self, file: h5py.File, name: str, wanted: tuple[str, str]) -> str:
        """The unit of a column, which has to be of a dimension."""
        unit, dimension = wanted
        path = base_of(name)[0]
        if path not in file:
            raise InputError(f"{self._path}: has no column '{path}'")
        attributes: Any = file[path].attrs
        said = {key: float(np.ravel(attributes[key])[0]) for key in attributes if key.endswith("exponent")}
        powers = {letter: said.get(f"U_{letter} exponent", 0.0) for letter in "MLtIT"}
        if powers != {**dict.fromkeys("MLtIT", 0.0), **_POWERS[dimension]}:
            raise InputError(f"{self._path}: column '{path}' is no {dimension}; its unit has other exponents")
        units, growth = self._metadata.units, said.get("a-scale exponent", 0.0)
        value = units.mass ** powers["M"] * units.length ** powers["L"] * units.time ** powers["t"]
        is_physical = growth == 0 or bool(np.ravel(attributes.get("Value stored as physical", 0))[0])
        if dimension == "length":
            return f"{float(value.to(unit)):.10g} {'physical ' if is_physical else ''}{unit}"
        scale = 1.0 if is_physical else float(self._metadata.scale_factor) ** growth
        return f"{float(value.to(unit)) * scale:.10g} {unit}"
