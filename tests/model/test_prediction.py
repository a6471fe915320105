"""Predictions in other bands and slices, and galaxies as tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.model import (
    HaloSpec,
    PlannedSurvey,
    galaxies_table,
    joined_batches,
    lightcones,
    predict,
    predict_galaxies,
)
from popinfer.population.parameters import PhotozParams
from popinfer.random import root_key
from popinfer.survey.noise import NoiseModel
from popinfer.survey.redshift import Photoz
from popinfer.survey.selection import MagnitudeLimit, Selection

DRAWS = np.array([[0.0, 0.0, 0.0, 0.0], [2.0, 3.0, -3.0, 0.5]])
DEEP = [(0.2, 0.3), (0.5, 0.6)]


@pytest.fixture(scope="module")
def deep(posterior):
    """Two deeper slices in bands that the fitted surveys don't have."""
    planned = PlannedSurvey.of(
        {"g": "lsst_g", "z": "lsst_z"},
        DEEP,
        Selection((MagnitudeLimit(1, 14.0, 22.0, 0.05),)),
        NoiseModel.of_depths([26.0, 25.0]),
    )
    return predict(root_key(3), posterior, DRAWS, planned, HaloSpec(2, 256))


def test_a_table_holds_each_galaxy_with_its_properties(deep):
    table = deep.table(0)
    assert len(deep) == 2
    assert len(table) == 2 * 2 * 512
    for index, (low, high) in enumerate(DEEP):
        assert table.loc[table["slice"] == index, "redshift"].between(low, high).all()
    first, second = (table[table["quenched"] == quenched].reset_index() for quenched in (False, True))
    for column in ("slice", "halo", "redshift", "lg_mhalo", "central"):
        np.testing.assert_array_equal(first[column], second[column])  # a halo's two galaxies
    np.testing.assert_array_equal(np.unique(table["halo"]), np.arange(512))
    massive = first["lg_mhalo"] > 12.5
    assert second.loc[massive, "lg_ssfr"].median() < first.loc[massive, "lg_ssfr"].median()
    assert table["av"].between(0, 10).all()
    assert table["lgmet"].between(-4.5, -1).all()
    assert (table["weight"] <= table["weight_all"] * (1 + 1e-12)).all()
    true = table[["mag_true_g", "mag_true_z"]].to_numpy()
    pull = (table[["mag_g", "mag_z"]].to_numpy() - true) / np.asarray(
        deep.survey.noise.sigma(jnp.asarray(true))
    )
    assert np.abs(pull).max() < 6
    assert pull.std() == pytest.approx(1, abs=0.1)


def test_the_sample_is_the_planned_surveys(deep):
    table = deep.table(0)
    faint = table["mag_z"] > 22.5
    assert faint.any()
    np.testing.assert_allclose(table.loc[faint, "weight"], 0, atol=1e-4 * table["weight_all"].max())
    density = table.groupby("slice")["weight"].sum()
    assert density[1] < density[0]  # farther galaxies are fainter


def test_draws_differ_by_the_population_alone(deep):
    """Zero points are of the fitted survey: the second draw has large ones, which tables don't hold."""
    first, second = (deep.table(draw) for draw in range(2))
    np.testing.assert_array_equal(first["redshift"], second["redshift"])
    ratio = second["av"] / first["av"]
    assert ratio[first["av"] < 1].median() == pytest.approx(10 ** (0.3 * 2), rel=0.05)
    np.testing.assert_allclose(second["lgmet"] - first["lgmet"], 0.15 * 0.5, atol=0.01)
    for params in deep.params:
        np.testing.assert_array_equal(params.zero_point, np.zeros(2))
    assert [len(table) for table in deep.tables()] == [2048, 2048]


def test_the_fitted_bands_and_slices_give_the_fitted_galaxies(single, surveys):
    survey = PlannedSurvey.of({"g": "sdss_g0", "r": "sdss_r0"}, surveys[0].slices)
    prediction = predict(root_key(3), single, np.array([[0.3, -0.2]]), survey, HaloSpec(1, 64))
    (survey_model,) = single.counts.survey_models
    fitted = predict_galaxies(survey_model, single.params_at(np.array([0.3, -0.2])), prediction.halos)
    predicted = prediction.galaxies(0)
    for name in ("mag_true", "lg_mstar", "lg_ssfr", "lgmet", "av", "weight_all"):
        np.testing.assert_allclose(getattr(predicted, name), getattr(fitted, name), rtol=1e-9)
    np.testing.assert_array_equal(predicted.mag, predicted.mag_true)  # no errors
    np.testing.assert_array_equal(predicted.weight, predicted.weight_all)  # no selection


def test_photometric_redshifts_are_the_planned_surveys(single):
    limits = ((0.2, 0.3),)
    photoz = Photoz(limits, PhotozParams(scatter=0.02))
    planned = PlannedSurvey.of({"r": "sdss_r0"}, limits, photoz=photoz)
    prediction = predict(root_key(3), single, np.zeros((1, 2)), planned, HaloSpec(1, 64))
    z, galaxies = np.asarray(prediction.halos.z_obs), prediction.galaxies(0)
    assert z.min() < 0.2
    assert z.max() > 0.3
    inside = np.asarray(photoz.membership(PhotozParams(scatter=0.02), jnp.tile(z, (1, 2))))
    np.testing.assert_allclose(galaxies.weight, galaxies.weight_all * inside, rtol=1e-9)


def test_joined_batches_are_one_sample(posterior):
    batches = posterior.counts.batches[0]
    halos = joined_batches(batches)
    assert halos.weight.shape == (1, 256)
    np.testing.assert_allclose(halos.weight.sum(), batches.weight.sum() / 4, rtol=1e-12)
    np.testing.assert_array_equal(halos.mah_params.logm0[0, 64:128], batches.mah_params.logm0[1, 0])


def test_table_of_given_galaxies(single):
    (survey_model,), (batches,) = single.counts.survey_models, single.counts.batches
    halos = jax.tree.map(lambda x: x[0], batches)
    galaxies = predict_galaxies(survey_model, single.params_at(np.zeros(2)), halos)
    table = galaxies_table(galaxies, halos, ("g", "r"))
    np.testing.assert_array_equal(table["mag_true_r"], np.asarray(galaxies.mag_true)[0, :, 1])
    np.testing.assert_array_equal(table["lg_mhalo"][:64], np.asarray(halos.logmp0)[0])


def test_as_many_lowest_masses_as_slices():
    with pytest.raises(InputError, match="lgm_min: 1 halo masses for 2 slices"):
        lightcones(DEEP, None, 2, HaloSpec(lgm_min=(11.0,)))
