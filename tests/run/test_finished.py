"""A finished run read back from its folder."""

import shutil

import numpy as np
import pytest

import popinfer
from popinfer.errors import InputError
from popinfer.model import HaloSpec, PlannedSurvey
from popinfer.random import root_key


@pytest.fixture(scope="module")
def finished(tiny_run):
    _, out, _ = tiny_run
    return popinfer.open_run(out)


def test_it_tells_what_was_run_and_found(finished, tiny_run):
    file, _, code = tiny_run
    assert finished.config == popinfer.load_config(file)
    assert finished.summary.name == "tiny"
    assert finished.verdict.converged == (code != 3)
    table = finished.draws
    assert list(table.columns) == ["dust.lg_av", "metallicity.zero_point"]
    posterior = finished.idata["posterior"]
    assert len(table) == posterior.sizes["chain"] * posterior.sizes["draw"]
    assert table["dust.lg_av"].mean() == pytest.approx(float(posterior["dust.lg_av"].mean()))


def test_the_posterior_is_that_of_the_run(finished):
    """Exact log-densities were stored with the draws."""
    u = finished.vectors()
    stored = finished.idata["sample_stats"]["lp"].values.ravel()
    some = np.linspace(0, len(u) - 1, 5).round().astype(int)
    values = [float(finished.posterior.log_density(u[i])) for i in some]
    if finished.idata["sample_stats"].attrs["n_refinements"] == 0:
        np.testing.assert_allclose(values, stored[some], atol=2e-3)
    spread = np.std(np.array(values) - stored[some])
    assert spread < 0.3
    best = finished.model.space.to_unconstrained(finished.summary.best_fit)
    assert float(finished.posterior.log_density(best)) == pytest.approx(
        finished.summary.log_density_best, abs=0.5
    )


def test_it_predicts_other_surveys(finished):
    planned = PlannedSurvey.of({"i": "sdss_i0"}, [(0.1, 0.12)])
    prediction = finished.predict(root_key(1), planned, 3, HaloSpec(1, 64))
    assert len(prediction) == 3
    table = prediction.table(2)
    assert table["redshift"].between(0.1, 0.12).all()
    assert np.isfinite(table["mag_i"]).all()
    (middle,) = finished.vectors(3)[1:2]
    assert float(prediction.params[1].dust.lg_av) == pytest.approx(
        float(finished.params_at(middle).dust.lg_av)
    )


def test_unfinished_runs_are_refused(tmp_path, finished):
    with pytest.raises(InputError, match=r"run\.yaml: not there yet"):
        popinfer.open_run(tmp_path)
    shutil.copy(finished.folder.config, tmp_path)
    with pytest.raises(InputError, match=r"posterior\.nc: not there yet"):
        popinfer.open_run(tmp_path)
