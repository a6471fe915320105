"""The surrogate's posterior, weighted exactly, against dense quadrature of a banana."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import N_PAR, TRUTH, toy

from popinfer.errors import NotConvergedError
from popinfer.infer import exact_weights, surrogate_posterior
from popinfer.infer.counts import evaluate
from popinfer.infer.draws import Draws
from popinfer.infer.exact_weights import FIRST_LOOK, ExactWeightsSpec, sample_with_exact_weights
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.nuts import SurrogateChains, surrogate_nuts
from popinfer.infer.search import find_maxima
from popinfer.infer.sizes import MOST_IN_ROUNDS
from popinfer.infer.surrogate_posterior import SurrogatePosterior, build_surrogate

MODEL = toy(level=1.5, noise=0.2, bend=3.0)
SPEC = ExactWeightsSpec(
    n_warmup=200, n_draws=200, min_ess=300, n_kept=400
)  # chains as long as those of `build_surrogate`


@pytest.fixture(scope="module")
def counts():
    return MODEL.counts(8)


@pytest.fixture(scope="module")
def data():
    return MODEL.data(MODEL.draw(np.random.default_rng(0)))


@pytest.fixture(scope="module")
def mixture(counts, data):
    return find_maxima(counts, data, [np.zeros(N_PAR)]).mixture


@pytest.fixture(scope="module")
def surrogate(counts, data, mixture):
    return build_surrogate(jax.random.key(0), counts, data, mixture)


@pytest.fixture(scope="module")
def sampled(counts, surrogate, mixture):
    return sample_with_exact_weights(jax.random.key(1), counts, surrogate, mixture, SPEC)


def quadrature(counts, likelihood):
    """Mean and covariance of the exact posterior, by a grid over all of it."""
    axes = [np.linspace(-2.2, 2.2, 45), np.linspace(-5.0, 3.0, 56), np.linspace(-4.0, 4.0, 36)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, N_PAR)
    density = LogDensity.of(counts, likelihood)
    log_p = np.asarray(jax.jit(lambda u: jax.lax.map(density, u, batch_size=2000))(jnp.asarray(grid)))
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()
    for axis in range(N_PAR):  # nothing is cut off
        edge = np.isin(grid[:, axis], [axes[axis][0], axes[axis][-1]])
        assert weight[edge].sum() < 1e-4
    mean = weight @ grid
    return mean, (grid - mean).T @ ((grid - mean) * weight[:, None])


def agrees(draws, exact, n_effective):
    """Means and standard deviations within four standard errors."""
    (mean, cov), u = exact, draws.reshape(-1, N_PAR)
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_array_less(np.abs(u.mean(axis=0) - mean) / sd, 4 / np.sqrt(n_effective))
    # a banana's fourth moments are larger than a Gaussian's
    np.testing.assert_array_less(np.abs(u.std(axis=0) / sd - 1), 4 * 1.3 / np.sqrt(2 * n_effective))


def test_the_posterior_is_curved(counts, surrogate):
    mean, cov = quadrature(counts, surrogate.likelihood)
    peak = find_maxima(counts, surrogate.data, [mean]).maxima[0].approx
    assert np.abs((mean - peak.mean) / np.sqrt(np.diag(cov))).max() > 0.15
    assert np.abs(np.log(np.diag(cov) / np.diag(peak.cov))).max() > 0.15


def test_draws_have_the_exact_moments(counts, sampled):
    exact = quadrature(counts, sampled.surrogate.likelihood)
    agrees(sampled.draws.u, exact, 300)
    agrees(sampled.chains.u, exact, 300)


def test_weights_are_worth_what_was_asked_for(sampled, surrogate):
    attrs = sampled.draws.attrs
    # even weights: what picks from chains need to be worth 300, and a batch of evaluations
    chain_ess, n_chain = sampled.chains.smallest_ess, sampled.chains.stats["lp"].size
    assert chain_ess >= 6 * 300
    needed = 1 / (1 / 300 - max(1 / chain_ess - 1 / n_chain, 0))
    assert attrs["importance_ess"] >= 300
    assert needed <= attrs["density_evaluations"] <= 1.1 * needed
    assert attrs["surrogate_error"] < 0.2
    assert attrs["left_out_error"] < 0.2
    # about as many draws of a banana lie beyond the first nodes as call for more of them
    assert attrs["n_refinements"] <= 1
    assert attrs["undefined_fraction"] == 0
    assert attrs["n_nodes"] == len(surrogate.nodes.points) + attrs["n_refinements"] * FIRST_LOOK
    assert sampled.draws.u.shape == (4, 100, N_PAR)


def test_stored_densities_and_weights_are_exact(counts, sampled):
    density = jax.jit(LogDensity.of(counts, sampled.surrogate.likelihood).__call__)
    found = sampled.draws.stats["lp"][0, :10]
    np.testing.assert_allclose(found, [density(jnp.asarray(u)) for u in sampled.draws.u[0, :10]], rtol=1e-9)
    approximate = jax.jit(sampled.surrogate.density.__call__)
    weights = [
        lp - float(approximate(jnp.asarray(u))) for lp, u in zip(found, sampled.draws.u[0], strict=False)
    ]
    assert np.isin(np.round(weights, 6), np.round(sampled.draws.attrs["log_weight"], 6)).all()


def test_nodes_and_the_exact_density_agree(counts, surrogate):
    """A node's surrogate log-density is the exact one, up to the white part and the fence."""
    nodes = surrogate.nodes
    exact = surrogate.likelihood.log_posteriors(nodes.values, nodes.points)
    density = LogDensity.of(counts, surrogate.likelihood)
    np.testing.assert_allclose(jax.jit(jax.vmap(density))(nodes.points[:5]), exact[:5], rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(surrogate.density)(nodes.points), exact, atol=0.05)


class WavyDensity(eqx.Module):
    """A log-density that errs by a sum of waves, a few across the posterior; `error` nat in the rms."""

    right: Any
    error: float

    def __call__(self, u):
        waves = 2 * np.random.default_rng(2).standard_normal((30, N_PAR))
        return self.right(u) + self.error * jnp.sum(jnp.sin(waves @ u)) / np.sqrt(15)

    def beyond(self, u):
        return self.right.beyond(u)


@dataclasses.dataclass(frozen=True)
class WavySurrogate(SurrogatePosterior):
    """A surrogate that errs, and doesn't learn."""

    error_nat: float = 0.0

    @property
    def density(self):
        return WavyDensity(super().density, self.error_nat)


def test_a_surrogate_that_errs_is_corrected_by_the_weights(counts, surrogate, mixture, monkeypatch):
    """Without refinement: the weights alone make up for an error of the surrogate."""
    monkeypatch.setattr(exact_weights, "MAX_BEYOND", 1.0)
    off = WavySurrogate(**vars(surrogate), error_nat=0.3)
    found = sample_with_exact_weights(
        jax.random.key(2), counts, off, mixture, dataclasses.replace(SPEC, min_ess=200)
    )
    attrs = found.draws.attrs
    assert 0.05 < attrs["surrogate_error"] < 0.5
    assert attrs["n_refinements"] == 0
    agrees(found.draws.u, quadrature(counts, off.likelihood), 200)


def test_weights_make_up_for_an_error_of_more_than_a_nat(counts, surrogate, mixture, monkeypatch):
    """It costs evaluations, not accuracy, while their tail is thin and they are worth enough."""
    monkeypatch.setattr(exact_weights, "MAX_BEYOND", 1.0)
    monkeypatch.setattr(exact_weights, "MAX_REFINEMENTS", 0)
    off = WavySurrogate(**vars(surrogate), error_nat=1.2)
    spec = dataclasses.replace(SPEC, min_ess=400, n_draws=1000, n_kept=2000, max_evaluations=4000)
    found = sample_with_exact_weights(jax.random.key(2), counts, off, mixture, spec)
    attrs = found.draws.attrs
    assert 1 < attrs["surrogate_error"] < 2
    assert attrs["pareto_k"] < 0.7 and attrs["importance_ess"] >= 400
    # 400 by the weights, and 2000 picked by them
    agrees(found.draws.u, quadrature(counts, off.likelihood), 1 / (1 / 400 + 1 / 2000))


@pytest.fixture(scope="module")
def poor(counts, data, mixture):
    """A surrogate of as few nodes as are allowed, from a mixture that is too narrow."""
    nodes = mixture.with_widths_times(0.3).fill(jax.random.key(3), 4 * N_PAR)
    return SurrogatePosterior.of(data, evaluate(counts, nodes))


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_poor_surrogate_is_refined(counts, poor, mixture, seed):
    """Its error where the posterior is falls; one far node, left out, may miss by much."""
    found = sample_with_exact_weights(jax.random.key(seed), counts, poor, mixture, SPEC)
    attrs = found.draws.attrs
    assert attrs["n_refinements"] >= 1
    assert attrs["n_nodes"] == len(poor.nodes.points) + attrs["n_refinements"] * FIRST_LOOK
    assert attrs["surrogate_error"] < 0.1
    assert found.surrogate.density.beyond(found.chains.u) <= 0.01 < poor.density.beyond(found.chains.u)
    agrees(found.draws.u, quadrature(counts, found.surrogate.likelihood), 250)


def test_more_nodes_than_there_is_room_for_are_left_out(counts, surrogate):
    points = TRUTH + 0.3 * np.random.default_rng(4).standard_normal((surrogate.room + 5, N_PAR))
    full = surrogate.with_nodes(evaluate(counts, points))
    assert full.room == 0
    np.testing.assert_array_equal(full.nodes.points[-1], points[-6])


def test_density_falls_outside_the_region_of_the_nodes(surrogate):
    """However far, and faster than the prior does; the nodes themselves are inside."""
    density = surrogate.density
    plain = dataclasses.replace(density, reach=np.asarray(1e9))
    center, factor = density.center, np.linalg.inv(density.inverse)
    directions = np.random.default_rng(5).standard_normal((20, N_PAR))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    for r in (1.5, 3.0):
        u = jnp.asarray(center + r * float(density.reach) * directions @ factor.T)
        fall = jax.vmap(plain)(u) - jax.vmap(density)(u)
        np.testing.assert_allclose(fall, 2.0 * ((r - 1) * density.reach) ** 2, rtol=1e-6)
    nodes = jnp.asarray(surrogate.nodes.points)
    np.testing.assert_allclose(jax.vmap(plain)(nodes), jax.vmap(density)(nodes), rtol=1e-12)
    assert np.all(np.isfinite(jax.grad(density)(jnp.asarray(center))))


def test_chains_stay_in_the_region_of_the_nodes(counts, data, mixture):
    """Nodes in a corner of the posterior: without a fence chains would leave it."""
    corner = Laplace(mixture.main.mean, 0.1**2 * mixture.main.cov)
    nodes = Mixture.single(corner).fill(jax.random.key(6), 12 * N_PAR)
    density = SurrogatePosterior.of(data, evaluate(counts, nodes)).density
    chains = surrogate_nuts(jax.random.key(7), density, mixture, SPEC.chains)
    z = (chains.u.reshape(-1, N_PAR) - density.center) @ density.inverse.T
    beyond = np.linalg.norm(z, axis=1) - density.reach
    # the fence is a parabola: its tail has a standard deviation of half
    assert np.quantile(beyond, 0.99) < 4 * 0.5


def test_nodes_without_a_number_are_left_out(data):
    counts = dataclasses.replace(MODEL, edge=0.5).counts(8)
    points = np.array([0.3, -0.3, 0.0]) + 0.3 * np.random.default_rng(8).standard_normal((48, N_PAR))
    good = points[:, 0] < 0.5
    found = SurrogatePosterior.of(data, evaluate(counts, points))
    assert 10 < good.sum() < 48
    np.testing.assert_array_equal(found.nodes.points, points[good])
    alone = SurrogatePosterior.of(data, evaluate(counts, points[good]))
    np.testing.assert_allclose(found.likelihood.precision, alone.likelihood.precision, rtol=1e-8)


def test_too_few_nodes_with_a_number_are_refused(data):
    counts = dataclasses.replace(MODEL, edge=-0.3).counts(8)
    points = TRUTH + 0.3 * np.random.default_rng(9).standard_normal((48, N_PAR))
    with pytest.raises(NotConvergedError, match="of 48 points"):
        SurrogatePosterior.of(data, evaluate(counts, points))


def test_draws_without_a_number_get_no_weight(data, surrogate, mixture):
    """The surrogate goes on beyond an edge of the model; its draws there don't."""
    edge = float(mixture.main.mean[0])
    counts = dataclasses.replace(MODEL, edge=edge).counts(8)
    spec = dataclasses.replace(SPEC, min_ess=100, max_evaluations=330)
    found = sample_with_exact_weights(jax.random.key(10), counts, surrogate, mixture, spec)
    assert found.draws.attrs["undefined_fraction"] > 0.2
    assert np.all(found.draws.u[..., 0] < edge)
    undefined = np.isnan(found.draws.attrs["log_weight"])
    assert undefined.mean() == found.draws.attrs["undefined_fraction"]


EXTENDED = SurrogateChains.extended


def slow(factor):
    """Chains that repeat each draw so many times."""

    def extended(chains):
        longer = EXTENDED(chains)
        u, lp = longer.draws.u, longer.draws.stats["lp"]
        kept = np.arange(u.shape[1]) // factor * factor
        draws = Draws(u[:, kept], {**longer.draws.stats, "lp": lp[:, kept]}, longer.draws.attrs)
        return dataclasses.replace(longer, draws=draws)

    return extended


def test_slow_chains_are_made_longer(counts, surrogate, mixture, monkeypatch):
    """And where no length is enough, evaluations end early: the draws would be worth too little."""
    spec = dataclasses.replace(SPEC, min_ess=200, max_evaluations=2000)
    monkeypatch.setattr(SurrogateChains, "extended", slow(4))
    found = sample_with_exact_weights(jax.random.key(12), counts, surrogate, mixture, spec)
    assert found.chains.smallest_ess >= 6 * 200
    assert found.chains.stats["lp"].size >= 2 * 6 * 200
    assert found.draws.attrs["importance_ess"] >= 200
    monkeypatch.setattr(SurrogateChains, "extended", slow(100))
    found = sample_with_exact_weights(jax.random.key(12), counts, surrogate, mixture, spec)
    assert found.chains.smallest_ess < 200
    assert found.draws.attrs["importance_ess"] < 200
    assert found.draws.attrs["density_evaluations"] < 400


def test_evaluations_end_at_their_limit(counts, surrogate, mixture):
    spec = dataclasses.replace(SPEC, min_ess=1e6, max_evaluations=150)
    found = sample_with_exact_weights(jax.random.key(11), counts, surrogate, mixture, spec)
    assert found.draws.attrs["density_evaluations"] == 150


def test_one_parameter_has_a_density():
    """The same toy with but one free parameter."""
    counts = MODEL.counts(8)
    one = eqx.tree_at(lambda c: c.design, counts, counts.design[:, :1])
    found = SurrogatePosterior.of(MODEL.data(), evaluate(one, np.linspace(-1, 1, 16)[:, None]))
    assert np.isfinite(found.density(jnp.zeros(1)))


def test_progress_counts_evaluations(counts, data, surrogate, mixture):
    nodes, exact = [], []
    build_surrogate(jax.random.key(0), counts, data, mixture, lambda *said: nodes.append(said))
    made = len(surrogate.nodes.points)
    assert nodes[-1][:2] == (made, made) and nodes[-1][2].startswith("error ")
    assert [done for done, _, _ in nodes] == sorted(done for done, _, _ in nodes)
    spec = dataclasses.replace(SPEC, min_ess=100)
    sample_with_exact_weights(
        jax.random.key(1),
        counts,
        surrogate,
        mixture,
        spec,
        lambda done, total, text: exact.append((done, text)),
    )
    assert [done for done, _ in exact] == sorted(done for done, _ in exact)
    assert exact[-1][0] >= 100


def test_a_surrogate_that_errs_gets_more_rounds(counts, data, mixture, surrogate, monkeypatch):
    """Rounds go on until what draws show is small enough, or nodes are as many as pay."""
    assert len(surrogate.nodes.points) < MOST_IN_ROUNDS * N_PAR
    monkeypatch.setattr(surrogate_posterior, "MAX_ERROR", 0.0)
    larger = build_surrogate(jax.random.key(0), counts, data, mixture)
    assert len(larger.nodes.points) == MOST_IN_ROUNDS * N_PAR
    fresh = evaluate(counts, mixture.fill(jax.random.key(9), 64))
    assert larger.error(fresh) < surrogate.error(fresh)


def test_the_error_is_the_spread_of_exact_over_surrogate_densities(counts, surrogate, mixture):
    fresh = evaluate(counts, mixture.fill(jax.random.key(9), 16))
    exact = surrogate.likelihood.log_posteriors(fresh.values, fresh.points)
    said = np.array([float(surrogate.density(jnp.asarray(u))) for u in fresh.points])
    assert surrogate.error(fresh) == pytest.approx(np.std(exact - said))
