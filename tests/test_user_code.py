"""Functions in a user's file: read once, and refused in one line whatever the file does."""

import numpy as np
import pytest

from popinfer import user_code
from popinfer.config.cuts import FunctionCutConfig
from popinfer.errors import InputError
from popinfer.run.cuts import CUTS
from popinfer.user_code import read_function

FILE = "cuts.py"
GOOD = "import jax\n\ndef cut(g, r):\n    return jax.nn.sigmoid((18 - r) / 0.02)\n"


def test_good_functions_are_read(written):
    assert read_function(written(GOOD), "cut").__name__ == "cut"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys\nsys.exit(0)\n", r"ends the program when it is read \(exit 0\)"),
        ("raise SystemExit\n", "ends the program when it is read"),
        ("exit(3)\n", r"\(exit 3\)"),
        ("def cut(g, r)\n    return r\n", "line 1: expected ':'"),
        ("\tdef cut():\n", "line 1: unexpected indent"),
        ("import no_such_package\n", "ModuleNotFoundError when it is read"),
        ("1 / 0\n", "ZeroDivisionError when it is read: division by zero"),
        ("raise ValueError('one\\ntwo')\n", "ValueError when it is read: one$"),
        ("raise ValueError\n", "ValueError"),
        ("def cuts(g, r):\n    return r\n", "no function 'cut' there; did you mean 'cuts'"),
        ("x = 3\n", "no function 'cut' there; it defines none"),
        ("cut = 3\n", "'cut' is no function but of type int"),
        ("class cut:\n    pass\n", "'cut' is no function but of type type"),
        ("", "no function 'cut' there"),
        ("\0", "cuts.py"),
    ],
)
def test_files_that_are_no_functions(written, text, says):
    path = written(text)
    with pytest.raises(InputError, match=says) as caught:
        read_function(path, "cut")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return r", "gives .* at g = .*, r = .*; a probability lies within 0..1"),
        ("return r * float('nan')", "gives nan at g = "),
        ("return 0.5", "of 1000 galaxies it gives"),
        ("return jax.numpy.stack([g, r])", r"it gives \(2, 1000\)"),
        ("return None", "fails on JAX arrays|has to give"),
        ("return 'yes'", "fails on JAX arrays"),
        ("return 1.0 if r < 18 else 0.0", "fails on JAX arrays"),
        ("import sys; sys.exit(0)", "fails on JAX arrays: 0"),
        ("raise KeyError", "fails on JAX arrays: KeyError"),
        ("return jax.nn.sigmoid(18 - r)", "has to fall from 1 to 0 at a surface"),
    ],
)
def test_functions_that_are_no_cut(written, body, says):
    path = written(f"import jax\n\ndef cut(g, r):\n    {body}\n")
    config = FunctionCutConfig(kind="function", path=str(path), name="cut", bands=["g", "r"])
    with pytest.raises(InputError, match=says) as caught:
        CUTS["function"](config, ("g", "r"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_cut_with_another_number_of_bands(written):
    config = FunctionCutConfig(kind="function", path=str(written(GOOD)), name="cut", bands=["r"])
    with pytest.raises(InputError, match="missing 1 required positional argument"):
        CUTS["function"](config, ("g", "r"))


def test_a_good_cut_selects(written):
    config = FunctionCutConfig(kind="function", path=str(written(GOOD)), name="cut", bands=["g", "r"])
    cut = CUTS["function"](config, ("g", "r"))
    assert np.asarray(cut.function(np.array([18.0]), np.array([17.0]))) == pytest.approx(1)


def test_code_is_named_once_before_it_runs(written, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(user_code, "said", said, raising=False)
    path = written(f"from popinfer.user_code import said\nsaid.append('at work')\n{GOOD}", "named.py")
    user_code.announce(said.append)
    try:
        for _ in range(2):
            read_function(path, "cut")
        assert said == [f"runs code of {path}", "at work"]
        user_code.announce(said.append)  # another command: said again, though nothing runs again
        read_function(path, "cut")
        assert said == [f"runs code of {path}", "at work", f"runs code of {path}"]
    finally:
        user_code.announce(None)
    read_function(path, "cut")
    assert len(said) == 3


def test_modules_are_named_and_our_own_are_not(monkeypatch, tmp_path):
    (tmp_path / "module_of_a_user.py").write_text("class Law:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said: list[str] = []
    user_code.announce(said.append)
    try:
        assert user_code.read_class("module_of_a_user", "Law").__name__ == "Law"
        user_code.read_class("popinfer.errors", "InputError")
    finally:
        user_code.announce(None)
    assert said == ["runs code of module_of_a_user"]
