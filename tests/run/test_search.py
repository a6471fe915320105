"""The search stage: its file, its command, and where it looks."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from popinfer.cli import main
from popinfer.errors import InputError
from popinfer.infer.data import Data
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.likelihood import Likelihood
from popinfer.infer.optimise import Fit
from popinfer.infer.search import Maximum, Search
from popinfer.random import root_key
from popinfer.run.folder import RunFolder
from popinfer.run.guides import Guide
from popinfer.run.prepare import prepare
from popinfer.run.progress import Silent
from popinfer.run.search import Region, _starts, listed_starts, read_region, write_region
from popinfer.storage import write_sealed

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the tiny run's folder, and its run file."""
    shutil.copytree(tiny_run[1], tmp_path / "copy")
    return tiny_run[0], tmp_path / "copy"


def test_region_survives_storage(run, tmp_path):
    run = dataclasses.replace(run, folder=RunFolder(tmp_path))
    parts = (
        Laplace(np.array([0.1, 1 / 3]), np.array([[2.0, 0.3], [0.3, 1.0]])),
        Laplace(np.ones(2), np.eye(2)),
    )
    starts = [{"start": 0, "log_density": None, "distance": None, "converged": False}]
    made = Region(Mixture(parts, np.array([0.7, 0.3])), starts, 3.5)
    write_region(run, made)
    again = read_region(run)
    for one, other in zip(again.mixture.components, parts, strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.cov, other.cov)
    np.testing.assert_array_equal(again.mixture.weights, [0.7, 0.3])
    assert (again.starts, again.wall_time_s) == (starts, 3.5)


def test_search_command_finds_the_runs_region_and_writes_nothing_else(tiny_run, tmp_path):
    file, out, _ = tiny_run
    assert main(["search", str(file), "--out", str(tmp_path / "new"), "--quiet"]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "provenance.json",
        "run.yaml",
        "search.json",
    }
    again, made = (read_region(prepare(file, folder)) for folder in (tmp_path / "new", out))
    assert [one["start"] for one in again.starts] == [one["start"] for one in made.starts]
    np.testing.assert_allclose(again.mixture.main.mean, made.mixture.main.mean, atol=1e-3)
    np.testing.assert_allclose(again.mixture.main.cov, made.mixture.main.cov, rtol=0.01)


def test_the_posterior_is_where_the_search_says(tiny_run, run):
    """Few halos move it by a fraction of its width."""
    fit = json.loads((tiny_run[1] / "fit.json").read_text())["maximum"]
    best = run.model.space.to_unconstrained(fit)
    main_part = read_region(run).mixture.main
    away = np.asarray(best) - main_part.mean
    assert away @ np.linalg.solve(main_part.cov, away) < 3**2


@pytest.mark.parametrize("command", ["halos", "fit"])
def test_search_of_another_configuration_is_refused(copied, write_config, capsys, command):
    file, out = copied
    write_sealed(out / "search.json", b"{\n}\n", "search", "another")
    before = (out / "halos.h5").read_bytes()
    assert main([command, str(file), "--out", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "search.json: made from another configuration or other data; run 'popinfer search' again" in said
    assert (out / "halos.h5").read_bytes() == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"fit": {"max_steps": 16, "n_prior_starts": 1}}], ids=str)
def test_whatever_the_search_depends_on_is_in_its_fingerprint(tiny_run, write_config, change):
    run = prepare(write_config(**change), tiny_run[1])
    with pytest.raises(InputError, match="run 'popinfer search' again"):
        read_region(run)


def test_another_sampler_needs_no_other_search(tiny_run, write_config):
    run = prepare(write_config(sample={"kind": "smc"}, predictive={"n_draws": 5}), tiny_run[1])
    assert read_region(run).mixture.weights.sum() == pytest.approx(1.0)


def test_halos_before_a_search_are_refused(write_config, tmp_path, capsys):
    assert main(["halos", str(write_config()), "--out", str(tmp_path / "new"), "--quiet"]) == 2
    assert "search.json: not there yet; run 'popinfer search' first" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_broken_file_is_named(copied, capsys):
    file, out = copied
    (out / "search.json").write_text("{")
    assert main(["halos", str(file), "--out", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "search.json: damaged, cut short" in said and "run 'popinfer search' again" in said


class Attracted(Guide):
    """Ends at its own optimum, or where the start was when that is far out."""

    optimum = np.array([1.0, -2.0])

    def climb(self, u, progress=None):
        near = bool(np.abs(u).max() < 1)
        return Fit(self.optimum if near else u, 0.0 if near else -9.0, 2, near)


@pytest.mark.parametrize("n", [0, 1, 12])
def test_starts_are_the_answer_the_guides_ends_and_a_reflection(run, n):
    config = run.config.model_copy(update={"fit": run.config.fit.model_copy(update={"n_prior_starts": n})})
    answer = np.array([0.5, 0.5])
    starts = _starts(
        root_key(3), dataclasses.replace(run, config=config), Attracted((), "adam", 5), answer, Silent()
    )
    np.testing.assert_array_equal(starts[0], answer)
    assert len(starts) == (1 if n == 0 else n + 2)
    if n == 12:  # some of the draws lead to the optimum
        np.testing.assert_array_equal(starts[-1], 2 * Attracted.optimum - answer)


def test_starts_are_listed_with_where_they_ended():
    best, other, ridge = (
        Maximum(Laplace(np.array([x, 0.0]), np.diag([4.0, 1.0])), density)
        for x, density in ((0.0, -1.0), (6.0, -2.0), (10.0, -3.0))
    )
    data = Data(np.array([9.0]), np.array([[9.0]]), np.zeros(1, int), np.full(1, True))
    found = Search(Likelihood.of(data, np.zeros((1, 1))), (best, other, ridge), (best, None, other), True)
    listed = listed_starts(found)
    assert [one["start"] for one in listed] == [0, 1, 2, "ridge"]
    assert [one["log_density"] for one in listed] == [-1.0, None, -2.0, -3.0]
    assert [one["distance"] for one in listed] == [0.0, None, 3.0, 5.0]
    assert [one["converged"] for one in listed] == [True, False, True, True]
