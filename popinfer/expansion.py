"""Compressed files, and how far they may grow when they are read.

A few kilobytes can stand for terabytes: gzip, bzip2, xz and zip, the compressed or never written parts of an
HDF5 file, and the run lengths of a Parquet file. A file may take `FREE_BYTES` in memory, or `GROWTH` times
its size on disk. Photometry, halos and spectra shrink by factors of a few when they are compressed; a file
that grows a hundredfold holds next to nothing, or is a trap.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from popinfer.errors import InputError, shortened

FREE_BYTES = 1_000_000_000
GROWTH = 100
# the first bytes of files that are compressed as a whole
STREAMS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)  # what these raise
_HDF5, _PARQUET, _ZIP = b"\x89HDF\r\n\x1a\n", b"PAR1", b"PK\x03\x04"
_BLOCK = 8 << 20


def is_too_large(expanded: float, on_disk: int) -> bool:
    """Whether so many bytes are out of proportion to those on disk."""
    return expanded > max(FREE_BYTES, GROWTH * on_disk)


def check_growth(source: Path | str, expanded: float, on_disk: int) -> None:
    """InputError, with both sizes, when what a file expands to is out of proportion to it.

    Parameters
    ----------
    source : Path or str
        The file, for the message.
    expanded : float
        Bytes that it stands for, or those so far.
    on_disk : int
        Bytes that it has.
    """
    if is_too_large(expanded, on_disk):
        raise InputError(
            f"{shortened(str(source), 300)}: expands from {on_disk:,} bytes to {expanded / 1e9:,.1f} GB or "
            f"more; {GROWTH} times its size, or {FREE_BYTES / 1e9:g} GB, are possible"
        )


def check_file(path: Path) -> None:
    """InputError when a file, read as a whole, would grow out of proportion; see `check_content`."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        check_content(stream, path)


def check_content(stream: io.BufferedIOBase, source: Path) -> None:
    """InputError when a file's content, read as a whole, would grow out of proportion.

    Files that are damaged or no such files are left to their readers, which say more about them.

    Parameters
    ----------
    stream : io.BufferedIOBase
        The content, which is read from its beginning.
    source : Path
        The file that it is of.
    """
    stream.seek(0)
    head, on_disk = stream.read(8), stream.seek(0, io.SEEK_END)
    stream.seek(0)
    opener = next((opener for magic, opener in STREAMS.items() if head.startswith(magic)), None)
    if opener is not None:
        _check_stream(opener(stream, "rb"), source, on_disk)
    elif head.startswith(_ZIP):
        with contextlib.suppress(zipfile.BadZipFile, *DAMAGED), zipfile.ZipFile(stream) as archive:
            check_growth(source, sum(item.file_size for item in archive.infolist()), on_disk)
    elif head.startswith(_HDF5):
        _check_hdf5(stream, source, on_disk)
    elif head.startswith(_PARQUET):
        _check_parquet(stream, source, on_disk)
    stream.seek(0)


def _check_stream(expanded: io.BufferedIOBase, source: Path, on_disk: int) -> None:
    """Expand a file block after block: what its trailer says of its size may be wrong."""
    size = 0
    with contextlib.suppress(*DAMAGED):
        while block := expanded.read(_BLOCK):
            size += len(block)
            check_growth(source, size, on_disk)


def _check_hdf5(stream: io.BufferedIOBase, source: Path, on_disk: int) -> None:
    """Add up all datasets; those that are made of other files count with these files' sizes."""
    import h5py

    total = 0

    def add(_name: str, item: Any) -> None:
        nonlocal total, on_disk
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            total += item.size * item.dtype.itemsize
            on_disk += _elsewhere(item, source.parent)

    with contextlib.suppress(OSError, RuntimeError, KeyError), h5py.File(stream, "r") as store:
        store.visititems(add)
    check_growth(source, total, on_disk)


def _elsewhere(dataset: Any, folder: Path) -> int:
    """Bytes of the other files that a dataset is made of."""
    names = [os.fsdecode(name) for name, *_ in dataset.external or ()]
    if dataset.is_virtual:
        names += [virtual.file_name for virtual in dataset.virtual_sources()]
    files = {folder / name for name in names}
    return sum(file.stat().st_size for file in files if file.is_file())


def _check_parquet(stream: io.BufferedIOBase, source: Path, on_disk: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream) as file:
            size = 8 * file.metadata.num_rows * file.metadata.num_columns
    except (OSError, pa.ArrowException):
        return
    check_growth(source, size, on_disk)
