"""A run's folder: which files it holds, how they are written, and whether they belong to this run file.

Every file is written under a temporary name and renamed when complete, so a killed run leaves nothing that
looks finished. Each stage stores a fingerprint of the configuration and the data files it depends on; the
next stage refuses files made from others.
"""

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.config import RunConfig
from popinfer.errors import InputError, shortened
from popinfer.records import Halos

_LONGEST_NAME = 240  # of a file or folder, in bytes: file systems allow 255, temporary names are longer
_FORMAT = 3  # of what stages store: files of another one are refused like those of another configuration
# sections that a stage's result does not depend on
_IRRELEVANT = {
    "search": ("name", "sample", "predictive"),
    "halos": ("name", "sample", "predictive"),
    "fit": ("name", "sample", "predictive"),
    "sample": ("name",),
}


@dataclass(frozen=True)
class RunFolder:
    """Paths of everything that a run stores."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved run file."""
        return self.path / "run.yaml"

    @property
    def search(self) -> Path:
        """Where the posterior is, and what each start led to."""
        return self.path / "search.json"

    @property
    def halos(self) -> Path:
        """Halos of the run, in batches."""
        return self.path / "halos.h5"

    @property
    def fit(self) -> Path:
        """The best fit for people: values, checks, goodness."""
        return self.path / "fit.json"

    @property
    def fit_arrays(self) -> Path:
        """The best fit for the next stage."""
        return self.path / "fit.npz"

    @property
    def fisher(self) -> Path:
        """How well each parameter can be known."""
        return self.path / "fisher.json"

    @property
    def posterior(self) -> Path:
        """Draws and predictions, an ArviZ InferenceData."""
        return self.path / "posterior.nc"

    @property
    def summary(self) -> Path:
        """`popinfer.report.RunSummary` as JSON."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.path / "report.html"

    def create(self) -> None:
        """Make the folder; InputError when that isn't possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: can't make the folder ({error.strerror})") from None


def check_writable(folder: Path, what: str = "") -> None:
    """InputError when files can't be written to a folder, which need not exist; nothing is left behind.

    Parameters
    ----------
    folder : where files are to go.
    what : how messages open; the folder's path when empty.
    """
    what = what or str(folder)
    try:
        nearest = folder.absolute()
        longest = max(len(os.fsencode(part)) for part in nearest.parts)
        if longest > _LONGEST_NAME:
            raise InputError(
                f"{shortened(what, 200)}: a name of {longest} bytes; {_LONGEST_NAME} are possible"
            )
        while not os.path.lexists(nearest):
            nearest = nearest.parent
        if not nearest.is_dir():
            raise InputError(f"{what}: {nearest} is a file, results need a folder")
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{shortened(what, 200)}: can't be written ({reason})") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shortened(what, 200)}: can't be written ({error})") from None


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it when the block ends without an error."""
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fingerprint(config: RunConfig, hashes: Mapping[str, str], stage: str) -> str:
    """Hash of what a stage's result depends on: its part of the configuration, the data files' hashes."""
    content = config.model_dump(mode="json", exclude=set(_IRRELEVANT[stage]))
    text = json.dumps([_FORMAT, content, dict(hashes)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache  # of what was loaded, though files may change while it runs
def code_hash() -> str:
    """Hash of the package's own source: results of many hours must not be mixed from two versions of it."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def check_fingerprint(path: Path, stored: Any, expected: str, stage: str) -> None:
    """InputError when a stage's file was made from another configuration or other data."""
    if stored != expected:
        raise InputError(f"{path}: made from another configuration or data; run 'popinfer {stage}' again")


def need(path: Path, stage: str) -> Path:
    """Return the path of an earlier stage's file, or InputError naming the command that makes it."""
    if not path.is_file():
        raise InputError(f"{path}: not there yet; run 'popinfer {stage}' first")
    return path


def read_json(path: Path, stage: str, identity: str) -> dict[str, Any]:
    """Content of a stage's JSON file; InputError when it is absent, broken, or of another configuration."""
    try:
        content = json.loads(need(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: can't be read ({error}); run 'popinfer {stage}' again") from None
    check_fingerprint(path, content.get("fingerprint"), identity, stage)
    return content


def write_halos(folder: RunFolder, batches: Halos, identity: str, wall_time_s: float) -> None:
    """Store halo batches [batch, slice, halo], and the fingerprint of what they were made from."""
    with atomic(folder.halos) as temporary, h5py.File(temporary, "w") as store:
        store.attrs["fingerprint"] = identity
        store.attrs["wall_time_s"] = wall_time_s
        for name, values in vars(batches).items():
            if name == "mah_params":
                for field, column in zip(values._fields, values, strict=True):
                    store.create_dataset(f"mah_params/{field}", data=np.asarray(column, np.float64))
            else:
                # single precision is enough for random numbers, which are most of the file
                dtype = np.float32 if name == "normals" else np.float64
                store.create_dataset(name, data=np.asarray(values, dtype))


def read_halos(folder: RunFolder, identity: str) -> tuple[Halos, float]:
    """What `write_halos` stored; and the seconds that drawing them took."""
    path = need(folder.halos, "halos")
    try:
        with h5py.File(path, "r") as store:
            check_fingerprint(path, store.attrs.get("fingerprint"), identity, "halos")
            content: Any = store
            shape = content["weight"].shape

            def rows(name: str) -> np.ndarray:
                values = content[name][:]
                return values.reshape(-1, *values.shape[len(shape) :])

            mah = DiffmahParams(*(rows(f"mah_params/{field}") for field in DiffmahParams._fields))
            halos = Halos(mah_params=mah, **{name: rows(name) for name in content if name != "mah_params"})
            batches = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), halos)
            return batches, float(np.asarray(store.attrs["wall_time_s"]))
    except (OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: can't be read ({error}); run 'popinfer halos' again") from None
