"""Files that are whole or absent, and that can't lie about themselves.

Whatever popinfer stores is made in memory and written as plain bytes: to a temporary file in the same folder,
flushed to the disk, and renamed. A process that is killed, or a disk that is full, leaves the file as it was.

Results end in a seal, one line that their format passes over (a comment, a last key, bytes behind the end):

    popinfer <schema> <kind> <identity> sha256 <hash of all that precedes the hash>

Readers check it first, so that a damaged byte, a cut file, a file of another kind, of another version of
popinfer or of another run is one line that names the file, and never other content.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from popinfer.errors import InputError
from popinfer.expansion import check_content

try:
    import fcntl
except ImportError:  # Windows has no such locks: two runs in one folder aren't told apart there
    fcntl = None

SCHEMA = 4  # of what stages store; files of another one are refused
LONGEST_NAME = 200  # of a file or folder, in bytes: file systems allow 255, temporary names are longer
# what a seal is wrapped in, by the file's suffix; a closing brace gives way to the key of a JSON object
_WRAPS = {
    ".json": (b',\n  "seal": "', b'"\n}\n'),
    ".yaml": (b"# ", b"\n"),
    ".html": (b"<!-- ", b" -->\n"),
    ".md": (b"\n<!-- ", b" -->\n"),
    ".sh": (b"# ", b"\n"),
    ".bib": (b"% ", b"\n"),
    ".pdf": (b"%", b"\n"),  # readers look for a document's end in its last kilobyte
}
_BARE = (b"\n", b"\n")
_SEAL = re.compile(rb"popinfer (\d{1,6}) ([a-z]{1,20}) ([!-~]{1,100}) sha256 ([0-9a-f]{64})")
_CLOSING = b"\n}\n"
_LONGEST_SEAL = 400
_TEMPORARY = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part")
# held while a file is written, so that a process that is told to end can wait for it
WRITING = threading.RLock()


@dataclass(frozen=True)
class Sealed:
    """A file whose seal was found to fit.

    Attributes
    ----------
    content : without the seal.
    digest : the seal's hash.
    identity : fingerprint of what the file was made from.
    """

    content: bytes
    identity: str
    digest: str


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is complete or as before, whatever happens.

    Raises
    ------
    InputError
        It can't be written, for example because the disk is full; the file is as it was.
    """
    temporary = _temporary(path.parent)
    try:
        with WRITING:
            try:
                _write_through(temporary, content)
                os.replace(temporary, path)
                sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cant_write(path, error) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file to fill piece by piece, for what is too large for memory; it takes the path's place.

    Raises
    ------
    InputError
        The file system takes no more; the file is as it was.
    """
    temporary = _temporary(path.parent)
    try:
        try:
            yield temporary
            with WRITING, temporary.open("rb") as stream:
                os.fsync(stream.fileno())
                os.replace(temporary, path)
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cant_write(path, error) from None


def write_page(
    path: Path,
    page: bytes,
    folders: Mapping[str, Mapping[str, bytes]],
    files: Mapping[str, bytes | None] | None = None,
) -> None:
    """Write a page with the folders and files that belong to it, all or none.

    A page that was there goes first and the new one comes last: where there is a page, what is beside it is
    of the same report.

    Parameters
    ----------
    path : Path
        Of the page.
    page : bytes
        Its content.
    folders : Mapping[str, Mapping[str, bytes]]
        Name of a folder beside the page -> name of a file in it -> content; others of these suffixes are
        removed, unless there was no page that they could belong to.
    files : Mapping[str, bytes | None]
        Name of a file beside the page -> its content with its seal, or None to remove it. A file of that
        name without a seal that fits isn't popinfer's: it stays as it is.

    Raises
    ------
    InputError
        They can't be written; everything is as it was.
    """
    fresh = _temporary(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = {
            name: content
            for name, content in (files or {}).items()
            if seal_identity(path.parent / name) is not None or not os.path.lexists(path.parent / name)
        }
        with WRITING:
            try:
                fresh.mkdir()
                for name, contents in folders.items():
                    _fill(fresh / name, contents)
                    former = {Path(one).suffix for one in contents} if path.exists() else set()
                    _keep_others(path.parent / name, fresh / name, former)
                for name, content in {**beside, path.name: page}.items():
                    if content is not None:
                        _write_through(fresh / name, content)
                names = (path.name, *folders, *beside)
                out = [(path.parent / name, fresh / f"former {name}") for name in names]
                into = [(fresh / name, path.parent / name) for name in (*names[1:], path.name)]
                _move_all(*out, *into)
                sync_folder(path.parent)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise cant_write(path, error) from None


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """A new folder with files."""
    folder.mkdir()
    for name, content in files.items():
        _write_through(folder / name, content)


def _keep_others(shown: Path, fresh: Path, former: set[str]) -> None:
    """Copy what a folder holds beside the files that take its place and beside those of some suffixes."""
    if shown.is_dir():
        for other in shown.iterdir():
            if not (fresh / other.name).exists() and (other.is_dir() or other.suffix not in former):
                shutil.copytree(other, fresh / other.name) if other.is_dir() else shutil.copy2(other, fresh)


def _move_all(*moves: tuple[Path, Path]) -> None:
    """Rename what there is, one after the other; when one can't be, undo those before it."""
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in moves:
            if old.exists():
                os.replace(old, new)
                done.append((old, new))
    except OSError:
        for old, new in reversed(done):
            os.replace(new, old)
        raise


def _temporary(folder: Path) -> Path:
    return folder / f".{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def cant_write(path: Path, error: OSError) -> InputError:
    """What to tell of a file that can't be written."""
    reason = error.strerror or type(error).__name__
    return InputError(f"{path}: can't be written ({reason}); what was there before is kept")


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can: a rename lasts only then."""
    with contextlib.suppress(OSError):  # Windows and some network file systems can't
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_sealed(path: Path, content: bytes, kind: str, identity: str = "-") -> str:
    """Write a file with its seal.

    Parameters
    ----------
    path : Path
        Whose suffix says how the seal is wrapped.
    content : bytes
        For ``.json`` an object over several lines.
    kind : str
        What the file holds, one lower-case word.
    identity : str
        Fingerprint of what it was made from.

    Returns
    -------
    str
        The seal's hash, by which another file can name this one.
    """
    sealed = with_seal(content, path.suffix, kind, identity)
    write_bytes(path, sealed)
    return _SEAL.findall(sealed[-_LONGEST_SEAL:])[-1][3].decode()


def with_seal(content: bytes, suffix: str, kind: str, identity: str = "-") -> bytes:
    """A file's content with its seal; arguments as those of `write_sealed`."""
    before, after = _WRAPS.get(suffix, _BARE)
    body = content.removesuffix(_CLOSING) if suffix == ".json" else content
    head = body + before + f"popinfer {SCHEMA} {kind} {identity} sha256 ".encode()
    return head + hashlib.sha256(head).hexdigest().encode() + after


def read_sealed(path: Path, kind: str, stage: str, identity: str | None = None) -> Sealed:
    """Content of a file whose seal fits.

    Parameters
    ----------
    path : Path
        Of the file.
    kind : str
        What it has to hold.
    stage : str
        The command that makes it.
    identity : str or None
        Fingerprint that it has to have; any when None.

    Raises
    ------
    InputError
        The file is absent, can't be read, is damaged, holds something else, or expands out of proportion.
    """
    again = f"run 'popinfer {stage}' again"
    if not os.path.lexists(path):
        raise InputError(f"{path}: not there yet; run 'popinfer {stage}' first")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {again}") from None
    found = _seal_of(content, path.suffix)
    if found is None:
        raise InputError(
            f"{path}: damaged, cut short, or of an older version: no checksum at its end; {again}"
        )
    if not found.fits:
        raise InputError(f"{path}: damaged: its content doesn't fit its checksum; {again}")
    schema, stored_kind, stored_identity, digest = found.words
    if int(schema) != SCHEMA:
        raise InputError(f"{path}: written in format {schema}, this version reads {SCHEMA}; {again}")
    if stored_kind != kind:
        raise InputError(f"{path}: holds '{stored_kind}', not '{kind}'; {again}")
    if identity is not None and stored_identity != identity:
        raise InputError(f"{path}: made from another configuration or other data; {again}")
    body = content[: found.start]
    check_content(io.BytesIO(body), path)  # a seal says that nothing has changed, not who made it
    return Sealed(body + _CLOSING if path.suffix == ".json" else body, stored_identity, digest)


def seal_identity(path: Path) -> str | None:
    """What a file was made from, as its seal says; None where it is absent, or has no seal that fits."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    found = _seal_of(content, path.suffix)
    return found.words[2] if found is not None and found.fits else None


class _Seal(NamedTuple):
    """A seal as it was found: where it begins, its schema, kind, identity and hash, whether it fits."""

    start: int
    words: tuple[str, ...]
    fits: bool


def _seal_of(content: bytes, suffix: str) -> _Seal | None:
    """The seal at a file's end; None where there is none."""
    before, after = _WRAPS.get(suffix, _BARE)
    seals = list(_SEAL.finditer(content[-_LONGEST_SEAL:]))
    if not seals:
        return None
    words = tuple(word.decode() for word in seals[-1].groups())
    start = max(len(content) - _LONGEST_SEAL, 0) + seals[-1].start() - len(before)
    head = content[: -len(after) - len(words[-1])]
    whole = content.endswith(words[-1].encode() + after) and content[max(start, 0) :].startswith(before)
    return _Seal(start, words, whole and hashlib.sha256(head).hexdigest() == words[-1])


def remove_leftovers(folder: Path, *, locked: bool) -> None:
    """Remove temporary files of processes that are gone.

    Parameters
    ----------
    folder : Path
        Where to look.
    locked : bool
        Whether no other process can be writing there; else only files of this machine's dead processes go.
    """
    for path in folder.glob(".*.part"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None:
            continue
        if locked or (match["host"] == _host() and not _is_alive(int(match["process"]))):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


@contextlib.contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Keep other processes from writing results to a folder, which exists, while the block runs.

    The system lets go of the lock when a process ends, however it does. File systems without locks have none.

    Raises
    ------
    InputError
        Another process is at work there.
    """
    if fcntl is None:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another popinfer process is at work there; wait for it, or choose another --out"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(number)
