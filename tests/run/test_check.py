"""``popinfer check``: all that is wrong with a run file and what it names, with lines; or what would run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from popinfer import cli
from popinfer.config import load_config
from popinfer.errors import InputError
from popinfer.run.check import check_run_file
from popinfer.run.duration import estimated_seconds, exact_evaluations

ROOT = Path(__file__).resolve().parents[2]
BASE = """\
name: test
seed: 1
catalog:
  path: galaxies.parquet
  redshift: zs
  id: name
  where: clean
  bands:
    g: {filter: sdss_g0, value: g, error: eg}
    r: {filter: sdss_r0, value: r, error: er}
  selection: {band: r, bright_mag: 14.0, faint_mag: 17.5}
slices: [[0.03, 0.06], [0.06, 0.1]]
features: [g-r, r]
halos: {n_per_slice: 1024}
model: {fixed: {dust.scatter: 0.3}}
free:
  dust.lg_av: {loc: -0.4, scale: 0.2}
sample: {kind: nuts}
kernels: {n_centers: 50}
"""


def galaxies(n: int = 1000) -> pd.DataFrame:
    """A table that the base file describes."""
    rng = np.random.default_rng(1)
    r = rng.uniform(14.5, 17.4, n)
    table = {"zs": rng.uniform(0.031, 0.099, n), "r": r, "g": r + rng.normal(0.7, 0.2, n)}
    errors = {name: rng.uniform(0.01, 0.03, n) for name in ("eg", "er")}
    return pd.DataFrame(
        {**table, **errors, "name": [f"n{i}" for i in range(n)], "clean": np.ones(n, bool), "word": "text"}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that run files name, right ones and broken ones."""
    path = tmp_path_factory.mktemp("check")
    table = galaxies()
    table.to_parquet(path / "galaxies.parquet")
    table.iloc[:80].to_parquet(path / "few.parquet")
    table.assign(eg=-table.eg, er=-table.er).to_parquet(path / "negative.parquet")
    table.assign(eg=1 / table.eg**2, er=1 / table.er**2).to_parquet(path / "ivar.parquet")
    (path / "cut.parquet").write_bytes((path / "galaxies.parquet").read_bytes()[:900])
    table.assign(g=np.nan).to_parquet(path / "nan.parquet")
    table.assign(eg=0.0, er=0.0).to_parquet(path / "zero.parquet")
    (path / "empty.dat").write_text("")
    (path / "text.dat").write_text("400 0\n500 a\n")
    (path / "nm.dat").write_text("".join(f"{w} {t}\n" for w, t in ((400, 0), (500, 1), (600, 1), (700, 0))))
    (path / "ssp.h5").write_bytes(b"no HDF5")
    (path / "complete.txt").write_text("14 90\n18 50\n")
    (path / "phi.csv").write_text("a,b\n1,2\n")
    (path / "cuts.py").write_text("def cut(g):\n    return g\n")
    (path / "galaxies.truth.json").write_text("{}")
    return path


@pytest.fixture
def checked(folder, monkeypatch):
    """The plan of a base file with some texts replaced, or the lines of its refusal without the file."""
    monkeypatch.chdir(folder)

    def check(*changes: tuple[str, str]):
        text = BASE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        Path("run.yaml").write_text(text, encoding="utf-8")
        return check_run_file("run.yaml")

    return check


@pytest.fixture
def refused(checked):
    def lines(*changes: tuple[str, str]) -> list[str]:
        with pytest.raises(InputError) as error:
            checked(*changes)
        return [line.removeprefix("run.yaml:") for line in error.value.lines]

    return lines


G, R = "filter: sdss_g0, value: g, error: eg", "filter: sdss_r0, value: r, error: er"
LAST = "kernels: {n_centers: 50}"
PATH = "galaxies.parquet"
BROKEN = {
    "no catalog": ([(PATH, "none.parquet")], ["4: catalog.path: none.parquet: no such file"]),
    "a damaged catalog": ([(PATH, "cut.parquet")], ["4: catalog.path: cut.parquet: can't be read"]),
    "a catalog of text": ([(PATH, "text.dat")], ["4: catalog.path: text.dat: format can't be told"]),
    "a table that isn't there": (
        [("  redshift: zs", "  table: 3\n  redshift: zs")],
        ["5: catalog.table: galaxies.parquet: "],
    ),
    "one missing column": ([("value: g", "value: gg")], ["9: catalog.bands.g.value: ", "'gg'; the nearest"]),
    "six missing columns": (
        [
            ("redshift: zs", "redshift: zz"),
            ("id: name", "id: nam"),
            ("where: clean", "where: cleen"),
            (G, "filter: sdss_g0, value: gmag, error: gerr"),
            ("error: er", "error: er, extinction: ar"),
        ],
        [
            "5: catalog.redshift: galaxies.parquet has no column 'zz'",
            "6: catalog.id: galaxies.parquet has no column 'nam'; the nearest are 'name'",
            "7: catalog.where.0: galaxies.parquet has no column 'cleen'; the nearest are 'clean'",
            "9: catalog.bands.g.value: galaxies.parquet has no column 'gmag'",
            "9: catalog.bands.g.error: galaxies.parquet has no column 'gerr'",
            "10: catalog.bands.r.extinction: galaxies.parquet has no column 'ar'",
        ],
    ),
    "columns and a section that is wrong": (
        [("value: g", "value: gg"), ("n_per_slice: 1024", "n_per_slice: 10"), ("seed: 1", "seed: x")],
        ["2: seed: ", "9: catalog.bands.g.value: ", "14: halos.n_per_slice: "],
    ),
    "a misspelled key and a missing file": (
        [("seed: 1", "sead: 1"), (PATH, "none.parquet")],
        ["2: unknown key 'sead'; did you mean 'seed'", "4: catalog.path: none.parquet: no such file"],
    ),
    "a band that is wrong beside one that lacks a column": (
        [("error: eg", "error: eg, unit: nits"), ("value: r", "value: rr")],
        ["9: catalog.bands.g.unit: ", "10: catalog.bands.r.value: galaxies.parquet has no column 'rr'"],
    ),
    "a text column": (
        [("value: g", "value: word")],
        ["9: catalog.bands.g.value: galaxies.parquet: ", "'word'"],
    ),
    "negative errors of two bands": (
        [(PATH, "negative.parquet")],
        ["9: catalog.bands.g.error: negative.parquet: ", "10: catalog.bands.r.error: negative.parquet: "],
    ),
    "inverse variances of two bands": (
        [(PATH, "ivar.parquet")],
        ["9: catalog.bands.g.error: ivar.parquet: ", "10: catalog.bands.r.error: ivar.parquet: "],
    ),
    "fluxes that are magnitudes": (
        [("error: eg", "error: eg, unit: nmgy"), ("error: er", "error: er, unit: nmgy")],
        ["9: catalog.bands.g.value: ", "10: catalog.bands.r.value: "],
    ),
    "no galaxy left": (
        [("bright_mag: 14.0, faint_mag: 17.5", "bright_mag: 8.0, faint_mag: 9.0")],
        ["4: catalog.path: galaxies.parquet: none of its 1000 rows is left"],
    ),
    "too few galaxies": (
        [(PATH, "few.parquet")],
        ["12: slices: [0.03, 0.06] holds", "12: slices: [0.06, 0.1] holds"],
    ),
    "a slice where there is nothing": (
        [("[0.06, 0.1]", "[0.2, 0.3]")],
        ["12: slices: [0.2, 0.3] holds 0 galaxies"],
    ),
    "two filters that aren't there": (
        [("sdss_g0", "sdss_q0"), ("sdss_r0", "none.dat")],
        [
            "9: catalog.bands.g.filter: sdss_q0: is no known filter",
            "10: catalog.bands.r.filter: filter none.dat: ",
        ],
    ),
    "a filter of text and one in nm": (
        [("sdss_g0", "text.dat"), ("sdss_r0", "nm.dat")],
        ["9: catalog.bands.g.filter: filter text.dat", "10: catalog.bands.r.filter: filter nm.dat"],
    ),
    "stellar populations": (
        [("model: {fixed", "model: {ssp: ssp.h5, fixed")],
        ["15: model.ssp: ssp.h5"],
    ),
    "stellar populations and a wrong parameter": (
        [("model: {fixed: {dust.scatter", "model: {ssp: none.h5, fixed: {dust.scater")],
        ["15: model.fixed: unknown parameter 'dust.scater'", "15: model.ssp: none.h5"],
    ),
    "a completeness in percent": (
        [("  selection", "  cuts: [{kind: completeness, band: r, path: complete.txt}]\n  selection")],
        ["11: catalog.cuts.0: complete.txt"],
    ),
    "two cuts": (
        [
            (
                "  selection",
                "  cuts:\n    - {kind: completeness, band: r, path: none.txt}\n"
                "    - {kind: function, path: cuts.py, name: cut, bands: [g]}\n  selection",
            )
        ],
        ["12: catalog.cuts.0: none.txt", "13: catalog.cuts.1: cuts.py: cut gives"],
    ),
    "a cut without its function, and a wrong band": (
        [
            (
                "  selection: {band: r",
                "  cuts: [{kind: function, path: cuts.py, name: cat, bands: [g]}]\n  selection: {band: i",
            )
        ],
        ["11: catalog.cuts.0: cuts.py: no function 'cat'", "12: catalog.selection.band: 'i' is not one of"],
    ),
    "mass functions": (
        [
            (
                LAST,
                "joint:\n  - {kind: mass_function, path: none.csv, redshift: 0.05}\n"
                "  - {kind: mass_function, path: phi.csv, redshift: 0.05}\n",
            )
        ],
        ["20: joint.0: none.csv", "21: joint.1: phi.csv"],
    ),
    "a simulation without files": (
        [
            (
                "halos: {n_per_slice: 1024}",
                "halos: {source: {kind: catalog, path: none.h5, geometry: {kind: box, side_mpc: 100, "
                "redshift: 0.1}}}",
            )
        ],
        ["14: halos.source.path: none.h5 is no file"],
    ),
    "memory": (
        [("n_per_slice: 1024", "n_per_slice: 100000000")],
        ["14: halos.n_per_slice: 100,000,000 needs about"],
    ),
    "a sampler of one's own beside another mistake": (
        [("sample: {kind: nuts}", "sample: {kind: 'none.py:Walk'}"), ("seed: 1", "seed: -1")],
        ["2: seed: ", "18: sample: none.py: no such Python file"],
    ),
    "priors, features and slices": (
        [("loc: -0.4, scale: 0.2", "loc: -0.4"), ("[g-r, r]", "[g-r, i]"), ("[0.06, 0.1]", "[0.05, 0.1]")],
        ["12: slices: [0.03, 0.06] overlaps", "13: features: 'i' needs band", "17: free.dust.lg_av: prior"],
    ),
    "no YAML": ([("seed: 1", "seed: [1")], ["3: not valid YAML"]),
    "a key twice": ([("seed: 1", "name: again")], ["2: key 'name' is given twice, first on line 1"]),
    "everything": (
        [
            ("name: test", "name: CON"),
            ("seed: 1", "seed: true"),
            (PATH, "none.parquet"),
            ("sdss_g0", "sdss_q0"),
            ("[0.03, 0.06]", "[0.06, 0.03]"),
            ("n_per_slice: 1024", "n_per_slice: 1"),
            ("{kind: nuts}", "{kind: nits}"),
            ("n_centers: 50", "n_centres: 50"),
        ],
        [
            "1: name: 'CON'",
            "2: seed: ",
            "4: catalog.path: none.parquet",
            "9: catalog.bands.g.filter: sdss_q0: is no known filter",
            "12: slices: [0.06, 0.03] must satisfy",
            "14: halos.n_per_slice: ",
            "18: sample.kind: 'nits' is not one of",
            "19: unknown key 'kernels.n_centres'; did you mean 'n_centers'",
        ],
    ),
}
for name, case in yaml.safe_load(
    Path(__file__).with_name("broken_run_files.yaml").read_text("utf-8")
).items():
    BROKEN[name] = [(change["of"], change["to"]) for change in case["changes"]], case["told"]


@pytest.mark.parametrize("case", BROKEN)
def test_all_that_is_wrong_is_told_with_its_line(case, refused):
    changes, wanted = BROKEN[case]
    lines = refused(*changes)
    # a fragment without a line belongs to the line before it
    numbered = [text for text in wanted if re.match(r"\d+: ", text)]
    problems = lines[:-1] if len(lines) > 1 else lines
    assert len(problems) == len(numbered), lines
    for text in wanted:
        here = [line for line in problems if (line.startswith(text) if text in numbered else text in line)]
        assert here, (text, lines)


def test_there_are_thirty_files_with_several_mistakes():
    several = [case for case, (_, wanted) in BROKEN.items() if sum(":" in text[:4] for text in wanted) > 1]
    assert len(several) >= 30


def test_the_base_file_is_right_and_says_what_would_run(checked, folder):
    before = sorted(path.name for path in folder.iterdir())
    plan = checked()
    assert sorted(path.name for path in folder.iterdir()) == sorted({*before, "run.yaml"})
    text = "\n".join(plan.lines())
    table = galaxies()
    for low, high in ((0.03, 0.06), (0.06, 0.1)):
        n = int(((table.zs >= low) & (table.zs < high)).sum())
        assert f"{low:g} < z < {high:g}: {n:,} galaxies" in text
    assert "g-r, r; bands g, r" in text
    assert "dust.lg_av  normal(-0.4, 0.2) [dex]  log10 A_V" in text
    assert "2 x 1,024" in text and "source lightcone" in text
    assert "about 496 evaluations of the model, 16 of them" in text


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_run_files_can_be_run(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: can be run\n")
    assert not list(tmp_path.iterdir())


def test_mistakes_are_exit_code_2(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    Path("broken.yaml").write_text(BASE.replace("seed: 1", "seed: x").replace("zs", "zz"), encoding="utf-8")
    assert cli.main(["check", "broken.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["popinfer:"] * 3
    assert lines[-1] == "popinfer: broken.yaml: 2 things have to be put right"


def test_a_folder_that_cannot_be_written_is_told(checked, folder):
    checked()
    with pytest.raises(InputError, match=r"galaxies\.parquet is a file"):
        check_run_file("run.yaml", folder / "galaxies.parquet" / "x")


def test_a_broken_file_of_true_values_is_told(checked, folder):
    truth = folder / "galaxies.truth.json"
    truth.write_text("[]")
    try:
        with pytest.raises(InputError, match=r"run\.yaml:4: catalog\.path: galaxies\.truth\.json: has to be"):
            checked()
    finally:
        truth.write_text("{}")


def test_checking_loads_none_of_the_slow_packages(tmp_path):
    """Half of the two seconds that a check may take is JAX; these would be another two."""
    slow = ("scipy.stats", "astropy.table", "diffmah", "blackjax", "arviz", "matplotlib", "optax")
    code = (
        "import sys\nfrom popinfer import cli\n"
        f"code = cli.main(['check', {str(ROOT / 'configs' / 'sdss_quick.yaml')!r}])\n"
        f"print([name for name in {slow!r} if name in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, env=None
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stdout + done.stderr


@pytest.mark.parametrize("name", ["sdss_quick", "sdss"])
def test_the_estimated_time_is_that_of_the_reference_runs(name):
    summary = json.loads((ROOT / "results" / "reference" / f"{name}_summary.json").read_text())
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    estimate, measured = estimated_seconds(config), sum(summary["wall_time_s"].values())
    assert 0.5 < estimate / measured < 2
    evaluated = summary["sampler"]["n_nodes"] + summary["sampler"]["density_evaluations"]
    assert 0.8 < exact_evaluations(config) / evaluated < 1.25


def test_no_time_is_told_where_none_was_measured(checked):
    plan = checked(("kind: nuts", "kind: smc"))
    assert "not estimated for this sampler" in "\n".join(plan.lines())
