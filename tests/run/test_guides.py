"""Guides of the fit: other losses on the real chain, with missing bands; kernels from wide to narrow."""

import copy
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cli import main
from popinfer.components import PLUG_INS
from popinfer.config import RunConfig
from popinfer.config.inference import EnergyConfig, FitConfig
from popinfer.errors import InputError
from popinfer.halos.lightcone import draw_slices
from popinfer.infer.counts import BatchedCounts
from popinfer.infer.data import Data
from popinfer.infer.optimise import Composite, levenberg_marquardt
from popinfer.random import root_key
from popinfer.run.build import in_precision, lightcones
from popinfer.run.guides import Guide, build_guide
from popinfer.run.losses import FeatureDensity, build_loss, complete_features
from popinfer.run.prepare import population_of, prepare
from popinfer.run.search import read_region

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once

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
    halos = [draw_slices(root_key(seed), lightcones(run.config)) for seed in (5, 6)]
    return population_of(run, jax.tree.map(lambda *x: np.stack(x), *halos))


def with_fit(run, **section):
    """The run with another fit section."""
    raw = run.config.model_dump() | {"fit": section}
    config = RunConfig.model_validate(raw)
    return replace(run, config=config)


@pytest.fixture(scope="module")
def galaxies(run, population):
    return population.galaxies(jnp.zeros(2))


def test_complete_galaxies_are_those_that_the_catalog_lists_with_all_features(run, galaxies):
    features = jnp.asarray(run.survey.features_of(galaxies.mag))
    rows, weight = run.survey.listed(galaxies.mag, features, galaxies.weight)
    whole = np.isfinite(np.asarray(rows)).all(axis=-1)
    complete = np.asarray(run.survey.complete(galaxies.mag, galaxies.weight))
    np.testing.assert_allclose(complete[0], np.asarray(weight)[whole], rtol=1e-12)
    assert 0.5 < complete.sum() / float(galaxies.weight.sum()) < 0.999
    observed = complete_features(run.config, run.survey)[0]
    assert len(observed) == np.isfinite(np.asarray(run.catalog.mag)).all(axis=1).sum()


@pytest.mark.parametrize("kind", PLUG_INS["loss"].kinds)
def test_density_is_the_losss_and_its_gradient_that_of_finite_differences(run, population, galaxies, kind):
    changed = with_fit(run, loss={"kind": kind})
    (density,) = build_guide(changed, population, U).levels
    loss = build_loss(changed.config, run.survey)
    weight = run.survey.complete(galaxies.mag, galaxies.weight)
    expected = loss(jnp.asarray(run.survey.features_of(galaxies.mag)), weight)
    n = len(complete_features(run.config, run.survey)[0])
    assert float(density.value(jnp.zeros(2))) == pytest.approx(-0.5 * n * float(expected), rel=1e-9)
    value, slope = density.value_and_grad(jnp.asarray(U))
    assert float(value) == pytest.approx(float(density.value(jnp.asarray(U))), rel=1e-12)
    for i, step in enumerate(1e-6 * np.eye(2)):
        numeric = (density.value(jnp.asarray(U + step)) - density.value(jnp.asarray(U - step))) / 2e-6
        assert float(slope[i]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("optimiser", ["auto", "adam"])
def test_other_losses_are_climbed(run, population, optimiser):
    guide = build_guide(with_fit(run, loss={"kind": "energy"}, kind=optimiser, max_steps=6), population, U)
    found = guide.climb(U)
    assert guide.optimiser == {"auto": "lbfgs"}.get(optimiser, optimiser)
    assert found.log_density > guide.value(U) + 1
    assert found.log_density == pytest.approx(guide.value(found.u), rel=1e-9)


def test_wider_kernels_have_the_same_centers_and_count_the_catalog_anew(run, population):
    guide = build_guide(with_fit(run, bandwidths=[2.5, 1.0]), population, U)
    wide, own = guide.levels
    assert own.counts is population.counts and own.data is population.data
    kernels, other = run.survey.kernels, wide.counts.survey_models[0].survey.kernels
    np.testing.assert_array_equal(other.centers, kernels.centers)
    assert float(other.bandwidth) == pytest.approx(2.5 * float(kernels.bandwidth))
    complete = run.survey.features[0][np.isfinite(run.survey.features[0]).all(axis=1)]
    white = (complete - kernels.mean[0, 0]) @ kernels.whiten[0, 0]
    centers = kernels.centers[0, : kernels.sizes[0]]
    phi = np.exp(-((white[:, None] - centers) ** 2).sum(axis=-1) / (2 * float(other.bandwidth) ** 2))
    np.testing.assert_allclose(wide.data.observed[: len(centers)], phi.sum(axis=0), rtol=1e-9)
    assert guide.levels[0].weight < guide.levels[1].weight  # wide kernels count a galaxy more often


N_PAR = 3


class Linear(BatchedCounts):
    """Counts whose logarithm is linear in u."""

    batches: jax.Array
    slopes: jax.Array

    def of_batch(self, batch, u):
        """The same for every batch, but for what is added."""
        return 4.0 + batch + self.slopes @ u


def test_levels_follow_each_other():
    rng = np.random.default_rng(1)
    slopes = rng.normal(size=(12, N_PAR))
    observed = rng.poisson(np.exp(4 + slopes @ [0.4, -0.3, 0.2])) + 1.0
    data = Data(observed, np.diag(observed), np.zeros(12, int), np.full(12, True))
    counts = Linear(jnp.zeros((2, 12)), jnp.asarray(slopes))
    levels, seen = (Composite(counts, data, 0.01), Composite(counts, data, 0.5)), []
    guide = Guide(levels, "levenberg_marquardt", 20)
    found = guide.climb(np.full(N_PAR, 2.0), lambda step, value: seen.append(step))
    first = levenberg_marquardt(levels[0], np.full(N_PAR, 2.0), max_steps=20)
    second = levenberg_marquardt(levels[1], first.u, max_steps=20)
    np.testing.assert_array_equal(found.u, second.u)
    assert found.n_steps == first.n_steps + second.n_steps
    assert found.log_density == pytest.approx(guide.value(found.u))
    assert np.all(np.diff(seen) > 0) and len(seen) >= found.n_steps - 2


def test_distances_compare_galaxies_with_all_their_noise(run):
    raw = run.config.model_dump()
    raw["catalog"]["noise"] = "analytic"
    quiet = prepare(RunConfig.model_validate(raw))
    halos = draw_slices(root_key(5), lightcones(run.config))
    section = {"fit": FitConfig(loss=EnergyConfig(kind="energy"))}
    values = []
    for one in (run, quiet):
        loss = build_loss(one.config.model_copy(update=section), one.survey)
        density = FeatureDensity.build(one.survey_model, in_precision(one.config, halos), loss, 100)
        values.append(float(density.value(jnp.asarray(U))))
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_too_few_complete_galaxies_are_refused(run):
    config = run.config.model_copy(update={"fit": FitConfig(loss=EnergyConfig(kind="energy"))})
    few = [x.copy() for x in run.survey.features]
    few[0][10:, 0] = np.nan
    survey = replace(run.survey, features=few)
    with pytest.raises(InputError, match="energy compares galaxies that have all features"):
        complete_features(config, survey)


@pytest.mark.parametrize(
    "fit",
    [{"bandwidths": [3.0, 1.0]}, pytest.param({"loss": {"kind": "energy"}}, marks=pytest.mark.slow)],
    ids=str,
)
def test_whatever_guides_the_posterior_is_the_same(tiny_run, write_config, tmp_path, fit):
    """Another guide's search ends at the same maximum, but for the noise of its own few halos."""
    file, out, _ = tiny_run
    changed = write_config(fit={"max_steps": 15, "n_prior_starts": 1, **fit})
    assert main(["search", str(changed), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    first, second = read_region(prepare(file, out)), read_region(prepare(changed, tmp_path / "again"))
    one, other = first.mixture.main, second.mixture.main
    move = other.mean - one.mean
    assert np.sqrt(move @ np.linalg.solve(one.cov + other.cov, move)) < 1.5
    assert {start["start"] for start in second.starts} >= {0, 1, 2}
