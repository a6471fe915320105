"""Star formation histories against diffstar itself, and the families of shifts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffstar import calc_sfh_galpop
from diffstar.defaults import DiffstarUParams, get_bounded_diffstar_params
from diffstar.diffstarpop import DIFFSTARPOP_PBOUNDS
from diffstar.diffstarpop.kernels.diffstarpop_mgash import (
    DEFAULT_Q_U_PARAMS_UNQUENCHED,
    _diffstarpop_means_covs,
)

from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.population.diffstarpop import (
    _SHIFTED,
    calibrated,
    draw_galaxies,
    shift_families,
    star_formation_histories,
)
from popinfer.population.sfh import FAMILIES, DiffstarPop
from popinfer.records import Halos

N = 60
FB, LOGT0 = 0.156, float(np.log10(13.8))
T = np.linspace(0.1, 13.7, 80)


@pytest.fixture(scope="module")
def halos():
    """Centrals and satellites with standard normals."""
    rng = np.random.default_rng(3)
    mah = DEFAULT_MAH_PARAMS._make(
        jnp.asarray(x)
        for x in (
            rng.uniform(11, 14.8, N),
            rng.uniform(-0.3, 0.7, N),
            rng.uniform(1.5, 4.5, N),
            rng.uniform(0.1, 1.0, N),
            rng.uniform(4, 13.8, N),
        )
    )
    central = (np.arange(N) % 2).astype(float)
    infall = (
        jnp.asarray(np.where(central, 0.0, rng.uniform(-3, -0.3, N))),
        jnp.asarray(np.where(central, 0.0, rng.uniform(12.5, 15, N))),
        jnp.asarray(np.where(central, -100.0, rng.uniform(0, 8, N))),
    )
    z, t_obs, weight, normals = jnp.zeros(N), jnp.full(N, 13.8), jnp.ones(N), rng.standard_normal((N, 12))
    return Halos(z, t_obs, mah, mah.logm0, jnp.asarray(central), *infall, weight, jnp.asarray(normals))


def shifted_by(name, **shifts):
    """diffstarpop's parameters of a calibration after shifts."""
    return shift_families(DiffstarPop(name).fiducial._replace(**shifts))


def drawn(params, halos):
    return jax.vmap(functools.partial(draw_galaxies, params))(halos, halos.normals)


def diffstarpops_moments(params, halos):
    infall = halos.lgmu_infall, halos.logmhost_infall, halos.gyr_since_infall
    return jax.vmap(functools.partial(_diffstarpop_means_covs, params))(
        halos.logmp0, halos.mah_params.t_peak, *infall
    )


def bounded_from_diffstarpop(params, halos):
    """Both branches' bounded diffstar parameters, from diffstarpop's own means and covariances."""
    eps = np.asarray(halos.normals)
    moments = diffstarpops_moments(params, halos)
    mu_ms, mu_q = np.stack(moments[2], axis=1), np.stack(moments[3], axis=1)
    std_ms, std_q_ms, std_q_q = (np.sqrt(np.diagonal(c, axis1=1, axis2=2)) for c in moments[4:])
    u_ms = mu_ms + std_ms * eps[:, :4]
    u_q = mu_q + np.concatenate([std_q_ms, std_q_q], axis=1) * eps[:, 4:]
    unquenched = np.tile(np.asarray(DEFAULT_Q_U_PARAMS_UNQUENCHED), (N, 1))
    as_params = [DiffstarUParams(*jnp.asarray(u).T) for u in (np.hstack([u_ms, unquenched]), u_q)]
    return [jax.vmap(get_bounded_diffstar_params)(u) for u in as_params]


@pytest.mark.parametrize("name", ["smdpl_dr1", "tng"])
def test_diffstarpops_scatter_is_diagonal_as_we_assume(name, halos):
    for cov in diffstarpops_moments(calibrated(name), halos)[4:]:
        off = np.asarray(cov) * (1 - np.eye(4))
        assert np.abs(off).max() < 1e-12


@pytest.mark.parametrize("name", ["smdpl_dr1", "tng"])
def test_parameters_are_diffstarpops_means_plus_scatter(name, halos):
    params = calibrated(name)
    ours = drawn(params, halos)
    main_sequence, quenched = bounded_from_diffstarpop(params, halos)
    np.testing.assert_allclose(ours.main_sequence, np.stack(main_sequence, axis=1)[:, :4], rtol=1e-10)
    np.testing.assert_allclose(ours.quenched, np.stack(quenched, axis=1), rtol=1e-10)


def test_quenched_fraction_is_diffstarpops(halos):
    params = calibrated("smdpl_dr1")
    frac_cen, frac_sat = diffstarpops_moments(params, halos)[:2]
    expected = np.where(halos.is_central > 0.5, frac_cen, frac_sat)
    np.testing.assert_allclose(drawn(params, halos).frac_quenched, expected, rtol=1e-12)
    assert np.abs(np.asarray(frac_cen) - np.asarray(frac_sat)).max() > 0.05


@pytest.mark.parametrize("branch", [0, 1], ids=["main sequence", "quenched"])
def test_histories_are_diffstars(branch, halos):
    params = calibrated("smdpl_dr1")
    galaxies, mah = drawn(params, halos), halos.mah_params
    ours = jax.vmap(star_formation_histories, in_axes=(0, 0, None, None, None))(galaxies, mah, T, LOGT0, FB)
    diffstars = bounded_from_diffstarpop(params, halos)[branch]
    expected = calc_sfh_galpop(diffstars, mah, jnp.asarray(T), lgt0=LOGT0, fb=FB)
    np.testing.assert_allclose(ours[:, branch], expected, rtol=1e-10)


def test_unknown_calibration_names_the_known_ones():
    with pytest.raises(InputError, match="smdpl_dr1"):
        DiffstarPop("smdpl")


@pytest.mark.parametrize("name", ["smdpl_dr1", "tng", "galacticus_in_plus_ex_situ"])
def test_zero_shift_is_the_calibration(name):
    params = calibrated(name)
    shifted = shifted_by(name)
    for field in params._fields:
        value = float(getattr(params, field))
        assert float(getattr(shifted, field)) == pytest.approx(value, rel=1e-12, abs=1e-12), field


@pytest.mark.parametrize("shift", [-30.0, -1.0, 1.0, 30.0])
@pytest.mark.parametrize("name", ["smdpl_dr1", "tng"])
def test_intercepts_of_clipped_lines_stay_inside_their_bounds(name, shift):
    shifted = shifted_by(name, quenching_depth=shift, lg_scatter=shift / 10)
    for field, value in shifted._asdict().items():
        if field == "mean_udrop_int" or (field.startswith("std_") and field.endswith("_int")):
            low, high = getattr(DIFFSTARPOP_PBOUNDS, field)
            assert low <= float(value) <= high, field


@pytest.mark.parametrize(("family", "names"), _SHIFTED.items())
@pytest.mark.parametrize("name", ["smdpl_dr1", "tng", "galacticus_in_plus_ex_situ"])
@pytest.mark.parametrize("shift", [-0.5, 0.01, 0.5])
def test_shifts_are_plain_additions(name, family, names, shift):
    params = calibrated(name)
    shifted = shifted_by(name, **{family: shift})
    for field in names:
        assert float(getattr(shifted, field) - getattr(params, field)) == pytest.approx(shift, rel=1e-12), (
            field
        )


@pytest.mark.parametrize("name", ["smdpl_dr1", "tng"])
@pytest.mark.parametrize("shift", [-0.5, 0.01, 0.5])
def test_quenching_depth_never_moves_farther_than_its_shift(name, shift):
    params = calibrated(name)
    moved = shifted_by(name, quenching_depth=shift).mean_udrop_int - params.mean_udrop_int
    assert 0 <= float(moved) / shift <= 1 + 1e-9


def test_every_shift_moves_only_its_own_parameters():
    params = calibrated("smdpl_dr1")
    for family, names in _SHIFTED.items():
        shifted = shifted_by("smdpl_dr1", **{family: 0.1})
        changed = {f for f in params._fields if abs(getattr(shifted, f) - getattr(params, f)) > 1e-9}
        assert changed <= set(names), family
        assert changed, family


def test_tilt_changes_efficiency_with_cosmic_time(halos):
    model = DiffstarPop()
    t = jnp.asarray([2.0, 10.0, 13.0])

    def of(**shifts):
        params = model.fiducial._replace(**shifts)
        return jax.vmap(lambda halo, x: model(params, halo, t, PLANCK15, x))(halos, halos.normals)

    base, tilted = of(), of(efficiency_tilt=0.3)
    expected = np.broadcast_to((np.asarray(t) / 10) ** 0.3, base.sfr.shape)
    np.testing.assert_allclose(tilted.sfr / base.sfr, expected, rtol=1e-9)
    np.testing.assert_array_equal(tilted.frac_quenched, base.frac_quenched)


def test_quenched_fraction_has_slope_and_curvature_in_halo_mass(halos):
    model, above = DiffstarPop(), np.asarray(halos.logmp0) - 12.3

    def logit(**shifts):
        params = model.fiducial._replace(**shifts)
        made = jax.vmap(lambda halo, x: model(params, halo, jnp.ones(1), PLANCK15, x))(halos, halos.normals)
        return np.log(made.frac_quenched) - np.log1p(-made.frac_quenched)

    moved = logit(quenching_slope=0.8, quenching_curvature=-0.4)
    base = logit()
    inside = np.abs(base) < 10
    assert inside.sum() > 20
    np.testing.assert_allclose((moved - base)[inside], (0.8 * above - 0.4 * above**2)[inside], atol=1e-6)


def test_lg_scatter_scales_scatters():
    params = calibrated("smdpl_dr1")
    doubled = shifted_by("smdpl_dr1", lg_scatter=np.log10(2.0))
    for name in params._fields:
        if name.startswith("std_") and name.endswith("_int"):
            low = getattr(DIFFSTARPOP_PBOUNDS, name)[0]
            expected = low + 2 * (getattr(params, name) - low)
            assert float(getattr(doubled, name)) == pytest.approx(expected, rel=1e-9), name
    assert float(doubled.mean_ulgy_mseq_ytp) == pytest.approx(params.mean_ulgy_mseq_ytp)


def test_gradients_of_histories_match_finite_differences(halos):
    halos = jax.tree.map(lambda x: x[:8], halos)
    params = DiffstarPop().fiducial
    base = 0.05 * np.random.default_rng(0).standard_normal(len(FAMILIES))

    @jax.jit
    def lg_sfr(vector):
        pop = shift_families(params._replace(**dict(zip(FAMILIES, vector, strict=True))))
        galaxies = drawn(pop, halos)
        sfr = jax.vmap(star_formation_histories, in_axes=(0, 0, None, None, None))(
            galaxies, halos.mah_params, T, LOGT0, FB
        )
        return jnp.sum(jnp.log10(sfr)) + jnp.sum(galaxies.frac_quenched)

    def central(unit, step):
        return (lg_sfr(base + step * unit) - lg_sfr(base - step * unit)) / (2 * step)

    exact = jax.grad(lg_sfr)(jnp.asarray(base))
    for i, family in enumerate(FAMILIES):
        unit = np.eye(len(base))[i]
        numeric = (4 * central(unit, 1e-5) - central(unit, 2e-5)) / 3
        assert float(exact[i]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-6), family


def test_float32_agrees_with_float64(halos):
    def histories(dtype):
        params, cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), (calibrated("smdpl_dr1"), halos))
        galaxies = drawn(params, cast)
        return jax.vmap(star_formation_histories, in_axes=(0, 0, None, None, None))(
            galaxies, cast.mah_params, jnp.asarray(T, dtype), jnp.asarray(LOGT0, dtype), FB
        )

    single, double = histories(jnp.float32), histories(jnp.float64)
    assert single.dtype == jnp.float32
    well_above_floor = np.asarray(double) > 1e-6
    np.testing.assert_allclose(np.asarray(single)[well_above_floor], double[well_above_floor], rtol=2e-3)


def test_quenching_by_infall_is_a_share_of_diffstarpops(halos):
    params = DiffstarPop().fiducial

    def fractions(share):
        changed = params._replace(satellite_quenching=share)
        of_one = functools.partial(DiffstarPop(), changed)
        return jax.vmap(lambda h, x: of_one(h, jnp.ones(1), PLANCK15, x).frac_quenched)(halos, halos.normals)

    frac_cen, frac_sat = diffstarpops_moments(calibrated("smdpl_dr1"), halos)[:2]
    central = np.asarray(halos.is_central) > 0.5
    np.testing.assert_allclose(fractions(1.0), np.where(central, frac_cen, frac_sat), rtol=1e-6)
    # its authors' way to switch it off: satellites that never fell in
    never = dataclasses.replace(halos, gyr_since_infall=jnp.full(N, -99.0))
    before = diffstarpops_moments(calibrated("smdpl_dr1"), never)[1]
    np.testing.assert_allclose(fractions(0.0), np.where(central, frac_cen, before), rtol=1e-6)
    half = 0.5 * (np.asarray(frac_sat) + np.asarray(before))
    np.testing.assert_allclose(fractions(0.5), np.where(central, frac_cen, half), rtol=1e-6)
    assert np.abs(np.asarray(frac_sat) - np.asarray(before))[~central].max() > 0.2
