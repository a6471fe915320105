"""Monte Carlo noise: what the corrections take out, what they say is left, and posteriors in spite of it."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from popinfer.errors import InputError
from popinfer.infer.laplace import Laplace
from popinfer.infer.likelihood import Problem
from popinfer.infer.mixture import Mixture
from popinfer.infer.monte_carlo import centered, corrected
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.infer.region import SEARCH_REPLICATES, find_region
from popinfer.random import root_key

from .toy import N_BIN, N_PAR, N_STAT, TRUTH, Toy, toy

N_REPLICATES = 12


class NoisySample(eqx.Module):
    """Log-counts of one halo sample: off by constant + slope @ u + curvature |u - TRUTH|^2 in every bin."""

    model: Toy = eqx.field(static=True)
    constant: Array
    slope: Array
    curvature: Array

    @classmethod
    def draw(cls, model, rng, size, curvature=0.0):
        """Noise of a given standard deviation; its curvature is a fraction of it."""
        return cls(
            model,
            size * rng.standard_normal(N_BIN),
            size * rng.standard_normal((N_BIN, N_PAR)),
            curvature * size * rng.standard_normal(N_BIN),
        )

    def __call__(self, u):
        """Logarithm of the soft counts that this sample predicts."""
        model = self.model
        noise = self.constant + self.slope @ u + self.curvature * jnp.sum((u - TRUTH) ** 2)
        return jnp.log(model.kernels @ jnp.exp(model.level + model.design @ u + noise))


_counts = eqx.filter_jit(NoisySample.__call__)


def noisy_problem(model, observed, rng, size, curvature=0.0):
    """The toy's problem as one halo sample and its replicates see it."""
    own, *others = [NoisySample.draw(model, rng, size, curvature) for _ in range(N_REPLICATES + 1)]
    return dataclasses.replace(
        model.problem(observed),
        raw_log_counts=own,
        replicates=tuple(partial(_counts, one) for one in others),
    )


def corrected_around(problem, factor, seed=0):
    """Counts corrected at nodes spread around the truth."""
    spread = Laplace(TRUTH, factor @ factor.T)
    return corrected(problem, Mixture.single(spread).spread(root_key(seed), 4 * N_PAR), spread)


@pytest.fixture(scope="module")
def model():
    """Sixteen overlapping kernels."""
    return toy()


def test_centered_counts_are_the_mean_of_all_samples(model):
    problem = noisy_problem(model, model.kernels @ model.bins(TRUTH), np.random.default_rng(1), 0.1)
    u = jnp.asarray(TRUTH)
    moved = centered(problem, u)
    own = np.exp(np.asarray(problem.raw_log_counts(u)))
    everyone = np.concatenate([own[None], np.exp(problem.log_replicates(u))])
    mean = everyone.mean(axis=0)
    unbiased = np.log(mean) + 0.5 * everyone.var(axis=0, ddof=1) / mean**2 / len(everyone)
    np.testing.assert_allclose(moved.log_counts(u), unbiased, rtol=1e-12)
    assert moved.n_averaged == N_REPLICATES + 1
    assert np.abs(own / everyone.mean(axis=0) - 1).max() > 0.01


def test_corrected_counts_follow_the_mean_of_all_samples(model):
    problem = noisy_problem(model, model.kernels @ model.bins(TRUTH), np.random.default_rng(2), 0.01)
    factor = np.diag([0.1, 0.2, 0.1])
    whole = corrected_around(problem, factor).problem
    before, after = [], []
    for z in np.random.default_rng(3).standard_normal((10, N_PAR)):
        u = jnp.asarray(TRUTH + factor @ z)
        own = np.exp(np.asarray(problem.raw_log_counts(u)))
        mean = np.concatenate([own[None], np.exp(problem.log_replicates(u))]).mean(axis=0)
        before.append(own / mean - 1)
        after.append(np.exp(whole.log_counts(u)) / mean - 1)
    assert np.std(after) < 0.02 * np.std(before)


def test_noise_that_depends_on_the_parameters_does_not_bias_counts_or_slopes(model):
    """Lognormal bin weights of mean one whose scatter grows along the first parameter."""
    factor, u, off, tilt = np.diag([0.2, 0.2, 0.2]), jnp.zeros(N_PAR), [], []
    truth = np.asarray(model.log_counts(u))
    true_slope = np.asarray(jax.jacfwd(model.log_counts)(u))

    def counts(normals, u):
        sd = 0.8 * jnp.exp(0.5 * u[0])
        weights = jnp.exp(sd * normals - 0.5 * sd**2)
        return jnp.log(model.kernels @ (jnp.exp(model.level + model.design @ u) * weights))

    for seed in range(150):
        own, *others = np.random.default_rng(seed).standard_normal((N_REPLICATES + 1, N_BIN))
        problem = dataclasses.replace(
            model.problem(np.exp(truth)),
            raw_log_counts=partial(counts, own),
            replicates=tuple(partial(counts, one) for one in others),
        )
        spread = Laplace(np.zeros(N_PAR), factor @ factor.T)
        found = corrected(problem, Mixture.single(spread).spread(root_key(seed), 4 * N_PAR), spread).problem
        off.append(np.mean(np.asarray(found.log_counts(u)) - truth))
        tilt.append(np.mean(np.asarray(jax.jacfwd(found.log_counts)(u)) - true_slope, axis=0)[0])
    for values in (off, tilt):
        assert abs(np.mean(values)) < 3.5 * np.std(values) / np.sqrt(len(values))
    single = 0.5 * 0.8**2 / 4  # about the bias of one sample's mean logarithm, four bins a kernel
    assert np.std(tilt) / np.sqrt(len(tilt)) < 0.1 * single


@pytest.mark.parametrize("curvature", [0.0, 3.0])
def test_noise_that_is_left_is_as_large_as_stated(model, curvature):
    factor, size = np.diag([0.3, 0.3, 0.2]), 0.02
    observed = model.kernels @ model.bins(TRUTH)
    noise, stated = [], []
    for seed in range(250):
        rng = np.random.default_rng(100 + seed)
        found = corrected_around(noisy_problem(model, observed, rng, size, curvature), factor, seed)
        stated.append(np.sum(found.noise**2, axis=0))
        for z in rng.standard_normal((4, N_PAR)):
            u = TRUTH + factor @ z
            noise.append(found.problem.log_counts(jnp.asarray(u)) - model.log_counts(u))
    ratio = np.mean(np.square(noise)) / np.mean(stated)
    assert 0.85 < ratio < 1.18


def rough_counts(model, waves, u):
    """Log-counts of a sample that come and go within a tenth of the nodes' spread."""
    return model.log_counts(u) + 0.02 * jnp.sin(waves @ u * 30 + waves[:, 0] * 50)


def rough_problem(model, seed):
    """Samples each with a roughness of its own."""
    waves = np.random.default_rng(seed).standard_normal((N_REPLICATES + 1, N_STAT, N_PAR))
    own, *others = [partial(rough_counts, model, one) for one in waves]
    observed = model.kernels @ model.bins(TRUTH)
    return dataclasses.replace(model.problem(observed), raw_log_counts=own, replicates=tuple(others))


def test_roughness_that_is_left_is_not_understated(model):
    """A node that is left out lies further from the others than a new point does."""
    factor, noise, stated = np.diag([0.3, 0.3, 0.2]), [], []
    for seed in range(40):
        found = corrected_around(rough_problem(model, 50 + seed), factor, seed)
        stated.append(np.sum(found.noise**2, axis=0))
        for z in np.random.default_rng(seed).standard_normal((4, N_PAR)):
            u = TRUTH + factor @ z
            noise.append(found.problem.log_counts(jnp.asarray(u)) - model.log_counts(u))
    ratio = np.mean(np.square(noise)) / np.mean(stated)
    assert 0.4 < ratio < 1.1


def test_the_runs_own_halos_are_not_followed_where_they_are_rough(model):
    """Every sample's roughness is its own: one of them says nothing about the mean of all."""
    factor = np.diag([0.3, 0.3, 0.2])
    whole = corrected_around(rough_problem(model, 7), factor).problem
    followed = dataclasses.replace(
        whole, correction=dataclasses.replace(whole.correction, follow=np.ones(()))
    )
    assert whole.correction.follow < 0.2
    rough = {name: [] for name in ("chosen", "followed")}
    for z in np.random.default_rng(8).standard_normal((40, N_PAR)):
        u = jnp.asarray(TRUTH + factor @ z)
        rough["chosen"].append(whole.log_counts(u) - model.log_counts(u))
        rough["followed"].append(followed.log_counts(u) - model.log_counts(u))
    assert np.std(rough["chosen"]) < 0.6 * np.std(rough["followed"])


def test_the_runs_own_halos_are_followed_where_the_model_bends(model):
    """What all samples do alike, and nodes are too few to show, is taken from the run's own."""
    bends = np.random.default_rng(9).standard_normal((N_STAT, N_PAR))

    def counts(normals, u):
        return model.noisy_log_counts(normals, u) + 0.3 * jnp.sin(6 * bends @ u)

    own, *others = np.random.default_rng(10).standard_normal((N_REPLICATES + 1, N_BIN))
    problem = dataclasses.replace(
        model.problem(model.kernels @ model.bins(TRUTH)),
        raw_log_counts=partial(counts, own),
        replicates=tuple(partial(counts, one) for one in others),
    )
    assert corrected_around(problem, np.diag([0.3, 0.3, 0.2])).problem.correction.follow > 0.95


def test_far_from_the_nodes_the_models_own_counts_are_followed_but_for_the_trends(model):
    """Whatever the share that is followed near them."""
    problem = noisy_problem(model, model.kernels @ model.bins(TRUTH), np.random.default_rng(11), 0.01, 3.0)
    whole = corrected_around(problem, np.diag([0.05, 0.05, 0.05])).problem
    near, far, own = {}, {}, np.zeros(N_STAT)
    for follow in (0.0, 1.0):
        correction = dataclasses.replace(whole.correction, follow=np.asarray(follow))
        for found, u in ((near, TRUTH + 0.05), (far, TRUTH + 1.0)):
            own = problem.raw_log_counts(jnp.asarray(u)) + 0.1
            found[follow] = np.asarray(correction(own, jnp.asarray(u)))
    np.testing.assert_allclose(far[0.0], far[1.0], rtol=0, atol=1e-6)
    z = whole.correction.whiten @ (TRUTH + 1.0 - whole.correction.center)
    everyone, alone = whole.correction.offset + whole.correction.slope @ z
    np.testing.assert_allclose(far[0.0] - own, everyone - alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(near[1.0] - near[0.0], 0.1, atol=0.03)


def share_followed(correction, u):
    """rho(u): how far a change of the run's own counts moves the corrected ones."""
    own = jnp.zeros(correction.offset.shape[1])
    return float(np.mean(correction(own + 1, jnp.asarray(u)) - correction(own, jnp.asarray(u))))


def test_the_share_that_is_followed_rises_away_from_the_nodes():
    """Nine parameters, as in a full run: hardly any near the middle, nearly all at ten of its widths."""
    n_par, rng = 9, np.random.default_rng(12)
    spread = Laplace(np.zeros(n_par), np.eye(n_par))
    correction = corrected_around_modes(n_par, Mixture.single(spread).spread(root_key(0), 8 * n_par), spread)
    directions = rng.standard_normal((20, n_par))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    shares = [np.mean([share_followed(correction, r * x) for x in directions]) for r in (0, 2, 4, 6, 8, 10)]
    assert shares[1] < 0.05
    assert shares[-1] > 0.85
    assert np.all(np.diff(shares) > 0)


def test_between_two_modes_the_model_itself_is_followed():
    one, other = (Laplace(np.full(N_PAR, x), 0.02 * np.eye(N_PAR)) for x in (-1.0, 1.0))
    modes = Mixture((one, other), np.array([0.5, 0.5]))
    correction = corrected_around_modes(N_PAR, modes.spread(root_key(0), 8 * N_PAR), modes.within())
    assert share_followed(correction, one.mean) < 0.05
    assert share_followed(correction, np.zeros(N_PAR)) > 0.8


def corrected_around_modes(n_par, nodes, spread):
    """Correction of samples that are rough, and nothing else, in any number of parameters."""
    waves = np.random.default_rng(13).standard_normal((N_REPLICATES + 1, N_STAT, n_par))
    own, *others = [lambda u, k=k: 5.0 + 0.02 * jnp.sin(100 * k @ u) for k in waves]
    problem = Problem(
        names=tuple(map(str, range(n_par))),
        raw_log_counts=own,
        observed=np.full(N_STAT, np.exp(5.0)),
        data_cov=np.exp(5.0) * np.eye(N_STAT),
        slice_of=np.zeros(N_STAT, int),
        replicates=tuple(others),
        n_soft=N_STAT,
    )
    return corrected(problem, nodes, spread).problem.correction


def test_counts_that_are_not_finite_are_refused(model):
    problem = noisy_problem(model, model.kernels @ model.bins(TRUTH), np.random.default_rng(14), 0.01)
    broken = dataclasses.replace(problem, raw_log_counts=lambda u: problem.raw_log_counts(u) + jnp.log(-u[0]))
    with pytest.raises(InputError, match="aren't finite"):
        corrected_around(broken, np.diag([0.05, 0.05, 0.05]))


def region_of(problem, seed):
    """The region from where the guide leads, and the Laplace approximation of its mode."""
    found = find_region(
        root_key(seed), problem, [gauss_newton(Compiled(problem, share=0.2), np.zeros(N_PAR)).u]
    )
    assert found.converged
    return found, found.modes[0].approx


def squared_pull(problem, truth, seed):
    """(mean - truth) cov^-1 (mean - truth) of the posterior around its mode."""
    _, approx = region_of(problem, seed)
    away = approx.mean - truth
    return away @ np.linalg.solve(approx.cov, away)


def simulated(model, seed):
    """Truth drawn from the prior, and the problem that a survey of it poses."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(N_PAR)
    return truth, noisy_problem(model, model.draw(rng, truth), rng, 0.05)


def test_posterior_covers_the_truth_in_spite_of_noisy_samples(model):
    squared_pulls = []
    for seed in range(40):
        truth, problem = simulated(model, 1000 + seed)
        squared_pulls.append(squared_pull(problem, truth, seed))
    # chi-square with 3 degrees of freedom: mean 3, its standard error sqrt(6 / 40)
    assert np.mean(squared_pulls) == pytest.approx(3.0, abs=3 * np.sqrt(6 / 40))


def test_dropping_the_noise_from_the_width_is_caught_by_the_same_check(model):
    squared_pulls = []
    for seed in range(15):
        truth, problem = simulated(model, 2000 + seed)
        silent = dataclasses.replace(problem, replicates=(problem.raw_log_counts,) * 3)
        squared_pulls.append(squared_pull(silent, truth, seed))
    assert np.mean(squared_pulls) > 3.0 + 3 * np.sqrt(6 / 15)


def test_the_mode_is_where_the_density_is_level(model):
    _, problem = simulated(model, 5)
    found, approx = region_of(problem, 0)
    gradient = np.asarray(jax.grad(found.density)(jnp.asarray(approx.mean)))
    sd = np.sqrt(np.diag(approx.cov))
    assert np.abs(approx.cov @ gradient / sd).max() < 0.1


def test_one_round_leads_to_the_mode_with_a_few_replicates(model):
    _, problem = simulated(model, 6)
    few, all_ = find_region(root_key(0), problem, [np.zeros(N_PAR)], rounds=1), region_of(problem, 0)[0]
    assert few.problem.n_averaged == SEARCH_REPLICATES + 1
    assert all_.problem.n_averaged == N_REPLICATES + 1
    assert all_.modes[0].distance(few.modes[0].approx.mean) < 3.0
