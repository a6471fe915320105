import jax
import jax.numpy as jnp
import numpy as np
import pytest
from popinfer.sps.birth_cloud import behind_birth_clouds


def test_only_the_young_are_dimmed(ssp):
    bright = ssp.ssp_wave > 1500
    dim = np.asarray(behind_birth_clouds(ssp, 1.0).ssp_flux)[..., bright] / ssp.ssp_flux[..., bright]
    old, young = ssp.ssp_lg_age_gyr > -1.9, ssp.ssp_lg_age_gyr < -2.1
    np.testing.assert_allclose(dim[:, old], 1, rtol=1e-3)
    at_v = int(np.argmin(np.abs(ssp.ssp_wave[bright] - 5500)))
    np.testing.assert_allclose(dim[:, young, at_v], 10**-0.4, rtol=5e-3)
    np.testing.assert_array_equal(behind_birth_clouds(ssp, 0.0).ssp_flux, ssp.ssp_flux)


def test_the_depth_of_the_clouds_can_be_differentiated(ssp):
    def light(av):
        return jnp.log(behind_birth_clouds(ssp, av).ssp_flux[4, 10, 100::50]).sum()

    want = (light(0.7 + 1e-5) - light(0.7 - 1e-5)) / 2e-5
    assert jax.jit(jax.grad(light))(0.7) == pytest.approx(float(want), rel=1e-6) and want < -1
