"""Data frames as pandas writes them to HDF5, by way of PyTables: the "fixed" and the "table" format.

"fixed" keeps the columns of one type side by side in ``block0_values``, named by ``block0_items``. "table"
keeps them in a compound dataset, either a field a column or side by side in ``values_block_0``, whose names
are then a pickled list; only a list of plain text is accepted there, and nothing in it is ever executed.
"""

import pickletools
from typing import Any

import h5py

from popinfer.data.tables.hdf5_source import Source, attribute_text, children
from popinfer.data.tables.request import Request

_LIST_OPCODES = {"MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "PUT", "BINPUT", "LONG_BINPUT"}
_LIST_OPCODES |= {"MEMOIZE", "PROTO", "FRAME", "STOP"}
_TEXT_OPCODES = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}


def fixed_sources(request: Request, group: h5py.Group) -> dict[str, Source]:
    """Columns of a frame in the "fixed" format."""
    sources: dict[str, Source] = {}
    for block in [name.removesuffix("_values") for name in children(group) if name.endswith("_values")]:
        values: Any = group[f"{block}_values"]
        items = group.get(f"{block}_items")
        if not isinstance(items, h5py.Dataset):
            continue  # names in several levels: they can't be asked for by one name
        refused = _refused(attribute_text(values, "value_type"))
        is_pickled = attribute_text(values, "CLASS") == "VLARRAY"
        for index, item in enumerate(items[:]):
            name = item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
            sources[name] = Source(
                values,
                column=None if is_pickled else index,
                refused="pickled text" if is_pickled else refused,
            )
    return sources


def table_sources(request: Request, dataset: h5py.Dataset) -> dict[str, Source]:
    """Columns of a frame in the "table" format."""
    sources: dict[str, Source] = {}
    for field in dataset.dtype.names:
        refused = _refused(attribute_text(dataset, f"{field}_dtype"))
        if attribute_text(dataset, f"{field}_meta") == "category":
            refused = "codes of categories"
        names = _pickled_names(dataset.attrs.get(f"{field}_kind"))
        if not field.startswith("values_block_") or names is None:
            sources[field] = Source(dataset, member=field, refused=refused)
            continue
        for index, name in enumerate(names):
            sources[name] = Source(dataset, member=field, column=index, refused=refused)
    return sources


def _refused(kind: str | None) -> str | None:
    """Why values of this type of pandas' are no numbers."""
    if kind is not None and kind.startswith(("datetime", "timedelta", "date")):
        return f"dates ({kind})"
    return None


def _pickled_names(text: object) -> list[str] | None:
    """A pickled list of strings, taken apart without executing it; None for anything else."""
    if isinstance(text, str):
        text = text.encode("latin-1", "replace")
    if not isinstance(text, bytes):
        return None
    names = []
    try:
        for opcode, argument, _ in pickletools.genops(text):
            if opcode.name in _TEXT_OPCODES:
                names.append(str(argument))
            elif opcode.name not in _LIST_OPCODES:
                return None
    except ValueError:
        return None
    return names
