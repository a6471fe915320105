"""Commands and Python of the documentation's pages, run in their order as a reader would.

Jobs that take minutes have a run file of the page's with fewer halos, kernels and draws in place of its own.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from halo_boxes import make_box, parquet_of

from popinfer.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
QUICK = ("init", "filters", "keys", "check", "params")  # commands of a second or two
BOX_SIDE = 70.0  # Mpc; the page's box has eight times the volume
SMALL = {
    key: yaml.safe_load((ROOT / "benchmarks" / "tiny.yaml").read_text(encoding="utf-8"))[key]
    for key in ("kernels", "fit", "sample", "predictive")
}


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """Words after ``popinfer`` of every command in a page's blocks."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    found = [re.match(r"(?:\S*/)?popinfer (.*)", line) for line in lines]
    return [shlex.split(match[1].partition(" #")[0]) for match in found if match]


def whole_file(page: str) -> dict:
    """The run file that a page shows as a whole."""
    contents = [yaml.safe_load(block) for block in blocks(page, "yaml")]
    (whole,) = [content for content in contents if {"name", "catalog", "slices", "features"} <= set(content)]
    return whole


def small(content: dict, **halos) -> dict:
    """A run file of the same keys, for fewer halos, kernels and draws, and for one slice."""
    slices = content["slices"][:1]
    lgm_min = content["halos"]["lgm_min"]
    lowest = lgm_min[0] if isinstance(lgm_min, list) else lgm_min
    fewer = content["halos"] | {"n_per_slice": 512, "lgm_min": max(lowest, 11.0)} | halos
    return content | SMALL | {"slices": slices, "halos": fewer}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def run(words: list[str]) -> None:
    """One command; that a small run isn't converged or describes nothing is no failure of the page."""
    assert main(words) in (0, 3, 4), words


def test_quick_commands_of_your_survey(tmp_path, monkeypatch, capsys):
    """On the run file that the page's ``init`` writes."""
    monkeypatch.chdir(tmp_path)
    quick = [words for words in commands("survey.md") if words[0] in QUICK]
    assert [words[0] for words in quick] == ["init", "filters", "filters", "check", "params"]
    for words in quick:
        assert main(words) == 0, words
    said = capsys.readouterr().out
    assert "sdss_g0" in said and "dust.lg_av" in said


@pytest.mark.slow
def test_jobs_of_your_survey(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "my_survey.yaml", small(whole_file("survey.md")))
    jobs = [words for words in commands("survey.md") if words[0] not in QUICK]
    assert [words[0] for words in jobs] == ["fisher", "mock", "run", "run", "calibrate", "compare"]
    for words in jobs:
        if words[0] == "compare":
            shutil.copytree("results/my_survey-mock", "results/another_run")
        run(["20" if word == "100" else word for word in words])  # calibrate wants no fewer
    assert any((tmp_path / "comparison").iterdir())


@pytest.mark.slow
def test_start_and_python(tmp_path, monkeypatch):
    """The first run, and what the page on Python does with its results."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((ROOT / "configs" / "sdss_quick.yaml").read_text(encoding="utf-8"))
    few = {name: content["free"][name] for name in ("dust.lg_av", "metallicity.zero_point")}
    write(tmp_path / "configs" / "sdss_quick.yaml", small(content) | {"free": few})
    shown = commands("start.md")
    assert ["run", "configs/sdss_quick.yaml"] in shown
    for words in shown:
        if "--pdf" in words:
            pytest.importorskip("weasyprint")
        run(words)
    names: dict[str, object] = {}
    for block in blocks("python.md", "python"):
        exec(block, names)
    assert len(names["galaxies"]) > 0


@pytest.mark.slow
def test_your_simulation(tmp_path, monkeypatch):
    """Both run files of the page, on a box that is smaller than its own."""
    monkeypatch.chdir(tmp_path)
    box = make_box(11, BOX_SIDE)
    source = parquet_of(box, tmp_path / "halos.parquet")
    source["columns"] = {name: source["columns"][name] for name in ("id", "host", "mass", "x", "y", "z")}
    whole = whole_file("simulations.md")
    assert set(whole["halos"]["source"]) == set(source)
    whole["halos"]["source"] = source | {"path": "halos.parquet"}
    write(tmp_path / "box.yaml", small(whole, source=whole["halos"]["source"]))
    write(tmp_path / "run.yaml", small(whole, source=whole["halos"]["source"]) | {"name": "run"})
    jobs = [words for words in commands("simulations.md") if "fit-trees" not in words]
    assert [words[0] for words in jobs] == ["halos", "run", "mock", "mock", "mock"]
    for words in jobs:
        Path("galaxies.parquet").unlink(missing_ok=True)
        run(words)
    assert Path("galaxies.h5").is_file() and Path("galaxies.parquet").is_file()
