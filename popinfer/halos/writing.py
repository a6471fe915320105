"""Tables of halos and their galaxies, written chunk after chunk: Parquet, FITS, and the OpenCosmo layout.

Every column has a unit and a description, and the file has attributes; memory is that of one chunk whatever
the number of rows. The OpenCosmo layout (``.h5``, ``.hdf5``) has columns in ``/data`` with attributes
``unit`` and ``description``, and ``/header/file``, ``/header/simulation/cosmology`` and ``.../parameters``;
its velocities are comoving, peculiar ones times 1 + z.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
from astropy.io import fits

from popinfer.cosmology import Cosmology
from popinfer.errors import InputError

SUFFIXES = {".parquet": "parquet", ".fits": "fits", ".h5": "opencosmo", ".hdf5": "opencosmo"}
_FITS_BLOCK = 2880  # bytes
_HDF5_CHUNK = 1 << 14
VELOCITY = "km/s"
# opencosmo opens no file without these; they have no part in what popinfer computes, and are zero for unknown
_ASKED_FOR = {"n_eff_massless": 3.04, "sigma_8": 0.0}
_SKY = {"region_nside": 1, "region_pixels": list(range(12))}  # where a lightcone's halos may be: anywhere


@dataclass(frozen=True)
class ColumnNote:
    """What a file says of a column.

    Attributes
    ----------
    unit : in astropy's words; "" for none.
    description : a sentence.
    """

    unit: str
    description: str


@dataclass(frozen=True)
class FileNote:
    """What a file says of itself.

    Attributes
    ----------
    columns : notes by name, in their order.
    cosmology : of the halos.
    attributes : names and values: texts or numbers.
    redshift : of a box's snapshot; None on lightcones.
    side : of a box, comoving [Mpc]; None on lightcones.
    z_range : of a lightcone's halos; None for boxes.
    data_type : OpenCosmo's word for the content.
    """

    columns: Mapping[str, ColumnNote]
    cosmology: Cosmology
    attributes: Mapping[str, str | float | int]
    redshift: float | None = None
    side: float | None = None
    z_range: tuple[float, float] | None = None
    data_type: str = "synthetic_galaxies"


@runtime_checkable
class RowWriter(Protocol):
    """A table that grows."""

    def write(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows: arrays of equal length by name of column."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


def kind_of_output(path: Path) -> str:
    """Format of a file to be written, by its suffix.

    Raises
    ------
    InputError
        The suffix stands for none.
    """
    kind = SUFFIXES.get(path.suffix)
    if kind is None:
        raise InputError(f"{path}: the suffix has to be one of {', '.join(SUFFIXES)}")
    return kind


def open_writer(path: Path, note: FileNote, kind: str) -> RowWriter:
    """A table to append rows to.

    Parameters
    ----------
    path : Path
        Where.
    note : FileNote
        What the file says.
    kind : str
        "parquet", "fits" or "opencosmo".
    """
    return {"parquet": ParquetRows, "fits": FitsRows, "opencosmo": OpenCosmoRows}[kind](path, note)


class ParquetRows:
    """Rows of a Parquet file; units and descriptions are metadata of the fields."""

    def __init__(self, path: Path, note: FileNote) -> None:
        self._path, self._note, self._writer = path, note, None

    def write(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = {name: pa.array(values) for name, values in rows.items()}
        if self._writer is None:
            said = {**self._note.attributes, "cosmology": json.dumps(self._note.cosmology._asdict())}
            fields = [
                pa.field(
                    name,
                    arrays[name].type,
                    metadata={
                        "unit": self._note.columns[name].unit,
                        "description": self._note.columns[name].description,
                    },
                )
                for name in arrays
            ]
            schema = pa.schema(fields, metadata={name: str(value) for name, value in said.items()})
            self._writer: Any = pq.ParquetWriter(self._path, schema, compression="lz4", use_dictionary=False)
        self._writer.write_table(pa.Table.from_arrays(list(arrays.values()), schema=self._writer.schema))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class FitsRows:
    """Rows of a binary table; the header says their number when all are written."""

    def __init__(self, path: Path, note: FileNote) -> None:
        self._note, self._n = note, 0
        self._stream = path.open("w+b")
        self._header: fits.Header | None = None
        self._place = 0

    def write(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows."""
        dtype = np.dtype([(name, _big_endian(values.dtype)) for name, values in rows.items()])
        packed = np.zeros(len(next(iter(rows.values()))), dtype)
        for name, values in rows.items():
            packed[name] = values
        if self._header is None:
            self._begin(packed[:0])
        self._stream.write(packed.tobytes())
        self._n += len(packed)

    def _begin(self, empty: np.ndarray) -> None:
        self._stream.write(_padded_header(fits.PrimaryHDU().header))
        table = fits.BinTableHDU(empty, name="halos")
        header = table.header
        for index, name in enumerate(empty.dtype.names or (), start=1):
            note = self._note.columns[name]
            if note.unit:
                header[f"TUNIT{index}"] = note.unit
            header[f"TCOMM{index}"] = note.description
        for name, value in self._note.attributes.items():
            header[f"HIERARCH {name}"] = value
        for name, value in self._note.cosmology._asdict().items():
            header[f"HIERARCH cosmology {name}"] = value
        self._header, self._place = header, self._stream.tell()
        self._stream.write(_padded_header(header))

    def close(self) -> None:
        """Pad the data and write the number of rows."""
        if self._header is not None:
            self._stream.write(b"\0" * (-self._stream.tell() % _FITS_BLOCK))
            self._header["NAXIS2"] = self._n  # the card keeps its place and length
            self._stream.seek(self._place)
            self._stream.write(_padded_header(self._header))
        self._stream.close()


def _big_endian(dtype: np.dtype) -> np.dtype:
    """Numbers as FITS holds them; it has no signed bytes, and what look like such are truth values."""
    return np.dtype("u1") if dtype.itemsize == 1 else dtype.newbyteorder(">")


def _padded_header(header: fits.Header) -> bytes:
    return header.tostring(padding=True).encode("ascii")


class OpenCosmoRows:
    """Rows of an HDF5 file in the OpenCosmo layout."""

    def __init__(self, path: Path, note: FileNote) -> None:
        self._file = h5py.File(path, "w")
        self._note = note
        self._begin()

    def _begin(self) -> None:
        note, cosmology = self._note, self._note.cosmology
        said: dict[str, Any] = {
            "data_type": note.data_type,
            "is_lightcone": note.redshift is None,
            "unit_convention": "comoving",
            "origin": "popinfer",
        }
        if note.redshift is not None:
            said["redshift"] = note.redshift
        if note.side is not None:
            said |= {"region_p1": [0.0] * 3, "region_p2": [note.side] * 3}
        if note.redshift is None:
            said |= _SKY
        self._file.create_group("header/file").attrs.update(said)
        self._file.create_group("header/simulation/cosmology").attrs.update(
            {
                "h": cosmology.h,
                "omega_m": cosmology.om0,
                "omega_b": cosmology.fb * cosmology.om0,
                "omega_l": 1 - cosmology.om0,
                "w_0": cosmology.w0,
                "w_a": cosmology.wa,
                **_ASKED_FOR,
            }
        )
        box = {} if note.side is None else {"box_size": note.side * cosmology.h, "box_size_mpc": note.side}
        self._file.create_group("header/simulation/parameters").attrs.update(box)
        if note.z_range is not None:
            self._file.create_group("header/lightcone").attrs["z_range"] = note.z_range
        self._file.create_group("header/popinfer").attrs.update(note.attributes)

    def write(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows; velocities become comoving ones, as the layout has them."""
        for name, given in rows.items():
            path, note = f"data/{name}", self._note.columns[name]
            is_velocity = note.unit == VELOCITY
            growth = 1 + rows["redshift_true"].astype(given.dtype) if is_velocity else 1
            values = given * growth if is_velocity else given
            if path not in self._file:
                made = self._file.create_dataset(
                    path, (0,), values.dtype, maxshape=(None,), chunks=(_HDF5_CHUNK,)
                )
                unit = f"comoving {VELOCITY}" if is_velocity else note.unit
                made.attrs.update({"unit": unit, "description": note.description})
            column: Any = self._file[path]
            begin = len(column)
            column.resize((begin + len(values),))
            column[begin:] = values

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
