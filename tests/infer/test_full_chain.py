"""The whole posterior, from parameters through halos, light and counts: its gradient, and chains of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import silent

from popinfer.infer.likelihood import information, log_density
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.infer.region import find_region
from popinfer.infer.sample import NutsSpec, nuts
from popinfer.random import root_key

STEP = 1e-4  # in units of the priors' widths: truncation and rounding errors are both below 1e-6


def central_differences(f, u):
    """Gradient by central differences with one Richardson step: error of fourth order."""

    def central(unit, step):
        return float(f(u + step * unit) - f(u - step * unit)) / (2 * step)

    return np.array([(4 * central(e, STEP) - central(e, 2 * STEP)) / 3 for e in np.eye(len(u))])


@pytest.mark.slow
def test_gradient_of_the_posterior_matches_finite_differences(small_problem):
    problem = small_problem
    centre = np.zeros(problem.size)
    info = information(problem, centre, Compiled(problem).jacobian)
    density = eqx.filter_jit(log_density(problem, info.precision))
    gradient = eqx.filter_jit(eqx.filter_grad(density))
    rng = np.random.default_rng(7)
    for _ in range(5):
        u = 0.5 * rng.standard_normal(problem.size)
        exact, numeric = np.asarray(gradient(jnp.asarray(u))), central_differences(density, u)
        error = np.abs(exact - numeric) / np.abs(numeric)
        worst = int(np.argmax(error))
        assert error[worst] < 1e-5, f"{problem.names[worst]}: {exact[worst]} against {numeric[worst]}"


@pytest.mark.slow
def test_batched_chains_give_the_draws_of_chains_in_sequence(small_problem):
    """To rounding, while chains are where the posterior is: far away, and in single precision, it grows."""
    centre = np.zeros(small_problem.size)
    guide = gauss_newton(Compiled(small_problem).with_fair_share(centre), centre, max_steps=15)
    region = find_region(root_key(1), small_problem, [guide.u], rounds=1)
    one, other = (
        nuts(
            jax.random.key(8),
            region.density,
            region.mixture,
            NutsSpec(2, 15, 5, start_scale=1.0, chains=mode),
            silent,
        ).u
        for mode in ("sequence", "vmap")
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert np.all(np.std(one, axis=1) > 1e-3)
