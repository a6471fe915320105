import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffstar import DEFAULT_DIFFSTAR_PARAMS, calc_sfh_singlegal

from popinfer.cosmology import PLANCK15, age
from popinfer.errors import InputError
from popinfer.sps import (
    Attenuation,
    BandTable,
    BurstParams,
    Calzetti00,
    CharlotFall00,
    Salim18,
    Stars,
    add_burst,
    age_weights,
    attenuated_sed,
    lgmet_weights,
    lgmet_weights_by_age,
    magnitudes,
    population_magnitudes,
    population_seds,
    sampling_error,
    tabulate_sfh,
)

N = 12
T = np.linspace(0.05, 13.8, 60)
Z = 0.12
T_OBS = float(age(PLANCK15, jnp.asarray(Z)))


@pytest.fixture(scope="module")
def table(ssp, sdss):
    return BandTable.build(ssp, sdss, np.array([0.115, 0.12, 0.125]))


@pytest.fixture(scope="module")
def inputs(ssp):
    rng = np.random.default_rng(0)
    n_age = ssp.ssp_lg_age_gyr.size
    return {
        "sfr": rng.uniform(0.1, 10, (N, T.size)) * np.exp(-T / rng.uniform(1, 9, (N, 1))),
        "lgmet": rng.uniform(-2.3, -1.5, N),
        "lgmet_by_age": rng.uniform(-2.3, -1.5, (N, 1)) - 0.3 * np.linspace(0, 1, n_age),
        "scatter": 0.15,
        "av": rng.uniform(0, 2, N),
        "delta": rng.uniform(-0.5, 0.2, N),
        "f": rng.uniform(0, 0.3, N),
        "lgfburst": rng.uniform(-3, -1, N),
    }


def full_route(ssp, filters, x, dust, burst, by_age, i):
    """One galaxy by way of its spectrum."""
    law, params = dust
    mass = age_weights(T, jnp.asarray(x["sfr"][i]), T_OBS, ssp.ssp_lg_age_gyr)
    if burst is not None:
        mass = add_burst(jax.tree.map(lambda v: v[i], burst), mass, ssp.ssp_lg_age_gyr)
    if by_age:
        weights = mass * lgmet_weights_by_age(jnp.asarray(x["lgmet_by_age"][i]), 0.15, ssp.ssp_lgmet)
    else:
        weights = lgmet_weights(x["lgmet"][i], 0.15, ssp.ssp_lgmet)[:, None] * mass
    f = x["f"][i]
    screen = attenuated_sed(ssp, weights, law, params, x["av"][i])
    clear = attenuated_sed(ssp, weights, law, params, 0.0)
    return magnitudes(ssp.ssp_wave, f * clear + (1 - f) * screen, filters, Z)


@pytest.mark.parametrize("law", [Salim18(), CharlotFall00()], ids=["screen", "clouds"])
@pytest.mark.parametrize(
    ("by_age", "with_burst"),
    [
        (False, False),
        (True, True),
        pytest.param(False, True, marks=pytest.mark.slow),
        pytest.param(True, False, marks=pytest.mark.slow),
    ],
)
def test_both_table_routes_agree_with_the_full_sed(ssp, sdss, table, inputs, law, with_burst, by_age):
    x, burst = inputs, None
    if with_burst:
        burst = BurstParams(x["lgfburst"], np.full(N, 6.5), np.full(N, 7.5))
    params = law.fiducial if isinstance(law, CharlotFall00) else Salim18.Params(x["delta"])
    stars = Stars(T, x["sfr"], x["lgmet_by_age"] if by_age else x["lgmet"], 0.15, burst)
    dust = Attenuation(law, params, x["av"], x["f"])
    one = population_magnitudes(table, stars, dust, Z, T_OBS)
    own = population_magnitudes(table, stars, dust, np.full(N, Z), np.full(N, T_OBS), chunk=160)
    np.testing.assert_allclose(own, one, atol=1e-9)
    for i in range(0, N, 5):
        mine = params if isinstance(law, CharlotFall00) else Salim18.Params(x["delta"][i])
        truth = full_route(ssp, sdss, x, (law, mine), burst, by_age, i)
        np.testing.assert_allclose(one[i], truth, atol=5e-3)


def test_chunks_and_distance(table, inputs):
    stars = Stars(T, inputs["sfr"], inputs["lgmet"], 0.15)
    one = population_magnitudes(table, stars, None, Z, T_OBS)
    many = population_magnitudes(table, stars, None, Z, T_OBS, np.full(N, 38.0), chunk=5)
    np.testing.assert_allclose(many, one + 38.0, rtol=1e-12)


@pytest.mark.parametrize("own", [False, True], ids=["one", "own"])
@pytest.mark.parametrize("law", [Calzetti00(), Salim18(), CharlotFall00()], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("with_burst", [False, True], ids=["smooth", "burst"])
@pytest.mark.parametrize("by_age", [False, True], ids=["lgmet", "by_age"])
def test_float32_agrees_with_float64(table, inputs, own, law, with_burst, by_age):
    """Everything in single precision, redshifts and times included."""
    x, burst = inputs, None
    if with_burst:
        burst = BurstParams(x["lgfburst"], np.full(N, 6.5), np.full(N, 7.5))
    params = Salim18.Params(x["delta"]) if isinstance(law, Salim18) else law.fiducial
    z = np.linspace(0.1152, 0.1249, N) if own else np.asarray(Z)

    def mag(dtype):
        stars = Stars(T, x["sfr"], x["lgmet_by_age"] if by_age else x["lgmet"], 0.15, burst)
        everything = (stars, Attenuation(law, params, x["av"], x["f"]), z, np.asarray(age(PLANCK15, z)))
        return population_magnitudes(table, *jax.tree.map(lambda v: jnp.asarray(v, dtype), everything))

    low, high = mag(jnp.float32), mag(jnp.float64)
    assert low.dtype == jnp.float32 and high.dtype == jnp.float64
    np.testing.assert_allclose(low, high, atol=0.002)


@pytest.mark.parametrize("name", ["sfr", "lgmet", "scatter", "av", "delta", "f", "lgfburst", "z", "t_obs"])
def test_gradients_match_finite_differences(table, inputs, name):
    rng = np.random.default_rng(5)
    base = {k: jnp.asarray(v) for k, v in inputs.items()} | {
        "z": jnp.asarray(0.1213),
        "t_obs": T_OBS + 0.0137,
    }

    def loss(v):
        x = base | {name: v}
        burst = BurstParams(x["lgfburst"], jnp.full(N, 6.5), jnp.full(N, 7.5))
        stars = Stars(T, x["sfr"], x["lgmet"], x["scatter"], burst)
        dust = Attenuation(Salim18(), Salim18.Params(x["delta"]), x["av"], x["f"])
        mag = population_magnitudes(table, stars, dust, x["z"], x["t_obs"])
        return jnp.sum(jnp.sin(jnp.arange(mag.size).reshape(mag.shape)) * mag)

    x0 = jnp.asarray(base[name])
    direction = jnp.asarray(rng.normal(size=x0.shape)) + 0.5
    got = jnp.sum(jax.jit(jax.grad(loss))(x0) * direction)
    step = 1e-5
    want = (loss(x0 + step * direction) - loss(x0 - step * direction)) / (2 * step)
    assert float(got) == pytest.approx(float(want), rel=2e-5, abs=1e-8)


def test_no_star_formation_yet_is_not_nan(table):
    """Galaxies without a star before t_obs are infinitely faint; their neighbours keep finite gradients."""
    sfr = jnp.stack([jnp.zeros(T.size), jnp.ones(T.size)])

    def bright(s):
        return population_magnitudes(table, Stars(T, s, np.full(2, -1.8), 0.15), None, Z, T_OBS)

    assert np.all(np.isposinf(bright(sfr)[0])) and np.all(np.isfinite(bright(sfr)[1]))
    assert np.all(np.isfinite(jax.grad(lambda s: bright(s)[1].sum())(sfr)))


def test_birth_cloud_age_is_shared(table, inputs):
    law = CharlotFall00()
    params = law.fiducial._replace(lg_age_birth=np.full(N, -2.0))
    with pytest.raises(InputError, match="lg_age_birth"):
        population_magnitudes(
            table,
            Stars(T, inputs["sfr"], inputs["lgmet"], 0.15),
            Attenuation(law, params, inputs["av"]),
            Z,
            T_OBS,
        )


def test_diffmah_and_diffstar_are_accepted():
    mah = jax.tree.map(lambda x: jnp.full(3, x), DEFAULT_MAH_PARAMS)
    mah = mah._replace(logm0=jnp.asarray([11.5, 12.5, 13.5]))
    sfh = jax.tree.map(lambda x: jnp.full(3, x), DEFAULT_DIFFSTAR_PARAMS)
    rates = tabulate_sfh(mah, sfh, T, PLANCK15)
    lgt0 = np.log10(float(age(PLANCK15, jnp.zeros(()))))
    for i, logm0 in enumerate((11.5, 12.5, 13.5)):
        one = calc_sfh_singlegal(
            DEFAULT_DIFFSTAR_PARAMS, DEFAULT_MAH_PARAMS._replace(logm0=logm0), T, lgt0=lgt0, fb=PLANCK15.fb
        )
        np.testing.assert_allclose(rates[i], one, rtol=1e-10)


def test_refining_the_time_table_converges_and_the_error_is_known(table):
    """Each doubling of the nodes at least halves the error, and `sampling_error` predicts what is left."""

    def stars(n):
        t = np.linspace(0.02, 13.8, n)
        sfr = t * np.exp(-t / 1.5) + 0.05 * (1 + np.sin(3 * t))
        return Stars(t, sfr[None], np.array([-1.8]), 0.2)

    best = population_magnitudes(table, stars(3201), None, Z, T_OBS)
    errors = []
    for n in (101, 201, 401, 801):
        actual = np.abs(population_magnitudes(table, stars(n), None, Z, T_OBS) - best).max()
        predicted = np.max(sampling_error(table, stars(n), Z, T_OBS))
        assert 0.3 < predicted / actual < 3
        errors.append(actual)
    assert np.all(np.array(errors[1:]) < 0.5 * np.array(errors[:-1])) and errors[-1] < 5e-4


@pytest.mark.parametrize("law", [Salim18(), CharlotFall00()], ids=["screen", "clouds"])
@pytest.mark.parametrize("by_age", [False, True])
def test_spectra_of_a_population_are_those_of_its_galaxies(ssp, inputs, law, by_age):
    x = inputs
    burst = BurstParams(x["lgfburst"], np.full(N, 6.5), np.full(N, 7.5))
    params = law.fiducial if isinstance(law, CharlotFall00) else Salim18.Params(x["delta"])
    stars = Stars(T, x["sfr"], x["lgmet_by_age"] if by_age else x["lgmet"], 0.15, burst)
    seds = population_seds(ssp, stars, Attenuation(law, params, x["av"], x["f"]), T_OBS, chunk=5)
    clear = population_seds(ssp, stars, None, T_OBS)
    for i in range(0, N, 5):
        mine = params if isinstance(law, CharlotFall00) else Salim18.Params(x["delta"][i])
        mass = age_weights(T, jnp.asarray(x["sfr"][i]), T_OBS, ssp.ssp_lg_age_gyr)
        mass = add_burst(jax.tree.map(lambda v, i=i: v[i], burst), mass, ssp.ssp_lg_age_gyr)
        if by_age:
            weights = mass * lgmet_weights_by_age(jnp.asarray(x["lgmet_by_age"][i]), 0.15, ssp.ssp_lgmet)
        else:
            weights = lgmet_weights(x["lgmet"][i], 0.15, ssp.ssp_lgmet)[:, None] * mass
        screen = attenuated_sed(ssp, weights, law, mine, x["av"][i])
        mixed = x["f"][i] * clear[i] + (1 - x["f"][i]) * screen
        np.testing.assert_allclose(seds[i], mixed, rtol=1e-9)
        np.testing.assert_allclose(clear[i], jnp.einsum("ma,maw->w", weights, ssp.ssp_flux), rtol=1e-9)


def test_spectra_in_single_precision(ssp, inputs):
    def seds(dtype):
        stars = Stars(T, inputs["sfr"].astype(dtype), inputs["lgmet"], 0.15)
        return population_seds(ssp, stars, None, T_OBS)

    single = seds(np.float32)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, seds(np.float64), rtol=2e-4)
