"""The posterior of one survey or several, without a run file."""

import dataclasses

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.infer.counts import log_counts
from popinfer.infer.data import Data, joined
from popinfer.infer.likelihood import Likelihood, LogDensity
from popinfer.infer.search import likelihood_at
from popinfer.model import HaloCounts, HaloSpec, Posterior, survey_data
from popinfer.model.sharing import check_survey_names, joint_space, names_for
from popinfer.params import Prior
from popinfer.population.forward import ForwardModel
from popinfer.random import root_key

U = np.array([0.3, -0.5, 0.8, 0.2])


def test_one_survey_gives_the_density_of_its_parts(single, surveys):
    (survey_model,), (halos,) = single.counts.survey_models, single.counts.batches
    counts = HaloCounts.of(halos, survey_model)
    density = LogDensity.of(counts, likelihood_at(counts, survey_data(surveys[0], 0.1), np.zeros(2)))
    assert single.counts.axes == (None,)
    assert float(single.log_density(U[:2])) == float(eqx.filter_jit(density)(jnp.asarray(U[:2])))


def test_the_density_is_that_of_likelihood_and_prior(single):
    u = U[:2]
    whole, data = (float(f(u)) for f in (single.log_density, single.log_likelihood))
    assert whole == pytest.approx(data + float(single.log_prior(u)), rel=1e-12)
    assert data == pytest.approx(single.likelihood.log_peak - 0.5 * float(single.chi2(u)), rel=1e-12)
    assert float(single.log_prior(u)) == pytest.approx(-0.5 * np.sum(u**2), rel=1e-12)


def test_it_works_with_jit_grad_and_vmap(single):
    points = jnp.stack([U[:2], -U[:2]])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(single.log_density)))(points)
    np.testing.assert_allclose(values, [float(single.log_density(u)) for u in points], rtol=1e-9)
    for i, step in enumerate(1e-4 * np.eye(2)):
        numeric = float(single.log_density(U[:2] + step) - single.log_density(U[:2] - step)) / 2e-4
        assert slopes[0, i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_it_may_be_traced_before_it_is_called(single):
    """What it keeps of its arrays is made at the first call, which may be inside a caller's program."""
    untouched = dataclasses.replace(single)
    inside = jax.jit(jax.value_and_grad(untouched.log_density))(jnp.asarray(U[:2]))[0]
    assert float(inside) == pytest.approx(float(untouched.log_density(U[:2])), rel=1e-9)


def test_a_sampler_of_ones_own_takes_it(single):
    walk = blackjax.additive_step_random_walk.normal_random_walk(single.log_density, 0.1 * jnp.eye(2))

    @jax.jit
    def step(state, key):
        state, info = walk.step(key, state)
        return state, (state.position, state.logdensity, info.is_accepted)

    keys = jax.random.split(jax.random.key(1), 40)
    _, (u, log_density, accepted) = jax.lax.scan(step, walk.init(jnp.zeros(2)), keys)
    assert 0 < int(accepted.sum()) <= 40
    assert float(log_density[-1]) == pytest.approx(float(single.log_density(u[-1])), rel=1e-9)


def test_surveys_add_up(posterior, surveys, spec):
    """Counts are those of each survey at its own components of u; log-likelihoods add up."""
    together, first, expected = log_counts(posterior.counts, U), 0, 0.0
    for index, survey in enumerate(surveys):
        counts = HaloCounts.of(posterior.counts.batches[index], posterior.counts.survey_models[index])
        own = np.asarray(posterior.counts.vector(index, jnp.asarray(U)))
        alone = log_counts(counts, own)
        part = slice(first, first + len(alone))
        np.testing.assert_allclose(together[part], alone, rtol=1e-10)
        data = survey_data(survey, spec.model_error)
        whole = posterior.likelihood.data
        np.testing.assert_allclose(whole.observed[part], data.observed)
        np.testing.assert_allclose(whole.data_cov[part, part], data.data_cov)
        residual = whole.log_observed[part] - alone
        expected += residual @ posterior.likelihood.precision[part, part] @ residual
        first = part.stop
    assert first == len(together)
    assert float(posterior.chi2(U)) == pytest.approx(expected, rel=1e-8)  # no terms between surveys
    assert np.array_equal(np.unique(posterior.likelihood.data.slice_of), [0, 1])


def test_parameters_are_shared_by_name(posterior):
    blue, red = posterior.counts.survey_models
    assert blue.model.space.names == (
        "dust.lg_av",
        "zero_point.g",
        "zero_point.r",
        "metallicity.zero_point",
    )
    assert red.model.space.names == ("dust.lg_av", "zero_point.r", "metallicity.zero_point")
    first, second = posterior.params_at(U), posterior.params_at(U, survey=1)
    assert float(first.dust.lg_av) == float(second.dust.lg_av) == pytest.approx(-0.4 + 0.3 * U[0])
    np.testing.assert_allclose(first.zero_point, [0.02 * U[1], 0.03 * U[2]], rtol=1e-6)
    np.testing.assert_allclose(second.zero_point, [0.03 * U[2], 0.01], rtol=1e-6)
    assert posterior.space.free[1].meaning.endswith(", blue")
    assert posterior.space.free[1].unit == "mag"


def test_a_nuisance_moves_its_own_survey_only(posterior):
    moved = log_counts(posterior.counts, U + np.array([0, 1.0, 0, 0])) - log_counts(posterior.counts, U)
    blue = posterior.likelihood.data.slice_of == 0
    assert np.abs(moved[blue]).max() > 1e-3
    np.testing.assert_array_equal(moved[~blue], 0)


def test_fisher_information_is_that_of_the_mean_counts(single):
    u, step = U[:2], 1e-4
    moved = [[log_counts(single.counts, u + sign * d) for sign in (1, -1)] for d in step * np.eye(2)]
    slopes = [(up - down) / (2 * step) for up, down in moved]
    jacobian = np.stack(slopes, axis=1)
    expected = jacobian.T @ single.likelihood.precision @ jacobian
    np.testing.assert_allclose(single.fisher(u), expected, rtol=1e-5)


def test_the_covariance_follows_the_point(single):
    moved = single.at(U[:2])
    assert moved.likelihood.data.expected is not None
    assert not np.allclose(moved.likelihood.data.expected, single.likelihood.data.expected, rtol=1e-3)
    assert float(moved.log_density(U[:2])) != float(single.log_density(U[:2]))


def test_names_that_cant_be_told_apart_are_refused(surveys):
    blue, red = surveys
    with pytest.raises(InputError, match="no survey"):
        check_survey_names([])
    for name in ("dust", "a.b", "red"):
        with pytest.raises(InputError, match=f"survey '{name}'"):
            check_survey_names([dataclasses.replace(blue, name=name), red])
    check_survey_names([dataclasses.replace(one, name="") for one in surveys])


def test_parameters_of_no_survey_are_refused(surveys):
    prior = Prior("normal")
    with pytest.raises(InputError, match=r"zero_point\.u"):
        joint_space({"zero_point.u": prior}, surveys, ForwardModel())
    with pytest.raises(InputError, match=r"zero_point\.g"):
        joint_space({"red.zero_point.g": prior}, surveys, ForwardModel())
    with pytest.raises(InputError, match=r"photoz\.scatter: no such survey"):
        joint_space({"photoz.scatter": prior}, surveys, ForwardModel())
    with pytest.raises(InputError, match=r"blue\.zero_point\.g: is zero_point\.g"):
        names_for(surveys[0], ["zero_point.g", "blue.zero_point.g"], surveys, ForwardModel())


def test_held_parameters_of_no_survey_are_refused(surveys, spec):
    wrong = dataclasses.replace(spec, fixed={"dust.lg_aw": 0.1})
    with pytest.raises(InputError, match=r"dust\.lg_aw"):
        Posterior.build(root_key(2), surveys, {"dust.lg_av": Prior("normal", -0.4, 0.3)}, wrong)


def test_samples_need_equally_many_batches(surveys, spec):
    sizes = [HaloSpec(4, 64), HaloSpec(8, 64)]
    with pytest.raises(InputError, match="same number of batches"):
        Posterior.build(root_key(2), surveys, {"dust.lg_av": Prior("normal", -0.4, 0.3)}, spec, sizes)


def test_joined_data_are_those_of_independent_surveys():
    rng = np.random.default_rng(3)
    parts = []
    for n in (6, 4):
        root = rng.normal(size=(n, n))
        cov = root @ root.T + n * np.eye(n)
        soft = np.arange(n) < n - 1
        parts.append(Data(rng.uniform(50, 90, n), cov, np.zeros(n, int), soft, model_cov=0.01))
    both = joined(parts)
    values = rng.normal(4, 0.1, 10)
    zero, u = np.zeros((10, 10)), np.zeros(1)
    expected = Likelihood.of(parts[0], zero[:6, :6]).log_posterior(values[:6], u)
    expected += Likelihood.of(parts[1], zero[:4, :4]).log_posterior(values[6:], u)
    assert Likelihood.of(both, zero).log_posterior(values, u) == pytest.approx(expected, rel=1e-10)
    assert joined(parts[:1]) is parts[0]
    with pytest.raises(InputError, match="halo_factor"):
        joined([parts[0], dataclasses.replace(parts[1], halo_factor=2.0)])
