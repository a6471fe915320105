"""What else can go wrong around a run: one line, exit code 2, and what was there is kept."""

import dataclasses
import errno
import json
import os
import shutil
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import killed
import pytest

from popinfer import cli, storage
from popinfer.cli import main
from popinfer.errors import InputError
from popinfer.inference_data import read_group
from popinfer.run import calibrate as calibrate_module
from popinfer.run import posterior, stages
from popinfer.run.folder import RunFolder, remove_results
from popinfer.run.truth import read_truth
from popinfer.user_code import read_class

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def copied(tiny_run, tmp_path) -> Path:
    shutil.copytree(tiny_run[1], tmp_path / "copy")
    return tmp_path / "copy"


CHANGES = {
    "seed": ({"seed": 4}, "seed: 3 there, 4 here"),
    "prior": (
        {"free": {"dust.lg_av": {"loc": -0.3, "scale": 0.2}}},
        "free.dust.lg_av.loc: -0.4 there, -0.3 here",
    ),
    "slice": ({"slices": [[0.06, 0.08]]}, "slices: [[0.06, 0.09]] there, [[0.06, 0.08]] here"),
    "sampler": ({"sample": {"kind": "smc"}}, "sample.kind: "),
}


@pytest.mark.parametrize(("changed", "says"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_changed_run_file_is_refused_and_nothing_changes(
    copied, write_config, capsys, command, changed, says
):
    before = contents(copied)
    assert main([command, str(write_config(**changed)), "--out", str(copied), "--quiet"]) == 2
    assert says in capsys.readouterr().err
    assert contents(copied) == before


def test_other_data_packages_and_source_are_named(run, copied):
    stored = stages.Provenance.read(RunFolder(copied).provenance)
    other = {
        "files": {**stored.files, "catalog sdss_mgs": "0" * 64},
        "versions": {**stored.versions, "jax": "9.9"},
        "code": "another",
    }
    said = "; ".join(stored.differences(dataclasses.replace(stored, **other), "sample"))
    assert (
        "the content of catalog sdss_mgs" in said and "9.9 here" in said and "popinfer's own source" in said
    )


def test_results_without_provenance_are_refused(tiny_run, copied, capsys):
    RunFolder(copied).provenance.unlink()
    assert main(["run", str(tiny_run[0]), "--out", str(copied), "--quiet"]) == 2
    assert "without its provenance.json; --fresh starts over" in capsys.readouterr().err


def test_fresh_removes_results_and_nothing_else(copied):
    (copied / "notes.txt").write_text("mine")
    remove_results(RunFolder(copied))
    assert [path.name for path in copied.iterdir()] == ["notes.txt"]


def test_draws_that_have_no_room_are_kept_elsewhere(tiny_run, tmp_path, monkeypatch):
    idata, _ = stages.read_results(RunFolder(tiny_run[1]))
    elsewhere, replace = tmp_path / "elsewhere", os.replace
    elsewhere.mkdir()

    def full(old, new):
        if Path(new).parent != elsewhere:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(storage.os, "replace", full)
    monkeypatch.setattr(posterior.tempfile, "gettempdir", lambda: str(elsewhere))
    with pytest.raises(InputError, match=r"No space left on device.*draws are kept in .*elsewhere"):
        posterior.write_posterior(idata, tmp_path / "posterior.nc", "mine")
    kept = storage.read_sealed(elsewhere / "popinfer-tiny-posterior.nc", "posterior", "sample", "mine")
    assert read_group(posterior.from_netcdf(kept.content), "posterior").equals(read_group(idata, "posterior"))
    assert not list(tmp_path.glob("*.nc")) and not list(tmp_path.glob(".*"))


def test_a_report_that_has_no_room_leaves_the_old_one(copied, monkeypatch, capsys):
    before, fsync, count = contents(copied), os.fsync, 0

    def full(number):
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(storage.os, "fsync", full)
    assert main(["report", str(copied), "--quiet"]) == 2
    assert "report.html: can't be written (No space left on device)" in capsys.readouterr().err
    assert contents(copied) == before


@pytest.mark.parametrize("stage", ["search", "halos", "fit"])
def test_a_stage_that_has_no_room_leaves_its_old_file(tiny_run, copied, monkeypatch, capsys, stage):
    """And what it computed is on the disk as far as there was room."""
    file = {"search": "search.json", "halos": "halos.h5", "fit": "fit.npz"}[stage]
    before, replace = contents(copied), os.replace

    def full(old, new):
        if Path(new).name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(storage.os, "replace", full)
    assert main([stage, str(tiny_run[0]), "--out", str(copied), "--quiet"]) == 2
    assert f"{file}: can't be written (No space left on device)" in capsys.readouterr().err
    after = contents(copied)
    assert after.pop(f"{stage}.journal") and after == before
    monkeypatch.undo()
    assert main([stage, str(tiny_run[0]), "--out", str(copied), "--quiet"]) == 0
    assert f"{stage}.journal" not in contents(copied)


TRUTHS = {
    "no JSON": "{",
    "a list": "[1]",
    "text": '{"dust.lg_av": "high"}',
    "infinite": '{"dust.lg_av": Infinity}',
    "nested": '{"dust.lg_av": {"value": 1}}',
    "truth value": '{"dust.lg_av": true}',
}


@pytest.mark.parametrize("text", TRUTHS.values(), ids=TRUTHS.keys())
def test_a_broken_truth_is_named(tmp_path, text):
    (tmp_path / "catalog.truth.json").write_text(text)
    with pytest.raises(InputError, match=r"catalog\.truth\.json: .*or remove it"):
        read_truth(tmp_path / "catalog.parquet", ("dust.lg_av",))


def test_a_truth_that_a_person_wrote_needs_no_seal(tmp_path):
    (tmp_path / "catalog.truth.json").write_text(json.dumps({"dust.lg_av": -0.3, "other": 1}))
    assert read_truth(tmp_path / "catalog.parquet", ("dust.lg_av", "b")) == {"dust.lg_av": -0.3}


COMMANDS = ["run", "search", "halos", "fit", "fisher", "sample", "report", "calibrate", "mock", "params"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_code_that_it_is_about_to_run(write_config, tmp_path, capsys, command):
    (tmp_path / "law.py").write_text("import sys\nprint('at work', file=sys.stderr)\n1 / 0\n")
    file = write_config(model={"dust_law": {"kind": f"{tmp_path / 'law.py'}:Law"}})
    out = [] if command == "params" else ["--out", str(tmp_path / "out.parquet")]
    assert main([command, str(file), *out]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [f"runs code of {tmp_path / 'law.py'}", "at work"]
    assert sum("runs code of" in line for line in said) == 1


def test_files_of_cuts_are_named_too_and_quiet_says_nothing(write_config, tmp_path, capsys, tiny_config):
    (tmp_path / "cuts.py").write_text("raise ValueError('read')\n")
    cut = {"kind": "function", "path": str(tmp_path / "cuts.py"), "name": "f", "bands": ["g", "r"]}
    file = write_config(catalog={**tiny_config["catalog"], "cuts": [cut]})
    for quiet in ([], ["--quiet"]):
        assert main(["run", str(file), "--out", str(tmp_path / "out"), *quiet]) == 2
        said = capsys.readouterr().err
        assert said.count(f"runs code of {tmp_path / 'cuts.py'}\n") == (not quiet)
        assert "cuts.py: ValueError when it is read: read" in said


def test_a_module_that_ends_the_program_is_named(tmp_path, monkeypatch):
    (tmp_path / "ends_the_program.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="ends_the_program: ends the program when it is imported"):
        read_class("ends_the_program", "Law")


def test_a_function_that_ends_the_program_is_an_error(write_config, tmp_path, capsys, tiny_config):
    (tmp_path / "cuts.py").write_text("import sys\ndef f(g, r): sys.exit(0)\n")
    cut = {"kind": "function", "path": str(tmp_path / "cuts.py"), "name": "f", "bands": ["g", "r"]}
    file = write_config(catalog={**tiny_config["catalog"], "cuts": [cut]})
    assert main(["run", str(file), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "cuts.py: f(g, r) fails" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_code_that_ends_the_program_is_an_error(write_config, monkeypatch, capsys):
    def read(_file, _quiet):
        raise SystemExit(0)

    monkeypatch.setattr(cli, "_read", read)
    assert main(["run", str(write_config())]) == 2
    assert "code that the run file names ends the program (exit 0)" in capsys.readouterr().err


def test_a_dead_worker_is_one_line_and_its_surveys_are_kept(tiny_config, tmp_path, monkeypatch):
    from popinfer.config import RunConfig

    class Pool:
        """Two surveys are finished, then a worker dies."""

        def __init__(self, *_args, **_kwargs) -> None:
            self.n = 0

        def submit(self, _function, index, _spec) -> Future:
            future: Future = Future()
            self.n += 1
            if self.n <= 2:
                future.set_result({"failed": "made up", "truth": [0.0, 0.0], "wall_time_s": 0.0})
            else:
                future.set_exception(BrokenProcessPool("died"))
            return future

        def shutdown(self, **_kwargs) -> None:
            pass

    monkeypatch.setattr(calibrate_module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(calibrate_module, "as_completed", list)
    spec = calibrate_module.CalibrateSpec(20, 2)
    with pytest.raises(InputError, match=r"one of them was killed.*finished are kept"):
        calibrate_module.calibrate(RunConfig.model_validate(tiny_config), spec, tmp_path / "out")
    trials = tmp_path / "out" / "trials"
    assert sorted(path.name for path in trials.iterdir()) == ["0000.json", "0001.json"]


@pytest.mark.slow
def test_a_worker_that_the_system_kills_is_one_line_too(tiny_config, tmp_path, monkeypatch):
    """The same with processes, of which one ends itself with SIGKILL."""
    from popinfer.config import RunConfig

    monkeypatch.setattr(calibrate_module, "_start_worker", killed.no_start)
    monkeypatch.setattr(calibrate_module, "_worker_trial", killed.third_trial_kills)
    config, out = RunConfig.model_validate(tiny_config), tmp_path / "out"
    with pytest.raises(InputError, match=r"one of them was killed.*finished are kept"):
        calibrate_module.calibrate(config, calibrate_module.CalibrateSpec(20, 2), out)
    there = {path.name for path in (out / "trials").iterdir()}
    assert "0002.json" not in there and there <= {f"{i:04d}.json" for i in range(20)}
    with storage.only_process(out):  # nobody is left who holds the folder
        pass


def test_exit_codes_are_told(capsys):
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    told = ("0 done", "1 a bug", "2 something in the input", "3 the posterior", "4 the model", "130", "143")
    for words in told:
        assert words in said
