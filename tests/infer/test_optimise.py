"""Every optimiser reaches the optimum that scipy finds."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from toy import N_PAR, TRUTH, toy

from popinfer.infer.optimise import Compiled, adam, gauss_newton, lbfgs

METHODS = {"gauss_newton": gauss_newton, "adam": adam, "lbfgs": lbfgs}


@pytest.fixture(scope="module")
def problem():
    model = toy(level=4.0)
    return model.problem(model.draw(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def compiled(problem):
    return Compiled(problem)


def optimum_of(compiled):
    def loss(u):
        value, gradient = compiled.value_and_grad(jnp.asarray(u))
        return -float(value), -np.asarray(gradient)

    return minimize(loss, np.zeros(N_PAR), jac=True, method="BFGS", options={"gtol": 1e-7}).x


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    ("share", "start"), [(1.0, np.zeros(N_PAR)), (0.3, np.array([1.5, -1.5, 1.0]))], ids=["full", "tempered"]
)
def test_reaches_the_optimum(method, share, start, problem):
    compiled = Compiled(problem, share)
    fit = method(compiled, start)
    best = float(compiled.value(jnp.asarray(optimum_of(compiled))))
    assert best - fit.log_density < 0.06
    assert fit.log_density == pytest.approx(float(compiled.value(jnp.asarray(fit.u))), rel=1e-9)
    if method is not adam:
        assert fit.converged


def test_gauss_newton_needs_few_steps_and_converges_tightly_when_asked(compiled):
    fit = gauss_newton(compiled, np.ones(N_PAR), tolerance=1e-8)
    assert fit.converged
    assert fit.n_steps < 15
    np.testing.assert_allclose(fit.u, optimum_of(compiled), atol=1e-3)


def test_gauss_newton_says_when_it_ran_out_of_steps(compiled):
    fit = gauss_newton(compiled, np.full(N_PAR, 2.0), max_steps=1)
    assert not fit.converged
    assert fit.n_steps == 1


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_progress_reports_every_step_and_never_gets_worse(method, compiled):
    seen = []
    fit = method(
        compiled, np.ones(N_PAR), max_steps=12, progress=lambda step, value: seen.append((step, value))
    )
    assert len(seen) >= fit.n_steps - 1
    assert np.all(np.diff([value for _, value in seen]) >= 0)


def test_truth_is_recovered_from_many_counts():
    model = toy(level=14.0)
    fit = gauss_newton(Compiled(model.problem(model.draw(np.random.default_rng(2)))), np.zeros(N_PAR))
    np.testing.assert_allclose(fit.u, TRUTH, atol=0.02)
