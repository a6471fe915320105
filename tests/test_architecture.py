"""Sizes, documentation and rules that keep the package readable; every shipped run file builds."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from popinfer.config import load_config
from popinfer.model import free_space
from popinfer.population.parameters import check_values, declared_parameters

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "popinfer").rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
FUNCTIONS = {
    f"{path}:{node.lineno} {node.name}": node
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}
by_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())


def body_lines(function):
    """Lines from the first statement after the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@by_file
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_functions_are_short():
    lengths = {name: body_lines(node) for name, node in FUNCTIONS.items()}
    assert np.percentile(list(lengths.values()), 95) <= 45
    longest = max(lengths, key=lengths.__getitem__)
    assert lengths[longest] <= 80, longest


def is_command(function):
    """Command-line functions have an argument an option."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_functions_take_few_arguments():
    for name, node in FUNCTIONS.items():
        arguments = [a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        own = [a for a in arguments if a.arg not in ("self", "cls")]
        assert len(own) <= 7 or is_command(node), name


def public_nodes():
    for path, tree in TREES.items():
        yield path, tree
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield f"{path}:{node.name}", node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{path}:{node.name}.{inner.name}", inner


def test_public_names_are_documented():
    nodes = dict(public_nodes())
    missing = [name for name, node in nodes.items() if ast.get_docstring(node) is None]
    assert 1 - len(missing) / len(nodes) >= 0.95, missing


def test_arguments_and_results_are_annotated():
    bare = [
        name
        for name, node in FUNCTIONS.items()
        if not is_command(node)
        and (
            (node.returns is None and node.name != "__init__")
            or any(a.annotation is None and a.arg not in ("self", "cls") for a in node.args.args)
        )
    ]
    assert len(bare) <= 0.02 * len(FUNCTIONS), bare


@by_file
def test_only_precision_changes_jaxs_settings(path):
    if path.name != "precision.py":
        assert "config.update" not in path.read_text(encoding="utf-8")


def is_text_without_encoding(call):
    """Whether a call opens a text file in whatever encoding the locale has."""
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text", "loadtxt", "genfromtxt", "savetxt"):
        return method  # `popinfer.run.folder.write_text` chooses its own
    owner = ast.unparse(call.func.value) if method else ""
    if name != "open" or owner in ("fits", "tarfile", "wheel", "zipfile", "gzip", "os", "Image"):
        return False
    modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    return not any(isinstance(mode, str) and "b" in mode and len(mode) <= 3 for mode in modes)


def test_text_files_are_utf8():
    bare = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and is_text_without_encoding(node)
    ]
    assert not bare


@pytest.mark.parametrize(
    ("code", "bare"),
    [
        ("path.read_text()", True),
        ("open(path)", True),
        ("path.open('w')", True),
        ("np.loadtxt(path)", True),
        ("path.read_text(encoding='utf-8')", False),
        ("open(path, 'rb')", False),
        ("fits.open(path)", False),
    ],
)
def test_bare_text_files_are_seen(code, bare):
    assert is_text_without_encoding(ast.parse(code).body[0].value) is bare


@by_file
def test_module_names_say_what_they_hold(path):
    assert path.stem not in ("utils", "helpers", "misc", "common")
    assert not path.stem.endswith(("_new", "_v2", "_old"))


def test_tests_are_at_least_half_the_source():
    lines = {
        top: sum(len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / top).rglob("*.py"))
        for top in ("popinfer", "tests")
    }
    assert lines["tests"] >= 0.5 * lines["popinfer"]


RUN_FILES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda p: p.name)
def test_shipped_run_files_build(path):
    config = load_config(path)
    assert config.name == path.stem
    declared = declared_parameters(config.model.components(tuple(config.catalog.bands)))
    space = free_space({name: prior.prior_of() for name, prior in config.free.items()}, declared)
    assert space.names == tuple(config.free)
    check_values(config.model.fixed, declared)
    assert all(free.meaning for free in space.free)


def test_there_are_run_files():
    assert {"sdss.yaml", "sdss_quick.yaml"} <= {p.name for p in RUN_FILES}


def test_continuous_integration_runs_the_readmes_command():
    commands = [
        line
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("python3 -m")
    ]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_readme_fits_a_screen_and_its_links_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 70
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target).exists() or target.startswith("results/reference/"), target
