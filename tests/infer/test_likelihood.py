"""The likelihood of the counts' modes on a problem with known answers, and the guide's weight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from toy import N_PAR, TRUTH, toy

from popinfer.infer.likelihood import (
    eigenmodes,
    fair_share,
    information,
    log_density,
    poisson,
    precision,
    replicate_noise,
)
from popinfer.infer.optimise import Compiled


def look(problem, u=TRUTH):
    return information(problem, u, Compiled(problem).jacobian)


@pytest.fixture(scope="module")
def problem():
    model = toy()
    return model.problem(model.draw(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def info(problem):
    return look(problem)


def test_poisson_is_zero_at_the_data_and_negative_elsewhere():
    d = np.array([5.0, 40.0, 700.0])
    assert float(poisson(jnp.log(d), d)) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(jax.grad(poisson)(jnp.log(d), d), 0, atol=1e-10)
    assert float(poisson(jnp.log(d) + 0.1, d)) < 0


def test_logarithm_of_noisy_counts_has_no_bias():
    model, rng = toy(level=1.5), np.random.default_rng(2)
    expected = np.asarray(model.log_counts(jnp.asarray(TRUTH)))
    drawn = [model.problem(model.draw(rng)) for _ in range(4000)]
    plain = np.mean([np.log(one.observed) for one in drawn], axis=0) - expected
    better = np.mean([one.log_observed for one in drawn], axis=0) - expected
    assert np.abs(plain).mean() > 0.01
    assert np.abs(better).mean() < 0.35 * np.abs(plain).mean()


def test_counting_noise_at_the_models_counts_draws_the_model_up_less():
    """Weights from the same noisy counts as the residuals draw it up; here kernels count about 50."""
    model, rng = toy(level=2.0, mc_share=0.0), np.random.default_rng(12)
    expected = np.asarray(model.log_counts(jnp.asarray(TRUTH)))
    jacobian = np.asarray(Compiled(model.problem(np.exp(expected))).jacobian(jnp.asarray(TRUTH)))
    pulls: dict[str, list[np.ndarray]] = {"observed": [], "expected": []}
    for _ in range(2000):
        bins = rng.poisson(model.bins(TRUTH))
        drawn = dataclasses.replace(
            model.problem(model.kernels @ bins), data_cov=model.kernels @ np.diag(bins) @ model.kernels.T
        )
        for name, problem in (("observed", drawn), ("expected", drawn.expecting(expected))):
            matrix = precision(problem, np.zeros((1, len(expected))))
            score, fisher = jacobian.T @ matrix @ (problem.log_observed - expected), jacobian.T @ matrix
            pulls[name].append(score / np.sqrt(np.diag(fisher @ jacobian)))
    bias = {name: np.abs(np.mean(one, axis=0)).max() for name, one in pulls.items()}
    assert bias["observed"] > 0.12  # standard deviations of the score
    assert bias["expected"] < 0.6 * bias["observed"]


def test_a_bad_model_does_not_remove_the_counts_that_refute_it(problem):
    far = problem.expecting(np.log(problem.observed) - 5.0)
    allowed = 2 * np.sqrt(np.diag(problem.log_cov))
    np.testing.assert_allclose(np.log(far.observed / far.expected), allowed)
    np.testing.assert_allclose(far.expecting(np.log(problem.observed)).log_cov, problem.log_cov)


def test_gradient_and_fisher_information_are_derivatives_of_the_density():
    model = toy()
    exact = model.problem(model.kernels @ model.bins(TRUTH))
    exact = dataclasses.replace(exact, observed=exact.observed * np.exp(-0.5 * _variance(exact)))
    there, u = look(exact), jnp.asarray(TRUTH)
    density = log_density(exact, there.precision)
    np.testing.assert_allclose(jax.grad(density)(u), there.gradient - TRUTH, atol=1e-6)
    # residuals are tiny, so second derivatives of log-counts don't enter
    np.testing.assert_allclose(-jax.hessian(density)(u), there.fisher + np.eye(N_PAR), rtol=1e-3)


def test_gradient_is_right_where_the_data_are_off_too(problem, info):
    gradient = jax.grad(log_density(problem, info.precision))(jnp.asarray(TRUTH))
    np.testing.assert_allclose(info.gradient - TRUTH, gradient, rtol=1e-6)


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_normalised_likelihood_is_a_gaussian_of_the_modes(problem, error):
    """A larger covariance has its price in an evidence."""
    wider = dataclasses.replace(problem, model_cov=error**2 * np.eye(len(problem.observed)))
    info = look(wider)
    basis = np.linalg.qr(info.modes)[0]
    noise = replicate_noise(wider, TRUTH)
    cov = basis.T @ (wider.log_cov + noise.T @ noise) @ basis
    expected = multivariate_normal(np.zeros(len(cov)), cov).logpdf(basis.T @ info.residual)
    found = log_density(wider, info.precision)(jnp.asarray(TRUTH)) + 0.5 * TRUTH @ TRUTH
    assert float(found) == pytest.approx(expected, rel=1e-8)


def _variance(problem):
    return np.diag(problem.data_cov) / problem.observed**2


def test_chi2_of_the_truth_is_its_number_of_modes():
    model, rng = toy(mc_share=0.0), np.random.default_rng(4)
    jacobian = Compiled(model.problem(model.bins(TRUTH)[:16])).jacobian
    chi2 = []
    for _ in range(300):
        found = information(model.problem(model.draw(rng)), TRUTH, jacobian)
        chi2.append(found.residual @ found.precision @ found.residual)
    n_modes = found.modes.shape[1]
    assert n_modes < 12  # of 16 overlapping kernels
    assert np.mean(chi2) == pytest.approx(n_modes, abs=4 * np.sqrt(2 * n_modes / 300))
    assert np.var(chi2) == pytest.approx(2 * n_modes, rel=0.35)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 3.0), (0.5, 6.0)], ids=["right", "halved"])
def test_posterior_covers_the_truth_and_a_halved_covariance_does_not(factor, expected):
    """Squared distance of truth from the maximum, over its covariance: three on average when it is right."""
    model, rng = toy(mc_share=0.0), np.random.default_rng(9)
    distance = []
    for _ in range(200):
        problem = model.problem(model.draw(rng))
        problem = dataclasses.replace(problem, data_cov=factor * problem.data_cov)
        found = look(problem)
        shift = np.linalg.solve(found.fisher, found.gradient)
        distance.append(shift @ found.fisher @ shift)
    assert np.mean(distance) == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / 3 / 200))


def test_modes_keep_nearly_all_information():
    model = toy(mc_share=0.0)
    found = look(model.problem(model.kernels @ model.bins(TRUTH)))
    design = model.design * np.sqrt(model.bins(TRUTH))[:, None]
    every_bin = design.T @ design  # what independent bins tell, before kernels smooth them
    kept = np.linalg.eigvals(np.linalg.solve(every_bin, found.fisher)).real
    assert np.all(kept < 1.001)
    assert np.all(kept > 0.9)


def test_monte_carlo_share_is_what_was_put_in(info):
    assert info.monte_carlo_share() == pytest.approx(0.1 / 1.1, rel=0.15)


def test_slices_have_their_own_modes_and_monte_carlo_noise(problem):
    half = np.arange(len(problem.observed)) % 2
    apart = np.where(half[:, None] == half, problem.data_cov, 0.0)
    split = look(dataclasses.replace(problem, slice_of=half, data_cov=apart))
    sides = np.stack([np.any(split.modes[half == i] != 0, axis=0) for i in (0, 1)])
    assert np.all(sides.sum(axis=0) == 1)
    np.testing.assert_allclose(split.cov_mc[np.ix_(sides[0], sides[1])], 0, atol=1e-12)


def test_unused_counts_say_nothing_and_abundances_are_kept(problem):
    cov = problem.data_cov.copy()
    cov[3], cov[:, 3] = 0.0, 0.0
    cov[-1], cov[:, -1], cov[-1, -1] = 0.0, 0.0, problem.observed[-1]
    modes = eigenmodes(dataclasses.replace(problem, data_cov=cov, n_soft=len(cov) - 1))
    np.testing.assert_array_equal(modes[3], 0)
    own = np.flatnonzero(modes[-1])
    assert len(own) == 1
    np.testing.assert_array_equal(modes[:-1, own], 0)


def test_modes_are_those_of_the_layout(problem):
    """Another survey's correlations, and sizes that don't matter, make them; noise is the data's own."""
    sizes = np.linspace(1, 5, len(problem.observed))
    distance = np.abs(np.subtract.outer(sizes, sizes))
    layout = np.outer(sizes, sizes) * np.exp(-distance)
    modes = eigenmodes(dataclasses.replace(problem, layout_cov=layout))
    sd = np.sqrt(np.diag(problem.log_cov))
    values, vectors = np.linalg.eigh(np.exp(-distance))
    expected = vectors[:, ::-1][:, : modes.shape[1]]
    np.testing.assert_allclose(np.abs(modes * sd[:, None]), np.abs(expected), atol=1e-9)
    assert values[::-1][: modes.shape[1]].sum() >= 0.99 * values.sum()
    assert modes.shape != eigenmodes(problem).shape


def test_errors_of_the_model_widen_the_posterior(problem, info):
    relative = _variance(problem)
    corr = problem.data_cov / np.sqrt(np.outer(*[np.diag(problem.data_cov)] * 2))
    wider = look(dataclasses.replace(problem, model_cov=0.1**2 * corr))
    assert 3 * relative.max() < 0.1**2
    assert np.all(np.linalg.eigvalsh(info.fisher - 3 * wider.fisher) > 0)


def test_residual_in_the_logarithm_grows_however_far_the_model_is(problem, info):
    density = log_density(problem, info.precision)
    along = [float(density(jnp.asarray(TRUTH + np.array([-x, 0.0, 0.0])))) for x in (1.0, 10.0, 30.0)]
    assert along[0] > along[1] > along[2]
    slope = jax.grad(density)(jnp.asarray(TRUTH + np.array([-30.0, 0.0, 0.0])))[0]
    assert slope > 100


@pytest.mark.parametrize(("copies", "share"), [(1, 1.0), (4, 0.25)])
def test_fair_share_is_one_over_how_often_a_galaxy_is_counted(copies, share):
    model = toy(mc_share=0.0, overlap=False)
    model = type(model)(model.design, np.tile(model.kernels, (copies, 1)), model.level)
    problem = model.problem(model.kernels @ model.bins(TRUTH))
    jacobian = np.asarray(Compiled(problem).jacobian(jnp.asarray(TRUTH)))
    assert fair_share(problem, jacobian) == pytest.approx(share, rel=0.01)
