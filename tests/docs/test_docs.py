"""Pages of the documentation: their commands exist, their run files are right, their tables say all."""

import ast
import builtins
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from scripts import as_module

import popinfer
from popinfer.config import load_config
from popinfer.config.keys import key_names, run_file_keys
from popinfer.cosmology import in_named_units
from popinfer.data.filters import list_filters
from popinfer.halos.lightcone import CALIBRATED_IN
from popinfer.population.satellites import SatelliteSurvivalParams

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "results/README.md", ".github/CONTRIBUTING.md")),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
EVERYWHERE = ("--help", "--install-completion", "--show-completion")
COMPLETE = {"name", "catalog", "slices", "features"}  # keys of a run file that can be run


GENERATED = as_module(DOCS / "_ext" / "generated.py")
COMMANDS = dict(GENERATED.all_commands())


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def shown(kind):
    """Commands of code blocks, or those in running text, with their pages."""
    for page, text in TEXTS.items():
        lines = []
        if kind == "block":
            for block in blocks(text, "sh"):
                lines += re.findall(r"(?:^|\s|/)(popinfer .*)$", block, flags=re.MULTILINE)
        else:
            prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
            lines = [" ".join(span.split()) for span in re.findall(r"`(popinfer [^`]+)`", prose)]
        yield from ((page, line) for line in lines)


def split(line):
    """Name of the command in a line, and its arguments."""
    words = shlex.split(line.partition(" #")[0])
    for n in (3, 2):
        if " ".join(words[:n]) in COMMANDS:
            return " ".join(words[:n]), words[n:]
    if words[1] == "halos":  # the word "file" may be left out
        return "popinfer halos file", words[2:]
    return " ".join(words[:1]), words[1:]


@pytest.mark.parametrize(("page", "line"), sorted(set(shown("block"))))
def test_commands_of_code_blocks_parse(page, line):
    name, arguments = split(line)
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize(("page", "line"), sorted(set(shown("text"))))
def test_commands_in_the_text_have_these_options(page, line):
    name, arguments = split(line)
    known = set(EVERYWHERE)
    if name == "popinfer":
        assert arguments[0] in (*known, "COMMAND")
        return
    known |= {flag for option in COMMANDS[name].params for flag in option.opts}
    for word in arguments:
        assert not word.startswith("-") or word.partition("=")[0] in known, word


def test_a_wrong_command_would_be_seen():
    name, arguments = split("popinfer run FILE --nonsense")
    with pytest.raises(Exception, match="nonsense"):
        COMMANDS[name].make_context(name, arguments)
    assert split("popinfer nonsense FILE")[0] == "popinfer"


YAMLS = [(page, block) for page, text in TEXTS.items() for block in blocks(text, "yaml")]


@pytest.mark.parametrize(("page", "block"), YAMLS, ids=[page for page, _ in YAMLS])
def test_run_files_on_pages_are_right(page, block, tmp_path):
    content = yaml.safe_load(block)
    if content.keys() >= COMPLETE:
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        assert load_config(tmp_path / "run.yaml").name == content["name"]
    assert not list(unknown(content, ""))


def plain(path):
    return ".".join(re.sub(r" \(.*?\)|\[\]", "", part) for part in path.split(".") if part != "<name>")


TYPES = {plain(key.path): key.type for key in run_file_keys()}


def unknown(content, path):
    """Keys that no run file has; what the user names (bands, parameters, settings) isn't looked at."""
    entries = content if isinstance(content, list) else [content]
    for mapping in (entry for entry in entries if isinstance(entry, dict)):
        for key, value in mapping.items():
            below = f"{path}.{key}" if path else str(key)
            kind = TYPES.get(below)
            if kind is None:
                yield below
            elif kind.startswith("mapping"):
                for named in value.values():
                    yield from unknown(named, below)
            elif not kind.startswith("component"):
                yield from unknown(value, below)


def test_unknown_keys_would_be_seen():
    wrong = {
        "catalog": {"bands": {"g": {"filtre": "x"}}},
        "halo": {},
        "model": {"sfh": {"calibration": "tng"}},
    }
    assert list(unknown(wrong, "")) == ["catalog.bands.filtre", "halo"]
    assert "catalog.bands.filter" in key_names()


def names_of_code():
    """Dotted names of the package in pages' text and code, with their pages."""
    for page, text in TEXTS.items():
        if page != "CHANGELOG.md":  # tells of names that are gone
            yield from ((page, name) for name in re.findall(r"\bpopinfer(?:\.[A-Za-z_]\w*)+", text))


def found(name):
    """What a dotted name stands for: a module, or something in one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            here = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            here = getattr(here, part)
        return here
    raise AttributeError(name)


@pytest.mark.parametrize(("page", "name"), sorted(set(names_of_code())))
def test_names_of_code_exist(page, name):
    assert found(name) is not None


def test_a_wrong_name_would_be_seen():
    with pytest.raises(AttributeError, match="nonsense"):
        found("popinfer.run.nonsense")


PYTHON = [(page, block) for page, text in TEXTS.items() for block in blocks(text, "python")]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[page for page, _ in PYTHON])
def test_python_on_pages_uses_public_names(page, block):
    tree = ast.parse(block)
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    types = {name for name in loaded if name[0].isupper() and not hasattr(builtins, name)}
    imported = {alias.asname or alias.name for n in ast.walk(tree) for alias in getattr(n, "names", [])}
    defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    on_page = {
        name for other, text in PYTHON if other == page for name in re.findall(r"^class (\w+)", text, re.M)
    }
    assert types <= imported | defined | on_page | set(popinfer.__all__)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "results/README.md"])
def test_links_outside_the_site_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]):
        path = (ROOT / name).parent / target
        assert "://" in target or path.exists() or target.startswith("results/reference/"), target


def test_pages_hold_every_key_command_filter_and_name():
    made = {name: table() for name, table in GENERATED.TABLES.items()}
    assert all(f"`{key.path}`\n: " in made["run_file_keys"] for key in run_file_keys())
    assert all(f"## `{name}`" in made["commands"] for name in COMMANDS)
    assert {"popinfer run", "popinfer halos fit-trees", "popinfer ssp info"} <= set(COMMANDS)
    assert all(f"`{curve.name}`" in made["filters"] for curve in list_filters())
    assert all(f"### `{name}`" in made["public_names"] for name in popinfer.__all__)
    assert all(
        f"`{name}`" in made["parameters"] for name in ("sfh.efficiency", "zero_point.g", "photoz.bias")
    )
    assert "sfh.mean_uqt_ytp" not in made["parameters"]
    assert all(f"- {code} " in made["exit_codes"] for code in (0, 1, 2, 3, 4))
    assert "`posterior`\n: " in made["posterior_groups"]
    assert "`simulation`\n: " in made["posterior_groups"]


def test_every_table_is_on_a_page_and_nothing_is_left_to_fill():
    markers = [m for text in TEXTS.values() for m in re.findall(r"<!-- generated: (\w+) -->", text)]
    assert set(markers) == set(GENERATED.TABLES)
    assert "generated:" not in GENERATED.filled(TEXTS["docs/reference/files.md"])


def test_the_guide_names_the_command_that_is_checked():
    from tests.check import STEPS

    words = " ".join(STEPS["docs"][1:])
    assert f"python {words}" in TEXTS[".github/CONTRIBUTING.md"]


REFERENCE = (ROOT / "results" / "reference" / "sdss_summary.json").read_text(encoding="utf-8")


def test_limits_state_the_numbers_of_the_code():
    page = " ".join(TEXTS["docs/limits.md"].split())
    theirs = in_named_units(CALIBRATED_IN)
    assert f"H0 {theirs[0]:g}, Om0 {theirs[1]:.3f}" in page
    assert f"`satellites.survival` ({SatelliteSurvivalParams().survival:g} by default)" in page
    quick = load_config(ROOT / "configs" / "sdss_quick.yaml")
    assert f"an error of {100 * quick.kernels.model_error:g} % of each count" in page
    full = load_config(ROOT / "configs" / "sdss.yaml")
    assert f"of {100 * full.kernels.model_error:g} % in `configs/sdss.yaml`" in page
    assert {term.kind for term in full.joint} >= {"luminosity_function", "mass_function"}
    summary = json.loads(REFERENCE)
    assert f"chi-square of {summary['chi2']:.1f} for {summary['n_eff']:.1f} effective statistics" in page
    assert f"With {quick.halos.n_per_slice:,} halos a slice" in page
    for number in ("1.23 +- 0.08", "give 1.04", "up to +0.96", "1.31"):
        assert number in page and number in TEXTS["results/README.md"], number
    for number in ("0.54", "0.61"):
        assert number in page and number in TEXTS["docs/simulations.md"]
