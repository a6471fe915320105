"""Which kind of file a path leads to, by its suffix and its first bytes; files are opened here."""

import contextlib
import difflib
import io
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from popinfer.data.tables.request import Pace, Request
from popinfer.expansion import DAMAGED, STREAMS

SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".csv": "csv",
    ".ecsv": "ecsv",
}
_FURTHER_SUFFIXES = {
    ".parq": "parquet",
    ".fits.bz2": "fits",
    ".fit.gz": "fits",
    ".fits.fz": "fits",
    ".hdf": "hdf5",
    ".csv.gz": "csv",
    ".csv.bz2": "csv",
    ".ecsv.gz": "ecsv",
    ".ecsv.bz2": "ecsv",
}
_ALL_SUFFIXES = SUFFIXES | _FURTHER_SUFFIXES
KINDS = ("parquet", "fits", "hdf5", "csv", "ecsv")
_MOST_NAMES = 2000  # of a folder, that a missing name is compared with
_PART_SUFFIXES = (".parquet", ".pq", ".parq")

# The first bytes of formats that can be read, and of some that are taken for them.
_MAGIC = {
    b"PAR1": "parquet",
    b"SIMPLE  =": "fits",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"# %ECSV": "ecsv",
    b"ARROW1": "Arrow (Feather)",
    b"\x93NUMPY": "NumPy",
    b"PK\x03\x04": "zip (xlsx or npz)",
    b"SQLite format 3": "SQLite",
    b"CDF\x01": "NetCDF 3",
    b"CDF\x02": "NetCDF 3",
    b"\x7fELF": "program",
    b"%PDF": "PDF",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"<?xml": "XML (VOTable)",
    b"<VOTABLE": "VOTable",
    b"<!DOCTYPE": "HTML",
    b"<html": "HTML",
    b"version https://git-lfs": "Git LFS pointer",
}
_OTHER_COMPRESSED = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x9d": "compress (.Z)"}
_BLOCK = 8 << 20


def kind_of(request: Request, format: str) -> str:
    """Which reader to use: "parquet", "fits", "hdf5", "csv" or "ecsv".

    Parameters
    ----------
    request : Request
        The file.
    format : str
        What the user says; "auto" goes by the suffix, and by the first bytes where the suffix says nothing.

    Raises
    ------
    InputError
        The path leads to no file that can be read, or the file's first bytes are of another format.
    """
    if format not in ("auto", *KINDS):
        request.refuse(f"format {format!r} is unknown; there are auto, {', '.join(KINDS)}")
    path = request.path
    mode = _mode(request)
    by_name = format if format != "auto" else suffix_kind(path)
    if stat.S_ISDIR(mode):
        if by_name not in (None, "parquet"):
            request.refuse(f"is a folder, not a file of format {by_name}")
        return "parquet"
    content = _content(request)
    if content == "ecsv" and by_name == "csv" and format == "auto":
        return "ecsv"
    if by_name is None:
        if content in KINDS:
            return content
        request.refuse(f"format can't be told from the suffix; set it to one of {', '.join(KINDS)}")
    if content is not None and content != by_name:
        instead = (
            f"set format to {content} or rename it"
            if content in KINDS
            else f"it has to be {', '.join(KINDS)}"
        )
        request.refuse(f"can't be read as {by_name}: by its first bytes it is a {content} file; {instead}")
    if content is None and by_name in ("parquet", "fits", "ecsv"):
        request.refuse(f"can't be read as {by_name}: it doesn't begin as such a file does")
    return by_name


def suffix_kind(path: Path) -> str | None:
    """The format that a path's suffix stands for; None where it stands for none."""
    return _ALL_SUFFIXES.get(_suffix(path.name))


def _suffix(name: str) -> str:
    """The suffix of a format that a file's name ends in, in lower case; "" for none."""
    return next((suffix for suffix in _ALL_SUFFIXES if name.lower().endswith(suffix)), "")


def _names_like(path: Path) -> str:
    """'; did you mean ...?' with the most similar name of the same folder."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in itertools.islice(entries, _MOST_NAMES)]
    except (OSError, ValueError):
        return ""
    tables = sorted(name for name in names if suffix_kind(Path(name)) is not None and name != path.name)
    stems = {_stem(name): name for name in reversed(tables)}
    near = difflib.get_close_matches(_stem(path.name)[:200], stems, n=1, cutoff=0.7)
    return f"; did you mean {stems[near[0]]}?" if near else ""


def _stem(name: str) -> str:
    """A file's name without the suffix of its format."""
    return name[: len(name) - len(_suffix(name))]


def _mode(request: Request) -> int:
    """The file's mode, refused unless it is a file or a folder."""
    try:
        mode = os.stat(request.path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        request.refuse(f"no such file{_names_like(request.path)}")
    except OSError as error:
        request.refuse(f"can't be opened ({error.strerror})")
    special = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device"}
    for is_special, name in {**special, stat.S_ISBLK: "a device"}.items():
        if is_special(mode):
            request.refuse(f"is {name}; a catalog has to be a file")
    return mode


def _content(request: Request) -> str | None:
    """Which format the first bytes are of; None where they say nothing."""
    try:
        with request.path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        request.refuse(f"can't be opened ({error.strerror})")
    if not head:
        request.refuse("is empty")
    for magic, name in _OTHER_COMPRESSED.items():
        if head.startswith(magic):
            request.refuse(f"is compressed with {name}; unpack it, or use gzip or bzip2")
    if head.startswith(tuple(STREAMS)):
        try:
            with open_expanded(request) as stream:
                head = stream.read(64)
        except DAMAGED as error:
            request.refuse(f"can't be unpacked ({error})")
        if not head:
            request.refuse("is empty")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        request.refuse("is text in UTF-16; save it in UTF-8")
    head = head.removeprefix(b"\xef\xbb\xbf")
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    return None


def open_expanded(request: Request) -> io.BufferedIOBase:
    """The file's bytes, expanded where it is compressed with gzip, bzip2 or xz."""
    with request.path.open("rb") as stream:
        head = stream.read(8)
    for magic, opener in STREAMS.items():
        if head.startswith(magic):
            return opener(request.path, "rb")
    return request.path.open("rb")


def is_compressed(path: Path) -> bool:
    """Whether the file is compressed as a whole."""
    with path.open("rb") as stream:
        return stream.read(8).startswith(tuple(STREAMS))


@contextlib.contextmanager
def expanded_copy(request: Request) -> Iterator[Path]:
    """A temporary file with a compressed file's contents, for as long as the context lasts.

    Raises
    ------
    InputError
        It expands out of all proportion, or is damaged.
    """
    size, pace, written = request.path.stat().st_size, Pace(request), 0
    with tempfile.NamedTemporaryFile(prefix="popinfer_") as copy:
        try:
            with open_expanded(request) as stream:
                while block := stream.read(_BLOCK):
                    copy.write(block)
                    written += len(block)
                    request.check_expansion(written, size)
                    pace(0, position(stream) / size, "unpacked")
            copy.flush()
        except DAMAGED as error:
            request.refuse(f"can't be unpacked ({error})")
        yield Path(copy.name)


def position(stream: io.BufferedIOBase) -> int:
    """Bytes of the file on disk that were used so far, also while it is expanded."""
    inner: Any = getattr(stream, "fileobj", None) or getattr(stream, "_fp", None) or stream
    return inner.tell()


def parts_of(request: Request) -> list[Path]:
    """The Parquet files of a folder, in the order of their names; folders below it included.

    Names that begin with a dot or an underscore are bookkeeping, as everywhere in the Hadoop world.
    """
    folder = request.path
    parts = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _PART_SUFFIXES
        and path.is_file()
        and not any(name.startswith((".", "_")) for name in path.relative_to(folder).parts)
    )
    if not parts:
        request.refuse(f"is a folder without Parquet files ({', '.join(_PART_SUFFIXES)})")
    return parts
