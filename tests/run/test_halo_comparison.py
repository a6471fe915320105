"""What the report says of a simulation's halos."""

import dataclasses

import numpy as np
import pytest
from halo_boxes import make_box, opencosmo_of
from halo_texts import write_box_trees
from scipy.stats import spearmanr

from popinfer.config import RunConfig
from popinfer.inference_data import from_groups
from popinfer.population.parameters import with_values
from popinfer.report.figures_simulation import simulation_plot, simulation_sentences
from popinfer.run.halo_comparison import (
    FIXED_MASSES,
    formation_and_quenching,
    formation_times,
    simulation_group,
)
from popinfer.run.prepare import prepare


@pytest.fixture(scope="module")
def box():
    return make_box(11, 70.0)


@pytest.fixture(scope="module")
def run_on(tiny_config, tmp_path_factory):
    """A run on a section ``halos.source``."""

    def prepared(source: dict):
        halos = {"n_per_slice": 512, "lgm_min": 11.2, "source": source}
        config = RunConfig.model_validate({**tiny_config, "halos": halos})
        return prepare(config, tmp_path_factory.mktemp("out"))

    return prepared


@pytest.fixture(scope="module")
def run(box, run_on, tmp_path_factory):
    return run_on(opencosmo_of(box, tmp_path_factory.mktemp("box") / "box.h5"))


@pytest.fixture(scope="module")
def group(run):
    return simulation_group(run, run.model.params)


def test_halos_of_diffhalos_are_like_diffhalos(box, group):
    ours, theirs = (group[name].values[0] for name in ("mass_function", "mass_function_diffhalos"))
    sd = group["mass_function_sd"].values[0]
    well = np.isfinite(ours) & (ours > 20 * sd**2 / ours)  # at least 20 halos
    well &= group["mass"].values > 11.4  # the lowest bins are cut
    assert well.sum() > 5
    assert np.abs((ours - theirs) / sd)[well].max() < 4
    middle = np.interp(0.5, np.cumsum(group["t_peak"].values[0]), group["t_peak_bin"].values)
    usual = np.interp(0.5, np.cumsum(group["t_peak_diffhalos"].values[0]), group["t_peak_bin"].values)
    assert middle == pytest.approx(usual, abs=0.5)
    assert group["t_peak"].sum() == pytest.approx(1)
    assert group["rms"].sum() == 0  # the file's own parameters


def test_the_correlation_is_that_of_formation_with_diffstarpops_fractions(run, group):
    from diffstar.diffstarpop.kernels.sfh_pdf_mgash import _frac_quench_cen

    from popinfer.population.diffstarpop import calibrated

    at = int(np.argmin(np.abs(FIXED_MASSES - 12.0)))
    halos = run.source.pools[0].halos
    rows = np.flatnonzero(halos.table.is_central & (np.abs(halos.table.lg_mass - 12.0) < 0.1))
    formed = formation_times(halos, rows, np.log10(13.8))
    t_peak = np.asarray(halos.table.mah_params.t_peak)[rows]
    frac_q = _frac_quench_cen(calibrated("smdpl_dr1"), halos.logmp0[rows], t_peak)
    expected = spearmanr(formed, np.asarray(frac_q)).statistic
    assert len(rows) > 100
    assert group["formation_quenching"].values[0, at] == pytest.approx(expected, abs=0.01)
    # with a history that peaks as early as it forms, old halos are the quenched ones
    t_peak = np.minimum(1.3 * all_formed(halos), 13.8)
    early = dataclasses.replace(halos.table, mah_params=halos.table.mah_params._replace(t_peak=t_peak))
    old = formation_and_quenching(run, run.model.params, dataclasses.replace(halos, table=early))
    assert old[at] < -0.5
    assert np.isnan(group["formation_quenching"].values[0, -1])  # hardly a halo of 10^14 Msun


def all_formed(halos) -> np.ndarray:
    """Formation times of all halos."""
    return formation_times(halos, np.arange(len(halos.t_obs)), np.log10(13.8))


def test_half_of_the_mass_is_there_at_formation(run):
    from popinfer.halos.completed import log_mah

    halos = run.source.pools[0].halos
    rows = np.arange(0, len(halos.t_obs), 50)
    logt0 = np.log10(13.8)
    formed = formation_times(halos, rows, logt0)
    mah = type(halos.table.mah_params)(*(np.asarray(x)[rows] for x in halos.table.mah_params))
    half = log_mah(mah, halos.t_obs[rows], logt0) - np.log10(2)
    np.testing.assert_allclose(log_mah(mah, formed, logt0), half, atol=2e-3)


def test_sentences_and_figure(run, group):
    idata = from_groups({"simulation": group})
    first, second = simulation_sentences(idata)
    assert "Rank correlation (Spearman) of formation time" in first
    assert "at 10^12 Msun" in first and "nan" not in first
    assert "Quenching of satellites by infall is 1 of diffstarpop's own" in second
    plot = simulation_plot(idata)
    assert len(plot.figure.axes) == 2 and "diffhalos" in plot.caption
    off = with_values(run.model.params, {"sfh.satellite_quenching": 0.0})
    assert "infall is off" in simulation_group(run, off).attrs["satellites"]
    assert simulation_plot(from_groups({})) is None and simulation_sentences(from_groups({})) == []


def test_residuals_of_fitted_trees_are_drawn(box, run_on, tmp_path):
    run = run_on(write_box_trees(box, tmp_path / "tree_0_0_0.dat"))
    group = simulation_group(run, run.model.params)
    assert group["rms"].sum() == np.isfinite(run.source.pools[0].halos.rms).sum() > 100
    assert len(simulation_plot(from_groups({"simulation": group})).figure.axes) == 3
