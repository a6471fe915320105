import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.sps.dust import (
    Calzetti00,
    Cardelli89,
    CharlotFall00,
    KriekConroy13,
    Noll09,
    Salim18,
    frac_trans,
    frac_trans_by_age,
)

LAWS = [Calzetti00(), Noll09(), KriekConroy13(), Salim18(), Cardelli89(), CharlotFall00()]
WAVE = np.geomspace(900, 24000, 300)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_every_law(law):
    """Shape, bounds, normalisation, jit, precision."""
    params = law.fiducial
    curve = jax.jit(law)(WAVE, params)
    assert curve.shape == WAVE.shape and curve.dtype == jnp.float64
    assert np.all(curve >= 0) and np.all(np.isfinite(curve))
    assert float(law(np.array([5500.0]), params)[0]) == pytest.approx(1.0, abs=0.03)
    assert curve[100] > curve[-1]
    f32 = law(jnp.asarray(WAVE, jnp.float32), type(params)(*[jnp.float32(p) for p in params]))
    assert f32.dtype == jnp.float32
    np.testing.assert_allclose(f32, curve, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("law", "name"),
    [(law, name) for law in LAWS for name in law.fiducial._fields],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_gradients_of_every_parameter(ssp, law, name):
    """Of the light that gets through, young and old: birth clouds count."""
    params, ages = law.fiducial, ssp.ssp_lg_age_gyr

    def f(x):
        trans = frac_trans_by_age(law, params._replace(**{name: x}), WAVE, ages, 0.7)
        return jnp.log(trans.mean(1)) @ jnp.cos(jnp.arange(ages.size))

    x0 = jnp.asarray(getattr(params, name)) + 0.013
    want = (f(x0 + 1e-5) - f(x0 - 1e-5)) / 2e-5
    assert jax.grad(f)(x0) == pytest.approx(float(want), rel=1e-5) and abs(want) > 1e-4


def test_published_values():
    wave = np.array([7000.0, 22000.0])  # table 3 of Cardelli et al. for R_V = 3.1: R 0.751, K 0.114
    np.testing.assert_allclose(Cardelli89()(wave, Cardelli89().fiducial), [0.751, 0.114], atol=0.003)
    k = 4.05 * np.asarray(Calzetti00()(np.array([1500.1, 4400.0]), Calzetti00().fiducial))
    np.testing.assert_allclose(k, [10.33, 5.05], atol=0.06)
    bump = Salim18()(WAVE, Salim18.Params(0.0)) - Calzetti00()(WAVE, Calzetti00().fiducial)
    assert WAVE[np.argmax(bump)] == pytest.approx(2175, rel=0.01)
    assert float(bump.max()) == pytest.approx(0.85 / 4.05, rel=0.01)


def test_transmission():
    curve = Calzetti00()(WAVE, Calzetti00().fiducial)
    assert np.all(frac_trans(curve, 0.0) == 1)
    np.testing.assert_allclose(frac_trans(curve, 1e3, 0.3)[:100], 0.3)
    v = float(frac_trans(jnp.ones(()), 1.0))
    assert v == pytest.approx(10**-0.4)


def test_birth_clouds_hide_only_the_young(ssp):
    law, ages = CharlotFall00(), ssp.ssp_lg_age_gyr
    trans = frac_trans_by_age(law, law.fiducial, WAVE, ages, 1.0)
    diffuse = frac_trans(law(WAVE, law.fiducial), 1.0)
    np.testing.assert_allclose(trans[ages > -1.8], np.tile(diffuse, ((ages > -1.8).sum(), 1)), rtol=1e-5)
    total = law(WAVE, law.fiducial) + law.clouds(WAVE, law.fiducial, 1.0)
    np.testing.assert_allclose(trans[0], frac_trans(total, 1.0), rtol=1e-12)
    same = frac_trans_by_age(Calzetti00(), Calzetti00().fiducial, WAVE, ages, 1.0)
    assert np.all(same == same[0])
