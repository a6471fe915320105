"""What a stage has computed so far, so that a killed one goes on where it was and ends bit for bit the same.

Every stage is a deterministic program: the same keys and data lead to the same calls of the model in the same
order. Its state - positions, adaptation, keys, draws so far - follows from the results of those calls. A
journal therefore stores the results of the n-th costly call, with a hash of what it was called with. A stage
that starts again runs from its beginning, with results from the journal in place of the calls, and computes
from where the journal ends. Where a call differs from the stored one, what is left of the journal is dropped.

Records are appended, each with a hash that covers all before it, and flushed to the disk so rarely that it
takes a fiftieth of the time, when the process is told to end, and when an error stops it. A torn or damaged
record and all that follow are as if they had not been computed yet.
"""

import contextlib
import hashlib
import io
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from popinfer.storage import cant_write, sync_folder

Arrays = Mapping[str, np.ndarray]
_FRAME = struct.Struct("<Q32s")  # bytes of the record, hash of it and of all before
_HEAD = struct.Struct("<d32s")  # seconds of work so far, hash of the call
_SHORTEST_WAIT, _COST_TO_WAIT = 0.25, 50.0  # seconds; times the cost of a flush


class Journal:
    """Results of a stage's costly calls, on disk.

    Attributes
    ----------
    path : the file, made with the first flush.
    n_stored : calls that were found there.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._head = identity.encode()
        self._lock = threading.RLock()
        self._chain, self._end, self._seconds = hashlib.sha256(self._head).digest(), 0, 0.0
        self._stored = self._read()
        self.n_stored, self._next = len(self._stored), 0
        self._pending: list[bytes] = []
        self._n_flushed = self.n_stored
        self._begun = self._flushed = time.monotonic()
        self._wait = _SHORTEST_WAIT

    @property
    def n_kept(self) -> int:
        """Calls whose results are on the disk."""
        return self._n_flushed

    @property
    def seconds(self) -> float:
        """Seconds of work so far, those of earlier processes included."""
        return self._seconds + time.monotonic() - self._begun

    def recall(self, key: bytes) -> Arrays | None:
        """Results of the next call if they are stored; None where they have to be computed."""
        with self._lock:
            if self._next >= len(self._stored):
                return None
            stored_key, content, *_ = self._stored[self._next]
            if stored_key != key:
                self._forget_from(self._next)
                return None
            self._next += 1
        with np.load(io.BytesIO(content), allow_pickle=False) as store:
            return dict(store)

    def add(self, key: bytes, arrays: Arrays) -> None:
        """Keep the results of the call that was just made."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with self._lock:
            record = _HEAD.pack(self.seconds, key) + buffer.getvalue()
            self._chain = hashlib.sha256(self._chain + record).digest()
            self._pending.append(_FRAME.pack(len(record), self._chain) + record)
            waited = time.monotonic() - self._flushed
            if waited >= self._wait or waited < 0:  # a virtual machine's clock may go back
                self.flush()

    def flush(self) -> None:
        """Put what was added onto the disk.

        Raises
        ------
        InputError
            It can't be written; what is there already stays.
        """
        with self._lock:
            if not self._pending:
                return
            start = time.monotonic()
            try:
                with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
                    stream.seek(self._end)
                    stream.truncate()
                    stream.write(b"".join(self._pending))
                    stream.flush()
                    os.fsync(stream.fileno())
                if not self._end:
                    sync_folder(self.path.parent)
            except OSError as error:
                raise cant_write(self.path, error) from None
            self._end += sum(len(frame) for frame in self._pending)
            self._n_flushed += len(self._pending)
            self._pending.clear()
            self._flushed = time.monotonic()
            self._wait = max(_SHORTEST_WAIT, _COST_TO_WAIT * (self._flushed - start))

    def _read(self) -> list[tuple[bytes, bytes, bytes, int, float]]:
        """Sound records: key, results, and of the file up to there its hash, length and seconds."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return []
        records, chain, at = [], self._chain, 0
        while at + _FRAME.size <= len(content):
            size, digest = _FRAME.unpack_from(content, at)
            record = content[at + _FRAME.size : at + _FRAME.size + size]
            chain = hashlib.sha256(chain + record).digest()
            if len(record) != size or size < _HEAD.size or chain != digest:
                break
            at += _FRAME.size + size
            seconds, key = _HEAD.unpack_from(record)
            records.append((key, record[_HEAD.size :], chain, at, seconds))
        if records:
            _, _, self._chain, self._end, self._seconds = records[-1]
        return records

    def _forget_from(self, first: int) -> None:
        """Drop stored records from one on."""
        _, _, self._chain, self._end, self._seconds = (
            self._stored[first - 1] if first else (b"", b"", hashlib.sha256(self._head).digest(), 0, 0.0)
        )
        del self._stored[first:]
        self._n_flushed = first


_journals: list[Journal] = []  # of the stage at work; the last counts


@contextlib.contextmanager
def kept_in(path: Path, identity: str) -> Iterator[Journal]:
    """Keep the costly results of a block in a file, which is removed when the block ends without an error.

    Parameters
    ----------
    path : Path
        Of the file.
    identity : str
        What the results depend on; records of another one are dropped.
    """
    journal = Journal(path, identity)
    _journals.append(journal)
    try:
        yield journal
        path.unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(ValueError):  # a full disk: the error on its way matters more
            journal.flush()
        raise
    finally:
        _journals.remove(journal)


def flush_all() -> None:
    """Put onto the disk what the stage at work has computed; for a process that is told to end."""
    for journal in list(_journals):
        journal.flush()


def steps_kept() -> str:
    """What of the stage at work is on the disk, as the end of a sentence; "" outside of stages."""
    if not _journals:
        return ""
    journal = _journals[-1]
    steps = f"{journal.n_kept} steps of the stage" if journal.n_kept else "no step of the stage"
    where = journal.path.parent
    return f"; finished stages and {steps} are kept in {where}: the same command goes on from there"


def began() -> float:
    """When the stage at work began, by `time.perf_counter`, had it never been interrupted."""
    return time.perf_counter() - (_journals[-1].seconds if _journals else 0.0)


def kept(name: str, inputs: Mapping[str, np.ndarray], compute: Callable[[], Arrays]) -> Arrays:
    """Results of a costly call: from the journal of the stage at work, or computed and kept there.

    Parameters
    ----------
    name : str
        Of the call.
    inputs : Mapping[str, np.ndarray]
        What tells it from other calls of the same name.
    compute : callable
        Makes the call; gives named arrays.
    """
    if not _journals:
        return compute()
    journal, digest = _journals[-1], hashlib.sha256(name.encode())
    for field, values in inputs.items():
        array = np.asarray(values)
        digest.update(
            f"{field} {array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()
        )
    stored = journal.recall(digest.digest())
    if stored is None:
        stored = {field: np.asarray(values) for field, values in compute().items()}
        journal.add(digest.digest(), stored)
    return stored
