"""A run's folder: which files it holds, who may write there, and whether they belong to this run file.

Files are complete or absent, and sealed (`popinfer.storage`). One process at a time works in a folder. A
stage that was killed goes on where it was: what it had computed is in a file of its own (`popinfer.journal`).
Results of another run are refused, and the difference is named (`popinfer.run.provenance`).
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from popinfer.errors import InputError, shortened
from popinfer.records import Halos
from popinfer.run.provenance import Provenance, named
from popinfer.storage import (
    LONGEST_NAME,
    only_process,
    read_sealed,
    remove_leftovers,
    seal_identity,
    write_sealed,
)

_OF_PAGES = {"figures": (".png", ".pdf"), "tables": (".ecsv",)}  # what pages' folders hold
STAGES = ("search", "halos", "fit", "sample")


@dataclass(frozen=True)
class RunFolder:
    """Paths of everything that a run stores.

    Attributes
    ----------
    path : the folder itself, such as ``results/sdss_quick``.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved run file."""
        return self.path / "run.yaml"

    @property
    def provenance(self) -> Path:
        """What the results were made from."""
        return self.path / "provenance.json"

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

    @property
    def beside_page(self) -> tuple[Path, ...]:
        """Folders and files that are written with the page."""
        names = (*_OF_PAGES, "README.md", "reproduce.sh", "references.bib", "report.pdf")
        return tuple(self.path / name for name in names)

    @property
    def trials(self) -> Path:
        """Folder of a calibration's simulated surveys, one a file."""
        return self.path / "trials"

    def journal(self, stage: str) -> Path:
        """What a stage that isn't finished has computed so far."""
        return self.path / f"{stage}.journal"

    @property
    def results(self) -> tuple[Path, ...]:
        """Every file but pages that a run or a calibration may leave, what depends on others first."""
        last = (self.path / "calibration.json", self.trials, self.summary, self.posterior)
        fitted = (self.fisher, self.fit, self.fit_arrays)
        journals = tuple(self.journal(stage) for stage in STAGES)
        return (*last, *fitted, self.halos, self.search, *journals, self.config, self.provenance)

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
    folder : Path
        Where files are to go.
    what : str
        How messages open; the folder's path when empty.
    """
    what = what or str(folder)
    try:
        nearest = folder.absolute()
        longest = max(len(os.fsencode(part)) for part in nearest.parts)
        if longest > LONGEST_NAME:
            raise InputError(
                f"{shortened(what, 200)}: a name of {longest} bytes; {LONGEST_NAME} are possible"
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


def remove_pages(folder: RunFolder) -> None:
    """Remove the report, or that of a calibration, and what was written with it.

    Pictures and tables without a page, other files beside them, and files without a seal that fits aren't
    popinfer's and stay.
    """
    pages = [page for page in (folder.report, folder.path / "calibration.html") if page.is_file()]
    for page in pages:
        page.unlink()
    for path in folder.beside_page:
        if path.is_dir():
            for file in (x for x in path.iterdir() if pages and x.suffix in _OF_PAGES[path.name]):
                file.unlink()
            if not any(path.iterdir()):
                path.rmdir()
        elif seal_identity(path) is not None:
            path.unlink()


def remove_results(folder: RunFolder) -> None:
    """Remove all of a run's results, what depends on others first; other files stay."""
    remove_pages(folder)
    for path in folder.results:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def at_work(
    folder: RunFolder, provenance: Provenance, depends: str, *, fresh: bool = False
) -> Iterator[None]:
    """Make the folder this process's own while the block runs, after a look at whose results are there.

    Parameters
    ----------
    folder : RunFolder
        Of results; made when absent.
    provenance : Provenance
        Of this run.
    depends : str
        Stage whose dependencies have to be those of the results that are there.
    fresh : bool
        Remove what is there, whatever it is.

    Raises
    ------
    InputError
        Another process is at work there, or the results are of another run.
    """
    folder.create()
    with only_process(folder.path):
        remove_leftovers(folder.path, locked=True)
        if fresh:
            remove_results(folder)
        refuse_others(folder, provenance, depends)
        if not folder.provenance.is_file():
            provenance.write(folder.provenance)
        yield


def refuse_others(folder: RunFolder, provenance: Provenance, depends: str) -> None:
    """InputError, with what differs, when a folder holds results of another run."""
    choice = "--fresh starts over, another --out keeps both"
    if not folder.provenance.is_file():
        strange = [path.name for path in folder.results if path.exists()]
        if strange:
            raise InputError(f"{folder.path}: holds {strange[0]} without its provenance.json; {choice}")
        return
    differences = Provenance.read(folder.provenance).differences(provenance, depends)
    if differences:
        raise InputError(f"{folder.path}: holds results of another run: {named(differences)}. {choice}")


def read_json(path: Path, kind: str, stage: str, identity: str | None) -> dict[str, Any]:
    """Content of a stage's JSON file; InputError when it is absent, damaged, or of another configuration."""
    return json.loads(read_sealed(path, kind, stage, identity).content)


def write_json(path: Path, content: dict[str, Any], kind: str, identity: str) -> str:
    """Store a stage's JSON file; returns its seal's hash."""
    return write_sealed(path, (json.dumps(content, indent=2) + "\n").encode(), kind, identity)


def columns_of(halos: Halos) -> dict[str, np.ndarray]:
    """Halos as named arrays."""
    columns = {f"mah_params/{field}": x for field, x in halos.mah_params._asdict().items()}
    columns |= {name: values for name, values in vars(halos).items() if name != "mah_params"}
    return {name: np.asarray(values) for name, values in columns.items()}


def halos_of(columns: Mapping[str, np.ndarray]) -> Halos:
    """Undo `columns_of`; arrays may have axes before that of halos."""
    from diffmah.diffmah_kernels import DiffmahParams  # what only names folders needs none of it

    shape = columns["weight"].shape

    def rows(name: str) -> np.ndarray:
        return columns[name].reshape(-1, *columns[name].shape[len(shape) :])

    mah = DiffmahParams(*(rows(f"mah_params/{field}") for field in DiffmahParams._fields))
    plain = {name: rows(name) for name in columns if not name.startswith("mah_params/")}
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), Halos(mah_params=mah, **plain))


def write_halos(folder: RunFolder, batches: Halos, identity: str, wall_time_s: float) -> None:
    """Store halo batches [batch, slice, halo], and the fingerprint of what they were made from."""
    buffer = io.BytesIO()  # in memory: HDF5's own writing ends the process when the disk is full
    with h5py.File(buffer, "w") as store:
        store.attrs["wall_time_s"] = wall_time_s
        for name, values in columns_of(batches).items():
            # single precision is enough for random numbers, which are most of the file
            store.create_dataset(name, data=values.astype(np.float32 if name == "normals" else np.float64))
    write_sealed(folder.halos, buffer.getvalue(), "halos", identity)


def read_halos(folder: RunFolder, identity: str) -> tuple[Halos, float]:
    """What `write_halos` stored; and the seconds that drawing them took."""
    content = read_sealed(folder.halos, "halos", "halos", identity).content
    with h5py.File(io.BytesIO(content), "r") as store:
        columns: dict[str, np.ndarray] = {}

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                columns[name] = item[:]

        store.visititems(collect)
        return halos_of(columns), float(np.asarray(store.attrs["wall_time_s"]))
