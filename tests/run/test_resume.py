"""A run that is killed at any step goes on where it was, and ends equal bit for bit."""

import dataclasses
import json

import arviz as az
import numpy as np
import pytest

from popinfer.journal import Journal
from popinfer.report import RunSummary
from popinfer.run import stages
from popinfer.run.folder import RunFolder, read_halos

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once
TIMES = ("wall_time_s", "seal", "arrays")


class KilledError(BaseException):
    """Ends a run as SIGKILL does: nothing in memory is saved."""


@pytest.fixture
def killed_every(monkeypatch):
    """Make runs end after so many new steps, of which the last few weren't on the disk yet."""

    def arrange(n_steps: int) -> None:
        count, add = 0, Journal.add

        def add_or_end(journal: Journal, key: bytes, arrays) -> None:
            nonlocal count
            add(journal, key, arrays)
            count += 1
            if count % n_steps == n_steps - 3:
                journal.flush()
            if count % n_steps == 0:
                journal._pending.clear()
                raise KilledError

        monkeypatch.setattr(Journal, "add", add_or_end)

    return arrange


def finish(run) -> int:
    """Run all stages again and again until nothing kills them; how often something did."""
    for times in range(200):
        try:
            stages.run_all(run)
        except KilledError:
            continue
        return times
    raise AssertionError("the run makes no headway")


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
    assert draws.groups() == expected.groups()
    for group in expected.groups():
        for name, values in expected[group].data_vars.items():
            np.testing.assert_array_equal(draws[group][name].values, values.values, err_msg=f"{group} {name}")
    made, wanted = (RunSummary.read(f.summary) for f in (folder, reference))
    same = {"wall_time_s": {}, "posterior": ""}
    assert dataclasses.replace(made, **same).to_json() == dataclasses.replace(wanted, **same).to_json()
    names = [{p.name for p in f.path.iterdir()} - {"fisher.json"} for f in (folder, reference)]
    assert names[0] - {"report.html", "figures"} == names[1] - {"report.html", "figures"}


@pytest.mark.parametrize("n_steps", [25, pytest.param(7, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_equal(run, tiny_run, tmp_path, killed_every, n_steps):
    killed_every(n_steps)
    again = dataclasses.replace(run, folder=RunFolder(tmp_path / "run"))
    assert finish(again) >= (10 if n_steps == 7 else 2)
    assert_equal(run, again.folder, RunFolder(tiny_run[1]))
    assert (again.folder.report).is_file()


def test_a_finished_run_computes_nothing_again(run, tiny_run, killed_every):
    killed_every(1)  # any step would end it
    outcome = stages.run_all(run)
    assert outcome.converged == (tiny_run[2] != 3)
