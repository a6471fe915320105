import jax
import numpy as np
import pytest

from popinfer.sps.igm import igm_transmission

WAVE = np.linspace(500, 1500, 2001)


def test_transparent_longward_of_lyman_alpha():
    assert np.all(np.asarray(igm_transmission(WAVE, 3.0))[WAVE > 1215.67] == 1)
    assert np.all(np.asarray(igm_transmission(WAVE, 0.0)) == 1)


@pytest.mark.parametrize(("z", "low", "high"), [(2.0, 0.82, 0.92), (3.0, 0.60, 0.75), (4.0, 0.35, 0.52)])
def test_mean_transmission_of_the_forest(z, low, high):
    """Measured effective depths at z ~ 2, 3, 4 are about 0.15, 0.37, 0.85 (Becker et al. 2013)."""
    forest = (WAVE > 1050) & (WAVE < 1180)
    assert low < float(igm_transmission(WAVE, z)[forest].mean()) < high


def test_it_darkens_with_redshift_and_has_a_gradient():
    forest = (WAVE > 700) & (WAVE < 1200)
    means = [float(igm_transmission(WAVE, z)[forest].mean()) for z in (0.5, 1.1, 1.3, 2.5, 4.6, 4.8, 6.0)]
    assert np.all(np.diff(means) < 0)
    one = np.array([1100.0])
    got = jax.grad(lambda z: igm_transmission(one, z)[0])(2.7)
    want = (igm_transmission(one, 2.7 + 1e-6) - igm_transmission(one, 2.7 - 1e-6))[0] / 2e-6
    assert float(got) == pytest.approx(float(want), rel=1e-6)
