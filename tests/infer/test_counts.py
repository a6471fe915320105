"""Means over halo batches: brute force, no bias, and derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import N_PAR, N_STAT, TRUTH, ToyCounts, toy, without_noise

from popinfer.errors import InputError
from popinfer.infer import counts as counts_module
from popinfer.infer.counts import (
    Evaluated,
    evaluate,
    halo_covariance,
    jacobians_of_batches,
    log_counts_and_jacobian,
    log_mean,
)
from popinfer.infer.optimise import log_counts

MODEL = toy(noise=0.3, bend=0.5)
POINTS = MODEL.counts().n_together
POINTS_AROUND = TRUTH + 0.3 * np.random.default_rng(0).standard_normal((2 * POINTS + 3, N_PAR))


def test_log_mean_is_that_of_the_mean_and_half_its_relative_variance():
    counts = np.random.default_rng(1).uniform(0.5, 2.0, (7, 5)) * np.exp(np.linspace(-300, 300, 5))
    mean = counts.mean(axis=0)
    correction = 0.5 * counts.var(axis=0, ddof=1) / 7 / mean**2
    np.testing.assert_allclose(log_mean(jnp.log(counts)), np.log(mean) + correction, rtol=1e-12)
    np.testing.assert_allclose(log_mean(jnp.log(counts[:1])), np.log(counts[0]))


def test_log_mean_of_noisy_counts_has_no_bias():
    """Four batches with a third of scatter: the plain logarithm is low by 1 / 72."""
    counts = 1 + np.random.default_rng(2).standard_normal((4, 200_000)) / 3
    kept = counts[:, np.all(counts > 0.01, axis=0)]
    plain = np.log(kept.mean(axis=0)).mean()
    better = float(np.mean(log_mean(jnp.log(kept))))
    assert plain < -0.011
    assert abs(better) < 0.25 * abs(plain)


def test_halo_covariance_is_that_of_the_means_of_independent_samples():
    """Standard deviations 10 and 20 % of a batch, correlated by 0.6, in means of eight batches."""
    cov = np.array([[0.01, 0.012], [0.012, 0.04]])
    rng = np.random.default_rng(3)
    batches = rng.multivariate_normal([1.0, 1.0], cov, size=(20_000, 8))
    expected = np.cov(np.log(batches.mean(axis=1)).T)
    np.testing.assert_allclose(halo_covariance(np.log(batches)), expected, rtol=0.04)


def test_halo_covariance_is_its_formula():
    log_counts = np.random.default_rng(4).normal(size=(3, 5, 2))
    m = np.exp(log_counts)
    relative = m / m.mean(axis=1, keepdims=True) - 1
    each = [sum(np.outer(r, r) for r in point) / (5 * 4) for point in relative]
    np.testing.assert_allclose(halo_covariance(log_counts), np.mean(each, axis=0))


class Ratios(ToyCounts):
    """The toy with its last two statistics in one: what they have in common, halo noise too, cancels."""

    @property
    def ratios(self):
        return (N_STAT - 2,)


def ratios_of(counts: ToyCounts) -> Ratios:
    return Ratios(**{field.name: getattr(counts, field.name) for field in dataclasses.fields(counts)})


def test_ratios_are_those_of_means_over_all_batches():
    """Not means of ratios; their noise is the difference of relative noises, and their derivative as well."""
    plain, u = MODEL.counts(6), jnp.asarray(TRUTH)
    counts, change = ratios_of(plain), np.eye(N_STAT)[:-1]
    change[-1, -1] = -1
    np.testing.assert_allclose(counts(u), change @ np.asarray(plain(u)), rtol=1e-12)
    both = [evaluate(one, POINTS_AROUND[:3]) for one in (counts, plain)]
    np.testing.assert_allclose(both[0].values, both[1].values @ change.T, rtol=1e-12)
    expected = change @ both[1].halo_cov @ change.T
    np.testing.assert_allclose(both[0].halo_cov, expected, rtol=1e-9, atol=1e-15)
    (log_m, jacobian), (plain_log_m, plain_jacobian) = (
        log_counts_and_jacobian(one, TRUTH) for one in (counts, plain)
    )
    np.testing.assert_allclose(log_m, change @ plain_log_m, rtol=1e-12)
    np.testing.assert_allclose(jacobian, change @ plain_jacobian, rtol=1e-9, atol=1e-12)
    of_batches, plain_of_batches = (jacobians_of_batches(one, TRUTH) for one in (counts, plain))
    np.testing.assert_allclose(of_batches, change @ plain_of_batches, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_counts(counts, TRUTH), log_m, rtol=1e-12)


def test_evaluated_covariance_is_the_noise_that_was_put_in():
    model = toy(noise=0.1)
    found = evaluate(model.counts(4000), TRUTH[None])
    expected = model.likelihood(model.data(), 4000).halo_cov
    modes = model.likelihood(model.data()).modes
    np.testing.assert_allclose(
        modes.T @ found.halo_cov @ modes, expected, rtol=0.1, atol=0.1 * expected.max()
    )


@pytest.mark.parametrize("n", [1, 3, POINTS + 3])
def test_points_evaluated_together_are_those_evaluated_one_by_one(n):
    counts, points = MODEL.counts(), POINTS_AROUND[:n]
    together, alone = evaluate(counts, points), [evaluate(counts, u[None]) for u in points]
    assert together.values.shape == (n, N_STAT)
    np.testing.assert_allclose(together.values, np.concatenate([one.values for one in alone]), rtol=1e-12)
    np.testing.assert_allclose(
        together.halo_cov, np.mean([one.halo_cov for one in alone], axis=0), rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(together.values, [log_counts(counts, u) for u in points], rtol=1e-12)


def test_points_without_a_number_have_no_say_in_the_covariance():
    """Whatever the share of them among the points that are evaluated at once, and of those that join."""
    counts = toy(noise=0.3, edge=0.5).counts()
    points = POINTS_AROUND[np.argsort(POINTS_AROUND[:, 0])]
    good = points[points[:, 0] < 0.5]
    assert 0 < len(good) % POINTS < POINTS
    found = evaluate(counts, points)
    np.testing.assert_array_equal(np.isfinite(found.values).all(axis=1), points[:, 0] < 0.5)
    expected = evaluate(counts, good).halo_cov
    np.testing.assert_allclose(found.halo_cov, expected, rtol=1e-9, atol=1e-15)
    joined = evaluate(counts, good[:3]).joined(evaluate(counts, points[3:]))
    np.testing.assert_allclose(joined.halo_cov, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(joined.points, points)


def test_no_point_with_a_number_gives_no_covariance():
    found = evaluate(toy(noise=0.3, edge=-9.0).counts(), POINTS_AROUND)
    assert not np.isfinite(found.values).any()
    np.testing.assert_array_equal(found.halo_cov, 0)


def test_progress_ends_with_the_number_of_points():
    seen = []
    evaluate(MODEL.counts(), POINTS_AROUND, seen.append)
    assert seen == [POINTS, 2 * POINTS, len(POINTS_AROUND)]


def test_first_points_keep_the_covariance_of_all():
    found = evaluate(MODEL.counts(), POINTS_AROUND)
    first = found.first(4)
    assert isinstance(first, Evaluated)
    np.testing.assert_array_equal(first.values, found.values[:4])
    np.testing.assert_array_equal(first.halo_cov, found.halo_cov)


def test_first_batches_are_a_smaller_sample():
    counts = MODEL.counts(6)
    few = counts.first(2)
    assert (counts.n_batch, few.n_batch) == (6, 2)
    np.testing.assert_allclose(few(jnp.asarray(TRUTH)), log_mean(counts.each(jnp.asarray(TRUTH))[:2]))


def central(f, u, step=1e-5):
    """Derivative by central differences, last axis the parameter."""
    return np.stack(
        [(np.asarray(f(u + step * e)) - f(u - step * e)) / (2 * step) for e in np.eye(len(u))], -1
    )


def test_jacobian_is_the_derivative_of_the_log_counts():
    """That of the correction for the logarithm's bias is in it."""
    for counts in (without_noise(MODEL.counts()), MODEL.counts()):
        log_m, jacobian = log_counts_and_jacobian(counts, jnp.asarray(TRUTH))
        np.testing.assert_allclose(log_m, log_counts(counts, TRUTH), rtol=1e-12)
        numeric = central(lambda u, counts=counts: log_counts(counts, u), TRUTH)
        np.testing.assert_allclose(jacobian, numeric, rtol=1e-6, atol=1e-8)


def test_batches_parts_of_the_jacobian_have_the_derivative_of_the_mean_as_their_mean():
    counts = MODEL.counts()
    each = jax.jit(lambda u: counts.each(u))  # noqa: PLW0108 - a Module with arrays has no hash

    def log_of_mean(u):
        return np.log(np.mean(np.exp(each(jnp.asarray(u))), axis=0))

    parts = jacobians_of_batches(counts, jnp.asarray(TRUTH))
    assert parts.shape == (counts.n_batch, N_STAT, N_PAR)
    np.testing.assert_allclose(parts.mean(axis=0), central(log_of_mean, TRUTH), rtol=1e-6, atol=1e-8)


def test_reverse_derivative_is_the_forward_one():
    counts, u = MODEL.counts(), jnp.asarray(TRUTH)
    numeric = central(lambda u: log_counts(counts, u), TRUTH)
    np.testing.assert_allclose(jax.jit(jax.jacrev(counts))(u), numeric, rtol=1e-6, atol=1e-8)


def test_noise_of_one_batch_is_refused():
    with pytest.raises(InputError, match="two or more"):
        halo_covariance(np.zeros((3, 1, 4)))


@pytest.mark.parametrize(
    ("cores", "n_halo", "expected"), [(2, 768, 2), (64, 768, 21), (64, 12288, 2), (1, 64, 1)]
)
def test_cores_share_batches_as_far_as_memory_goes(monkeypatch, cores, n_halo, expected):
    monkeypatch.setattr(counts_module.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert counts_module.batches_at_once(n_halo) == expected
