"""Numbers that make no sense are refused by name while they can be seen, and harmless while traced."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.sps import (
    BandTable,
    BurstParams,
    Stars,
    add_burst,
    add_nebular,
    line_luminosities,
    population_magnitudes,
    population_seds,
    smooth_sfh_fluxes,
)
from popinfer.sps.burst import burst_shape

FORMS = [float, np.asarray, jnp.asarray, jnp.float32]
T = np.linspace(0.1, 13.8, 30)


def stars(n=2, burst=None):
    return Stars(T, np.ones((n, T.size)), np.full(n, -1.8), 0.2, burst)


@pytest.fixture(scope="module")
def table(ssp, sdss):
    return BandTable.build(ssp, sdss, np.array([0.1, 0.2]), n_sub=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("logu", 0.2, "logu = 0.2: the nebular grid covers -4 to 0"),
        ("logu", -4.3, "logu = -4.3"),
        ("logu", np.nan, "logu = nan"),
        ("gas_lgmet", 0.0, "gas_lgmet = 0"),
        ("f_esc", -0.1, "f_esc = -0.1: a fraction"),
        ("f_esc", 1.1, "f_esc = 1.1"),
    ],
)
def test_nebular_parameters(ssp, nebular, form, name, bad, message):
    few = dataclasses.replace(
        nebular, line_lum=nebular.line_lum[..., :2], line_wave=nebular.line_wave[:2], line_name=("a", "b")
    )
    weights = jnp.ones((6, 94))
    with pytest.raises(InputError, match=message):
        line_luminosities(ssp, few, weights, **{name: form(bad)})
    with pytest.raises(InputError, match=message):
        add_nebular(ssp, few, **{name: form(bad)})


@pytest.mark.parametrize(
    ("name", "edge", "away"), [("logu", -4.0, -1), ("logu", 0.0, 1), ("gas_lgmet", -4.0, -1)]
)
def test_traced_nebular_parameters_go_on_smoothly(ssp, nebular, name, edge, away):
    """Positive, of continuous slope at the edge of the grid, and with a gradient far from it."""
    weights = jnp.zeros((6, 94)).at[3, :60].set(1.0)

    @jax.jit
    def lines(x):
        return line_luminosities(ssp, nebular, weights, **{name: x})

    def slope(x):
        return np.asarray(jax.jacfwd(lines)(x) / lines(edge))

    bright = np.asarray(lines(edge)) > 1e-9 * np.asarray(lines(edge)).max()
    inside, outside = slope(edge - 1e-7 * away)[bright], slope(edge + 1e-7 * away)[bright]
    np.testing.assert_allclose(inside, outside, rtol=1e-3, atol=1e-6)
    for distance in (0.3, 3.0, 30.0):
        x = jnp.asarray(edge + away * distance)
        assert np.all(lines(x) >= 0) and np.all(np.asarray(lines(x)) < 1.2 * np.asarray(lines(edge)))
        want = (lines(x + 1e-4) - lines(x - 1e-4)) / 2e-4
        np.testing.assert_allclose(slope(x)[bright], (want / lines(edge))[bright], rtol=1e-3, atol=1e-8)
        assert np.abs(slope(x)[bright]).max() > 1e-6


@pytest.mark.parametrize("form", [float, np.asarray, jnp.asarray, lambda z: np.array([0.15, z])])
@pytest.mark.parametrize("z", [0.05, 0.21, np.nan])
def test_redshifts_outside_the_band_table(table, form, z):
    at = form(z)
    t_obs = np.full(2, 12.0) if np.ndim(at) else 12.0
    with pytest.raises(InputError, match=r"z = .*: the band table covers 0\.1 to 0\.2"):
        population_magnitudes(table, stars(), None, at, t_obs)
    with pytest.raises(InputError, match="band table covers"):
        smooth = table.for_smooth_sfh(PLANCK15)
        sfr = jnp.ones((2, smooth.fractions.size))
        smooth_sfh_fluxes(smooth, sfr, jnp.full((2, 6), 1 / 6), jnp.asarray(at))


def test_redshifts_at_the_ends_in_single_precision(table):
    for end in (0.1, 0.2):
        mag = population_magnitudes(table, stars(), None, jnp.full(2, end, jnp.float32), np.full(2, 12.0))
        assert np.all(np.isfinite(mag))


def test_redshift_zero_among_many(ssp, sdss):
    table = BandTable.build(ssp, sdss, np.array([0.0, 0.1]), n_sub=1)
    for modulus in (np.array([38.0, -np.inf]), jnp.array([38.0, -jnp.inf])):
        with pytest.raises(InputError, match="z = 0"):
            population_magnitudes(table, stars(), None, np.array([0.1, 0.0]), np.full(2, 12.0), modulus)


DEGENERATE = [
    ((-2.0, 7.0, 7.0), "lgyr_max = 7 isn't above lgyr_peak = 7"),
    ((-2.0, 7.0, 6.0), "lgyr_max = 6 isn't above"),
    ((-2.0, 3.0, 4.0), "holds no SSP age"),
    ((-2.0, 11.0, 11.2), "holds no SSP age"),
    ((-2.0, 7.001, 7.002), "holds no SSP age"),
    ((0.3, 6.0, 7.0), "lgfburst = 0.3"),
    ((-2.0, np.nan, 7.0), "isn't above lgyr_peak = nan"),
]


@pytest.mark.parametrize(("values", "message"), DEGENERATE)
def test_degenerate_bursts(ssp, table, values, message):
    good = (-2.0, 6.0, 7.0)
    many = BurstParams(*(jnp.array(pair) for pair in zip(good, values, strict=True)))
    with pytest.raises(InputError, match=message):
        add_burst(BurstParams(*values), jnp.ones(94), ssp.ssp_lg_age_gyr)
    with pytest.raises(InputError, match=message):
        population_magnitudes(table, stars(burst=many), None, 0.15, 12.0)
    with pytest.raises(InputError, match=message):
        population_seds(ssp, stars(burst=many), None, 12.0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("values", [v for v, _ in DEGENERATE[:5]])
def test_traced_degenerate_bursts_are_bursts_of_one_age(ssp, values, dtype):
    grid = ssp.ssp_lg_age_gyr

    @jax.jit
    def shape(*v):
        return burst_shape(BurstParams(*v), grid)

    at = [jnp.asarray(v, dtype) for v in values]
    got = np.asarray(shape(*at))
    assert got.sum() == pytest.approx(1, abs=1e-6) and (got > 0).sum() <= 2
    assert got @ grid + 9 == pytest.approx(np.clip(values[1], grid[0] + 9, grid[-1] + 9), abs=1e-4)
    slopes = jax.jacfwd(shape, argnums=(0, 1, 2))(*at)
    assert all(np.all(np.isfinite(s)) for s in slopes)
