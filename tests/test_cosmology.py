"""Ages, distances and volumes against astropy, and derivatives against finite differences."""

import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Flatw0waCDM

from popinfer.cosmology import (
    PLANCK15,
    Cosmology,
    age,
    comoving_distance,
    comoving_volume_per_z,
    distance_modulus,
    efunc,
    luminosity_distance,
)

Z = np.array([1e-4, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
CASES = [
    (PLANCK15, FlatLambdaCDM(H0=67.74, Om0=0.3075, Tcmb0=0)),
    (Cosmology(om0=0.25, w0=-0.9, wa=0.3, h=0.73), Flatw0waCDM(H0=73, Om0=0.25, w0=-0.9, wa=0.3, Tcmb0=0)),
    (Cosmology(om0=0.4, w0=-1.2, wa=-0.4, h=0.6), Flatw0waCDM(H0=60, Om0=0.4, w0=-1.2, wa=-0.4, Tcmb0=0)),
]


@pytest.mark.parametrize(("ours", "astropy"), CASES, ids=["LCDM", "w0wa", "phantom"])
def test_astropy_agrees(ours, astropy):
    sphere = 4 * np.pi * u.sr
    expected = {
        efunc: astropy.efunc(Z),
        comoving_distance: astropy.comoving_distance(Z).to_value("Mpc"),
        luminosity_distance: astropy.luminosity_distance(Z).to_value("Mpc"),
        age: astropy.age(Z).to_value("Gyr"),
        comoving_volume_per_z: (astropy.differential_comoving_volume(Z) * sphere).to_value("Mpc3"),
    }
    for function, value in expected.items():
        np.testing.assert_allclose(function(ours, Z), value, rtol=1e-6, err_msg=function.__name__)
    np.testing.assert_allclose(distance_modulus(ours, Z), astropy.distmod(Z).to_value("mag"), atol=1e-5)


def test_age_today():
    astropy = FlatLambdaCDM(H0=67.74, Om0=0.3075, Tcmb0=0)
    np.testing.assert_allclose(age(PLANCK15, jnp.zeros(())), astropy.age(0).to_value("Gyr"), rtol=1e-6)


@pytest.mark.parametrize("function", [age, luminosity_distance, distance_modulus, comoving_volume_per_z])
@pytest.mark.parametrize("field", ["om0", "w0", "wa", "h", "z"])
def test_gradients_match_finite_differences(function, field):
    base = Cosmology(om0=0.3, w0=-0.95, wa=0.1, h=0.7)
    x0, step = (0.4, 1e-5) if field == "z" else (getattr(base, field), 1e-5)

    def value(x):
        return function(base, x) if field == "z" else function(base._replace(**{field: x}), jnp.asarray(0.4))

    numeric = (value(x0 + step) - value(x0 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(x0), numeric, rtol=1e-6)


def test_shapes_broadcast_and_redshift_zero_is_finite():
    z = np.zeros((2, 3))
    assert age(PLANCK15, z).shape == comoving_distance(PLANCK15, z).shape == (2, 3)
    assert np.all(np.asarray(comoving_distance(PLANCK15, z)) == 0)
