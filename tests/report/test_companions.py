"""What stands beside the page: tables that read back, a README and a script that no run can break."""

import dataclasses
import io
import subprocess

import arviz as az
import numpy as np
import pandas as pd
import pytest
import synthetic
import xarray as xr
from astropy.table import Table

from popinfer.report import RunSummary, html
from popinfer.report.companions import comment, companion_files, plain
from popinfer.report.tables import table_files
from popinfer.storage import read_sealed

NASTY = "a|b\n# <script>alert(1)</script> `rm` $(rm) *x* --> \\"


@pytest.fixture(scope="module")
def folder(report_folder):
    return report_folder


def _table(folder, name: str) -> Table:
    return Table.read(folder / "tables" / f"{name}.ecsv", format="ascii.ecsv")


def test_tables_have_the_reports_numbers(folder, converged_run):
    assert {path.name for path in (folder / "tables").iterdir()} == {
        f"{name}.ecsv" for name in ("parameters", "predictions", "checks", "relations", "published")
    }
    parameters = _table(folder, "parameters")
    draws = converged_run.posterior["sfh.efficiency"].values
    row = parameters[list(parameters["name"]).index("sfh.efficiency")]
    assert row["median"] == pytest.approx(np.median(draws), rel=1e-5) and row["unit"] == "dex"
    assert row["high95"] == pytest.approx(np.percentile(draws, 97.5), rel=1e-5)
    assert parameters["truth"].mask.all()  # of mocks only
    predictions = _table(folder, "predictions")
    observed = converged_run.observed_data["hist"].values
    assert len(predictions) == observed.size
    np.testing.assert_allclose(np.asarray(predictions["observed"]), observed.ravel())
    expected = np.median(converged_run.posterior_predictive["hist"].values[0], axis=0)
    np.testing.assert_allclose(np.asarray(predictions["median"]), expected.ravel(), rtol=1e-5)
    assert str(predictions["bin_low"].unit) == "mag" and predictions["bin_low"].description
    assert predictions["feature"][0] == "u-g" and predictions["z_high"][-1] == 0.16


def test_relations_are_those_of_the_draws(folder, converged_run):
    relations = _table(folder, "relations")
    smhm = relations[np.asarray(relations["relation"]) == "smhm"]
    drawn = converged_run["derived"]["smhm"]
    np.testing.assert_allclose(np.asarray(smhm["x"]), drawn["lgmh"], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(smhm["median"]), np.median(drawn, axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        np.asarray(smhm["fiducial"]), converged_run["derived"]["smhm_fiducial"], rtol=1e-5
    )
    published = _table(folder, "published")
    np.testing.assert_allclose(
        published["difference"], published["median"] - published["published"], atol=1e-5
    )


def test_tables_are_read_by_what_knows_csv_alone(folder):
    for path in (folder / "tables").iterdir():
        frame = pd.read_csv(path, comment="#")
        assert (
            len(frame) > 1
            and "None" not in path.read_text()
            and "nan" not in path.read_text().lower().split(",")
        )
    assert pd.read_csv(folder / "tables" / "parameters.ecsv", comment="#")["truth"].isna().all()


def test_fitted_abundances_have_a_table():
    idata = synthetic.chains()
    drawn = 1000 * (1 + 0.1 * np.linspace(-2, 2, 101)).reshape(1, 101, 1)
    number = {"abundance": (("number",), [1300.0]), "abundance_sd": (("number",), [100.0])}
    idata.add_groups(
        {
            "posterior_predictive": xr.Dataset({"abundance": (("chain", "draw", "number"), drawn)}),
            "observed_data": xr.Dataset(number | {"abundance_name": (("number",), ["galaxies, z < 0.1"])}),
        }
    )
    content = table_files(idata, synthetic.summary(), html.find(idata, synthetic.summary()).rows)
    (row,) = Table.read(io.BytesIO(content["abundances.ecsv"]), format="ascii.ecsv")
    assert row["abundance"] == "galaxies, z < 0.1" and row["observed"] == 1300
    assert row["median"] == pytest.approx(1000) and row["low68"] == pytest.approx(864)


def test_a_table_keeps_names_that_hold_separators():
    summary = dataclasses.replace(synthetic.summary(), meanings={"dust.av": 'a "b", c; d\ne'})
    idata = az.from_dict(posterior={"dust.av": synthetic.draws()["dust.av"]})
    content = table_files(idata, summary, html.find(idata, summary).rows)["parameters.ecsv"]
    assert Table.read(io.BytesIO(content), format="ascii.ecsv")["meaning"][0].split() == [
        "a",
        '"b",',
        "c;",
        "d",
        "e",
    ]


def test_files_are_sealed_with_the_draws(folder):
    for name, kind in (("README.md", "readme"), ("reproduce.sh", "script"), ("references.bib", "references")):
        assert read_sealed(folder / name, kind, "report").identity == "-"


def test_the_readme_tells_verdict_numbers_files_and_citations(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "**CONVERGED.**" in text and "χ² = 243.1" in text and "None" not in text
    for name in synthetic.PARAMETERS:
        assert f"| {plain(name)} |" in text
    assert "Central galaxies of halos of 10^12 Msun" in text and "`tables/`" in text
    assert "sh reproduce.sh" in text and "Madau & Dickinson 2014" in text and "sdss.parquet" in text
    lines = text.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in tables} == {6, 3}


def test_a_readme_of_draws_that_failed_says_so():
    posterior = {name: values.copy() for name, values in list(synthetic.draws().items())[:2]}
    posterior["sfh.efficiency"][1] += 0.3
    files = companion_files(html.find(synthetic.chains(posterior), RunSummary(name="bad")))
    text = files["README.md"].decode()
    assert "**NOT CONVERGED.**" in text and "must not be read as a posterior" in text
    assert "The draws are not a posterior" in text and "Central galaxies" not in text


def test_nothing_in_a_run_becomes_markup_or_a_command(tmp_path):
    summary = dataclasses.replace(
        synthetic.summary(),
        name=NASTY,
        meanings=dict.fromkeys(synthetic.PARAMETERS, NASTY),
        units=dict.fromkeys(synthetic.PARAMETERS, NASTY),
        priors=dict.fromkeys(synthetic.PARAMETERS, NASTY),
        hashes={f"catalog x\ntouch {tmp_path}/broken\n": "0" * 64},
        versions={"popinfer": f"1\ntouch {tmp_path}/broken"},
        warnings=(NASTY,),
    )
    files = companion_files(html.find(synthetic.chains(), summary))
    readme = files["README.md"].decode()
    assert "<script" not in readme.replace("\\<", "") and readme.count("-->") == 1  # that of the seal
    script = tmp_path / "reproduce.sh"
    script.write_bytes(files["reproduce.sh"])
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "popinfer"
    fake.write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    subprocess.run(["sh", str(script), "again"], check=True, env=environment, cwd=tmp_path)
    called = (tmp_path / "bin" / "popinfer.log").read_text().splitlines()
    assert called[0] == f"run {tmp_path}/run.yaml --out again --allow-unconverged --allow-misfit"
    assert called[1] == f"compare {tmp_path} again" and len(called) == 2
    assert not (tmp_path / "broken").exists()


def test_a_summary_without_a_run_file_has_no_script():
    files = companion_files(html.find(synthetic.chains(), RunSummary(name="mine")))
    assert "reproduce.sh" not in files and "run.yaml" not in files["README.md"].decode()


def test_text_is_one_line():
    assert plain("a\n|b|") == "a \\|b\\|" and comment("a\nb\r\x1b[0m\u2028c") == "a b [0m c"


def test_a_users_own_files_stay_as_they_are(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    idata = synthetic.chains({name: synthetic.draws()[name] for name in list(synthetic.PARAMETERS)[:2]})
    html.write_report(idata, RunSummary(name="x", config_text="name: x\n"), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / "reproduce.sh").is_file()


def test_a_page_without_predictions_has_fewer_tables():
    idata = az.from_dict(posterior={"a": np.random.default_rng(1).normal(size=(4, 200))})
    summary = RunSummary(name="x")
    assert set(table_files(idata, summary, html.find(idata, summary).rows)) == {"parameters.ecsv"}
