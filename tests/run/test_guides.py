"""Guides of the fit: other losses on the real chain, with missing bands; kernels from wide to narrow."""

import copy
import json
import shutil
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from toy import N_PAR, toy

from popinfer.cli import main
from popinfer.config import RunConfig
from popinfer.config.inference import EnergyConfig, FitConfig
from popinfer.errors import InputError
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.run.build import Predictor, draw_slices, lightcones, predict_galaxies
from popinfer.run.fitting import read_fit
from popinfer.run.folder import HaloSamples
from popinfer.run.guides import Guide, build_guide
from popinfer.run.losses import LOSSES, FeatureDensity, build_loss, complete_features
from popinfer.run.prepare import population_of, prepare

U = np.array([0.4, -0.3])


@pytest.fixture(scope="module")
def run(tiny_config):
    """Three bands, u missing beyond a limit, float64."""
    raw = copy.deepcopy(tiny_config)
    raw["catalog"]["bands"] = {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in "ugr"}
    raw["catalog"] |= {"missing_bands": "keep"}
    raw["catalog"]["bands"]["u"] |= {"detection_mag": 19.5}
    raw |= {"features": ["u-g", "g-r", "r"], "precision": "double"}
    raw["halos"] = {"n_per_slice": 64, "lgm_min": 11.2}
    return prepare(RunConfig.model_validate(raw))


@pytest.fixture(scope="module")
def population(run):
    halos = [draw_slices(lightcones(run.config), seed) for seed in (5, 6)]
    return population_of(run, HaloSamples(halos, np.zeros(2)))


def with_fit(run, **section):
    """The run with another fit section."""
    raw = run.config.model_dump() | {"fit": section}
    config = RunConfig.model_validate(raw)
    return replace(run, config=config, setup=replace(run.setup, config=config))


@pytest.fixture(scope="module")
def galaxies(run, population):
    return predict_galaxies(
        Predictor(run.setup, run.survey), run.setup.model_params(jnp.zeros(2)), population.halos
    )


def test_complete_galaxies_are_those_that_the_catalog_lists_with_all_features(run, galaxies):
    features = jnp.asarray(run.setup.features(galaxies.mag))
    rows, weight = run.survey.listed(galaxies.mag, features, galaxies.weight)
    whole = np.isfinite(np.asarray(rows)).all(axis=-1)
    complete = np.asarray(run.survey.complete(galaxies.mag, galaxies.weight))
    np.testing.assert_allclose(complete[0], np.asarray(weight)[whole], rtol=1e-12)
    assert 0.5 < complete.sum() / float(galaxies.weight.sum()) < 0.999
    observed = complete_features(run.config, run.survey)[0]
    assert len(observed) == np.isfinite(np.asarray(run.catalog.mag)).all(axis=1).sum()


@pytest.mark.parametrize("kind", LOSSES)
def test_density_is_the_losss_and_its_gradient_that_of_finite_differences(run, population, galaxies, kind):
    changed = with_fit(run, loss={"kind": kind})
    (density,) = build_guide(changed, population).levels
    loss = build_loss(changed.config, run.survey)
    weight = run.survey.complete(galaxies.mag, galaxies.weight)
    expected = loss(jnp.asarray(run.setup.features(galaxies.mag)), weight)
    n = len(complete_features(run.config, run.survey)[0])
    assert float(density.value(jnp.zeros(2))) == pytest.approx(-0.5 * n * float(expected), rel=1e-9)
    value, slope = density.value_and_grad(jnp.asarray(U))
    assert float(value) == pytest.approx(float(density.value(jnp.asarray(U))), rel=1e-12)
    for i, step in enumerate(1e-6 * np.eye(2)):
        numeric = (density.value(jnp.asarray(U + step)) - density.value(jnp.asarray(U - step))) / 2e-6
        assert float(slope[i]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(("kind", "optimiser"), [("energy", "auto"), ("characteristic", "adam")])
def test_other_losses_are_climbed(run, population, kind, optimiser):
    guide = build_guide(with_fit(run, loss={"kind": kind}, kind=optimiser, max_steps=6), population)
    found = guide.climb(U)
    assert guide.optimiser == {"auto": "lbfgs"}.get(optimiser, optimiser)
    assert found.log_density > guide.value(U) + 1
    assert found.log_density == pytest.approx(guide.value(found.u), rel=1e-9)


def test_wider_kernels_have_the_same_centers_and_count_the_catalog_anew(run, population):
    guide = build_guide(with_fit(run, bandwidths=[2.5, 1.0]), population)
    wide, own = (level.problem for level in guide.levels)
    assert own is population.problem
    kernels, other = run.survey.kernels, wide.raw_log_counts.predictor.survey.kernels
    np.testing.assert_array_equal(other.centers, kernels.centers)
    assert float(other.bandwidth) == pytest.approx(2.5 * float(kernels.bandwidth))
    complete = run.survey.features[0][np.isfinite(run.survey.features[0]).all(axis=1)]
    white = (complete - kernels.mean[0, 0]) @ kernels.whiten[0, 0]
    centers = kernels.centers[0, : kernels.sizes[0]]
    phi = np.exp(-((white[:, None] - centers) ** 2).sum(axis=-1) / (2 * float(other.bandwidth) ** 2))
    np.testing.assert_allclose(wide.observed[: len(centers)], phi.sum(axis=0), rtol=1e-9)
    assert guide.levels[0].share < guide.levels[1].share  # wide kernels count a galaxy more often


def test_levels_follow_each_other():
    model = toy(level=4.0)
    problem = model.problem(model.draw(np.random.default_rng(1)))
    levels, seen = (Compiled(problem, 0.01), Compiled(problem, 0.5)), []
    guide = Guide(levels, "gauss_newton", 20)
    found = guide.climb(np.full(N_PAR, 2.0), lambda step, value: seen.append(step))
    first = gauss_newton(levels[0], np.full(N_PAR, 2.0), max_steps=20)
    second = gauss_newton(levels[1], first.u, max_steps=20)
    np.testing.assert_array_equal(found.u, second.u)
    assert found.n_steps == first.n_steps + second.n_steps
    assert found.log_density == pytest.approx(guide.value(found.u))
    assert np.all(np.diff(seen) > 0) and len(seen) >= found.n_steps - 2


def test_distances_compare_galaxies_with_all_their_noise(run):
    raw = run.config.model_dump()
    raw["catalog"]["noise"] = "analytic"
    quiet = prepare(RunConfig.model_validate(raw))
    halos = draw_slices(lightcones(run.config), 5)
    section = {"fit": FitConfig(loss=EnergyConfig(kind="energy"))}
    values = []
    for one in (run, quiet):
        loss = build_loss(one.config.model_copy(update=section), one.survey)
        density = FeatureDensity.build(Predictor(one.setup, one.survey), halos, loss, 100)
        values.append(float(density.value(jnp.asarray(U))))
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_too_few_complete_galaxies_are_refused(run):
    config = run.config.model_copy(update={"fit": FitConfig(loss=EnergyConfig(kind="energy"))})
    few = [x.copy() for x in run.survey.features]
    few[0][10:, 0] = np.nan
    survey = replace(run.survey, features=few)
    with pytest.raises(InputError, match="energy compares galaxies that have all features"):
        complete_features(config, survey)


@pytest.mark.parametrize("fit", [{"loss": {"kind": "energy"}}, {"bandwidths": [3.0, 1.0]}], ids=str)
def test_whatever_guides_the_posterior_is_the_same(tiny_run, write_config, tmp_path, fit):
    """Halos are those of another guide's run; the fit's mode is where that run's is."""
    file, out, _ = tiny_run
    again = tmp_path / "again"
    shutil.copytree(out, again)
    changed = write_config(fit={"max_steps": 15, "n_prior_starts": 1, **fit})
    assert main(["fit", str(changed), "--out", str(again), "--quiet"]) == 0
    first, second = read_fit(prepare(file, out)), read_fit(prepare(changed, again))
    move = second.approx.mean - first.approx.mean
    assert np.sqrt(move @ np.linalg.solve(first.approx.cov, move)) < 0.3
    assert {one["start"] for one in json.loads((again / "fit.json").read_text())["modes"]} == {0, 1, 2}
