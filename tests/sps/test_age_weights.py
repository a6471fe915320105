import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.sps.age_weights import age_weights, lookback_fractions, lookback_matrix


def brute_force(t, sfr, t_obs, lg_age, n=400_000):
    """Midpoint rule on a very fine age grid."""
    edges = np.concatenate([[0.0], np.geomspace(1e-5, t_obs, n)])
    age, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    mass = 1e9 * width * np.interp(t_obs - age, t, sfr, left=0, right=0)
    x = np.clip(np.log10(age), lg_age[0], lg_age[-1])
    left = np.clip(np.searchsorted(lg_age, x) - 1, 0, lg_age.size - 2)
    share = (x - lg_age[left]) / np.diff(lg_age)[left]
    out = np.bincount(left, mass * (1 - share), lg_age.size)
    return out + np.bincount(left + 1, mass * share, lg_age.size)


@pytest.mark.parametrize("t_obs", [13.7, 6.3, 1.0])
def test_product_integration_is_exact_for_a_coarse_table(ssp, t_obs):
    rng = np.random.default_rng(0)
    t = np.append(np.sort(rng.uniform(0.1, 13.8, 24)), 13.8)
    sfr = np.r_[0, rng.uniform(0, 10, 23), 0]  # no jump for the midpoint rule to smear
    weights = age_weights(t, jnp.asarray(sfr), t_obs, ssp.ssp_lg_age_gyr)
    truth = brute_force(t, sfr, t_obs, ssp.ssp_lg_age_gyr)
    np.testing.assert_allclose(weights, truth, rtol=2e-5, atol=1e-6 * truth.sum())


def test_weights_add_up_to_the_mass_formed(ssp, sfh):
    t, sfr = sfh
    for t_obs in (13.7, 7.123, 0.5):
        fine = np.linspace(t[0], t_obs, 200_001)
        formed = 1e9 * np.trapezoid(np.interp(fine, t, sfr), fine)
        for binned in (False, True):
            total = age_weights(t, jnp.asarray(sfr), t_obs, ssp.ssp_lg_age_gyr, binned=binned).sum()
            assert total == pytest.approx(formed, rel=1e-8)


def test_weights_are_linear_in_the_sfr(ssp, sfh):
    t, sfr = sfh
    other = jnp.asarray(np.cos(t) + 1)
    weigh = jax.jit(lambda s: age_weights(t, s, 9.0, ssp.ssp_lg_age_gyr))
    both = weigh(2 * jnp.asarray(sfr) + 3 * other)
    np.testing.assert_allclose(both, 2 * weigh(jnp.asarray(sfr)) + 3 * weigh(other), rtol=1e-9)


def test_young_stars_keep_their_share_in_float32(ssp, sfh):
    t, sfr = sfh
    one = age_weights(t, jnp.asarray(sfr, jnp.float32), 13.0, ssp.ssp_lg_age_gyr)
    two = age_weights(t, jnp.asarray(sfr), 13.0, ssp.ssp_lg_age_gyr)
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one[1:], two[1:], rtol=3e-3)  # 13 Gyr resolves 1 kyr in single precision


def test_gradients_match_finite_differences(ssp, sfh):
    t, sfr = (jnp.asarray(x[::8]) for x in sfh)
    score = jnp.asarray(np.random.default_rng(1).normal(size=ssp.ssp_lg_age_gyr.size)) * 1e-9

    def f(s, t_obs, table):
        return score @ age_weights(table, s, t_obs, ssp.ssp_lg_age_gyr)

    direction = jnp.cos(3 * t)
    got = jax.grad(f)(sfr, 9.05, t) @ direction
    want = (f(sfr + 1e-3 * direction, 9.05, t) - f(sfr - 1e-3 * direction, 9.05, t)) / 2e-3
    assert got == pytest.approx(float(want), rel=1e-7)
    got = jax.grad(f, 1)(sfr, 9.05, t)
    want = (f(sfr, 9.05 + 1e-5, t) - f(sfr, 9.05 - 1e-5, t)) / 2e-5
    assert got == pytest.approx(float(want), rel=1e-4)


def test_a_constant_rate_at_lookback_nodes_is_exact(ssp):
    nodes = lookback_fractions(48) * 13.0
    matrix = lookback_matrix(nodes, ssp.ssp_lg_age_gyr)
    table = age_weights(np.array([0.0, 13.0]), jnp.ones(2), 13.0, ssp.ssp_lg_age_gyr)
    np.testing.assert_allclose(matrix.sum(0), table, rtol=1e-8)
    assert nodes[0] == 0 and nodes[-1] == pytest.approx(13.0) and np.all(np.diff(nodes) > 0)


@pytest.mark.parametrize(("n", "tolerance"), [(48, 2e-3), (64, 1e-3), (128, 3e-4)])
def test_smooth_histories_need_few_lookback_nodes(ssp, n, tolerance):
    """Light-weighted mass of a rise and fall, against the same at 4,000 nodes."""
    light = np.asarray(ssp.ssp_flux)[4][:, [300, 500, 700]]
    flux = []
    for nodes in (lookback_fractions(n) * 13.0, np.linspace(0, 13.0, 4000) ** 1.0):
        t = 13.0 - nodes
        sfr = (t / 2) ** 2 * np.exp(-t / 1.5) + 0.01 * t
        flux.append(sfr @ lookback_matrix(nodes, ssp.ssp_lg_age_gyr) @ light)
    assert np.abs(2.5 * np.log10(flux[0] / flux[1])).max() < tolerance


@pytest.mark.parametrize("binned", [False, True])
def test_many_histories_at_once_are_those_of_each(ssp, sfh, binned):
    t, sfr = sfh
    rates = np.asarray(sfr) * np.linspace(0.5, 2.0, 6).reshape(2, 3, 1)
    times = np.linspace(3.0, 13.0, 6).reshape(2, 3)
    together = age_weights(t, jnp.asarray(rates), jnp.asarray(times), ssp.ssp_lg_age_gyr, binned=binned)
    assert together.shape == (2, 3, len(ssp.ssp_lg_age_gyr))
    for i in np.ndindex(2, 3):
        alone = age_weights(t, jnp.asarray(rates[i]), times[i], ssp.ssp_lg_age_gyr, binned=binned)
        np.testing.assert_allclose(together[i], alone, rtol=1e-12)
    at_one_time = age_weights(t, jnp.asarray(rates), 13.0, ssp.ssp_lg_age_gyr, binned=binned)
    np.testing.assert_allclose(at_one_time[1, 2], together[1, 2], rtol=1e-12)
