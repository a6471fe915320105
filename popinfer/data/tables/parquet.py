"""Columns of Parquet files and of folders of them, a batch of rows at a time.

Units come from the fields' own metadata, from astropy's description of the table, from a VOTable header as
Gaia's and Euclid's archives write it, or from the attributes that pandas keeps.
"""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from popinfer.data.tables.cells import Block, Builder, element, mask_of
from popinfer.data.tables.files import parts_of
from popinfer.data.tables.notes import as_text, described, notes_from
from popinfer.data.tables.request import Column, Note, Pace, Place, Request, quoted
from popinfer.errors import first_line

_BATCH = 1 << 17
_DESCRIPTION_KEYS = (b"description", b"Description", b"comment", b"doc")
_UNIT_KEYS = (b"unit", b"units", b"UNIT", b"Unit")


def read(request: Request) -> dict[str, Column]:
    """Read the columns that are asked for; see `popinfer.data.catalog_io.read_columns`."""
    if request.table is not None:
        request.refuse("a Parquet file holds a single table; leave table out")
    parts = parts_of(request) if request.path.is_dir() else [request.path]
    schemas = [_schema(request, part) for part in parts]
    size = sum(part.stat().st_size for part in parts)
    request.check_size(sum(rows for _, rows in schemas), size)
    hive = [_hive_values(request.path, part) for part in parts]
    places = request.places(
        [*schemas[0][0].names, *(key for key in hive[0] if key not in schemas[0][0].names)]
    )
    _check_alike(request, parts, [schema for schema, _ in schemas], places)
    builder, pace, total = Builder(request), Pace(request), max(1, sum(rows for _, rows in schemas))
    for part, constants in zip(parts, hive, strict=True):
        _add_part(request, part, places, constants, builder, pace, total)
    return builder.finish(_notes(request, schemas[0][0], places))


def _schema(request: Request, part: Path) -> tuple[pa.Schema, int]:
    try:
        with pq.ParquetFile(part) as file:
            return file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        where = "" if part == request.path else f"part {part.name} "
        request.refuse(f"{where}can't be read as parquet ({first_line(error)[:200]})")


def _hive_values(folder: Path, part: Path) -> dict[str, str]:
    """Columns that the names of a part's folders hold: ``key=value``."""
    if part == folder:
        return {}
    pairs = [name.partition("=") for name in part.relative_to(folder).parts[:-1]]
    return {key: value for key, equals, value in pairs if equals}


def _check_alike(
    request: Request, parts: list[Path], schemas: list[pa.Schema], places: dict[str, Place]
) -> None:
    """Refuse parts whose columns, of those asked for, differ in type or are missing."""
    columns = {place.column for place in places.values()}
    for column in sorted(columns | {f"{column}.mask" for column in columns}):
        types = [schema.field(column).type if column in schema.names else None for schema in schemas]
        for part, there, schema in zip(parts, types, schemas, strict=True):
            if there == types[0] and schema.names.count(column) <= 1:
                continue
            said = [f"{kind}" if kind is not None else "missing" for kind in (types[0], there)]
            request.refuse(
                f"column {quoted(column)} is {said[0]} in part {parts[0].name} and {said[1]} in part "
                f"{part.name}; all parts have to have the same columns"
            )


def _add_part(
    request: Request,
    part: Path,
    places: dict[str, Place],
    constants: dict[str, str],
    builder: Builder,
    pace: Pace,
    total: int,
) -> None:
    with pq.ParquetFile(part, memory_map=True) as file:
        present = set(file.schema_arrow.names)
        inside = sorted({place.column for place in places.values()} & present)
        masks = [f"{column}.mask" for column in inside if f"{column}.mask" in present]
        for batch in file.iter_batches(_BATCH, columns=[*inside, *masks], use_threads=False):
            blocks, hidden = {}, {}
            for name, place in places.items():
                if place.column not in present:
                    blocks[name] = pa.array([constants[place.column]] * batch.num_rows, pa.string())
                    continue
                blocks[name] = _block(request, name, batch.column(place.column), place, builder.rows)
                mask = f"{place.column}.mask"
                if mask in masks:
                    raw = _block(request, mask, batch.column(mask), place, builder.rows)
                    hidden[name] = mask_of(request, mask, raw, builder.rows)
            builder.add(blocks, hidden)
            pace(builder.rows, builder.rows / total)


def _block(request: Request, name: str, array: pa.Array, place: Place, start: int) -> Block:
    """Arrow values as a NumPy array, or as an Arrow array of strings."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return element(request, name, _vectors(request, name, array, start), place.element)
    if place.element is not None:
        request.refuse(f"column {quoted(place.column)}: it has no such element; it holds single values")
    return _scalars(request, name, array)


def _scalars(request: Request, name: str, array: pa.Array) -> Block:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pc.cast(array, pa.string())
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if pa.types.is_decimal(kind):
        return pc.cast(array, pa.string()) if name in request.text else _scalars_of(array.cast(pa.float64()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return _scalars_of(array)
    if name in request.text and not pa.types.is_nested(kind):
        return pc.cast(array, pa.string())
    request.refuse(f"column {quoted(name)} holds {kind}, not numbers")


def _scalars_of(array: pa.Array) -> Block:
    """Numbers or flags, masked where null; integers stay integers."""
    null = np.asarray(array.is_null())
    if not null.any():
        return array.to_numpy(zero_copy_only=False)
    filled = array.fill_null(False if pa.types.is_boolean(array.type) else pa.scalar(0, array.type))
    return np.ma.MaskedArray(filled.to_numpy(zero_copy_only=False), null)


def _vectors(request: Request, name: str, array: Any, start: int) -> Block:
    """Lists of equal length as a two-dimensional array; a null list is masked."""
    null = np.asarray(array.is_null())
    if pa.types.is_fixed_size_list(array.type):
        length = array.type.list_size
    else:
        lengths = np.asarray(pc.fill_null(pc.list_value_length(array), -1))
        there = lengths[lengths >= 0]
        length = int(there[0]) if there.size else 0
        if np.any(there != length):
            row = int(np.flatnonzero((lengths >= 0) & (lengths != length))[0])
            request.refuse(
                f"column {quoted(name)} holds lists of different lengths: {length} and, in row {start + row} "
                f"(the first is row 0), {lengths[row]}"
            )
    flat = array.filter(pc.is_valid(array)).flatten()
    if pa.types.is_nested(flat.type):
        request.refuse(f"column {quoted(name)} holds {array.type}, not numbers")
    inner = _scalars(request, name, flat)
    if isinstance(inner, pa.Array):
        request.refuse(f"column {quoted(name)} holds lists of text, not numbers")
    values: Any = np.ma.MaskedArray(np.zeros((len(array), length), inner.dtype), True)
    values[~null] = np.ma.asarray(inner).reshape(-1, length)
    return values


def _notes(request: Request, schema: pa.Schema, places: dict[str, Place]) -> dict[str, Note]:
    """What the file says of each column, by the name asked for; a field's own metadata come first."""
    metadata = schema.metadata or {}
    sources = [_field_notes(schema), _astropy_notes(request, metadata), _votable_notes(metadata)]
    sources.append(_pandas_notes(metadata))
    notes = {}
    for name, place in places.items():
        said = [source.get(place.column, Note()) for source in sources]
        units = [note.unit for note in said if note.unit]
        descriptions = [note.description for note in said if note.description]
        notes[name] = Note(units[0] if units else None, descriptions[0] if descriptions else None)
    return notes


def _field_notes(schema: pa.Schema) -> dict[str, Note]:
    notes = {}
    for field in schema:
        own = field.metadata or {}
        units, texts = (
            [as_text(own[key]) for key in keys if key in own] for keys in (_UNIT_KEYS, _DESCRIPTION_KEYS)
        )
        notes[field.name] = Note(units[0] if units else None, texts[0] if texts else None)
    return notes


def _astropy_notes(request: Request, metadata: dict[bytes, bytes]) -> dict[str, Note]:
    text = metadata.get(b"table_meta_yaml")
    if text is None:
        return {}
    return notes_from(described(request, text.decode("utf-8", "replace").splitlines()).columns)


def _votable_notes(metadata: dict[bytes, bytes]) -> dict[str, Note]:
    text = metadata.get(b"IVOA.VOTable-Parquet.content", b"")
    if not text or b"<!ENTITY" in text:
        return {}
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return {}
    fields = [node for node in root.iter() if re.sub(r"\{.*\}", "", node.tag) == "FIELD"]
    return {node.get("name", ""): Note(as_text(node.get("unit")), _described_in(node)) for node in fields}


def _described_in(field: ElementTree.Element) -> str | None:
    """The text of a VOTable field's DESCRIPTION."""
    texts = [node.text for node in field if re.sub(r"\{.*\}", "", node.tag) == "DESCRIPTION"]
    return as_text(texts[0]) if texts else None


def _pandas_notes(metadata: dict[bytes, bytes]) -> dict[str, Note]:
    """``frame.attrs["units"] = {column: unit}`` and ``descriptions``, as pandas has kept them since 2.1."""
    try:
        attributes = json.loads(metadata.get(b"PANDAS_ATTRS", b"{}"))
    except ValueError:
        return {}
    attributes = attributes if isinstance(attributes, dict) else {}
    units = attributes.get("units", attributes.get("unit"))
    texts = attributes.get("descriptions", attributes.get("description"))
    units, texts = (said if isinstance(said, dict) else {} for said in (units, texts))
    return {column: Note(as_text(units.get(column)), as_text(texts.get(column))) for column in units | texts}
