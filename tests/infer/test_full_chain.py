"""The whole posterior, from parameters through halos, light and counts: its gradient, and chains of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import silent

from popinfer.infer.likelihood import LogDensity
from popinfer.infer.nuts import NutsSpec, nuts
from popinfer.infer.optimise import Composite, density_and_grad, levenberg_marquardt
from popinfer.infer.search import find_maxima, likelihood_at

STEP = 1e-4  # in units of the priors' widths: truncation and rounding errors are both below 1e-6


def central_differences(f, u):
    """Gradient by central differences with one Richardson step: error of fourth order."""

    def central(unit, step):
        return float(f(u + step * unit) - f(u - step * unit)) / (2 * step)

    return np.array([(4 * central(e, STEP) - central(e, 2 * STEP)) / 3 for e in np.eye(len(u))])


@pytest.mark.slow
def test_gradient_of_the_posterior_matches_finite_differences(small_problem):
    counts, data = small_problem
    n_par = len(counts.survey_models[0].model.space.names)
    density = LogDensity.of(counts, likelihood_at(counts, data, np.zeros(n_par)))
    both = density_and_grad(density)
    rng = np.random.default_rng(7)
    for _ in range(2):
        u = 0.5 * rng.standard_normal(n_par)
        exact = np.asarray(both(jnp.asarray(u))[1])
        numeric = central_differences(lambda u: both(jnp.asarray(u))[0], u)
        np.testing.assert_allclose(exact, numeric, rtol=1e-5)


@pytest.mark.slow
def test_batched_chains_give_the_draws_of_chains_in_sequence(small_problem):
    """To rounding, while chains are where the posterior is: far away, and in single precision, it grows."""
    counts, data = small_problem
    few, centre = counts.first(2), np.zeros(len(counts.survey_models[0].model.space.names))
    guide = levenberg_marquardt(Composite(few, data).with_fair_share(centre), centre, max_steps=15)
    found = find_maxima(few, data, [guide.u])
    density = LogDensity.of(few, found.likelihood)
    one, other = (
        nuts(
            jax.random.key(8),
            density,
            found.mixture,
            NutsSpec(2, 6, 4, start_scale=1.0, chains=mode, max_tree_depth=4),
            silent,
        ).u
        for mode in ("sequence", "vmap")
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert np.all(np.std(one, axis=1) > 1e-3)
