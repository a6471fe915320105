"""Every optimiser reaches the optimum that scipy finds, and Levenberg-Marquardt where it is hard."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from toy import N_PAR, TRUTH, toy

from popinfer.infer.optimise import Composite, adam, lbfgs, levenberg_marquardt

METHODS = {"levenberg_marquardt": levenberg_marquardt, "adam": adam, "lbfgs": lbfgs}


def composite(share=1.0, level=4.0):
    model = toy(level=level)
    return Composite(model.counts(2), model.data(model.draw(np.random.default_rng(1))), share)


def optimum_of(objective):
    def loss(u):
        value, gradient = objective.value_and_grad(jnp.asarray(u))
        return -float(value), -np.asarray(gradient)

    return minimize(loss, np.zeros(N_PAR), jac=True, method="BFGS", options={"gtol": 1e-7}).x


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("share", "start"), [(0.3, np.array([1.5, -1.5, 1.0]))], ids=["tempered"])
def test_reaches_the_optimum(method, share, start):
    objective = composite(share)
    fit = method(objective, start)
    best = float(objective.value(jnp.asarray(optimum_of(objective))))
    assert best - fit.log_density < 0.06
    assert fit.log_density == pytest.approx(float(objective.value(jnp.asarray(fit.u))), rel=1e-9)
    if method is not adam:
        assert fit.converged


def test_needs_few_steps_and_converges_tightly_when_asked():
    objective = composite()
    fit = levenberg_marquardt(objective, np.ones(N_PAR), tolerance=1e-8)
    assert fit.converged
    assert fit.n_steps < 15
    np.testing.assert_allclose(fit.u, optimum_of(objective), atol=1e-3)


def test_says_when_it_ran_out_of_steps():
    fit = levenberg_marquardt(composite(), np.full(N_PAR, 2.0), max_steps=1)
    assert not fit.converged
    assert fit.n_steps == 1


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_progress_reports_every_step_and_never_gets_worse(method):
    seen = []
    fit = method(
        composite(), np.ones(N_PAR), max_steps=12, progress=lambda step, value: seen.append((step, value))
    )
    assert len(seen) >= fit.n_steps - 1
    assert np.all(np.diff([value for _, value in seen]) >= 0)


def test_truth_is_recovered_from_many_counts():
    np.testing.assert_allclose(
        levenberg_marquardt(composite(level=14.0), np.zeros(N_PAR)).u, TRUTH, atol=0.02
    )


def test_fair_share_is_taken_from_the_information():
    objective = composite().with_fair_weight(np.zeros(N_PAR))
    assert 0.02 < objective.weight < 0.6  # of kernels that count every galaxy several times


class LeastSquares:
    """-|target - model(u)|^2 / 2 - |u|^2 / 2 w^2, as Levenberg-Marquardt sees it."""

    def __init__(self, model, derivative, target, prior=1e-3):
        self.model, self.derivative, self.target, self.prior = model, derivative, target, prior
        self.n_jacobian = 0

    def at(self, u):
        log_m = self.model(u)
        residual = self.target - log_m
        return float(-0.5 * residual @ residual - 0.5 * self.prior * u @ u), log_m

    def jacobian(self, u):
        self.n_jacobian += 1
        return self.derivative(u)

    def gradient_and_curvature(self, u, log_counts, jacobian):
        gradient = jacobian.T @ (self.target - log_counts) - self.prior * u
        return gradient, jacobian.T @ jacobian + self.prior * np.eye(u.size)


def valley(stiff):
    """Rosenbrock's: counts that know u_1 - u_0^2 a hundred times better than u_0."""
    return LeastSquares(
        lambda u: np.array([stiff * (u[1] - u[0] ** 2), u[0]]),
        lambda u: np.array([[-2 * stiff * u[0], stiff], [1.0, 0.0]]),
        np.array([0.0, 1.0]),
        prior=1e-8,
    )


@pytest.mark.parametrize(("stiff", "max_steps"), [(10.0, 60), (30.0, 60), (100.0, 300)])
@pytest.mark.parametrize("start", [(-1.2, 1.0), (-2.0, 2.0)])
def test_a_stiff_curved_valley_is_followed_to_its_end(stiff, max_steps, start):
    objective = valley(stiff)
    fit = levenberg_marquardt(objective, np.array(start), max_steps=max_steps)
    assert fit.converged
    assert fit.log_density > -0.02
    assert abs(fit.u[0] - 1.0) < 0.2  # a fifth of its standard deviation
    assert abs(fit.u[1] - fit.u[0] ** 2) < 0.2 / stiff
    assert objective.n_jacobian < fit.n_steps + 2


def test_damping_raised_by_rounding_does_not_stall_it():
    """The first steps fail until the damping is 2e4; near the start gains are a tenth of what is promised:
    a damping that stayed would make steps of a ten-thousandth until they run out."""
    plain, start, seen = valley(10.0), np.array([-1.2, 1.0]), []
    at_start = plain.at(start)[0]

    class Rough(LeastSquares):
        def at(self, u):
            value, log_m = plain.at(u)
            seen.append(u)
            if np.abs(u - start).max() < 0.03:
                value = at_start + 0.1 * (value - at_start)
            return (value - 1e3 if 1 < len(seen) <= 8 else value), log_m

    rough = Rough(plain.model, plain.derivative, plain.target, plain.prior)
    fit = levenberg_marquardt(rough, start, max_steps=60)
    assert fit.log_density > -0.02
    assert fit.converged


def test_no_step_is_longer_than_the_prior_has_mass():
    flat = LeastSquares(lambda u: 1e-3 * u, lambda u: 1e-3 * np.eye(2), np.array([1.0, -1.0]), prior=1e-9)
    seen = []
    flat.at, at = (lambda u: (seen.append(u), at(u))[1]), flat.at
    levenberg_marquardt(flat, np.zeros(2), max_steps=1)
    assert np.abs(np.diff(seen, axis=0)).max() <= 3.0 + 1e-9


def test_a_start_without_a_number_stays_and_has_not_converged():
    nowhere = LeastSquares(lambda u: np.nan * u, lambda u: np.nan * np.eye(2), np.zeros(2))
    fit = levenberg_marquardt(nowhere, np.ones(2))
    assert not fit.converged
    np.testing.assert_array_equal(fit.u, 1.0)
