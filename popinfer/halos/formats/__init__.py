"""Readers of halo files, one format a module; `open_halos` finds out which is wanted.

Each reader gives a `popinfer.halos.table.HaloHeader`, and chunks of a `HaloTable` in Msun and comoving Mpc. A
reader of the user's own is any object with these two. Two formats need packages that popinfer does without:
``ytree`` reads what yt's ytree can load, ``swift`` SOAP catalogs by swiftsimio.
"""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from popinfer.errors import InputError
from popinfer.expansion import check_file
from popinfer.halos.formats.galacticus import GalacticusTrees
from popinfer.halos.formats.opencosmo import OpenCosmo
from popinfer.halos.formats.plain import PlainTable
from popinfer.halos.formats.rockstar import ConsistentTrees, RockstarCatalog
from popinfer.halos.formats.sublink import SubLink
from popinfer.halos.formats.swift import SwiftCatalog
from popinfer.halos.formats.tree_table import TreeTable
from popinfer.halos.formats.universemachine import UniverseMachine
from popinfer.halos.formats.ytree_trees import YtreeTrees
from popinfer.halos.table import CHUNK, Asked, HaloHeader, HaloReader, HaloTable

TREES = ("galacticus_trees", "consistent_trees", "sublink", "universemachine", "tree_table", "ytree")
FORMATS = ("auto", "opencosmo", "hlist", *TREES, "swift", "table")
_TABLES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".csv": "csv",
    ".ecsv": "ecsv",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
}
_READERS: dict[str, Callable[[Path, Asked], HaloReader]] = {
    "opencosmo": OpenCosmo,
    "hlist": RockstarCatalog,
    "consistent_trees": ConsistentTrees,
    "galacticus_trees": GalacticusTrees,
    "sublink": SubLink,
    "universemachine": UniverseMachine,
    "ytree": YtreeTrees,
    "swift": SwiftCatalog,
}
# what the run file may say of these formats all the same: columns in place of the usual ones, missing units
_OPEN = {"ytree": ("columns", "units.mass", "units.length"), "swift": ("columns",)}
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_halos(paths: Sequence[str], format: str = "auto", asked: Asked | None = None) -> HaloReader:
    """The reader of one halo file, or of several of one simulation.

    Parameters
    ----------
    paths : Sequence[str]
        Files, or patterns such as ``tree_*.dat``.
    format : str
        Of `FORMATS`; "auto" looks at the files.
    asked : Asked or None
        What the run file says.

    Raises
    ------
    InputError
        There is no such file, its format can't be told, or it expands out of proportion.
    """
    asked = asked or Asked()
    files = files_of(paths)
    readers = [_open_file(path, format, asked) for path in files]
    return readers[0] if len(readers) == 1 else SeveralFiles(readers)


def files_of(paths: Sequence[str]) -> list[Path]:
    """Files that paths and patterns stand for, in the order of their names."""
    files = []
    for pattern in paths:
        full = os.path.expanduser(pattern)
        result = sorted(glob.glob(full)) if glob.has_magic(full) else [full]
        if not result:
            raise InputError(f"halos.source.path: no file is called {pattern}")
        files += [Path(path) for path in result]
    for path in files:
        if not path.is_file():
            raise InputError(f"halos.source.path: {path} is no file")
    return files


class SeveralFiles(HaloReader):
    """Files of one simulation, read one after the other.

    Parameters
    ----------
    readers : Sequence[HaloReader]
        Of each file; of one format, cosmology and box.
    """

    def __init__(self, readers: Sequence[HaloReader]) -> None:
        self._readers = readers

    @property
    def header(self) -> HaloHeader:
        """The first file's, with the snapshots of all.

        Raises
        ------
        InputError
            The files are of different simulations.
        """
        headers = [reader.header for reader in self._readers]
        first = headers[0]
        for other in headers[1:]:
            for name in ("format", "cosmology", "side"):
                if getattr(other, name) != getattr(first, name):
                    raise InputError(
                        f"{other.source}: its {name} is {getattr(other, name)}, and that of {first.source} "
                        f"{getattr(first, name)}; files have to be of one simulation"
                    )
        redshifts = sorted({z for header in headers for z in header.redshifts})
        return replace(
            first, source=f"{first.source} and {len(headers) - 1} more", redshifts=tuple(redshifts)
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of all files."""
        for reader in self._readers:
            yield from reader.chunks(size)


def _open_file(path: Path, format: str, asked: Asked) -> HaloReader:
    if format not in FORMATS:
        raise InputError(f"halos.source.format: '{format}' is unknown; there are {', '.join(FORMATS)}")
    check_file(path)
    if format == "auto":
        format = kind_of(path)
        format = "table" if format == "swift" and asked.columns else format  # named in full: no need of more
    if format in _READERS:
        _refuse_overruled(path, format, asked)
        return _READERS[format](path, asked)
    kind = _TABLES.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: a table of halos has one of the suffixes {', '.join(_TABLES)}")
    has_nodes = format == "tree_table" or "descendant" in dict(asked.columns)
    return TreeTable(path, kind, asked) if has_nodes else PlainTable(path, kind, asked)


def _refuse_overruled(path: Path, format: str, asked: Asked) -> None:
    """InputError where the run file says what such a file says itself, and would be passed over."""
    said = {"columns": asked.columns, "units.mass": asked.mass_unit, "units.length": asked.length_unit}
    for key, value in said.items():
        if value and key not in _OPEN.get(format, ()):
            raise InputError(
                f"halos.source.{key}: {path} is read as {format}, whose columns and units are known; leave "
                "it out, or set halos.source.format to table"
            )


def kind_of(path: Path) -> str:
    """The format of a file, by what it holds.

    Raises
    ------
    InputError
        It can't be told.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(_HDF5_SIGNATURE):
        return _kind_of_hdf5(path)
    if path.suffix.lower() in _TABLES:
        return "table"
    text = head.decode("utf-8", "replace").lower()
    first = text.partition("\n")[0]
    if "m_main_progenitor" in first:
        return "universemachine"
    if "scale" in first and "pid" in first:
        return "hlist" if "mpeak" in first else "consistent_trees"
    raise InputError(
        f"{path}: its format can't be told; set halos.source.format to one of {', '.join(FORMATS[1:])}"
    )


def _kind_of_hdf5(path: Path) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        names = set(file)
        if names & {"forestHalos", "haloTrees"}:
            return "galacticus_trees"
        if "header" in names or any(isinstance(x, h5py.Group) and "header" in x for x in file.values()):
            return "opencosmo"
        if {"SubhaloID", "DescendantID"} <= names:
            return "sublink"
        if "Header" in names and b"SOAP" in np.bytes_(file["Header"].attrs.get("OutputType", "")):
            return "swift"
    return "table"
