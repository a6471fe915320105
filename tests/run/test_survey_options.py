"""What a run file says of the survey reaches the model: missing bands, cuts, redshifts, noise."""

import copy
import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from popinfer.config import RunConfig
from popinfer.data import load_filters, load_ssp
from popinfer.errors import InputError
from popinfer.halos.lightcone import draw_slices
from popinfer.model import predict_galaxies
from popinfer.model.population import table_redshifts
from popinfer.population.forward import ForwardModel, build_tables
from popinfer.random import root_key
from popinfer.run.build import in_precision, lightcones
from popinfer.run.observed import build_photoz
from popinfer.run.prepare import prepare
from popinfer.run.progress import Silent
from popinfer.run.simulate import _detect_bands, draw_survey, simulate_run


@pytest.fixture(scope="module")
def config(tiny_config) -> RunConfig:
    """Three bands, u missing beyond a limit."""
    raw = copy.deepcopy(tiny_config)
    raw["catalog"]["bands"] = {
        b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}", "zero_point_mag": 0.01} for b in "ugr"
    }
    raw["catalog"] |= {"missing_bands": "keep"}
    raw["catalog"]["bands"]["u"] |= {"detection_mag": 19.5}
    raw |= {"features": ["u-g", "g-r", "r"], "precision": "double"}
    raw["halos"] = {"n_per_slice": 64, "lgm_min": 11.2}
    return RunConfig.model_validate(raw)


@pytest.fixture(scope="module")
def run(config):
    return prepare(config)


@pytest.fixture(scope="module")
def halos(config):
    return in_precision(config, draw_slices(root_key(5), lightcones(config)))


@pytest.fixture(scope="module")
def log_counts(run, halos):
    survey_model = run.survey_model
    return jax.jit(lambda u: survey_model.log_counts(survey_model(u, halos)))


@pytest.fixture(scope="module")
def galaxies(run, halos):
    return predict_galaxies(run.survey_model, run.model.params_at(jnp.zeros(2)), halos)


def test_galaxies_without_a_band_are_kept(run):
    u = np.asarray(run.catalog.mag)[:, 0]
    assert np.isnan(u).sum() > 100
    assert np.nanmax(u) <= 19.5
    assert run.n_galaxies == (1217,)
    assert run.survey.detection.patterns == ((True,), (False,))
    features = run.survey.features[0]
    np.testing.assert_array_equal(np.isnan(features), np.isnan(u)[:, None] * [True, False, False])


def test_model_counts_both_patterns_and_has_finite_differences_gradient(run, log_counts):
    kernels = run.survey.kernels
    counts = np.exp(np.asarray(log_counts(jnp.zeros(2))))[0]
    starts = np.cumsum((0, *kernels.sizes))
    for p in (0, 1):
        own = slice(starts[p], starts[p + 1])
        assert 0.2 < counts[own].sum() / kernels.observed[0, own].sum() < 5
    slope = jax.jacfwd(log_counts)(jnp.zeros(2))
    assert np.all(np.isfinite(slope))
    step = jnp.array([1e-5, 0.0])
    numeric = (log_counts(step) - log_counts(-step)) / 2e-5
    np.testing.assert_allclose(slope[..., 0], numeric, atol=1e-6)


def test_predictions_list_galaxies_as_the_catalog_does(run, galaxies):
    features = jnp.asarray(run.survey.features_of(galaxies.mag))
    rows, weight = run.survey.listed(galaxies.mag, features, galaxies.weight)
    assert rows.shape == (1, 2 * features.shape[1], 3)
    np.testing.assert_allclose(weight.sum(), galaxies.weight.sum(), rtol=1e-12)
    lacks = np.isnan(np.asarray(rows))
    np.testing.assert_array_equal(lacks[0, :, 0], np.arange(rows.shape[1]) % 2 == 1)
    assert not lacks[..., 1:].any()


def test_mocks_lack_what_is_beyond_the_limit(run):
    mag = np.array([[u, 18.0, 17.0] for u in (18.0, 19.4, 19.6, 21.0)] * 500)
    got = _detect_bands(root_key(1), run, mag)
    lacking = np.isnan(got[:, 0].reshape(-1, 4)).mean(axis=0)
    np.testing.assert_allclose(lacking, [0, 0.02, 0.98, 1], atol=0.02)
    np.testing.assert_array_equal(got[:, 1:], mag[:, 1:])


@pytest.fixture(scope="module")
def cut_run(tiny_config, tmp_path_factory):
    """Red galaxies only, not below a curve, every other one of the faint, correlated errors."""
    table = tmp_path_factory.mktemp("table") / "r.txt"
    table.write_text("17.0 1\n17.1 0.5\n")
    curve = table.with_name("curve.py")
    curve.write_text(
        "import jax\n\n"
        "def above(g, r):\n"
        "    return jax.nn.sigmoid((g - r - 0.7 - 0.2 * (17.5 - r) ** 2) / 0.02)\n"
    )
    raw = copy.deepcopy(tiny_config)
    raw["catalog"] |= {
        "cuts": [
            {"kind": "linear", "coefficients": {"g": 1, "r": -1}, "threshold_mag": 0.7},
            {"kind": "function", "path": str(curve), "name": "above", "bands": ["g", "r"]},
            {"kind": "completeness", "band": "r", "path": str(table)},
        ],
        "noise_correlation": {"g-r": 0.5},
    }
    raw["halos"] = {"n_per_slice": 2048, "lgm_min": 11.2}
    return prepare(RunConfig.model_validate(raw))


def test_cuts_thin_the_catalog_and_the_model_alike(cut_run):
    mag = np.asarray(cut_run.catalog.mag)
    assert np.all(mag[:, 0] - mag[:, 1] >= 0.7 + 0.2 * (17.5 - mag[:, 1]) ** 2)
    assert dict(cut_run.catalog.dropped)["outside catalog.cuts"] > 300
    halos = in_precision(cut_run.config, draw_slices(root_key(5), lightcones(cut_run.config)))
    params = cut_run.model.params_at(jnp.zeros(2))
    model = predict_galaxies(cut_run.survey_model, params, halos)
    kept = np.asarray(model.weight / model.weight_all)
    g, r = np.moveaxis(np.asarray(model.mag), -1, 0)
    assert np.all(kept[g - r < 0.55 + 0.2 * (17.5 - r) ** 2] < 1e-3)
    faint = (g - r > 0.85) & (r > 17.15) & (r < 17.25)
    assert faint.sum() > 2
    np.testing.assert_allclose(kept[faint], 0.5, atol=0.01)
    assert all(any(kind in name for name in cut_run.hashes()) for kind in ("completeness", "function"))


def test_correlated_errors_reach_the_noise_model(cut_run):
    factor = np.asarray(cut_run.survey.noise.factor)
    np.testing.assert_allclose(factor @ factor.T, [[1, 0.5], [0.5, 1]], rtol=1e-12)


OWN_SURVEY = """
from typing import Any
import jax
import jax.numpy as jnp
import popinfer

class Redder(popinfer.Cut):
    limit: float
    def __call__(self, mag):
        return jax.nn.sigmoid((mag[..., 1] - mag[..., 0] - self.limit) / 0.02)
    def sharp(self, mag):
        return mag[..., 1] - mag[..., 0] >= self.limit

class Half(Redder):
    def __call__(self, mag):
        return 0.5 + 0 * mag[..., 0]

class Constant(popinfer.MagnitudeErrors):
    mag: float = 0.03
    def sigma(self, mag):
        return self.mag + 0 * mag

class OneForAll(Constant):
    def sigma(self, mag):
        return jnp.asarray(self.mag)
"""


@pytest.fixture(scope="module")
def own_survey(tiny_config, tmp_path_factory):
    """A run file's content with a cut and errors of the user's own, and their file."""
    file = tmp_path_factory.mktemp("own") / "survey.py"
    file.write_text(OWN_SURVEY)
    raw = copy.deepcopy(tiny_config)
    raw["catalog"] |= {
        "cuts": [{"kind": f"{file}:Redder", "bands": ["r", "g"], "limit": 0.7}],
        "errors": {"kind": f"{file}:Constant", "mag": 0.05},
    }
    return raw, file


def test_a_cut_and_errors_of_ones_own_reach_the_survey(own_survey):
    raw, _ = own_survey
    run = prepare(RunConfig.model_validate(raw))
    mag = np.asarray(run.catalog.mag)
    assert np.all(mag[:, 0] - mag[:, 1] >= 0.7)
    assert dict(run.catalog.dropped)["outside catalog.cuts"] > 300
    np.testing.assert_allclose(run.survey.noise.sigma(jnp.array([[17.0, 16.0]])), 0.05)
    probability = run.survey.selection(jnp.array([[17.0, 16.4], [17.0, 16.2], [17.0, 16.3]]))
    np.testing.assert_allclose(probability, [0.0067, 0.9933, 0.5], atol=1e-3)
    assert {"cut 0 Redder", "errors Constant"} <= set(run.hashes())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cuts", [{"kind": "{file}:Redder", "bands": ["r", "g"]}], "needs the setting 'limit'"),
        ("cuts", [{"kind": "{file}:Reder", "bands": ["r", "g"]}], "did you mean 'Redder'"),
        ("cuts", [{"kind": "{file}:Constant", "bands": ["r"]}], "is no Cut; derive it from popinfer.Cut"),
        ("cuts", [{"kind": "{file}:Half", "bands": ["r"], "limit": 1}], "Half has to fall from 1 to 0"),
        ("cuts", [{"kind": "{file}:Redder", "bands": ["r"], "limit": 1, "width": 2}], "no setting 'width'"),
        ("cuts", [{"kind": "{file}:Redder", "bands": ["q"], "limit": 1}], "'q' is not one of"),
        ("errors", "fited", "unknown kind 'fited'"),
        ("errors", "{file}:Redder", "is no MagnitudeErrors"),
        ("errors", "{file}:OneForAll", "a finite error [mag], 0 or more, for each galaxy and band"),
        ("errors", {"kind": "{file}:Constant", "mag": -1}, "a finite error [mag], 0 or more"),
    ],
)
def test_a_cut_or_errors_that_cant_be_used_are_refused(own_survey, key, value, message):
    raw, file = own_survey
    raw = copy.deepcopy(raw)
    raw["catalog"][key] = yaml.safe_load(yaml.safe_dump(value).replace("{file}", str(file)))
    with pytest.raises((InputError, ValueError), match=re.escape(message)):
        prepare(RunConfig.model_validate(raw))


@pytest.fixture(scope="module")
def photoz_run(tiny_config):
    raw = copy.deepcopy(tiny_config)
    raw["catalog"] |= {
        "photoz": {"scatter": 0.01, "outlier_fraction": 0.05, "outlier_range": [0.02, 0.3]},
    }
    raw |= {"precision": "double", "slices": [[0.06, 0.09], [0.09, 0.12]]}
    raw["halos"] = {"n_per_slice": 256, "lgm_min": 11.2}
    raw["free"] = {
        "photoz.scatter": {"prior": "lognormal", "loc": 0.01, "scale": 0.3},
        "photoz.outlier_fraction": {"prior": "uniform", "low": 0.0, "high": 0.2},
    }
    return prepare(RunConfig.model_validate(raw))


def test_photometric_redshifts_move_galaxies_between_slices(photoz_run):
    specs = lightcones(photoz_run.config)
    assert specs[0].z_min < 0.03
    assert specs[0].z_max == 0.3
    halos = in_precision(photoz_run.config, draw_slices(root_key(5), specs))
    survey_model = photoz_run.survey_model
    log_counts = jax.jit(lambda u: survey_model.log_counts(survey_model(u, halos)))
    slope = np.asarray(jax.jacfwd(log_counts)(jnp.zeros(2)))
    used = np.asarray(photoz_run.survey.kernels.mask) > 0
    for i, dx in enumerate(1e-5 * np.eye(2)):
        numeric = (log_counts(jnp.asarray(dx)) - log_counts(jnp.asarray(-dx))) / 2e-5
        np.testing.assert_allclose(slope[used][:, i], numeric[used], atol=1e-6)
        assert np.abs(slope[used][:, i]).max() > 1e-3


def test_mock_redshifts_are_photometric(photoz_run):
    z, mag = draw_survey(root_key(1), photoz_run, np.zeros(2), 400, Silent())
    assert mag.shape == (800, 2)
    assert np.all((z[:400] >= 0.06) & (z[:400] < 0.09))
    assert np.all((z[400:] >= 0.09) & (z[400:] < 0.12))
    assert len(np.unique(z)) > 790


@pytest.mark.parametrize("photoz", [None, {"scatter": 0.03}])
def test_light_is_tabulated_finely_enough_in_redshift(tiny_config, photoz):
    """Linear interpolation is good to 0.01 mag where redshifts are no further than 0.035 apart."""
    raw = copy.deepcopy(tiny_config) | {"slices": [[0.06, 0.09], [0.4, 0.7]]}
    raw["catalog"]["photoz"] = photoz
    config = RunConfig.model_validate(raw)
    tables, ranges = (
        table_redshifts(config.slices, build_photoz(config)),
        [(spec.z_min, spec.z_max) for spec in lightcones(config)],
    )
    assert len({len(z) for z in tables}) == 1
    for z, limits in zip(tables, ranges, strict=True):
        np.testing.assert_allclose(z[[0, -1]], limits)
        assert 0 < np.diff(z).min() <= np.diff(z).max() <= 0.0351


def test_interpolated_light_is_good_to_a_hundredth_of_a_magnitude():
    ssp, filters = load_ssp(None), load_filters([f"sdss_{b}0" for b in "ugriz"])
    coarse = np.array([0.40, 0.435])
    tabulated, exact = (
        np.asarray(build_tables(ssp, filters, z, ForwardModel(), None).light.outside.flux).sum(axis=1)
        for z in (coarse, np.array([0.4175]))
    )
    difference = 2.5 * np.log10(tabulated.mean(axis=0) / exact[0])
    assert np.abs(difference).max() < 0.015
    assert np.median(np.abs(difference)) < 0.005


def analytic(raw, **changed):
    """The same run file with noise integrated over."""
    raw = copy.deepcopy(raw)
    raw["catalog"] |= {"noise": "analytic"} | changed
    return RunConfig.model_validate(raw)


@pytest.fixture(scope="module")
def quiet(config):
    return prepare(analytic(config.model_dump()))


def test_integrated_noise_gives_the_mean_over_draws(run, quiet, halos):
    """With missing bands too: errors of u, which decide which pattern a galaxy has, are drawn as before."""
    assert quiet.survey.integrated.drawn_bands == (0,)
    many = 400
    u, survey_model, other = jnp.zeros(2), quiet.survey_model, run.survey_model
    got = np.asarray(jax.jit(lambda h: survey_model.log_counts(survey_model(u, h)))(halos))[0]
    normals = np.random.default_rng(3).standard_normal((many, *halos.normals.shape[:2], 2))

    @jax.jit
    def one(noise):
        redrawn = eqx.tree_at(lambda h: h.normals, halos, halos.normals.at[..., -2:].set(noise))
        return jnp.exp(other.log_counts(other(u, redrawn)))[0]

    counts = np.stack([np.asarray(one(jnp.asarray(x))) for x in normals])
    error = counts.std(axis=0) / np.sqrt(many) / counts.mean(axis=0)
    used = np.asarray(run.survey.kernels.mask)[0] > 0
    off = (got - np.log(counts.mean(axis=0)))[used]
    assert np.abs(off / np.hypot(error[used], 1e-3)).max() < 4.5


@pytest.mark.slow
def test_gradient_with_integrated_noise_matches_finite_differences(quiet, halos):
    """Of the program that inference runs, to which the survey's arrays are arguments."""
    batches = jax.tree.map(lambda x: x[None], halos)
    log_counts = eqx.filter_jit(quiet.counts(batches))
    slope = jax.jit(jax.jacfwd(log_counts))(jnp.zeros(2))
    for i, step in enumerate(1e-5 * np.eye(2)):
        numeric = (log_counts(jnp.asarray(step)) - log_counts(jnp.asarray(-step))) / 2e-5
        np.testing.assert_allclose(slope[..., i], numeric, atol=1e-6)


def test_galaxies_are_listed_with_their_noise_all_the_same(quiet, halos, galaxies):
    same = predict_galaxies(quiet.survey_model, quiet.model.params_at(jnp.zeros(2)), halos)
    np.testing.assert_array_equal(same.mag, galaxies.mag)
    np.testing.assert_array_equal(same.weight, galaxies.weight)
    assert np.abs(np.asarray(same.mag - same.mag_true)).max() > 0.01


def test_noise_that_has_to_be_drawn_in_every_band_is_refused(tiny_config):
    cut = {"kind": "linear", "coefficients": {"g": 1, "r": -1}, "threshold_mag": 0.7}
    with pytest.raises(InputError, match=r"catalog.noise: analytic needs a band that catalog.cuts don't use"):
        prepare(analytic(tiny_config, cuts=[cut]))


def test_an_unknown_kind_of_noise_is_refused(tiny_config):
    with pytest.raises(ValueError, match=r"noise\n.*'drawn' or 'analytic'"):
        analytic(tiny_config, noise="sampled")


def test_surveys_simulated_for_calibration_lack_bands_as_the_real_one(run):
    """Counted by its kernels; galaxies of a pattern that has none in their slice are left out."""
    u = np.zeros(run.model.space.size)
    trial = simulate_run(root_key(5), run, u)
    lacks, lacked = (np.isnan(one.survey.features[0]).any(axis=1).mean() for one in (trial, run))
    assert 0.2 * lacked < lacks < 5 * lacked
    np.testing.assert_array_equal(trial.survey.kernels.n_obs, [len(x) for x in trial.survey.features])
    kernels = dataclasses.replace(run.survey.kernels, counted=run.survey.kernels.counted * [1.0, 0.0])
    complete = dataclasses.replace(run, survey=dataclasses.replace(run.survey, kernels=kernels))
    without = simulate_run(root_key(5), complete, u)
    assert np.isfinite(without.survey.features[0]).all()
    assert without.catalog.dropped[0][1] == np.isnan(trial.survey.features[0]).any(axis=1).sum()
