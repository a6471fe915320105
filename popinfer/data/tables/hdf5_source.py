"""One column in an HDF5 file: where its numbers are, and whether they are really there.

HDF5 answers a read of what was never written, or of a virtual dataset whose source is gone, with the fill
value, usually 0, and without a word. Both are refused here.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from popinfer.data.tables.notes import as_text
from popinfer.data.tables.request import Note, Request, quoted, shown

_FILL_ATTRIBUTES = ("_FillValue", "missing_value")  # of NetCDF
_UNITS = ("unit", "units")
_DESCRIPTIONS = ("description", "long_name", "comment", "title")


@dataclass(frozen=True)
class Source:
    """Where one column is.

    Attributes
    ----------
    dataset : the dataset that holds it.
    member : its field, when the dataset is compound.
    column : its second index, when the dataset holds several columns side by side, as pandas writes them.
    refused : why its values are no numbers although they are stored as such; None when they are.
    said : what the file says of it, where that isn't among the dataset's own attributes.
    """

    dataset: h5py.Dataset
    member: str | None = None
    column: int | None = None
    refused: str | None = None
    said: Note | None = None

    @property
    def note(self) -> Note:
        """What the file says of the column."""
        return note_of(self.dataset) if self.said is None else self.said

    def pick(self, rows: NDArray) -> NDArray:
        """The column's part of some rows of the dataset, missing values masked, packed ones unpacked."""
        values = rows if self.member is None else rows[self.member]
        values = values if self.column is None else values[:, self.column]
        if self._is_flag():
            return values != 0
        fills: list[Any] = [self.dataset.attrs[key] for key in _FILL_ATTRIBUTES if key in self.dataset.attrs]
        if self.member is None and fills and values.dtype.kind in "iuf":
            bad = np.isin(values, np.concatenate([np.atleast_1d(fill) for fill in fills]))
            values = np.ma.MaskedArray(values, bad)
        packed = {key: self.dataset.attrs.get(key) for key in ("scale_factor", "add_offset")}
        if self.member is None and any(value is not None for value in packed.values()):
            scale, offset = packed["scale_factor"], packed["add_offset"]
            values = values.astype(np.float64) * np.float64(1.0 if scale is None else scale)
            values = values + np.float64(0.0 if offset is None else offset)
        return values

    def _is_flag(self) -> bool:
        """Whether the values are bits: PyTables stores true and false so, and h5py calls them integers."""
        kind = self.dataset.id.get_type()
        if self.member is not None:
            kind = kind.get_member_type(kind.get_member_index(self.member.encode()))
        return kind.get_class() == h5py.h5t.BITFIELD


def children(group: h5py.Group) -> list[str]:
    """Names of what is in a group."""
    return [str(name) for name in group]


def note_of(node: h5py.Dataset | h5py.Group) -> Note:
    """Unit and description among the attributes of a dataset or a group, whatever their case."""
    lower = {str(key).lower(): key for key in node.attrs}

    def first(keys: tuple[str, ...]) -> str | None:
        said = [attribute_text(node, lower[key]) for key in keys if key in lower]
        return next((text for text in said if text), None)

    return Note(first(_UNITS), first(_DESCRIPTIONS))


def attribute_text(node: h5py.Dataset | h5py.Group, key: str) -> str | None:
    """An attribute as text; None where it is none or can't be read."""
    try:
        value = node.attrs.get(key)
    except (OSError, TypeError, ValueError, KeyError):
        return None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return as_text(value)


def check_type(request: Request, name: str, source: Source) -> None:
    """Refuse types that hold no numbers, and no text."""
    if source.refused:
        request.refuse(f"column {quoted(name)} holds {source.refused}, not numbers")
    kind = source.dataset.dtype if source.member is None else source.dataset.dtype[source.member]
    kind = kind.base
    if h5py.check_string_dtype(kind) is not None:
        return
    if h5py.check_vlen_dtype(kind) is not None:
        request.refuse(f"column {quoted(name)} holds lists of variable length, not numbers")
    if h5py.check_enum_dtype(kind) is not None and kind.kind != "b":
        request.refuse(f"column {quoted(name)} holds codes of an enumeration, not numbers")
    if kind.names is not None:
        request.refuse(f"column {quoted(name)} holds records of {', '.join(kind.names[:5])}, not numbers")
    if kind.kind in "OV":
        request.refuse(f"column {quoted(name)} holds references or opaque bytes, not numbers")


def check_stored(request: Request, name: str, dataset: Any) -> None:
    """Refuse a dataset that is out of proportion, or parts of which were never written or are elsewhere."""
    if dataset.shape is None or dataset.ndim == 0:
        request.refuse(f"column {quoted(name)} is a single value, not a column")
    folder = Path(os.path.realpath(dataset.file.filename)).parent
    size = max(request.path.stat().st_size, dataset.id.get_storage_size())
    if dataset.is_virtual:
        return _check_virtual(request, name, dataset, folder)
    for file, _, _ in dataset.external or ():
        if not (folder / os.fsdecode(file)).is_file():
            request.refuse(f"column {quoted(name)} is in the file {shown(file)}, which isn't there")
        size += (folder / os.fsdecode(file)).stat().st_size
    request.check_size(math.ceil(dataset.size * dataset.dtype.itemsize / 8 / len(request.names)), size)
    written = _written(dataset)
    if written < 1 and not _fills_with_nan(dataset):
        request.refuse(
            f"column {quoted(name)}: only {written:.0%} of it was ever written; the rest would read as "
            f"{quoted(dataset.fillvalue)}"
        )
    return None


def _check_virtual(request: Request, name: str, dataset: Any, folder: Path) -> None:
    """Refuse a virtual dataset when a file or dataset that it is made of is missing."""
    mapped = 0
    for source in dataset.virtual_sources():
        path = request.path if source.file_name == "." else folder / source.file_name
        mapped += source.vspace.get_select_npoints()
        try:
            with h5py.File(path, "r") as store:
                there = isinstance(store.get(source.dset_name), h5py.Dataset)
        except OSError:
            there = False
        if not there:
            request.refuse(
                f"column {quoted(name)} is made of {source.dset_name} in {quoted(source.file_name)}, which "
                "isn't there"
            )
    if mapped < dataset.size and not _fills_with_nan(dataset):
        request.refuse(f"column {quoted(name)}: {dataset.size - mapped} of its values have no source")
    request.check_size(math.ceil(dataset.size / len(request.names)), dataset.size)


def _written(dataset: Any) -> float:
    """Fraction of a dataset that was written to the file."""
    if dataset.size == 0:
        return 1.0
    if dataset.chunks is None:
        return 1.0 if dataset.id.get_storage_size() > 0 or dataset.external else 0.0
    expected = math.prod(
        -(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )
    return dataset.id.get_num_chunks() / expected


def _fills_with_nan(dataset: h5py.Dataset) -> bool:
    fill = dataset.fillvalue
    return isinstance(fill, float | np.floating) and bool(np.isnan(fill))
