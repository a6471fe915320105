"""The check in every interpreter: what it looks for, installs and runs. The check itself takes too long."""

import sys

import pytest

from tests import interpreters
from tests.check import main


def test_every_part_of_the_fast_run_exists():
    assert all((interpreters.ROOT / path).exists() for path in interpreters.FAST)
    assert len(set(interpreters.FAST)) == len(interpreters.FAST)


def test_its_tools_are_declared():
    assert len(interpreters.tools()) == len(interpreters.TOOLS)


def test_lower_bounds_are_taken_exactly():
    assert interpreters.lower_bounds(["a>=1.2,<2", "b-c[d]<3,>=2026.9"]) == ["a==1.2", "b-c==2026.9"]
    with pytest.raises(ValueError, match="unpack"):
        interpreters.lower_bounds(["a<2"])


def test_this_interpreter_is_found_and_others_arent():
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert here in interpreters.declared_pythons()
    assert interpreters.find_interpreter(here) is not None
    assert interpreters.find_interpreter("3.99") is None


def test_a_step_that_fails_ends_the_steps(tmp_path, capsys):
    made = interpreters.Environment.__new__(interpreters.Environment)
    made.folder, made.outcome, made.log = tmp_path, {}, (tmp_path / "log.txt").open("a")
    assert made.tried("one", [sys.executable, "-c", "import os; assert os.environ['PYTHONSAFEPATH'] == '1'"])
    assert not made.tried("two", [sys.executable, "-c", "raise SystemExit('two is wrong')"])
    assert not made.tried("three", [sys.executable, "-c", ""])
    assert list(made.outcome) == ["one", "two"] and not made.good
    assert "two is wrong" in capsys.readouterr().out


def test_no_interpreter_at_all_is_no_success(monkeypatch, tmp_path):
    monkeypatch.setattr(interpreters, "build", lambda folder: (folder, folder))
    assert main(["--interpreters", "3.99"]) == 1
