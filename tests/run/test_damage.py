"""Every file that popinfer stores, damaged in every way: one line that names it, and never other content.

The files are made up: no model is run.
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic
from diffmah.diffmah_kernels import DiffmahParams

from popinfer import storage
from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.infer.draw_tables import draws_table
from popinfer.records import Halos
from popinfer.run import calibrate
from popinfer.run.folder import RunFolder, read_halos, read_json, write_halos, write_json
from popinfer.run.posterior import write_posterior
from popinfer.run.provenance import Provenance
from popinfer.run.stages import read_results
from popinfer.run.truth import read_truth
from popinfer.storage import read_sealed, with_seal, write_sealed

MINE, OTHER = "a" * 64, "b" * 64


def make_folder(path: Path, config: RunConfig, identity: str, seed: int) -> RunFolder:
    """Files of a run; those of another seed hold other numbers."""
    folder, rng = RunFolder(path), np.random.default_rng(seed)
    folder.create()
    columns = {field.name: rng.normal(size=(2, 1, 8)) for field in dataclasses.fields(Halos)}
    mah = DiffmahParams(*(rng.normal(size=(2, 1, 8)) for _ in DiffmahParams._fields))
    columns |= {"mah_params": mah, "normals": rng.normal(size=(2, 1, 8, 3))}
    write_halos(folder, _halos(columns), identity, 1.5)
    for kind, file in (("search", folder.search), ("fit", folder.fit), ("fisher", folder.fisher)):
        write_json(file, {"weights": rng.normal(size=3).tolist(), "settled": True}, kind, identity)
    write_sealed(folder.fit_arrays, rng.bytes(500), "arrays", identity)
    folder.trials.mkdir()
    write_json(folder.trials / "0000.json", {"truth": rng.normal(size=2).tolist()}, "trial", identity)
    write_json(path / "catalog.truth.json", {"dust.av": rng.normal()}, "truth", "-")
    Provenance.of(config.model_copy(update={"seed": seed}), {"catalog": identity}).write(folder.provenance)
    idata = synthetic.chains(synthetic.draws(seed, n=20))
    idata["posterior"].attrs["run"] = "made-up"
    digest = write_posterior(idata, folder.posterior, identity)
    summary = dataclasses.replace(synthetic.summary(), posterior=digest, chi2=rng.normal())
    summary.write(folder.summary, identity)
    write_sealed(folder.config, config.to_yaml().encode(), "config", identity)
    return folder


def _halos(columns) -> Halos:
    """Batches, whose shapes the constructor would refuse in tests."""
    halos = object.__new__(Halos)
    for name, values in columns.items():
        object.__setattr__(halos, name, values)
    return halos


def results(folder: RunFolder) -> object:
    idata, summary = read_results(folder)
    return draws_table(idata).to_numpy().tobytes(), summary.to_json()


READERS: dict[str, Callable[[RunFolder], object]] = {
    "halos.h5": lambda folder: [x.tobytes() for x in jax.tree.leaves(read_halos(folder, MINE)[0])],
    "search.json": lambda folder: read_json(folder.search, "search", "search", MINE),
    "fit.json": lambda folder: read_json(folder.fit, "fit", "fit", MINE),
    "fit.npz": lambda folder: read_sealed(folder.fit_arrays, "arrays", "fit", MINE).content,
    "fisher.json": lambda folder: read_json(folder.fisher, "fisher", "fisher", MINE),
    "posterior.nc": results,
    "summary.json": results,
    "run.yaml": results,
    "provenance.json": lambda folder: Provenance.read(folder.provenance).identity,
    "trials/0000.json": lambda folder: calibrate._read(folder.trials, 0, MINE),
    "catalog.truth.json": lambda folder: read_truth(folder.path / "catalog.parquet", ("dust.av",)),
}


def flipped(place: float, bit: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        i = min(int(place * len(content)), len(content) - 1)
        return content[:i] + bytes([content[i] ^ (1 << bit)]) + content[i + 1 :]

    return damage


def cut(fraction: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(fraction * len(content))]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"bit {i % 8} at {x:.3f}": flipped(x, i % 8) for i, x in enumerate(np.linspace(0, 1, 22))},
    **{f"cut to {x}": cut(x) for x in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999)},
    "last byte lost": lambda content: content[:-1],
    "last line lost": lambda content: b"\n".join(content.split(b"\n")[:-2]),
    "a byte more": lambda content: content + b"\n",
    "twice": lambda content: content + content,
    "zeros in the middle": lambda content: content[:50] + bytes(40) + content[90:],
    "a byte inserted": lambda content: content[:60] + b" " + content[60:],
    "text": lambda content: b"nothing of popinfer's\n",
    "a pickle": lambda content: b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_config):
    """A run's folder and that of another run, and what the readers say of the first."""
    config = RunConfig.model_validate(tiny_config)
    path = tmp_path_factory.mktemp("damage")
    mine, other = make_folder(path / "mine", config, MINE, 1), make_folder(path / "other", config, OTHER, 2)
    return mine, other, {name: reader(mine) for name, reader in READERS.items()}


@pytest.fixture
def folder(made, tmp_path):
    """A copy to be damaged."""
    shutil.copytree(made[0].path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def refused(folder: RunFolder, name: str) -> str:
    """The one line that the file's reader says."""
    with pytest.raises(InputError) as caught:
        READERS[name](folder)
    (line,) = caught.value.lines
    assert "\n" not in line and Path(name).name in line
    return line


@pytest.mark.parametrize("name", READERS)
def test_sound_files_are_read(made, folder, name):
    assert READERS[name](folder) == made[2][name]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_files_are_refused(folder, name, damage):
    path = folder.path / name
    content = damage(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    refused(folder, name)


@pytest.mark.parametrize("name", READERS)
def test_files_of_another_version_are_refused(folder, name, monkeypatch):
    path = folder.path / name
    seal = path.read_bytes().rpartition(b"popinfer ")[2].split()
    content = path.read_bytes().rpartition(b"popinfer ")[0]
    wrap = storage._WRAPS.get(path.suffix, storage._BARE)[0]
    body = content.removesuffix(wrap) + (b"\n}\n" if path.suffix == ".json" else b"")
    monkeypatch.setattr(storage, "SCHEMA", 3)
    path.write_bytes(with_seal(body, path.suffix, seal[1].decode(), seal[2].decode()))
    monkeypatch.undo()
    assert "format 3, this version reads 4" in refused(folder, name)


@pytest.mark.parametrize("name", [n for n in READERS if not n.startswith(("provenance", "catalog"))])
def test_files_of_another_run_are_refused(made, folder, name):
    shutil.copy(made[1].path / name, folder.path / name)
    refused(folder, name)


@pytest.mark.parametrize("name", READERS)
def test_files_of_another_kind_are_refused(folder, name):
    path = folder.path / name
    path.write_bytes(with_seal(b'{\n  "a": 1\n}\n', path.suffix, "nothing", MINE))
    assert "holds 'nothing', not '" in refused(folder, name)


@pytest.mark.parametrize("name", [n for n in READERS if n != "catalog.truth.json"])
def test_folders_in_the_place_of_files_are_refused(folder, name):
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    assert "can't be read" in refused(folder, name)


def test_at_least_three_hundred_files_were_damaged():
    assert len(READERS) * len(DAMAGES) >= 300
