"""The survey's solid angle and published mass functions reach the likelihood and add what they know."""

import copy
import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.config import RunConfig, load_config
from popinfer.cosmology import comoving_volume
from popinfer.data.published import baldry12, madau14_lg_csfrd
from popinfer.errors import InputError
from popinfer.halos.lightcone import draw_slices
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.search import likelihood_at
from popinfer.model import predict_galaxies
from popinfer.population.parameters import with_values
from popinfer.population.relations import Z_DENSITY, Grids, Relations, sfr_density, summarise
from popinfer.random import root_key, stream
from popinfer.run.build import detectable, lightcones
from popinfer.run.mock import MockSpec, make_mock
from popinfer.run.prepare import prepare
from popinfer.run.simulate import simulate_run
from popinfer.survey.cosmic_variance import FULL_SKY_DEG2

TRUE_SURVIVAL = 0.7
TABLE = "lg_mstar_low,lg_mstar_high,phi,phi_err\n10.5,10.8,4e-3,2e-4\n10.8,11.1,2e-3,1e-4\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("abundance")


@pytest.fixture(scope="module")
def raw(tiny_config):
    """A run file of a survey of 3000 square degrees that frees how many satellites survive."""
    raw = copy.deepcopy(tiny_config)
    raw["catalog"]["number_density"] = {"area_deg2": 3000.0, "sampling": 0.5, "bias": 1e-3}
    raw |= {"precision": "double", "free": {"satellites.survival": {"loc": 0.5, "scale": 0.15}}}
    raw["halos"] = {"n_per_slice": 2048, "lgm_min": 11.2}
    return raw


@pytest.fixture(scope="module")
def mock_file(raw, folder):
    """A mock of that survey in which satellites survive more often than expected."""
    spec = MockSpec({"satellites.survival": TRUE_SURVIVAL}, None, 5)
    return make_mock(RunConfig.model_validate(raw), folder / "mock.parquet", spec)[2]


@pytest.fixture(scope="module")
def run(raw, folder):
    """The survey itself, with a published mass function beside it."""
    raw = copy.deepcopy(raw)
    (folder / "smf.csv").write_text(TABLE)
    raw["joint"] = [{"kind": "mass_function", "path": str(folder / "smf.csv"), "redshift": 0.07}]
    raw["kernels"]["model_error"] = 0.03
    return prepare(RunConfig.model_validate(raw))


@pytest.fixture(scope="module")
def samples(run):
    pilot = with_values(run.model.params, run.config.halos.pilot)
    specs = detectable(root_key(77), run.config, run.survey_model, lightcones(run.config), pilot)
    drawn = [draw_slices(root_key(seed), specs) for seed in (1, 1000, 1001, 1002, 1003)]
    return jax.tree.map(lambda *x: np.stack(x), *drawn)


def first(batches):
    """The first batch alone."""
    return jax.tree.map(lambda x: x[:1], batches)


def stepped(counts, data, u):
    """Mean and standard deviation after one Newton step of the posterior from u, for a single parameter."""
    values, jacobian = (np.asarray(x) for x in log_counts_and_jacobian(counts, jnp.asarray(u)))
    info = likelihood_at(counts, data, u).information(values, jacobian)
    variance = 1 / (info.fisher[0, 0] + 1)
    return u[0] + variance * (info.gradient[0] - u[0]), np.sqrt(variance)


@pytest.mark.slow
def test_mock_run_file_keeps_the_area_and_drops_tables(mock_file):
    config = load_config(mock_file)
    assert config.catalog.number_density.area_deg2 == 3000
    assert config.joint == []


def test_statistics_end_with_numbers_and_densities(run, samples):
    data = run.data()
    n_soft = run.survey.kernels.mask.size
    assert len(data.observed) == n_soft + 3
    np.testing.assert_array_equal(data.slice_of, 0)
    assert np.all(data.model_cov[n_soft:] == 0)
    assert np.all(data.data_cov[n_soft:, :n_soft] == 0)
    assert data.used[n_soft:].all()

    counts = run.counts(first(samples))
    halos = jax.tree.map(lambda x: x[0], counts.batches[0])
    params = run.model.params_at(jnp.zeros(1))
    galaxies = predict_galaxies(run.survey_model, params, halos)
    volume = 3000 / FULL_SKY_DEG2 * 0.5 * comoving_volume((0.06, 0.09))
    number = volume * float(np.sum(galaxies.weight))
    numbers, mass_function = run.survey.effective_counts()
    model = np.exp(np.asarray(counts(jnp.zeros(1))))[n_soft:]
    assert model[0] == pytest.approx(numbers.scale[0] * number, rel=1e-6)
    lgm, weight = np.asarray(galaxies.lg_mstar[0]), np.asarray(galaxies.weight_all[0])
    hard = np.histogram(lgm, [10.5, 10.8, 11.1], weights=weight)[0] / 0.3
    np.testing.assert_allclose(model[1:] / mass_function.scale, hard, rtol=0.15)  # smeared by 0.1 dex


def test_gradient_matches_finite_differences(run, samples):
    log_counts = eqx.filter_jit(run.counts(first(samples)))
    slope = np.asarray(jax.jit(jax.jacfwd(log_counts))(jnp.zeros(1)))[:, 0]
    numeric = (log_counts(jnp.array([1e-5])) - log_counts(jnp.array([-1e-5]))) / 2e-5
    np.testing.assert_allclose(slope, numeric, atol=1e-6)
    assert np.all(slope[-3:] > 0.01)


@pytest.mark.slow
def test_the_area_finds_how_many_satellites_survive(mock_file, samples):
    """One optimally weighted step; the shape alone tells less, and a wrong area would show."""
    run = prepare(mock_file)
    (numbers,) = run.survey.abundances
    smaller = eqx.tree_at(lambda c: c.volume, numbers, 0.8 * numbers.volume)
    truth = run.model.space.to_unconstrained({"satellites.survival": TRUE_SURVIVAL})
    sd, pull = {}, {}
    for name, abundances in {"area": (numbers,), "shape": (), "wrong": (smaller,)}.items():
        survey = dataclasses.replace(run.survey, abundances=abundances)
        counts, data = run.counts(samples, survey), run.data(survey)
        mean, sd[name] = stepped(counts, data, truth)
        pull[name] = float(mean - truth[0]) / sd[name]
    assert sd["area"] < 0.6 * sd["shape"]
    assert abs(pull["area"]) < 2.5
    assert pull["wrong"] > pull["area"] + 2


@pytest.fixture(scope="module")
def published_run(raw):
    """All that is published beside the colors of a survey whose area isn't known."""
    raw = copy.deepcopy(raw)
    del raw["catalog"]["number_density"]
    raw["joint"] = [
        {"kind": "luminosity_function"},
        {"kind": "mass_function", "published": "baldry12", "redshift": 0.07, "lgm_range": [10.5, 11.3]},
        {"kind": "sfr_density", "redshifts": [0.0, 1.0]},
        {"kind": "main_sequence", "redshift": 0.07, "lgm_range": [9.75, 11.25]},
    ]
    return prepare(RunConfig.model_validate(raw))


def test_published_abundances_are_compared(published_run):
    listed, masses, sfr, rates = published_run.survey.abundances
    # Blanton et al. (2003) have some 10^-2.6 galaxies a Mpc^3 that SDSS lists at 0.06 < z < 0.09
    assert 10**-2.8 < listed.observed[0] < 10**-2.4
    assert np.sqrt(listed.cov[0, 0]) / listed.observed[0] == pytest.approx(0.043 * np.log(10))
    np.testing.assert_allclose(masses.observed, baldry12(np.array([10.6, 10.8, 11.0, 11.2])))
    np.testing.assert_allclose(np.log10(sfr.observed), madau14_lg_csfrd(np.array([0.0, 1.0])))
    assert sfr.names[1] == "cosmic SFR density at z = 1 [Msun/yr/Mpc3]"
    assert rates.names[0] == "log10 sSFR of star-forming galaxies of log M* 10 [1e-14/yr]"
    np.testing.assert_allclose(rates.observed - 14, [-9.845, -10.044, -10.453])
    np.testing.assert_allclose(np.sqrt(np.diag(rates.cov)), 0.15)
    assert rates.cov[0, 1] == pytest.approx(0.5 * np.sqrt(rates.cov[0, 0] * rates.cov[1, 1]))
    assert len(published_run.data().observed) == published_run.survey.kernels.mask.size + 10


def test_published_numbers_are_taken_as_they_are(published_run):
    """Their errors are those of logarithms; only noisy counts have logarithms that are low in the mean."""
    data = published_run.data()
    above = data.log_observed - np.log(data.observed)
    assert np.all(above[data.used & data.soft] > 0)
    np.testing.assert_array_equal(above[-10:], 0)


def test_star_formation_at_fixed_mass_is_that_of_the_relations(published_run):
    """Of `Relations`, which are other halos and windows of mass, and have a sharp edge between the kinds."""
    model, rates = published_run.model, published_run.survey.abundances[3]
    params = with_values(model.params, {"burstiness.scatter": 0.5})
    specs = [dataclasses.replace(spec, n_halo=8192) for spec in lightcones(published_run.config)]
    halos = jax.tree.map(jnp.asarray, draw_slices(root_key(5), specs))
    galaxies = predict_galaxies(published_run.survey_model, params, halos)
    now = rates.numbers(published_run.survey_model.abundances(params, galaxies, halos)[3])
    # a normal fluctuation of 0.5 dex whose mean is 1 has a median of -ln(10) 0.5^2 / 2 dex
    np.testing.assert_allclose(galaxies.lg_ssfr_now - galaxies.lg_ssfr, -0.2878, atol=1e-3)
    fractions = np.asarray(model.tables.light.outside.fractions)[0]
    relations = Relations.build(root_key(3), model.forward, published_run.light.ssp, fractions, 8192)
    expected = summarise(relations.sample(params), Grids(np.array([12.0]), np.array([10.0, 10.5, 11.0])))
    np.testing.assert_allclose(now - 14, expected["lg_ssfr"], atol=0.08)


def test_sfr_density_is_that_of_other_halos(published_run):
    """Of the shells of `Relations`, which are other halos, more of them, and more redshifts."""
    model = published_run.model
    sfr = published_run.survey.abundances[2]
    params = model.params
    predicted = [float(sfr_density(model.forward, params, of_shell(sfr.shells, i))) for i in (0, 1)]
    fractions = np.asarray(model.tables.light.outside.fractions)[0]
    relations = Relations.build(root_key(3), model.forward, published_run.light.ssp, fractions, 2048)
    at = [Z_DENSITY.index(z) for z in (0.0, 1.0)]
    expected = np.asarray(relations.lg_sfr_density(params))[at]
    np.testing.assert_allclose(np.log10(predicted), expected, atol=0.04)


def of_shell(shells, index):
    return jax.tree.map(lambda x: jnp.asarray(x[index]), shells)


def test_calibration_simulates_what_is_published(published_run):
    """Its numbers scatter about the truth's as the published errors say."""
    truth = np.zeros(1)
    simulated = [simulate_run(stream(root_key(1), i), published_run, truth).survey for i in range(6)]
    for index, abundance in enumerate(published_run.survey.abundances):
        error = np.sqrt(np.diag(abundance.relative_cov))
        log_observed = np.log([survey.abundances[index].observed for survey in simulated])
        pull = (log_observed - log_observed.mean(axis=0)) / error
        assert 0.3 < np.mean(pull**2) < 2
        relative = simulated[0].abundances[index].relative_cov
        np.testing.assert_allclose(relative, abundance.relative_cov, rtol=1e-9)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "mass_function", "redshift": 0.07}, "give either path, a table, or published"),
        ({"kind": "mass_function", "redshift": 0.07, "published": "baldry"}, "baldry12"),
        (
            {"kind": "mass_function", "redshift": 0.07, "published": "baldry12", "lgm_range": [11, 11.1]},
            "0.2 apart at least",
        ),
        (
            {"kind": "mass_function", "redshift": 0.07, "published": "baldry12", "covariance": "c.txt"},
            "covariance belongs to a table",
        ),
        ({"kind": "sfr_density", "redshifts": []}, "at least 1 item"),
        ({"kind": "luminosity_function", "error_dex": 0}, "greater than or equal to 0.005"),
        ({"kind": "main_sequence"}, "redshift"),
        ({"kind": "main_sequence", "redshift": 0.07, "lgm_range": [9.5, 10.5]}, "each one of 8.75, 9.25"),
        ({"kind": "main_sequence", "redshift": 0.07, "lgm_range": [10.75, 9.75]}, "each one of 8.75, 9.25"),
        ({"kind": "main_sequence", "redshift": 0.7}, "less than or equal to 0.32"),
        ({"kind": "main_sequence", "redshift": 0.3}, "redshift 0.3 is in none of the slices"),
    ],
)
def test_abundances_that_cant_be_are_refused(raw, section, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate(raw | {"joint": [section]})


def test_a_luminosity_function_of_fainter_magnitudes_lists_more(raw):
    listed = []
    for section, bright, faint in (
        ({"fainter_mag": 0.2}, 14.0, 17.0),
        ({}, 14.2, 17.2),
        ({}, 14.0, 17.0),
    ):
        said = copy.deepcopy(raw)
        said["joint"] = [{"kind": "luminosity_function", **section}]
        said["catalog"]["selection"] |= {"bright_mag": bright, "faint_mag": faint}
        listed.append(prepare(RunConfig.model_validate(said)).survey.abundances[-1].observed[0])
    # the typical color of the galaxies depends on the limits a little
    assert listed[0] == pytest.approx(listed[1], rel=0.03)
    assert listed[0] > 1.15 * listed[2]


def test_a_luminosity_function_of_a_band_out_of_reach_is_refused(raw):
    far = copy.deepcopy(raw) | {"slices": [[0.15, 0.2]], "joint": [{"kind": "luminosity_function"}]}
    with pytest.raises(InputError, match=r"moves to 6445\.\.6725 Angstrom; the survey's bands lie at"):
        prepare(RunConfig.model_validate(far))
