"""``popinfer calibrate``: simulated surveys, restarts, refusals and the page."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from popinfer import cli
from popinfer.errors import NotConvergedError
from popinfer.halos.lightcone import draw_slices
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.likelihood import Likelihood
from popinfer.random import numpy_generator, root_key, stream
from popinfer.run import calibrate as module
from popinfer.run import provenance
from popinfer.run.build import lightcones
from popinfer.run.calibrate import SABOTAGES, CalibrateSpec, calibrate, run_trial
from popinfer.run.guides import _wider_kernels
from popinfer.run.search import Region
from popinfer.run.simulate import simulate_run

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once


def fake_trial(run, index, spec):
    """A right posterior of known width, without a survey."""
    rng = np.random.default_rng(index)
    size = run.model.space.size
    truth = rng.standard_normal(size)
    mean = truth / 2 + rng.standard_normal(size) / 2
    draws = mean + rng.standard_normal((400, size)) / np.sqrt(2)
    if spec.sabotage == "half_covariance":
        draws = mean + (draws - mean) / 3
    made = module.Trial.of(root_key(10_000 + index), truth, draws, True)
    return {**{k: module._plain(v) for k, v in vars(made).items()}, "wall_time_s": 0.0}


SOMEWHERE = Region(Mixture.single(Laplace(np.zeros(2), np.eye(2))), [], 0.0)


def few_batches(run):
    """Two batches of halos that no search has chosen."""
    specs = [dataclasses.replace(spec, n_halo=16) for spec in lightcones(run.config)]
    return jax.tree.map(lambda *x: np.stack(x), *[draw_slices(root_key(i), specs) for i in range(2)])


def test_a_trial_recovers_its_truth(trial):
    away = (np.array(trial["mean"]) - trial["truth"]) / trial["sd"]
    assert np.all(np.abs(away) < 4)
    assert trial["distance2"] < 20
    assert np.all((np.array(trial["rank"]) > 0) & (np.array(trial["rank"]) < 1))
    assert np.all(np.array(trial["sd"]) < 1)
    assert trial["converged"], trial["failures"]


def test_a_trial_repeats(trial_run, trial):
    again = run_trial(trial_run, 0, CalibrateSpec())
    assert again["truth"] == trial["truth"]
    np.testing.assert_allclose(again["mean"], trial["mean"], atol=1e-3)


def test_a_simulated_survey_follows_its_truth(trial_run):
    red, blue = (
        simulate_run(root_key(5), trial_run, np.array(u)).survey.features[0][:, 0].mean()
        for u in ([2.0, 0.0], [-2.0, 0.0])
    )
    assert red > blue + 0.02  # more dust


def test_a_simulated_survey_keeps_the_kernels(trial_run):
    """They are the design: only what they count is new."""
    made = simulate_run(root_key(5), trial_run, np.zeros(2))
    survey, real = made.survey, trial_run.survey.kernels
    for name in ("mean", "whiten", "centers", "layout_cov", "n_obs"):
        np.testing.assert_array_equal(getattr(survey.kernels, name), getattr(real, name))
    np.testing.assert_array_equal(survey.kernels.n_obs, [len(x) for x in survey.features])
    assert not np.allclose(survey.kernels.observed, real.observed)
    # errors of the model and modes are those of the layout, counting noise is the simulated galaxies'
    simulated, own = (one.data() for one in (made, trial_run))
    both = np.ix_(simulated.used & own.used, simulated.used & own.used)
    assert both[0].size > 10
    np.testing.assert_allclose(np.asarray(simulated.model_cov)[both], np.asarray(own.model_cov)[both])
    assert not np.allclose(simulated.counting_cov[both], own.counting_cov[both], rtol=0.01)


def test_wider_kernels_kernels_of_a_simulated_survey_stay_in_place(trial_run):
    made = simulate_run(root_key(5), trial_run, np.zeros(2))
    wide = _wider_kernels(made, 2.0)
    np.testing.assert_array_equal(wide.centers, trial_run.survey.kernels.centers)
    assert wide.bandwidth == 2 * trial_run.survey.kernels.bandwidth
    used = made.survey.kernels.mask > 0
    assert np.all(wide.observed[used] > made.survey.kernels.observed[used] / 1.3)


def test_sabotages_change_the_likelihood(trial_run):
    data = trial_run.data()
    assert set(SABOTAGES) == {"none", "half_covariance", "no_halo_noise"}
    assert SABOTAGES["none"](data) is data
    halo_cov = 0.1 * data.log_cov
    found = {name: Likelihood.of(change(data), halo_cov) for name, change in SABOTAGES.items()}
    np.testing.assert_allclose(found["half_covariance"].data.log_cov, 0.5 * data.log_cov)
    assert np.all(found["no_halo_noise"].halo_cov == 0)
    assert np.all(np.diag(found["none"].halo_cov) > 0.01)
    np.testing.assert_allclose(found["no_halo_noise"].cov, found["none"].cov)


@pytest.mark.parametrize("sabotage", sorted(set(SABOTAGES) - {"none"}))
def test_sabotages_reach_the_analysis(trial_run, monkeypatch, sabotage):
    """The halos and the search are those of an honest trial; the fit sees other data."""

    seen = []

    def fit_population(run, population, region, say):
        seen.append(population.data)
        raise NotConvergedError("seen")

    monkeypatch.setattr(module, "fit_population", fit_population)
    monkeypatch.setattr(module, "search_posterior", lambda run, say: SOMEWHERE)
    monkeypatch.setattr(module, "draw_run_halos", lambda run, *_: few_batches(run))
    assert run_trial(trial_run, 0, CalibrateSpec(sabotage=sabotage))["failed"] == "seen"
    (made,) = seen
    key = stream(root_key(trial_run.config.seed), "trial", 0)
    truth = numpy_generator(stream(key, "truth")).standard_normal(trial_run.model.space.size)
    trial = simulate_run(key, trial_run, truth)
    plain = trial.data()
    np.testing.assert_allclose(made.observed, plain.observed)
    assert made.halo_factor == (0 if sabotage == "no_halo_noise" else 1)
    ratio = 0.5 if sabotage == "half_covariance" else 1
    np.testing.assert_allclose(made.log_cov, ratio * plain.log_cov)


def test_restart_keeps_trials_and_refuses_others(tiny_config, tmp_path, monkeypatch):
    from popinfer.config import RunConfig
    from popinfer.errors import InputError

    made = []
    monkeypatch.setattr(module, "run_trial", lambda *a: made.append(a[1]) or fake_trial(*a))
    config = RunConfig.model_validate(tiny_config)
    calibrate(config, CalibrateSpec(20), tmp_path)
    (tmp_path / "trials" / "0007.json").unlink()
    found, _ = calibrate(config, CalibrateSpec(25), tmp_path)
    assert made == [*range(20), 7, *range(20, 25)]
    assert found.n_trials == 25
    stored = json.loads((tmp_path / "calibration.json").read_text())
    assert stored["n_trials"] == 25
    assert len(stored["ranks"]) == 25
    other = RunConfig.model_validate({**tiny_config, "seed": 99})
    with pytest.raises(InputError, match="another run: seed: 3 there, 99 here"):
        calibrate(other, CalibrateSpec(25), tmp_path)
    with pytest.raises(InputError, match=r"0000.json: made from another configuration"):
        calibrate(config, CalibrateSpec(25, seed=4), tmp_path)
    monkeypatch.setattr(provenance, "code_hash", lambda: "later")
    with pytest.raises(InputError, match="popinfer's own source"):
        calibrate(config, CalibrateSpec(25), tmp_path)
    calibrate(config, CalibrateSpec(25, fresh=True), tmp_path)
    assert made[-25:] == list(range(25))


def test_surveys_without_a_posterior_are_counted(trial_run, tiny_config, tmp_path, monkeypatch):
    """They neither stop the others nor pass unseen, and don't come back as successes after a restart."""
    from popinfer.config import RunConfig
    from popinfer.errors import InputError

    def no_galaxies(*_):
        raise InputError("would see no galaxy")

    monkeypatch.setattr(module, "simulate_run", no_galaxies)
    failed = run_trial(trial_run, 3, CalibrateSpec())
    assert failed["failed"] == "would see no galaxy"
    config = RunConfig.model_validate(tiny_config)
    monkeypatch.setattr(module, "run_trial", lambda *a: failed if a[1] == 3 else fake_trial(*a))
    found, folder = calibrate(config, CalibrateSpec(60), tmp_path / "one")
    assert (found.n_trials, found.n_failed, found.passed) == (59, 1, True)
    assert json.loads((folder.path / "calibration.json").read_text())["n_failed"] == 1
    monkeypatch.setattr(module, "run_trial", lambda *a: failed if a[1] < 3 else fake_trial(*a))
    found, _ = calibrate(config, CalibrateSpec(60), tmp_path / "three")
    assert not found.passed
    assert "3 simulated surveys have no posterior" in found.failure
    monkeypatch.setattr(module, "run_trial", lambda *_: failed)
    with pytest.raises(InputError, match="30 of 30 simulated surveys failed: would see no galaxy"):
        calibrate(config, CalibrateSpec(30), tmp_path / "all")


@pytest.mark.parametrize(("sabotage", "code"), [("none", 0), ("half_covariance", 3)])
def test_exit_code_and_page(write_config, tmp_path, monkeypatch, capsys, sabotage, code):
    monkeypatch.setattr(module, "run_trial", fake_trial)
    arguments = ["calibrate", str(write_config()), "--n", "60", "--processes", "1"]
    assert cli.main([*arguments, "--sabotage", sabotage, "--out", str(tmp_path / "out")]) == code
    page = (tmp_path / "out" / "calibration.html").read_text()
    assert ("NOT CALIBRATED" in page) == (code == 3)
    assert "dust.lg_av" in page
    assert (tmp_path / "out" / "figures" / "calibration_ranks.png").is_file()
    assert "CALIBRATED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--n", "5"), "at least 20"),
        (("--processes", "0"), "has to be 1 or more"),
        (("--sabotage", "wrong"), "has to be one of none, half_covariance, no_halo_noise"),
    ],
)
def test_refusals(write_config, tmp_path, capsys, option, words):
    out = tmp_path / "out"
    assert cli.main(["calibrate", str(write_config()), *option, "--out", str(out)]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_processes_make_the_same_trials(trial_run, trial):
    """Workers prepare the run anew and get seed and sabotage with each trial."""
    made = dict(module._results(trial_run, [0, 1], CalibrateSpec(n_processes=2)))
    assert sorted(made) == [0, 1]
    assert made[0]["truth"] == trial["truth"] != made[1]["truth"]
    np.testing.assert_allclose(made[0]["mean"], trial["mean"], atol=1e-3)


def test_workers_leave_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, threading, time\n"
        "from popinfer.run.calibrate import _leave_with_parent\n"
        "def work():\n"
        "    threading.Thread(target=_leave_with_parent, daemon=True).start()\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(300)\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "at work\n"
        parent.kill()
        parent.communicate(timeout=60)  # ends when the worker, which has the same output, is gone too


def test_broken_trial_file_is_named(tiny_config, tmp_path, monkeypatch):
    from popinfer.config import RunConfig
    from popinfer.errors import InputError

    monkeypatch.setattr(module, "run_trial", fake_trial)
    config = RunConfig.model_validate(tiny_config)
    calibrate(config, CalibrateSpec(20), tmp_path)
    (tmp_path / "trials" / "0003.json").write_text("{")
    with pytest.raises(InputError, match=r"0003.json: damaged.* 'popinfer calibrate --fresh' again"):
        calibrate(config, CalibrateSpec(20), tmp_path)
