"""The Gaussian process against brute force: refitting, finite differences, and functions drawn from one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize_scalar
from scipy.stats import multivariate_normal

from popinfer.infer.surrogate import _negative_log_marginal, fit_surrogate

N_PAR, N_STAT = 3, 6
LENGTHS = np.array([0.6, 1.5, 4.0])


def points(rng, n):
    return rng.standard_normal((n, N_PAR))


def kernel(a, b, lengths):
    return np.exp(-0.5 * np.sum(((a[:, None] - b) / lengths) ** 2, axis=2))


def drawn(rng, nodes, n_stat=N_STAT, lengths=LENGTHS, white=1e-6):
    """Functions with a linear trend, of any amplitude, drawn from a Gaussian process."""
    cov = kernel(nodes, nodes, lengths) + white * np.eye(len(nodes))
    waves = np.linalg.cholesky(cov) @ rng.standard_normal((len(nodes), n_stat))
    trend = 5.0 + nodes @ rng.standard_normal((N_PAR, n_stat))
    return trend + waves * np.geomspace(0.1, 10, n_stat)


def at(surrogate, where):
    return np.asarray(jax.vmap(surrogate)(jnp.asarray(where)))


def curved(u):
    """A smooth function that is no draw of the process."""
    return np.stack([np.exp(0.5 * u[:, 0]) + u[:, 1], np.sin(u[:, 0] + u[:, 1]), u[:, 2] ** 2], axis=1)


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    nodes = points(rng, 30)
    return nodes, drawn(rng, nodes)


@pytest.mark.parametrize("white", [1e-4, 0.3])
def test_gradient_of_the_marginal_likelihood_matches_finite_differences(example, white):
    nodes, values = example
    trend = np.column_stack([np.ones(len(nodes)), nodes])
    x = np.append(np.log([1.0, 0.8, 2.0]), np.log(white))

    def value(x):
        return _negative_log_marginal(x, nodes, trend, values)[0]

    numeric = [(value(x + 1e-5 * e) - value(x - 1e-5 * e)) / 2e-5 for e in np.eye(len(x))]
    np.testing.assert_allclose(_negative_log_marginal(x, nodes, trend, values)[1], numeric, rtol=1e-5)


def test_marginal_likelihood_is_that_of_contrasts_without_trend(example):
    """Restricted likelihood: the density of combinations that no trend changes, at its best amplitude."""
    nodes, values = example
    trend = np.column_stack([np.ones(len(nodes)), nodes])
    contrasts = np.linalg.svd(trend.T)[2][N_PAR + 1 :]

    def brute(lengths, white):
        cov = contrasts @ (kernel(nodes, nodes, lengths) + white * np.eye(len(nodes))) @ contrasts.T
        total = 0.0
        for one in (contrasts @ values).T:
            density = multivariate_normal(np.zeros(len(cov)), cov)

            def negative(log_sd, one=one, density=density):
                return -(density.logpdf(one * np.exp(-log_sd)) - len(one) * log_sd)

            total += minimize_scalar(negative).fun
        return total

    kernels = [(np.array([1.0, 1.0, 1.0]), 1e-3), (np.array([0.5, 2.0, 3.0]), 0.05)]
    ours = [
        _negative_log_marginal(np.log([*lengths, white]), nodes, trend, values)[0]
        for lengths, white in kernels
    ]
    theirs = [brute(*one) for one in kernels]
    assert ours[1] - ours[0] == pytest.approx(theirs[1] - theirs[0], rel=1e-5)


def test_nodes_are_interpolated_where_there_is_little_white_noise(example):
    nodes, values = example
    fit = fit_surrogate(nodes, values, np.eye(N_STAT), (LENGTHS, 1e-8), fixed=True)
    np.testing.assert_allclose(at(fit.surrogate, nodes), values, atol=1e-5 * np.ptp(values))
    rough = fit_surrogate(nodes, values, np.eye(N_STAT), (LENGTHS, 1.0), fixed=True)
    assert np.abs(at(rough.surrogate, nodes) - values).max() > 0.1


def test_a_linear_function_is_reproduced_everywhere():
    rng = np.random.default_rng(1)
    nodes, far = points(rng, 20), 30 * points(rng, 5)
    slope = rng.standard_normal((N_PAR, N_STAT))
    fit = fit_surrogate(nodes, 2.0 + nodes @ slope, np.eye(N_STAT), (LENGTHS, 1e-4), fixed=True)
    np.testing.assert_allclose(at(fit.surrogate, far), 2.0 + far @ slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("white", [1e-6, 0.1])
def test_left_out_errors_are_those_of_refitting_without_the_node(example, white):
    nodes, values = example
    fit = fit_surrogate(nodes, values, np.eye(N_STAT), (LENGTHS, white), fixed=True)
    for j in (0, 7, 29):
        rest = np.arange(len(nodes)) != j
        without = fit_surrogate(nodes[rest], values[rest], np.eye(N_STAT), (LENGTHS, white), fixed=True)
        error = values[j] - at(without.surrogate, nodes[j : j + 1])[0]
        np.testing.assert_allclose(fit.left_out[j], error, rtol=1e-6, atol=1e-9)


def test_combined_is_the_combination_and_padding_changes_nothing(example):
    nodes, values = example
    fit = fit_surrogate(nodes, values, np.eye(N_STAT), (LENGTHS, 1e-4), fixed=True)
    matrix, where = np.random.default_rng(2).standard_normal((4, N_STAT)), points(np.random.default_rng(3), 7)
    combined = fit.surrogate.combined(matrix)
    np.testing.assert_allclose(at(combined, where), at(fit.surrogate, where) @ matrix.T, rtol=1e-9)
    padded = combined.padded(100)
    assert len(padded.nodes) == 100
    np.testing.assert_allclose(at(padded, where), at(combined, where), rtol=1e-12)
    refitted = fit_surrogate(nodes, values @ matrix.T, np.eye(4), (LENGTHS, 1e-4), fixed=True)
    np.testing.assert_allclose(at(combined, where), at(refitted.surrogate, where), rtol=1e-6, atol=1e-8)


def test_lengths_and_white_noise_of_a_gaussian_process_are_found():
    rng = np.random.default_rng(4)
    nodes = points(rng, 150)
    fit = fit_surrogate(nodes, drawn(rng, nodes, 30, white=1e-3), np.eye(30))
    np.testing.assert_allclose(fit.lengths, LENGTHS, rtol=0.15)
    assert fit.white == pytest.approx(1e-3, rel=0.3)


def test_values_outside_the_combinations_have_no_say_in_the_kernel(example):
    nodes, values = example
    only = np.eye(N_STAT)[:3]
    other = values.copy()
    other[:, 3:] = np.random.default_rng(5).standard_normal((len(nodes), 3))
    one, two = (fit_surrogate(nodes, some, only) for some in (values, other))
    np.testing.assert_allclose(one.lengths, two.lengths)
    assert not np.allclose(one.lengths, fit_surrogate(nodes, other, np.eye(N_STAT)).lengths, rtol=0.05)


def test_error_falls_with_nodes_and_is_what_left_out_nodes_say():
    rng = np.random.default_rng(6)
    where, errors, said = points(rng, 200), [], []
    where = where[np.linalg.norm(where, axis=1) < 2]
    for n in (15, 30, 60, 120):
        nodes = 1.25 * points(rng, n)
        fit = fit_surrogate(nodes, curved(nodes), np.eye(3))
        errors.append(np.sqrt(np.mean((at(fit.surrogate, where) - curved(where)) ** 2)))
        inside = np.linalg.norm(nodes, axis=1) < 2
        said.append(np.sqrt(np.mean(fit.left_out[inside] ** 2)))
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 0.05 * errors[0]
    assert np.all(np.abs(np.log(np.divide(said, errors))) < np.log(5))


def test_one_parameter_is_enough():
    nodes = np.linspace(-2, 2, 12)[:, None]
    fit = fit_surrogate(nodes, np.exp(nodes), np.eye(1))
    assert at(fit.surrogate, np.array([[0.3]]))[0, 0] == pytest.approx(np.exp(0.3), abs=1e-3)


def test_surrogates_derivative_is_right(example):
    nodes, values = example
    surrogate = fit_surrogate(nodes, values, np.eye(N_STAT), (LENGTHS, 1e-4), fixed=True).surrogate
    u = np.array([0.3, -0.2, 0.5])
    numeric = approx_fprime(u, lambda u: np.asarray(surrogate(jnp.asarray(u))), 1e-6)
    np.testing.assert_allclose(jax.jacrev(surrogate)(jnp.asarray(u)), numeric, rtol=1e-3, atol=1e-3)
