"""The region of a posterior with two modes: both are found, corrected for, and sampled."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.infer.region import find_region
from popinfer.infer.sample import PsisSpec, psis_laplace
from popinfer.random import root_key
from popinfer.run.fitting import listed_modes

from .toy import N_BIN, silent, toy

PEAK = 0.8


def folded(model, noise, u):
    """Log-counts that tell the first parameter's square, and lean by a little to its positive side."""
    first = u[0] ** 2 / (2 * PEAK) + 0.02 * u[0]
    v = jnp.concatenate([first[None], u[1:]])
    return jnp.log(model.kernels @ jnp.exp(model.level + model.design @ v + noise))


@pytest.fixture(scope="module")
def two_modes():
    """The problem of a survey at u = (PEAK, 0, 0), seen through noisy halo samples."""
    model, rng = toy(), np.random.default_rng(0)
    own, *others = [partial(folded, model, 0.02 * rng.standard_normal(N_BIN)) for _ in range(13)]
    truth = jnp.asarray([PEAK, 0.0, 0.0])
    problem = dataclasses.replace(
        model.problem(np.exp(np.asarray(folded(model, 0.0, truth)))),
        raw_log_counts=own,
        replicates=tuple(jax.jit(one) for one in others),
    )
    return problem, partial(folded, model, 0.0)


def sides(region):
    """Sign of the first parameter of each mode."""
    return {int(np.sign(one.approx.mean[0])) for one in region.modes}


def test_both_modes_are_found_from_starts_on_either_side(two_modes):
    problem, _ = two_modes
    found = find_region(root_key(0), problem, [np.array([0.5, 0, 0]), np.array([-0.5, 0, 0])])
    assert found.converged
    assert sides(found) == {1, -1}
    assert [int(np.sign(one.approx.mean[0])) for one in found.ends] == [1, -1]


def test_a_mode_that_no_start_led_to_is_listed(two_modes):
    problem, _ = two_modes
    both = find_region(root_key(0), problem, [np.array([0.5, 0, 0]), np.array([-0.5, 0, 0])])
    assert [one["start"] for one in listed_modes(both)] == [0, 1]
    modes = tuple(sorted(both.modes, key=lambda one: -one.approx.mean[0]))
    *found, other = listed_modes(dataclasses.replace(both, ends=(both.ends[0], None), modes=modes))
    assert [one["converged"] for one in found] == [True, False]
    assert other["start"] == "ridge"
    assert other["distance"] > 3


def test_counts_are_corrected_at_both_modes(two_modes):
    problem, exact = two_modes
    found = find_region(root_key(0), problem, [np.array([0.5, 0, 0]), np.array([-0.5, 0, 0])])
    for one in found.modes:
        u = jnp.asarray(one.approx.mean)
        own = np.asarray(problem.raw_log_counts(u) - exact(u))
        left = np.asarray(found.problem.log_counts(u) - exact(u))
        assert np.std(left) < 0.6 * np.std(own)  # 13 samples: about 1 / sqrt(13) of the noise is left


def test_draws_share_the_modes_as_the_density_does(two_modes):
    problem, _ = two_modes
    found = find_region(root_key(0), problem, [np.array([0.5, 0, 0]), np.array([-0.5, 0, 0])])
    draws = psis_laplace(jax.random.key(0), found.density, found.mixture, PsisSpec(1500), silent)
    assert draws.attrs["pareto_k"] < 0.7
    positive = np.mean(draws.u[..., 0] > 0)
    log_mass = np.array([one.log_mass for one in found.modes])
    share = np.exp(log_mass - log_mass.max())
    of_positive = np.array([one.approx.mean[0] > 0 for one in found.modes])
    assert positive == pytest.approx(share[of_positive].sum() / share.sum(), abs=0.1)


def test_a_mode_that_no_draw_is_near_is_missed(two_modes):
    problem, _ = two_modes
    found = find_region(root_key(0), problem, [np.array([0.5, 0, 0]), np.array([-0.5, 0, 0])])
    positive = next(one for one in found.modes if one.approx.mean[0] > 0)
    u = np.random.default_rng(1).multivariate_normal(positive.approx.mean, positive.approx.cov, 200)
    lost = found.mixture.missed(u)
    assert 0.1 < lost < 0.9
    assert found.mixture.missed(np.concatenate([u, -u * [1, 0, 0]])) == 0.0


def test_one_round_has_not_settled(two_modes):
    problem, _ = two_modes
    assert not find_region(root_key(0), problem, [np.array([0.5, 0, 0])], rounds=1).converged
