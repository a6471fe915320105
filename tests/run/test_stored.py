"""Results of every released format are opened by later versions, without the inputs of their runs."""

import tarfile
from pathlib import Path

import pytest

import popinfer
from popinfer.cli import main
from popinfer.storage import SCHEMA

STORED = sorted((Path(__file__).parent / "stored").glob("v*.tar.xz"))
LARGEST = 300_000  # bytes of each, in git
# what the present gate says of them, which may ask for more than that of their time: draws of v4 were worth
# 400 before it took into account that draws of chains depend on one another
FAILURES = {"v4.tar.xz": ["The weighted draws are worth 286 independent ones"]}
MEANS = {"v4.tar.xz": {"dust.lg_av": -0.262653, "metallicity.zero_point": -0.299443}}  # when they were made


@pytest.fixture
def unpacked(tmp_path, request) -> Path:
    """A stored run's folder."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_present_format_is_among_them():
    there = [path.name for path in STORED]
    assert f"v{SCHEMA}.tar.xz" in there, "python tests/run/stored/make.py stores one of the present format"
    assert max(path.stat().st_size for path in STORED) < LARGEST


@pytest.mark.parametrize("unpacked", STORED, ids=lambda path: path.name, indirect=True)
def test_a_stored_result_is_reported_without_its_inputs(unpacked, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr("popinfer.run.prepare.build_catalog", None)  # nothing of the run is read
    assert main(["report", str(unpacked), "--quiet", "--allow-misfit", "--allow-unconverged"]) == 0
    page = (unpacked / "report.html").read_text(encoding="utf-8")
    assert "CONVERGED" in page and "dust.lg_av" in page
    assert {path.name for path in (unpacked / "figures").iterdir()} >= {"corner.png", "color_histograms.png"}


@pytest.mark.parametrize("unpacked", STORED, ids=lambda path: path.name, indirect=True)
def test_a_stored_result_is_what_it_was(unpacked, request):
    """The draws, and the run file that rebuilds the model."""
    name = request.node.callspec.params["unpacked"].name
    stored = popinfer.open_run(unpacked)
    assert stored.config.name == stored.summary.name == "tiny" and stored.config.seed == 3
    assert [failure.partition(",")[0] for failure in stored.verdict.failures] == FAILURES[name]
    assert dict(stored.draws.mean()) == pytest.approx(MEANS[name], abs=1e-6)
