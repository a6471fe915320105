import os
import subprocess
import sys
from pathlib import Path

import pytest

from popinfer import cli, environment
from popinfer.errors import InputError, MisfitError, NotConvergedError

RUN_FILE = str(Path(__file__).parents[1] / "configs" / "sdss_quick.yaml")


@pytest.fixture(autouse=True)
def compiled_programs(monkeypatch, tmp_path_factory):
    """Keep compiled programs away from the user's own cache."""
    monkeypatch.setenv("POPINFER_CACHE", str(tmp_path_factory.getbasetemp() / "jax"))


def raising(error: BaseException):
    def stage(*_args, **_kwargs):
        raise error

    return stage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "missing.yaml"], "no such run file"),
        (["run", "x.yaml", "--quite"], "--quiet"),
        (["rum", "x.yaml"], "run"),
        (["run"], "'file'"),
        (["mock", "x.yaml", "--out", "m.txt"], "suffix"),
        (["report", "missing_folder"], "no such run file"),
        (["ssp", "info", "missing.h5"], "missing.h5"),
    ],
)
def test_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message
    assert len(message.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("r.yaml: wrong"), 2),
        (NotConvergedError("NOT CONVERGED: R-hat"), 3),
        (MisfitError("The model does not describe the data"), 4),
        (KeyboardInterrupt(), 130),
        (FileNotFoundError(2, "No such file", "x"), 2),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    from popinfer.run import prepare

    monkeypatch.setattr(prepare, "prepare", raising(error))
    assert cli.main(["run", RUN_FILE, "--quiet"]) == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


STAGES = ["search", "halos", "fit", "sample", "report"]


@pytest.mark.parametrize("command", ["run", *STAGES, "fisher", "calibrate"])
def test_run_files_are_read_before_jax_starts(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cli, "_start", raising(AssertionError("too early")))
    assert cli.main([command, str(tmp_path / "missing.yaml")]) == 2
    assert "no such run file" in capsys.readouterr().err


def test_every_stage_is_a_command(capsys):
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f" {stage} " in listed for stage in STAGES)


def test_bugs_are_not_hidden(monkeypatch):
    from popinfer.run import prepare

    monkeypatch.setattr(prepare, "prepare", raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", RUN_FILE, "--quiet"])


def test_ssp_info_and_help(capsys):
    assert cli.main(["ssp", "info"]) == 0
    assert "Angstrom" in capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out


def test_ssp_info_of_a_file(capsys, tmp_path):
    from popinfer.data import load_ssp, write_ssp

    digest = write_ssp(load_ssp(), tmp_path / "grid.h5")
    assert cli.main(["ssp", "info", str(tmp_path / "grid.h5")]) == 0
    out = capsys.readouterr().out
    assert digest in out and "BC03" in out and "u-g = 1.85  g-r = 0.81" in out


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "passed" in out
    assert "as shipped" in out


def test_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("POPINFER_CACHE", str(tmp_path))
    assert environment.cache_folder() == tmp_path
    monkeypatch.delenv("POPINFER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.cache_folder() == tmp_path / "popinfer" / "jax"


def test_errors_of_files_name_the_file_and_not_a_number(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_read", raising(PermissionError(13, "Permission denied", "/etc/x")))
    assert cli.main(["run", "x.yaml"]) == 2
    assert capsys.readouterr().err == "popinfer: /etc/x: Permission denied\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [("popinfer ch", ["check"]), ("popinfer co", ["compare"]), ("popinfer ssp ", ["info"])],
)
def test_shells_can_ask_what_follows(words, offered):
    shell = {
        **os.environ,
        "_POPINFER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    command = [sys.executable, "-m", "popinfer"]
    done = subprocess.run(command, env=shell, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr, done.returncode) == (offered, "", 0)


def test_completion_is_shown_for_a_shell():
    command = [sys.executable, "-m", "popinfer", "--show-completion", "bash"]
    # typer asks the processes above which shell it is; there may be none
    asked = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=asked)
    assert "_POPINFER_COMPLETE=complete_bash" in done.stdout and done.returncode == 0
