import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import arviz as az
import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from popinfer.cli import main
from popinfer.errors import InputError
from popinfer.infer.optimise import log_counts
from popinfer.inference_data import group_names
from popinfer.report import RunSummary, judge, outcome_of
from popinfer.run.fitting import read_fit
from popinfer.run.folder import RunFolder
from popinfer.run.posterior import _thin
from popinfer.run.prepare import load_population
from popinfer.run.search import read_region

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once

GROUPS = {
    *("posterior", "prior", "sample_stats", "posterior_predictive", "observed_data", "checks", "derived"),
    *("chains", "chain_stats", "unconstrained"),
}


def stored_fit(run):
    return read_fit(run, run.data())


@pytest.fixture(scope="module")
def idata(tiny_run):
    return az.from_netcdf(str(tiny_run[1] / "posterior.nc"), engine="h5netcdf").load()


def test_exit_code_is_the_verdict(tiny_run, idata):
    outcome = outcome_of(idata, RunSummary.read(tiny_run[1] / "summary.json"))
    assert tiny_run[2] == (3 if not outcome.converged else 0 if outcome.describes else 4)


def test_the_reference_names_every_key_of_the_results(tiny_run):
    from scripts import as_module

    docs = Path(__file__).resolve().parents[2] / "docs"
    text = (docs / "reference" / "files.md").read_text(encoding="utf-8")
    text += as_module(docs / "_ext" / "generated.py").summary_keys()
    for name in ("search.json", "fit.json", "summary.json"):
        content = json.loads((tiny_run[1] / name).read_text(encoding="utf-8"))
        assert [key for key in content if key != "seal" and f"`{key}`" not in text] == [], name
    with np.load(tiny_run[1] / "fit.npz") as arrays:
        assert [name for name in arrays if f"`{name}`" not in text] == []


def test_all_files_are_there_and_no_temporary_ones(tiny_run):
    names = {path.name for path in tiny_run[1].iterdir()}
    assert names >= {
        "run.yaml",
        "search.json",
        "halos.h5",
        "fit.json",
        "fit.npz",
        "posterior.nc",
        "summary.json",
        "report.html",
        "figures",
        "tables",
        "README.md",
        "references.bib",
        "reproduce.sh",
    }
    assert not [name for name in names if name.startswith(".")]


def test_posterior_file_holds_what_the_report_reads(tiny_run, idata):
    config = yaml.safe_load(tiny_run[0].read_text())
    assert set(group_names(idata)) == GROUPS
    assert set(idata.posterior.data_vars) == set(config["free"])
    assert idata.posterior.sizes == {"chain": 4, "draw": 100}
    # of the surrogate, as they were drawn; they go on until they are worth enough
    assert idata["chains"].sizes == idata["chain_stats"].sizes
    assert idata["chains"].sizes["chain"] == 4 and idata["chains"].sizes["draw"] % 300 == 0
    assert idata.prior.sizes == {"chain": 1, "draw": 2000}
    assert idata.sample_stats["log_weight"].size == idata.sample_stats.attrs["density_evaluations"]
    assert idata.posterior_predictive["hist"].dims == ("chain", "draw", "slice", "feature", "bin")
    assert "name: tiny" in idata.posterior.attrs["config"]
    assert idata.posterior.attrs["version jax"]
    assert len(json.loads(idata.posterior.attrs["sha256"])["catalog sdss_mgs"]) == 64


def test_no_name_in_the_posterior_file_holds_a_slash(tiny_run, idata, tmp_path):
    """netCDF4 refuses to save names with one again, and other readers take it for a group."""
    for name in group_names(idata):
        group = idata[name]
        names = [*group.variables, *group.dims, *group.attrs]
        names += [attribute for one in group.variables.values() for attribute in one.attrs]
        assert names and not [x for x in names if "/" in str(x)]
    with h5py.File(tiny_run[1] / "posterior.nc") as store:
        stored = []
        store.visititems(lambda _path, item: stored.extend(item.attrs))
        assert stored and not [x for x in stored if "/" in x]
    idata.to_netcdf(str(tmp_path / "again.nc"), engine="h5netcdf")
    again = az.from_netcdf(str(tmp_path / "again.nc"), engine="h5netcdf")
    assert again.posterior.attrs["sha256"] == idata.posterior.attrs["sha256"]


def test_priors_are_in_physical_units(idata):
    lg_av = idata.prior["dust.lg_av"].values
    assert np.isclose(lg_av.mean(), -0.4, atol=0.02)
    assert np.isclose(lg_av.std(), 0.2, rtol=0.1)


def test_predictions_are_scaled_to_the_data(idata):
    predicted, observed = (
        idata.posterior_predictive["hist"].sum("bin"),
        idata.observed_data["hist"].sum("bin"),
    )
    # both lose the few galaxies beyond the bins
    np.testing.assert_allclose(predicted.values[0, 0], observed.values, rtol=0.05)


def test_derived_relations_are_physical(idata):
    derived = idata["derived"]
    smhm = derived["smhm"].values
    assert np.nanmin(np.diff(smhm[:, :16], axis=1)) > -0.2
    assert 9.5 < np.interp(12.0, derived["lgmh"].values, smhm[0]) < 11.0
    quenched = derived["quenched_fraction"].values
    assert np.nanmin(quenched) >= 0
    assert np.nanmax(quenched) <= 1
    assert -2.5 < derived["csfrd"].values[0, 0] < -1.2
    assert derived["csfrd"].values[0, 3] > derived["csfrd"].values[0, 0]


def test_checks_are_of_the_galaxies_and_counts_that_were_fitted(run, idata):
    checks = idata["checks"]
    color, mag = run.survey.features[0].T
    median, width = (checks["observed"].sel(statistic=one).values[0] for one in ("median", "width"))
    np.testing.assert_allclose(median, [np.median(color), np.median(mag)], atol=1e-3)
    low, high = np.percentile(color, [16, 84])
    assert width[0] == pytest.approx(high - low, abs=2e-3)
    # a fit on few halos is about right: medians and widths to half of the observed width
    assert np.all(np.abs(checks["predicted"].values[0, :2] - checks["observed"].values[0, :2]) < 0.5 * width)
    assert np.isnan(checks["p_value"].values[0, 2, 1])  # a magnitude has no blue fraction
    # with the prior's part, chi-square is lowest at the mode that the fit stage found by another route
    assert checks.sizes["draw"] == 4
    fit, draws = stored_fit(run), _thin(idata["unconstrained"]["posterior"].values, 4)
    above = checks["chi2"].values.ravel() + np.sum(draws**2, axis=1)
    above -= fit.goodness.chi2 + np.sum(fit.approx.mean**2)
    assert np.all(above > -0.5) and above.min() < 0.2 * fit.goodness.chi2, above


def test_kernels_are_at_observed_galaxies(run, idata):
    centers = idata.observed_data["kernel_center"].values[0]
    distance = np.abs(centers[:, None] - run.survey.features[0]).max(axis=-1).min(axis=1)
    assert distance.max() < 1e-4


def test_summary_has_goodness_and_provenance(tiny_run):
    summary = RunSummary.read(tiny_run[1] / "summary.json")
    assert summary.n_galaxies == (1222,)
    assert summary.n_halos == 512
    assert set(summary.wall_time_s) == {"search", "halos", "fit", "sample"}
    assert summary.chi2 > 0
    assert 0 <= summary.p_value <= 1
    assert 0 <= summary.predictive_p_value <= 1
    # one slice is all there is
    assert summary.goodness_per_slice[0]["predictive_p_value"] == pytest.approx(summary.predictive_p_value)
    assert 0 < summary.halo_share_median <= summary.halo_share_max < 1
    share = max(json.loads((tiny_run[1] / "fit.json").read_text())["halo_share_of_counting"])
    assert share > 0.1  # 512 halos are few
    of_counting = 100 * share / (1 - share)
    assert any(f"reaches {of_counting:.0f} % of the counting noise" in text for text in summary.warnings)
    assert {one["start"] for one in summary.starts} == {0, 1, 2}  # first answer, prior draw, reflection
    assert set(summary.best_fit) == set(summary.priors) == {"dust.lg_av", "metallicity.zero_point"}


def test_halos_are_stored_in_independent_batches(run):
    halos = load_population(run).halos
    assert halos.weight.shape == (16, 1, 32)
    assert len(np.unique(halos.logmp0)) > 0.9 * halos.logmp0.size  # candidates may be kept more than once


def test_stages_refuse_files_of_another_configuration(tiny_run, write_config, capsys):
    file = write_config(seed=4)
    assert main(["fit", str(file), "--out", str(tiny_run[1]), "--quiet"]) == 2
    assert "holds results of another run: seed: 3 there, 4 here. --fresh" in capsys.readouterr().err


def test_stages_refuse_files_made_from_other_data(run):
    assert stored_fit(run).approx.mean.shape == (2,)
    other = dataclasses.replace(run, catalog=dataclasses.replace(run.catalog, sha256="0" * 64))
    with pytest.raises(InputError, match="run 'popinfer fit' again"):
        stored_fit(other)
    with pytest.raises(InputError, match="run 'popinfer search' again"):
        read_region(other)
    with pytest.raises(InputError, match="run 'popinfer halos' again"):
        load_population(other)


def test_report_refuses_draws_of_one_run_and_numbers_of_another(tiny_run, tmp_path, capsys):
    for name in ("posterior.nc", "summary.json"):
        (tmp_path / name).write_bytes((tiny_run[1] / name).read_bytes())
    summary = RunSummary.read(tmp_path / "summary.json")
    dataclasses.replace(summary, posterior="another").write(tmp_path / "summary.json")
    assert main(["report", str(tmp_path), "--quiet"]) == 2
    assert "summary.json: of other draws than" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_stage_before_its_predecessor(write_config, tmp_path, capsys):
    assert main(["sample", str(write_config()), "--out", str(tmp_path / "new"), "--quiet"]) == 2
    assert "run 'popinfer halos' first" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_sample_again_and_report_from_stored_files(tiny_run, idata):
    file, out, code = tiny_run
    assert main(["sample", str(file), "--out", str(out), "--quiet"]) == code
    again = az.from_netcdf(str(out / "posterior.nc"), engine="h5netcdf").load()
    for name in idata.posterior.data_vars:
        np.testing.assert_allclose(again.posterior[name].values, idata.posterior[name].values, rtol=1e-6)
    assert "kind: nuts" in (out / "run.yaml").read_text()
    assert not (out / "report.html").exists()  # of other draws
    assert not any(path.exists() for path in RunFolder(out).beside_page)
    assert main(["report", str(out), "--quiet", "--allow-unconverged", "--allow-misfit"]) == 0
    assert "tiny" in (out / "report.html").read_text()
    assert "Doi2010sdss" in (out / "references.bib").read_text()


@pytest.mark.slow
def test_the_script_makes_the_results_again(tiny_run, idata, tmp_path):
    """In a process of its own, from the stored run file."""
    program = tmp_path / "popinfer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m popinfer "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(tiny_run[1] / "reproduce.sh"), str(tmp_path / "again")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = az.from_netcdf(str(tmp_path / "again" / "posterior.nc"), engine="h5netcdf")
    for name in idata.posterior.data_vars:
        np.testing.assert_allclose(again.posterior[name].values, idata.posterior[name].values, rtol=1e-5)
    assert "largest shift" in done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "nuts_exact", "n_chains": 2, "n_warmup": 10, "n_draws": 10, "max_tree_depth": 2},
        pytest.param(
            {"kind": "smc", "n_particles": 40, "n_moves": 1, "max_leapfrog": 1}, marks=pytest.mark.slow
        ),
    ],
    ids=lambda settings: settings["kind"],
)
def test_other_samplers_start_from_the_same_fit_and_are_too_short_here(
    tiny_run, run, write_config, tmp_path, settings, capsys
):
    out = tmp_path / "again"
    shutil.copytree(tiny_run[1], out)
    assert main(["sample", str(write_config(sample=settings)), "--out", str(out), "--quiet"]) == 3
    assert "NOT CONVERGED" in capsys.readouterr().err
    again = az.from_netcdf(str(out / "posterior.nc"), engine="h5netcdf").load()
    verdict = judge(again)
    assert verdict.sampler == settings["kind"] and "Bulk ESS" in str(verdict)
    # the lengths are far from enough for more than this
    approx = stored_fit(run).approx
    assert again.sample_stats["lp"].shape == ((2, 10) if settings["kind"] == "nuts_exact" else (4, 10))
    assert np.isfinite(again.sample_stats["lp"]).all()
    lg_av = again.posterior["dust.lg_av"].values
    assert abs(lg_av.mean() - (-0.4 + 0.2 * approx.mean[0])) < 0.2 * 3 * np.sqrt(approx.cov[0, 0])


def test_fisher_ranks_the_free_parameters_at_the_fit(tiny_run, run, capsys):
    assert main(["fisher", str(tiny_run[0]), "--out", str(tiny_run[1])]) == 0
    printed = capsys.readouterr().out
    assert "At the best fit" in printed
    content = json.loads((tiny_run[1] / "fisher.json").read_text())
    by_name = {row["name"]: row for row in content["parameters"]}
    assert set(by_name) == {"dust.lg_av", "metallicity.zero_point"}
    # the Laplace approximation of the same posterior, up to the ridge and the step to its mode
    sd = dict(zip(run.model.space.names, np.sqrt(np.diag(stored_fit(run).approx.cov)), strict=True))
    for name, row in by_name.items():
        assert row["together"] == pytest.approx(sd[name], rel=0.25)
        assert row["alone"] <= row["together"] * (1 + 1e-9)


def test_fisher_without_a_fit_is_at_the_priors_centre(tiny_run, tmp_path, capsys):
    out = tmp_path / "again"
    shutil.copytree(tiny_run[1], out)
    for name in ("fit.json", "fit.npz", "fisher.json"):
        (out / name).unlink(missing_ok=True)
    assert main(["fisher", str(tiny_run[0]), "--out", str(out)]) == 0
    assert "At the prior's centre" in capsys.readouterr().out
    content = json.loads((out / "fisher.json").read_text())
    assert content["evaluated_at"] == "prior's centre"
    assert all(0 < row["alone"] <= row["together"] * (1 + 1e-9) < 1.001 for row in content["parameters"])
    assert not (out / "fit.json").exists()


def test_a_stored_fit_is_the_one_that_was_made(run):
    population = load_population(run)
    fit = read_fit(run, population.data)
    u = fit.approx.mean
    exact = fit.surrogate.likelihood.log_posterior(log_counts(population.counts, u), u)
    assert exact == pytest.approx(fit.log_density, abs=1e-6)
    assert float(fit.surrogate.density(jnp.asarray(u))) == pytest.approx(fit.log_density, abs=0.3)
    assert fit.settled and len(fit.mixture.components) >= 1


def test_fit_json_is_readable(tiny_run):
    fit = json.loads((tiny_run[1] / "fit.json").read_text())
    assert np.isfinite(fit["log_density"])
    assert set(fit["maximum"]) == {"dust.lg_av", "metallicity.zero_point"}
