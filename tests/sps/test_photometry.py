import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cosmology import PLANCK15, distance_modulus
from popinfer.errors import InputError
from popinfer.records import Filters
from popinfer.sps.photometry import band_fluxes, band_matrix, magnitudes
from popinfer.sps.units import AB0


def test_a_flat_spectrum_has_the_same_magnitude_in_every_band(ssp, sdss):
    sed = jnp.full(ssp.ssp_wave.size, AB0 * 1e10)
    np.testing.assert_allclose(magnitudes(ssp.ssp_wave, sed, sdss), -25.0, rtol=1e-12)
    np.testing.assert_allclose(
        magnitudes(ssp.ssp_wave, sed, sdss, 0.3), -25.0 - 2.5 * np.log10(1.3), rtol=1e-12
    )


@pytest.mark.parametrize("z", [0.0, 0.4, 1.5])
def test_coarse_curves_against_a_brute_force_integral(ssp, z):
    """A filter with nine samples and a coarse SED: the joint grid is as good as one 100 times finer."""
    rng = np.random.default_rng(3)
    fw, ft = np.linspace(4000, 6500, 9), np.r_[0, rng.uniform(0.2, 1, 7), 0]
    rough = Filters(wave=(fw,), trans=(ft,), names=("rough",))
    sed = np.asarray(ssp.ssp_flux)[4, 60]
    lam = np.linspace(4000, 6500, 2_000_001)
    weight = np.interp(lam, fw, ft) / lam
    truth = (1 + z) / AB0 * np.sum(weight * np.interp(lam / (1 + z), ssp.ssp_wave, sed)) / np.sum(weight)
    assert float(sed @ band_matrix(ssp.ssp_wave, rough, z)[:, 0]) == pytest.approx(truth, rel=1e-7)
    assert float(band_fluxes(ssp.ssp_wave, jnp.asarray(sed), rough, z)[0]) == pytest.approx(truth, rel=1e-7)


def test_redshift_can_be_differentiated(ssp, sdss):
    sed = jnp.asarray(np.asarray(ssp.ssp_flux)[4, 70])
    one = Filters(wave=sdss.wave[:1], trans=sdss.trans[:1], names=sdss.names[:1])

    def f(z):
        return jnp.log(band_fluxes(ssp.ssp_wave, sed, one, z)).sum()

    want = (f(0.2 + 1e-6) - f(0.2 - 1e-6)) / 2e-6
    assert jax.jit(jax.grad(f))(0.2) == pytest.approx(float(want), rel=1e-5)


def test_what_cannot_be_observed_is_refused(ssp, sdss):
    sed = jnp.ones(ssp.ssp_wave.size)
    with pytest.raises(InputError, match="sdss_u0 at z = 0 needs"):
        band_matrix(ssp.ssp_wave[ssp.ssp_wave > 3500], sdss)
    with pytest.raises(InputError, match="zero or positive"):
        magnitudes(ssp.ssp_wave, sed, sdss, -0.1)
    far_red = Filters(wave=(np.array([6e4, 6.1e4]),), trans=(np.ones(2),), names=("L",))
    with pytest.raises(InputError, match="L at z = 0"):
        band_matrix(ssp.ssp_wave, far_red)
    band_matrix(ssp.ssp_wave, far_red, 3.0)


@pytest.mark.parametrize("form", [float, np.asarray, jnp.asarray])
def test_apparent_magnitudes_at_redshift_zero_are_refused(ssp, sdss, form):
    """Whatever holds the distance modulus; one that is traced can't be looked at."""
    sed, modulus = jnp.ones(ssp.ssp_wave.size), distance_modulus(PLANCK15, jnp.zeros(()))
    with pytest.raises(InputError, match="z = 0"):
        magnitudes(ssp.ssp_wave, sed, sdss, 0.0, form(modulus))
    assert np.isneginf(jax.jit(lambda mu: magnitudes(ssp.ssp_wave, sed, sdss, 0.0, mu))(modulus)).all()


def test_float32(ssp, sdss):
    sed = np.asarray(ssp.ssp_flux)[3, ::10]
    one = magnitudes(ssp.ssp_wave, jnp.asarray(sed, jnp.float32), sdss, 0.1, 38.0)
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one, magnitudes(ssp.ssp_wave, jnp.asarray(sed), sdss, 0.1, 38.0), atol=2e-5)
