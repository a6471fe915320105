"""Columns of HDF5 files, a stretch of rows at a time.

A table is a group with a dataset a column, one compound dataset, a group with a group a column that holds
``data`` (and ``mask``), as vaex writes it, or a data frame as pandas writes it. The file may hold several:
the one that has all the columns is read.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from popinfer.data.tables.cells import Builder, element, mask_of
from popinfer.data.tables.hdf5_pandas import fixed_sources, table_sources
from popinfer.data.tables.hdf5_source import (
    Source,
    attribute_text,
    check_stored,
    check_type,
    children,
    note_of,
)
from popinfer.data.tables.notes import as_text, described, notes_from
from popinfer.data.tables.request import Column, Note, Pace, Place, Request, quoted

_BLOCK_BYTES = 8 << 20
_MOST_OBJECTS = 200_000
_DEEPEST = 32
_META = ".__table_column_meta__"  # of astropy: the description of the table beside it


@dataclass(frozen=True)
class _Found:
    """A table of the file: its path, its columns, and the links in it that lead nowhere."""

    path: str
    sources: dict[str, Source]
    broken: dict[str, str] = field(default_factory=dict)


class _Search:
    """Walks through a file's groups, each once however many links lead to it."""

    def __init__(self, request: Request) -> None:
        self.tables: list[_Found] = []
        self._request = request
        self._visited: set[tuple[int, int]] = set()
        self._objects = 0

    def visit(self, node: h5py.Group | h5py.Dataset, path: str, depth: int = 0) -> None:
        """Add the tables of a node and of what is below it."""
        key = _identity(node)
        if key in self._visited or depth > _DEEPEST:
            return
        self._visited.add(key)
        if isinstance(node, h5py.Dataset):
            if _is_compound(node) and node.ndim == 1:
                self.tables.append(_Found(path, _compound_sources(self._request, node)))
            return
        pandas = attribute_text(node, "pandas_type")
        if pandas == "frame":
            self.tables.append(_Found(path, fixed_sources(self._request, node)))
        elif pandas in ("frame_table", "appendable_frame") and isinstance(node.get("table"), h5py.Dataset):
            table: Any = node["table"]
            self.tables.append(_Found(path, table_sources(self._request, table)))
        elif attribute_text(node, "CLASS") not in ("TINDEX", "INDEX"):  # PyTables' indexes aren't tables
            self._visit_group(node, path, depth)

    def _visit_group(self, group: h5py.Group, path: str, depth: int) -> None:
        sources: dict[str, Source] = {}
        broken: dict[str, str] = {}
        for name in children(group):
            self._objects += 1
            if self._objects > _MOST_OBJECTS:
                self._request.refuse(f"has more than {_MOST_OBJECTS} groups and datasets; choose with table")
            try:
                item: Any = group[name]
            except (KeyError, OSError, RuntimeError):
                link = group.get(name, getlink=True)
                broken[name] = str(getattr(link, "filename", "") or getattr(link, "path", "nowhere"))
                continue
            if isinstance(item, h5py.Dataset) and not _is_compound(item):
                sources[name] = Source(item)
            elif isinstance(item, h5py.Group) and isinstance(item.get("data"), h5py.Dataset):
                sources |= _vaex_sources(name, item)
            elif isinstance(item, h5py.Group | h5py.Dataset):
                self.visit(item, f"{path.rstrip('/')}/{name}", depth + 1)
        if sources or broken:
            self.tables.append(_Found(path, sources, broken))


def read(request: Request) -> dict[str, Column]:
    """Read the columns that are asked for; see `popinfer.data.catalog_io.read_columns`."""
    with h5py.File(request.path, "r", locking=False) as store:
        search = _Search(request)
        search.visit(store, "/")
        table = _chosen(request, search.tables)
        places = request.places(list(table.sources))
        used = {place.column: table.sources[place.column] for place in places.values()}
        masks = {column: table.sources.get(f"{column}.mask") for column in used}
        for column, source in used.items():
            check_type(request, column, source)
            check_stored(request, column, source.dataset)
        rows = _rows(request, used)
        builder, pace = Builder(request), Pace(request)
        step = _step([source for source in (*used.values(), *masks.values()) if source is not None])
        for start in range(0, max(rows, 1), step):
            _add_rows(request, places, used, masks, slice(start, min(rows, start + step)), builder)
            pace(builder.rows, builder.rows / max(1, rows))
        return builder.finish({name: used[place.column].note for name, place in places.items()})


def _is_compound(dataset: h5py.Dataset) -> bool:
    """Whether the rows are records; complex numbers are stored as such, and aren't."""
    is_record = dataset.id.get_type().get_class() == h5py.h5t.COMPOUND  # much faster to ask than the dtype
    return is_record and dataset.dtype.names is not None


def _identity(node: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    info = h5py.h5o.get_info(node.id)
    return info.fileno, info.addr


def _chosen(request: Request, tables: list[_Found]) -> _Found:
    """The table at the path that the request names, or else the only one with all the columns."""
    if request.table is not None:
        wanted = "/" + str(request.table).strip().strip("/")
        chosen = [table for table in tables if table.path == wanted]
        if not chosen:
            there = ", ".join(quoted(table.path) for table in tables[:20]) or "none"
            request.refuse(f"has no table {quoted(request.table)}; there are {there}")
        tables = chosen
    for table in tables:
        for name in set(request.names) & set(table.broken):
            target = quoted(table.broken[name])
            request.refuse(f"column {quoted(name)} is a link to {target}, which isn't there")
    called = {quoted(table.path): table for table in tables}
    if not called:
        request.refuse("holds no table")
    return called[request.choose({label: list(table.sources) for label, table in called.items()})]


def _compound_sources(request: Request, dataset: h5py.Dataset) -> dict[str, Source]:
    """Fields of a compound dataset; units from astropy's description beside it, or from a list of units."""
    names = list(dataset.dtype.names)
    notes: dict[str, Note] = {}
    parent, name = os.path.split(str(dataset.name))
    meta = dataset.file.get(f"{parent}/{name}{_META}")
    if isinstance(meta, h5py.Dataset) and meta.ndim == 1:
        lines = [as_text_line(line) for line in meta[:]]
        notes = notes_from(described(request, lines).columns)
    listed = next((dataset.attrs[key] for key in ("units", "unit", "UNITS") if key in dataset.attrs), None)
    if isinstance(listed, np.ndarray) and listed.shape == (len(names),):
        notes = {**{name: Note(as_text(unit)) for name, unit in zip(names, listed, strict=True)}, **notes}
    return {name: Source(dataset, member=name, said=notes.get(name, Note())) for name in names}


def as_text_line(line: bytes | str) -> str:
    """A line of text from a dataset of strings, its indentation kept."""
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line)


def _vaex_sources(name: str, group: Any) -> dict[str, Source]:
    note = note_of(group)
    sources = {name: Source(group["data"], said=note if note.unit else None)}
    for mask in ("mask", "null_bitmap"):
        if isinstance(group.get(mask), h5py.Dataset):
            sources[f"{name}.mask"] = Source(group[mask])
    return sources


def _rows(request: Request, used: dict[str, Source]) -> int:
    """How many rows the columns have; refused when they differ."""
    lengths = {name: source.dataset.shape[0] for name, source in used.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{quoted(name)} {length}" for name, length in lengths.items())
        request.refuse(f"the columns asked for differ in length: {said}")
    return next(iter(lengths.values()), 0)


def _step(sources: list[Source]) -> int:
    """Rows to read at a time: whole chunks of the file, of which none is unpacked twice."""
    datasets = [source.dataset for source in sources]
    widest = max(max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))) for dataset in datasets)
    chunk = max((dataset.chunks[0] for dataset in datasets if dataset.chunks), default=1)
    return max(1, _BLOCK_BYTES // widest // chunk) * chunk


def _add_rows(
    request: Request,
    places: dict[str, Place],
    used: dict[str, Source],
    masks: dict[str, Source | None],
    rows: slice,
    builder: Builder,
) -> None:
    """Read some rows of every dataset that is used, once each, and add them."""
    fields: dict[h5py.Dataset, list[str]] = {}
    for source in (*used.values(), *masks.values()):
        if source is not None:
            fields.setdefault(source.dataset, [])
            if source.member is not None and source.member not in fields[source.dataset]:
                fields[source.dataset].append(source.member)
    raw: dict[h5py.Dataset, NDArray] = {
        dataset: dataset.fields(names)[rows] if names else dataset[rows] for dataset, names in fields.items()
    }
    blocks, hidden = {}, {}
    for name, place in places.items():
        source, mask = used[place.column], masks[place.column]
        blocks[name] = element(request, name, source.pick(raw[source.dataset]), place.element)
        if mask is not None:
            column = f"{place.column}.mask"
            values = element(request, column, mask.pick(raw[mask.dataset]), place.element)
            hidden[name] = mask_of(request, column, values, builder.rows)
    builder.add(blocks, hidden)
