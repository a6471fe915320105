"""Tables of star formation and stars that can't be right are refused by row and value, unless traced."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.sps import (
    Attenuation,
    BandTable,
    KriekConroy13,
    Stars,
    age_weights,
    band_fluxes,
    frac_trans,
    igm_transmission,
    lgmet_weights,
    lookback_matrix,
    population_magnitudes,
    population_seds,
    sampling_error,
)

T = np.linspace(0.1, 13.8, 30)
LG_AGE = np.linspace(-3.5, 1.15, 94)


def weights(t, sfr, t_obs=13.0):
    return age_weights(np.asarray(t, float), np.asarray(sfr), t_obs, LG_AGE)


@pytest.mark.parametrize(
    ("t", "says"),
    [
        ([1, 5, 5, 9, 13.8], "row 2 holds 5 and row 3 5: times have to increase"),
        ([13.8, 9, 5, 2, 1], "row 1 holds 13.8 and row 2 9"),
        ([1, 5, np.nan, 9, 13.8], "row 3 holds nan"),
        ([1, 5, 7, 9, np.inf], "row 5 holds inf"),
        ([-1, 5, 7, 9, 13.8], "runs from -1 to 13.8: it has to be cosmic time in Gyr"),
        ([1e9, 5e9, 7e9, 9e9, 13.8e9], "it has to be cosmic time in Gyr"),
    ],
)
def test_times(t, says):
    with pytest.raises(InputError, match=says):
        weights(t, np.ones(5))


@pytest.mark.parametrize(
    ("t", "sfr", "says"),
    [
        ([13.8], [1.0], "two times at least"),
        ([], [], "two times at least"),
        ([1, 2, 13.8], [1.0, np.nan, 1.0], r"sfr_table\[1\] = nan"),
        (
            [1, 2, 13.8],
            [1.0, -2.0, 1.0],
            r"sfr_table\[1\] = -2: rates have to be",
        ),
        ([1, 2, 13.8], [1.0, 2.0, np.inf], r"sfr_table\[2\] = inf"),
    ],
)
def test_rates(t, sfr, says):
    with pytest.raises(InputError, match=says):
        weights(t, sfr)


@pytest.mark.parametrize("t_obs", [14.5, 0.05, np.nan, -1.0, 13e9])
def test_times_of_observation_lie_in_the_table(t_obs):
    with pytest.raises(InputError, match=r"t_obs = .*: the table has 0.1 to 13.8 Gyr"):
        weights(T, np.ones(30), t_obs)
    assert np.isfinite(weights(T, np.ones(30), 13.8005)).all()  # another cosmology's age of the universe


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.float64, np.uint8, np.float16])
def test_every_kind_of_number_forms_the_same_mass(dtype):
    """Constant 3 Msun/yr for 12 Gyr; half precision would overflow."""
    t = np.linspace(1.0, 13.0, 13)
    got = weights(t, np.full(13, 3, dtype))
    assert got.dtype in (jnp.float32, jnp.float64)
    assert float(got.sum()) == pytest.approx(3 * 12e9, rel=1e-5)


def test_a_step_forms_the_mass_that_it_should():
    """2 Msun/yr until 5 Gyr and none after; the repeated time is refused, a small step is right."""
    with pytest.raises(InputError, match="row 2 holds 5 and row 3 5"):
        weights([1, 5, 5, 13.8], [2.0, 2.0, 0.0, 0.0])
    got = weights([1, 5, 5.0001, 13.8], [2.0, 2.0, 0.0, 0.0])
    assert float(got.sum()) == pytest.approx(2 * 4e9, rel=2e-5)


def test_traced_tables_pass_and_concrete_parts_are_still_seen():
    total = jax.jit(lambda sfr: age_weights(T, sfr, 13.0, LG_AGE).sum())
    assert np.isfinite(jax.grad(total)(jnp.ones(30))).all()
    with pytest.raises(InputError, match="times have to increase"):
        jax.jit(lambda sfr: age_weights(T[::-1], sfr, 13.0, LG_AGE))(jnp.ones(30))


def test_concrete_tables_inside_compiled_functions_are_seen():
    sfr = jnp.ones(30)
    scaled = jax.jit(lambda x: x * age_weights(T, sfr, 13.0, LG_AGE).sum())
    assert float(scaled(2.0)) == pytest.approx(2 * 12.9e9, rel=1e-3)
    with pytest.raises(InputError, match=r"sfr_table\[0\] = -1"):
        jax.jit(lambda x: x * age_weights(T, -sfr, 13.0, LG_AGE))(2.0)


def test_lookback_ages_increase():
    with pytest.raises(InputError, match="lookback_age_gyr: row 2 holds 1 and row 3 1"):
        lookback_matrix(np.array([0.0, 1.0, 1.0, 2.0]), LG_AGE)


@pytest.fixture(scope="module")
def table(ssp, sdss):
    return BandTable.build(ssp, sdss, np.array([0.1, 0.2]), n_sub=1)


def stars(**changes):
    given = {
        "t_table": T,
        "sfr_table": np.ones((3, 30)),
        "lgmet": np.full(3, -1.8),
        "lgmet_scatter": 0.2,
        **changes,
    }
    return Stars(**given)


BAD_STARS = [
    ({"t_table": np.r_[T[:-1], T[-2]]}, "times have to increase"),
    ({"sfr_table": -np.ones((3, 30))}, r"sfr_table\[0, 0\] = -1"),
    ({"sfr_table": np.where(np.arange(90).reshape(3, 30) == 65, np.nan, 1.0)}, r"sfr_table\[2, 5\] = nan"),
    ({"lgmet": np.array([-1.8, 0.02, -1.8])}, "lgmet = 0.02: log10 of the metal mass fraction Z"),
    ({"lgmet": np.array([-1.8, np.nan, -1.8])}, "lgmet = nan"),
    ({"lgmet_scatter": 0.0}, "lgmet_scatter = 0"),
    ({"lgmet_scatter": -0.2}, "lgmet_scatter = -0.2"),
]


@pytest.mark.parametrize(("changes", "says"), BAD_STARS)
def test_stars(ssp, table, changes, says):
    with pytest.raises(InputError, match=says):
        population_magnitudes(table, stars(**changes), None, 0.15, 12.0)
    with pytest.raises(InputError, match=says):
        population_seds(ssp, stars(**changes), None, 12.0)


@pytest.mark.parametrize(
    ("av", "f", "says"),
    [
        (np.array([0.1, -0.1, 0.2]), 0.0, "av = -0.1: dust dims"),
        (np.array([0.1, np.nan, 0.2]), 0.0, "av = nan"),
        (np.full(3, 0.1), 1.3, "f_unobscured = 1.3: a fraction"),
        (np.full(2, 0.1), 0.0, r"av has shape \(2,\): one value a galaxy, of which there are 3"),
    ],
)
def test_dust(table, av, f, says):
    law = KriekConroy13()
    with pytest.raises(InputError, match=says):
        population_magnitudes(table, stars(), Attenuation(law, law.fiducial, av, f), 0.15, 12.0)


def test_shapes_and_times_of_populations(table):
    with pytest.raises(InputError, match=r"lgmet has shape \(2,\)"):
        few = eqx.tree_at(lambda s: s.lgmet, stars(), np.full(2, -1.8))
        population_magnitudes(table, few, None, 0.15, 12.0)
    with pytest.raises(InputError, match="both one number, or one a galaxy"):
        population_magnitudes(table, stars(), None, np.full(3, 0.15), 12.0)
    with pytest.raises(InputError, match=r"t_obs = 14.2"):
        population_magnitudes(table, stars(), None, np.full(3, 0.15), np.array([12.0, 14.2, 12.0]))


def test_sampling_error_of_tables_with_any_number_of_times(table):
    odd, even = (np.linspace(0.1, 13.8, n) for n in (29, 30))
    errors = [
        sampling_error(table, stars(t_table=t, sfr_table=np.exp(-t / 4) * np.ones((3, 1))), 0.15, 13.5)
        for t in (odd, even)
    ]
    assert np.max(errors[0]) < 0.02 and np.max(errors[1]) < 0.02


def test_single_functions():
    with pytest.raises(InputError, match="av = -1"):
        frac_trans(jnp.ones(3), -1.0)
    with pytest.raises(InputError, match="f_unobscured = 2"):
        frac_trans(jnp.ones(3), 1.0, 2.0)
    with pytest.raises(InputError, match=r"z = -0\.1"):
        igm_transmission(jnp.linspace(1000.0, 2000.0, 3), -0.1)
    with pytest.raises(InputError, match="lgmet_scatter = 0"):
        lgmet_weights(-1.8, 0.0, jnp.linspace(-4, -1.3, 6))
    with pytest.raises(InputError, match="lgmet = nan"):
        lgmet_weights(np.nan, 0.2, jnp.linspace(-4, -1.3, 6))


def test_negative_redshifts_of_spectra(ssp, sdss):
    sed = jnp.asarray(ssp.ssp_flux[3, 50])
    with pytest.raises(InputError, match=r"z = -0\.1: a redshift"):
        band_fluxes(ssp.ssp_wave, sed, sdss, -0.1)
