"""Weighted halos: abundances against diffhalos, whatever the proposal; assembly histories; refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffmah.diffmah_kernels import _log_mah_kern

from popinfer import precision
from popinfer.cosmology import PLANCK15, Cosmology, age, comoving_volume_per_z
from popinfer.errors import InputError
from popinfer.halos.lightcone import LightconeSpec, detection_curve, draw_halos, other_cosmology, unit_cube
from popinfer.random import root_key

with precision.keep_precision():
    from diffhalos.ccshmf.ccshmf_model import DEFAULT_CCSHMF_PARAMS, predict_cuml_cshmf
    from diffhalos.hmf.hmf_model import DEFAULT_HMF_PARAMS, predict_cuml_hmf
    from diffhalos.lightcone_generators.mc_lightcone_halos import weighted_lc_halos

LOGT0 = float(np.log10(age(PLANCK15, 0.0)))
DETECTION = ((11.0, 12.0, 13.0, 15.0), (0.01, 0.2, 0.9, 1.0))
PROPOSALS = {
    "flattened": {},
    "unweighted": {"flatten": 1.0},
    "flat": {"flatten": 0.4},
    "where detected": {"detection": DETECTION},
}


def spec(**changed):
    return LightconeSpec(**({"z_min": 0.05, "z_max": 0.12, "n_halo": 4096, "n_normal": 3} | changed))


@pytest.fixture(scope="module", params=PROPOSALS)
def halos(request):
    return draw_halos(root_key(11), spec(**PROPOSALS[request.param]))


def mass_at_observation(halos):
    kernel = jax.vmap(_log_mah_kern, in_axes=(0, 0, None))
    return np.asarray(kernel(jax.tree.map(jnp.asarray, halos.mah_params), jnp.asarray(halos.t_obs), LOGT0))


def mean_over_slice(per_volume):
    """Mean over the slice's volume of a function of redshift: weights are per comoving Mpc^3."""
    z = np.linspace(0.05, 0.12, 12)
    return np.average([per_volume(x) for x in z], weights=comoving_volume_per_z(PLANCK15, z))


def hosts_above(lgm, z):
    return 10 ** float(predict_cuml_hmf(DEFAULT_HMF_PARAMS, jnp.asarray(lgm), z))


def matches(weights, expected):
    """Within 1 % and half the noise of unstratified draws: Sobol points do better than that."""
    noise = np.sqrt(np.sum(weights**2)) / np.sum(weights)
    return np.sum(weights) == pytest.approx(expected, rel=0.01 + 0.5 * noise)


EDGES = [11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0]


@pytest.mark.parametrize(("low", "high"), itertools.pairwise(EDGES))
def test_centrals_follow_the_halo_mass_function(halos, low, high):
    lgm, central = mass_at_observation(halos), halos.is_central > 0.5
    drawn = halos.weight[central & (lgm >= low) & (lgm < high)]
    expected = mean_over_slice(lambda z: hosts_above(low, z) - hosts_above(high, z))
    assert matches(drawn, expected)


def satellites_above(lgm, z):
    """Cumulative subhalo abundance, from the cumulative functions of hosts and of subhalos in a host."""
    hosts = np.linspace(lgm, 15.3, 2000)
    number = 10 ** np.asarray(predict_cuml_hmf(DEFAULT_HMF_PARAMS, jnp.asarray(hosts), z))
    mid = 0.5 * (hosts[1:] + hosts[:-1])

    def per_host(host):
        above, cut = (10 ** predict_cuml_cshmf(DEFAULT_CCSHMF_PARAMS, host, x) for x in (lgm - host, -1e-3))
        return above - cut

    return np.sum(-np.diff(number) * np.asarray(jax.vmap(per_host)(jnp.asarray(mid))))


@pytest.mark.parametrize(("low", "high"), [(11.0, 11.5), (11.5, 12.0), (12.0, 12.5), (12.5, 13.5)])
def test_satellites_follow_the_subhalo_mass_function(halos, low, high):
    lgm, satellite = mass_at_observation(halos), halos.is_central < 0.5
    drawn = halos.weight[satellite & (lgm >= low) & (lgm < high)]
    expected = mean_over_slice(lambda z: satellites_above(low, z) - satellites_above(high, z))
    assert matches(drawn, expected)


def test_redshifts_follow_the_volume(halos):
    central = halos.is_central > 0.5
    mean = np.average(halos.z_obs[central], weights=halos.weight[central])
    z = np.linspace(0.05, 0.12, 400)
    assert mean == pytest.approx(np.average(z, weights=comoving_volume_per_z(PLANCK15, z)), abs=5e-4)
    assert halos.z_obs.min() >= 0.05
    assert halos.z_obs.max() <= 0.12
    np.testing.assert_allclose(halos.t_obs, age(PLANCK15, halos.z_obs), rtol=1e-12)


def test_every_field_is_finite_and_follows_diffstarpops_conventions(halos):
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(halos))
    central = halos.is_central > 0.5
    assert central.sum() == 4096 - 4096 // 5
    assert np.all(halos.lgmu_infall[central] == 0)
    assert np.all(halos.logmhost_infall[central] == 0)
    assert np.all(halos.gyr_since_infall[central] == -100)
    # a draw between two rows of the satellites' table may outweigh its host: there are no such satellites
    outweighs = ~central & (halos.lgmu_infall >= -1e-3)
    assert outweighs.mean() < 1e-3
    assert np.all(halos.weight[outweighs] == 0)
    assert np.all(halos.lgmu_infall[~central & ~outweighs] < 0)
    assert np.all(halos.logmhost_infall[~central] > 11)
    assert np.all(halos.weight[~outweighs] > 0)


def test_normals_are_standard(halos):
    np.testing.assert_allclose(halos.normals.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(halos.normals.std(axis=0), 1, atol=0.03)
    correlation = np.corrcoef(halos.normals.T, mass_at_observation(halos))
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.06)


def test_mass_today_is_not_below_mass_at_observation(halos):
    assert np.all(halos.logmp0 >= mass_at_observation(halos) - 1e-9)


@pytest.fixture(scope="module")
def reference():
    """Centrals of diffhalos' own weighted lightcone; masses on its grid, histories from its own draws."""
    with precision.keep_precision():
        return weighted_lc_halos(
            jax.random.key(5),
            n_halos=4096,
            z_min=0.05,
            z_max=0.12,
            lgmp_min=11.0,
            lgmp_max=15.0,
            sky_area_degsq=200.0,
        )


@pytest.mark.parametrize("field", ["logtc", "early_index", "late_index", "t_peak"])
@pytest.mark.parametrize(("low", "high"), [(11.2, 12.0), (12.0, 13.0), (13.0, 14.0)])
def test_assembly_histories_are_distributed_as_diffhalos_draws_them(halos, reference, field, low, high):
    def sample(lgm, weight, values):
        inside = (np.asarray(lgm) >= low) & (np.asarray(lgm) < high)
        x, w = np.asarray(values)[inside], np.asarray(weight)[inside]
        order = np.argsort(x)
        return x[order], w[order] / w.sum()

    central = halos.is_central > 0.5
    ours = sample(
        mass_at_observation(halos)[central], halos.weight[central], getattr(halos.mah_params, field)[central]
    )
    theirs = sample(reference.logmp_obs, reference.cen_weight, getattr(reference.mah_params, field))
    grid = np.concatenate([ours[0], theirs[0]])
    cdfs = [np.concatenate([[0], np.cumsum(w)])[np.searchsorted(x, grid, "right")] for x, w in (ours, theirs)]
    distance = np.abs(cdfs[0] - cdfs[1]).max()
    # Kolmogorov-Smirnov with effective numbers: chance of 1e-4
    assert distance < 2.2 * np.sqrt(sum(np.sum(w**2) for _, w in (ours, theirs)))


def test_equal_seeds_give_equal_halos_and_others_do_not():
    first, again, other = (draw_halos(root_key(seed), spec()) for seed in (3, 3, 4))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.logmp0, other.logmp0)


def test_independent_halos_scatter_as_independent_numbers_do():
    """Sobol points are more even: right for an integral, wrong for a survey's counting noise."""
    means = {
        independent: np.array(
            [unit_cube(root_key(seed), 256, 4, independent).mean(axis=0) for seed in range(200)]
        )
        for independent in (True, False)
    }
    expected = 1 / np.sqrt(12 * 256)
    np.testing.assert_allclose(means[True].std(axis=0), expected, rtol=0.2)
    assert np.all(means[False].std(axis=0) < 0.2 * expected)


def test_flattening_puts_more_halos_at_high_mass():
    heavy = [
        np.mean(mass_at_observation(draw_halos(root_key(1), spec(flatten=f))) > 13) for f in (1.0, 0.7, 0.4)
    ]
    assert heavy[0] < heavy[1] < heavy[2]


def test_detection_curve_is_the_share_of_weight_seen():
    rng = np.random.default_rng(0)
    lgm, total = rng.uniform(11, 14, 4000), rng.uniform(0.5, 1.5, 4000)
    share = 1 / (1 + np.exp(-(lgm - 12.5) / 0.3))
    grid, found = (np.array(x) for x in detection_curve(lgm, share * total, total))
    inside = (grid > 11.4) & (grid < 13.6)
    expected = 1 / (1 + np.exp(-(grid - 12.5) / 0.3))
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.03)
    assert found.min() >= 1e-4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"z_min": 0.0}, "redshift slice"),
        ({"z_min": 0.2}, "redshift slice"),
        ({"n_halo": 8}, "at least 16"),
        ({"lgm_min": 14.9}, "lgm_min"),
        ({"lgm_min": 8.0}, "lgm_min"),
    ],
)
def test_bad_slices_are_refused(changed, said):
    with pytest.raises(InputError, match=said):
        spec(**changed)


@pytest.mark.parametrize(
    ("cosmology", "words"),
    [
        (PLANCK15, None),
        (Cosmology(om0=0.3089, h=0.6774), None),
        (Cosmology(om0=0.25, h=0.73), "H0 is 73 and not 67.77, Om0 is 0.25 and not 0.307115"),
        (PLANCK15._replace(w0=-0.9), "w0 is -0.9 and not -1"),
    ],
)
def test_halos_of_another_cosmology_than_their_calibrations_are_told(cosmology, words):
    said = other_cosmology(cosmology)
    assert said == "" if words is None else words in said and "SMDPL" in said
