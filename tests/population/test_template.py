"""Template errors at knots: of all galaxies, and of quenched ones on top."""

import jax.numpy as jnp
import numpy as np
import pytest
from population_samples import galaxy

from popinfer.errors import InputError
from popinfer.population.template import TemplateKnots

MODEL = TemplateKnots()


def error(wave, lg_ssfr, **changed):
    params = MODEL.fiducial._replace(**changed)
    return np.asarray(MODEL(params, jnp.asarray(wave), galaxy(10.5, lg_ssfr)))


def test_linear_in_log_wavelength_and_flat_beyond():
    middle = float(np.sqrt(4300 * 5700))
    got = error([2000.0, 4300.0, middle, 5700.0, 20000.0], -10.0, knot_1=0.1, knot_2=0.02)
    np.testing.assert_allclose(got, [0, 0.1, 0.06, 0.02, 0], atol=1e-12)


def test_quenched_galaxies_have_an_error_of_their_own():
    wave = [3000.0, 3550.0, 4700.0, float(np.sqrt(4700 * 6200)), 6200.0, 9000.0]
    expected = np.array([0.2, 0.2, 0.04, 0.02, 0, 0])
    old = {"old_knot_0": 0.2, "old_knot_1": 0.04}
    np.testing.assert_allclose(error(wave, -14.0, **old), expected, atol=1e-4)
    np.testing.assert_allclose(error(wave, -11.0, **old), 0.5 * expected, atol=1e-12)
    np.testing.assert_allclose(error(wave, -8.0, **old), 0, atol=1e-4)


def test_without_knots_of_their_own_they_have_none():
    model = TemplateKnots(old_knots_angstrom=())
    assert model.fiducial._fields == tuple(f"knot_{i}" for i in range(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"knots_angstrom": (4000.0,)}, "knots_angstrom: at least two wavelengths"),
        ({"old_knots_angstrom": (4700.0, 3550.0)}, "old_knots_angstrom: wavelengths, increasing"),
        ({"old_knots_angstrom": (7000.0,)}, "old_knots_angstrom: from 500 to 6200"),
    ],
)
def test_knots_that_cant_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TemplateKnots(**settings)
