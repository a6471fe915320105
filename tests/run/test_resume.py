"""A run that is killed at any step goes on where it was, and ends equal bit for bit."""

import dataclasses
import json
import shutil

import arviz as az
import numpy as np
import pytest
from killed import finish, kill_every

from popinfer.config import RunConfig
from popinfer.inference_data import group_names
from popinfer.report import RunSummary
from popinfer.run import stages
from popinfer.run.folder import RunFolder, read_halos

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once
TIMES = ("wall_time_s", "seal", "arrays")


def timeless(path):
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMES}


def assert_equal(run, folder: RunFolder, reference: RunFolder) -> None:
    """All numbers of two folders are the same bits."""
    halos, others = (read_halos(f, run.fingerprint("halos"))[0] for f in (folder, reference))
    np.testing.assert_array_equal(halos.weight, others.weight)
    np.testing.assert_array_equal(halos.normals, others.normals)
    assert timeless(folder.search) == timeless(reference.search)
    assert timeless(folder.fit) == timeless(reference.fit)
    with np.load(folder.fit_arrays) as arrays, np.load(reference.fit_arrays) as expected:
        assert set(arrays) == set(expected)
        for name in expected:
            np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)
    draws, expected = (az.from_netcdf(str(f.posterior), engine="h5netcdf") for f in (folder, reference))
    assert group_names(draws) == group_names(expected)
    for group in group_names(expected):
        for name, values in expected[group].data_vars.items():
            np.testing.assert_array_equal(draws[group][name].values, values.values, err_msg=f"{group} {name}")
    made, wanted = (RunSummary.read(f.summary) for f in (folder, reference))
    same = {"wall_time_s": {}, "posterior": ""}
    assert dataclasses.replace(made, **same).to_json() == dataclasses.replace(wanted, **same).to_json()
    names = [{p.name for p in f.path.iterdir()} - {"fisher.json"} for f in (folder, reference)]
    pages = {"report.html", *(path.name for path in folder.beside_page)}
    assert names[0] - pages == names[1] - pages


@pytest.mark.parametrize("n_steps", [25, pytest.param(7, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_equal(run, tiny_run, tmp_path, monkeypatch, n_steps):
    kill_every(monkeypatch, n_steps)
    again = dataclasses.replace(run, folder=RunFolder(tmp_path / "run"))
    _, times = finish(lambda: stages.run_all(again))
    assert times >= (10 if n_steps == 7 else 2)
    assert_equal(run, again.folder, RunFolder(tiny_run[1]))
    assert (again.folder.report).is_file()


SAMPLERS = {
    "nuts_exact": {"n_chains": 2, "n_warmup": 10, "n_draws": 15, "max_tree_depth": 3},
    "smc": {"n_particles": 40, "n_moves": 1, "max_leapfrog": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SAMPLERS)
def test_exact_samplers_that_are_killed_end_equal(run, tiny_run, tmp_path, monkeypatch, kind):
    """Both on the model itself; `tests/infer/test_killed_samplers.py` has densities that cost nothing."""
    config = RunConfig.model_validate(run.config.model_dump() | {"sample": {"kind": kind, **SAMPLERS[kind]}})
    runs = [
        dataclasses.replace(run, config=config, folder=RunFolder(tmp_path / name))
        for name in ("whole", "killed")
    ]
    for each in runs:
        shutil.copytree(tiny_run[1], each.folder.path)
        for path in (each.folder.posterior, each.folder.summary, each.folder.report):
            path.unlink()
    stages.sample(runs[0])
    kill_every(monkeypatch, 5)
    _, times = finish(lambda: stages.sample(runs[1]))
    assert times >= 2
    assert_equal(runs[1], runs[1].folder, runs[0].folder)


def test_a_finished_run_computes_nothing_again(run, tiny_run, monkeypatch):
    kill_every(monkeypatch, 1)  # any step would end it
    outcome = stages.run_all(run)
    assert outcome.converged == (tiny_run[2] != 3)
