"""The likelihood of the counts' modes on a problem with known answers, and the guide's weight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from toy import N_BIN, N_PAR, TRUTH, ToyCounts, toy, without_noise

from popinfer.infer.data import eigenmodes, layout_correlations
from popinfer.infer.likelihood import (
    Likelihood,
    LogDensity,
    fair_share,
    fisher_between_batches,
    poisson,
    shrink,
)
from popinfer.run.batches import WANTED_BATCHES

NOISY = toy(noise=0.1)  # halo noise of four batches is a few times the counting noise
QUIET = toy()
COUNTS = without_noise(QUIET.counts())
NONE = np.zeros((16, 16))


def look(data, halo_cov=NONE, model=QUIET):
    """Information at the truth."""
    return Likelihood.of(data, halo_cov).information(model.log_counts(TRUTH), model.jacobian())


def density(info, counts=COUNTS):
    return LogDensity.of(counts, info.likelihood)


@pytest.fixture(scope="module")
def data():
    return QUIET.data(QUIET.draw(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def info(data):
    return look(data)


def test_poisson_is_zero_at_the_data_and_negative_elsewhere():
    d = np.array([5.0, 40.0, 700.0])
    assert float(poisson(jnp.log(d), d)) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(jax.grad(poisson)(jnp.log(d), d), 0, atol=1e-10)
    assert float(poisson(jnp.log(d) + 0.1, d)) < 0


def test_logarithm_of_noisy_counts_has_no_bias():
    model, rng = toy(level=1.5), np.random.default_rng(2)
    expected = model.log_counts(TRUTH)
    drawn = [model.data(model.draw(rng)) for _ in range(4000)]
    plain = np.mean([np.log(one.observed) for one in drawn], axis=0) - expected
    better = np.mean([one.log_observed for one in drawn], axis=0) - expected
    assert np.abs(plain).mean() > 0.01
    assert np.abs(better).mean() < 0.35 * np.abs(plain).mean()


def test_counting_noise_at_the_models_counts_draws_the_model_up_less():
    """Weights from the same noisy counts as the residuals draw it up; here kernels count about 50."""
    model, rng = toy(level=2.0), np.random.default_rng(12)
    expected, jacobian = model.log_counts(TRUTH), model.jacobian()
    pulls: dict[str, list[np.ndarray]] = {"observed": [], "expected": []}
    for _ in range(1000):
        bins = rng.poisson(model.bins(TRUTH))
        drawn = dataclasses.replace(
            model.data(model.kernels @ bins), data_cov=model.kernels @ np.diag(bins) @ model.kernels.T
        )
        for name, data in (("observed", drawn), ("expected", drawn.expecting(expected))):
            found = Likelihood.of(data, NONE).information(expected, jacobian)
            pulls[name].append(found.gradient / np.sqrt(np.diag(found.fisher)))
    bias = {name: np.abs(np.mean(one, axis=0)).max() for name, one in pulls.items()}
    assert bias["observed"] > 0.12  # standard deviations of the score
    assert bias["expected"] < 0.6 * bias["observed"]


def test_a_bad_model_does_not_remove_the_counts_that_refute_it(data):
    far = data.expecting(np.log(data.observed) - 5.0)
    allowed = 2 * np.sqrt(np.diag(data.log_cov))
    np.testing.assert_allclose(np.log(far.observed / far.expected), allowed)
    np.testing.assert_allclose(far.expecting(np.log(data.observed)).log_cov, data.log_cov)


def test_gradient_and_fisher_information_are_derivatives_of_the_density():
    exact = QUIET.data()
    exact = dataclasses.replace(exact, observed=exact.observed * np.exp(-0.5 * _variance(exact)))
    there, u = look(exact), jnp.asarray(TRUTH)
    np.testing.assert_allclose(jax.grad(density(there))(u), there.gradient - TRUTH, atol=1e-6)
    # residuals are tiny, so second derivatives of log-counts don't enter
    curvature = -jax.jacfwd(jax.jacrev(density(there)))(u)
    np.testing.assert_allclose(curvature, there.fisher + np.eye(N_PAR), rtol=1e-3)


def test_gradient_is_right_where_the_data_are_off_too(info):
    gradient = jax.grad(density(info))(jnp.asarray(TRUTH))
    np.testing.assert_allclose(info.gradient - TRUTH, gradient, rtol=1e-6)


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_normalised_likelihood_is_a_gaussian_of_the_modes(data, error):
    """A larger covariance has its price in an evidence."""
    wider = dataclasses.replace(data, model_cov=error**2 * np.eye(len(data.observed)))
    noise = np.random.default_rng(3).normal(0, 0.01, (40, 16))
    info = look(wider, noise.T @ noise)
    basis = np.linalg.qr(info.likelihood.modes)[0]
    cov = basis.T @ (wider.log_cov + noise.T @ noise) @ basis
    expected = multivariate_normal(np.zeros(len(cov)), cov).logpdf(basis.T @ info.residual)
    found = density(info)(jnp.asarray(TRUTH)) + 0.5 * TRUTH @ TRUTH
    assert float(found) == pytest.approx(expected, rel=1e-8)
    one = info.likelihood.log_posterior(QUIET.log_counts(TRUTH), TRUTH)
    assert one == pytest.approx(float(density(info)(jnp.asarray(TRUTH))), rel=1e-9)


def test_densities_of_several_points_are_those_of_each(info):
    points = TRUTH + 0.1 * np.random.default_rng(5).standard_normal((4, N_PAR))
    log_m = np.stack([QUIET.log_counts(u) for u in points])
    expected = [float(density(info)(jnp.asarray(u))) for u in points]
    np.testing.assert_allclose(info.likelihood.log_posteriors(log_m, points), expected, rtol=1e-9)


def test_whitened_residuals_have_unit_variance(data):
    halo_cov = NOISY.likelihood(data).halo_cov
    likelihood = NOISY.likelihood(data)
    cov = likelihood.cov + halo_cov
    whitened = np.linalg.lstsq(likelihood.modes, likelihood.whiten.T, rcond=None)[0].T
    np.testing.assert_allclose(whitened @ cov @ whitened.T, np.eye(len(cov)), atol=1e-8)
    np.testing.assert_allclose(likelihood.precision, likelihood.whiten.T @ likelihood.whiten)


def test_halo_factor_multiplies_the_halo_noise_only(data):
    half = NOISY.likelihood(dataclasses.replace(data, halo_factor=0.5))
    np.testing.assert_allclose(half.halo_cov, 0.5 * NOISY.likelihood(data).halo_cov)
    np.testing.assert_allclose(half.cov, NOISY.likelihood(data).cov)


def _variance(data):
    return np.diag(data.data_cov) / data.observed**2


def test_chi2_of_the_truth_is_its_number_of_modes():
    rng, chi2 = np.random.default_rng(4), []
    for _ in range(300):
        found = look(QUIET.data(QUIET.draw(rng)))
        chi2.append(found.residual @ found.likelihood.precision @ found.residual)
    n_modes = found.likelihood.modes.shape[1]
    assert n_modes < 12  # of 16 overlapping kernels
    assert np.mean(chi2) == pytest.approx(n_modes, abs=4 * np.sqrt(2 * n_modes / 300))
    assert np.var(chi2) == pytest.approx(2 * n_modes, rel=0.35)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 3.0), (0.5, 6.0)], ids=["right", "halved"])
def test_posterior_covers_the_truth_and_a_halved_covariance_does_not(factor, expected):
    """Squared distance of truth from the maximum, over its covariance: three on average when it is right."""
    rng, distance = np.random.default_rng(9), []
    for _ in range(200):
        data = QUIET.data(QUIET.draw(rng))
        found = look(dataclasses.replace(data, data_cov=factor * data.data_cov))
        shift = np.linalg.solve(found.fisher, found.gradient)
        distance.append(shift @ found.fisher @ shift)
    assert np.mean(distance) == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / 3 / 200))


def test_posterior_covers_the_truth_in_spite_of_halo_noise_and_not_without_its_share():
    """Halo samples of four batches: data and model scatter, both by what the likelihood says."""
    rng, distance = np.random.default_rng(10), {1.0: [], 0.0: []}
    for seed in range(200):
        data = NOISY.data(NOISY.draw(rng))
        log_m = np.asarray(NOISY.counts(seed=seed)(jnp.asarray(TRUTH)))
        for factor, found in distance.items():
            likelihood = NOISY.likelihood(dataclasses.replace(data, halo_factor=factor))
            info = likelihood.information(log_m, NOISY.jacobian())
            shift = np.linalg.solve(info.fisher, info.gradient)
            found.append(shift @ info.fisher @ shift)
    assert np.mean(distance[1.0]) == pytest.approx(3.0, abs=4 * 3 * np.sqrt(2 / 3 / 200))
    assert np.mean(distance[0.0]) > 5.0


def _squared_distance(n_batch, known, n_survey=800):
    """Of truths, over the number of parameters, with halo noise told from the scatter between batches."""
    model = toy(level=5.0)
    rng, bins, distance = np.random.default_rng(1), model.bins(TRUTH), []
    for _ in range(n_survey):
        data = model.data(model.draw(rng))
        # together four times as noisy as counting, whatever their number
        factors = 1 + 0.15 * np.sqrt(n_batch) * rng.standard_normal((n_batch, len(bins)))
        counts = factors * bins @ model.kernels.T
        relative = counts / counts.mean(axis=0) - 1
        halo_cov = relative.T @ relative / (n_batch * (n_batch - 1))
        likelihood = Likelihood.of(data, halo_cov, None if known else n_batch)
        info = likelihood.information(np.log(counts.mean(axis=0)), model.jacobian())
        shift = np.linalg.solve(info.fisher, info.gradient)
        distance.append(shift @ info.fisher @ shift / N_PAR)
    return np.mean(distance)


def test_few_batches_underestimate_the_covariance_of_halo_noise():
    """Eight modes: 16 batches make posteriors too narrow, those of a run hardly, and many don't."""
    few, run, many = (_squared_distance(n, True) for n in (16, WANTED_BATCHES, 4 * WANTED_BATCHES))
    assert abs(many - 1) < 4 * np.sqrt(2 / N_PAR / 800)
    assert few > 1.35
    assert run - 1 < 0.4 * (few - 1)


@pytest.mark.parametrize("n_batch", [16, WANTED_BATCHES])
def test_shrinking_its_correlations_mends_half_of_that(n_batch):
    plain, shrunk = (_squared_distance(n_batch, known) for known in (True, False))
    assert plain > 1.1
    assert abs(shrunk - 1) < 0.6 * (plain - 1)


def test_shrinking_keeps_what_many_batches_tell_and_all_variances(data):
    """Noise whose correlations aren't those of the layout: measured well it stays, else it doesn't."""
    root = np.random.default_rng(12).standard_normal((16, 16))
    halo_cov = root @ root.T
    few, many = (shrink(halo_cov, data, n) for n in (3, 10**6))
    np.testing.assert_allclose(np.diag(few), np.diag(halo_cov))
    np.testing.assert_allclose(many, halo_cov, atol=1e-4 * halo_cov.max())
    sd = np.sqrt(np.diag(halo_cov))
    away = [np.abs(cov / np.outer(sd, sd) - layout_correlations(data)).sum() for cov in (few, many)]
    assert away[0] < 0.5 * away[1]
    np.testing.assert_array_equal(shrink(0.0 * halo_cov, data, 8), 0.0)


def test_modes_keep_nearly_all_information():
    model, found = QUIET, look(QUIET.data())
    design = model.design * np.sqrt(model.bins(TRUTH))[:, None]
    every_bin = design.T @ design  # what independent bins tell, before kernels smooth them
    kept = np.linalg.eigvals(np.linalg.solve(every_bin, found.fisher)).real
    assert np.all(kept < 1.001)
    assert np.all(kept > 0.9)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_halo_share_is_what_was_put_in(share):
    """Halo noise in proportion to counting noise has the same share of the variance in every direction."""
    data = QUIET.data()
    data = dataclasses.replace(data, observed=data.observed)
    found = look(data, share * data.log_cov)
    np.testing.assert_allclose(found.halo_share(), share / (1 + share), rtol=1e-6)
    assert len(found.halo_share()) == N_PAR
    twice = found.halo_share(2 * found.likelihood.cov)
    np.testing.assert_allclose(twice, share / (2 + share), rtol=1e-6)


def test_no_information_has_no_halo_share(data):
    likelihood = Likelihood.of(data, 0.1 * data.log_cov)
    nothing = likelihood.information(QUIET.log_counts(TRUTH), 0.0 * QUIET.jacobian())
    np.testing.assert_array_equal(nothing.halo_share(), 0.0)


def test_slices_have_their_own_modes_and_halo_noise(data):
    half = np.arange(len(data.observed)) % 2
    apart = np.where(half[:, None] == half, data.data_cov, 0.0)
    split = Likelihood.of(dataclasses.replace(data, slice_of=half, data_cov=apart), 0.1 + 0.0 * apart)
    sides = np.stack([np.any(split.modes[half == i] != 0, axis=0) for i in (0, 1)])
    assert np.all(sides.sum(axis=0) == 1)
    np.testing.assert_allclose(split.halo_cov[np.ix_(sides[0], sides[1])], 0, atol=1e-12)
    assert np.abs(split.halo_cov[np.ix_(sides[0], sides[0])]).max() > 0


def test_unused_counts_say_nothing_and_abundances_are_kept(data):
    cov = data.data_cov.copy()
    cov[3], cov[:, 3] = 0.0, 0.0
    cov[-1], cov[:, -1], cov[-1, -1] = 0.0, 0.0, data.observed[-1]
    modes = eigenmodes(dataclasses.replace(data, data_cov=cov, soft=np.arange(len(cov)) < len(cov) - 1))
    np.testing.assert_array_equal(modes[3], 0)
    own = np.flatnonzero(modes[-1])
    assert len(own) == 1
    np.testing.assert_array_equal(modes[:-1, own], 0)


def test_modes_are_those_of_the_layout(data):
    """Another survey's correlations, and sizes that don't matter, make them; noise is the data's own."""
    sizes = np.linspace(1, 5, len(data.observed))
    distance = np.abs(np.subtract.outer(sizes, sizes))
    layout = np.outer(sizes, sizes) * np.exp(-distance)
    modes = eigenmodes(dataclasses.replace(data, layout_cov=layout))
    sd = np.sqrt(np.diag(data.log_cov))
    values, vectors = np.linalg.eigh(np.exp(-distance))
    expected = vectors[:, ::-1][:, : modes.shape[1]]
    np.testing.assert_allclose(np.abs(modes * sd[:, None]), np.abs(expected), atol=1e-9)
    assert values[::-1][: modes.shape[1]].sum() >= 0.99 * values.sum()
    assert modes.shape != eigenmodes(data).shape


def test_errors_of_the_model_widen_the_posterior(data, info):
    relative = _variance(data)
    corr = data.data_cov / np.sqrt(np.outer(*[np.diag(data.data_cov)] * 2))
    wider = look(dataclasses.replace(data, model_cov=0.1**2 * corr))
    assert 3 * relative.max() < 0.1**2
    assert np.all(np.linalg.eigvalsh(info.fisher - 3 * wider.fisher) > 0)


def test_residual_in_the_logarithm_grows_however_far_the_model_is(info):
    along = [float(density(info)(jnp.asarray(TRUTH + np.array([-x, 0.0, 0.0])))) for x in (1.0, 10.0, 30.0)]
    assert along[0] > along[1] > along[2]
    slope = jax.grad(density(info))(jnp.asarray(TRUTH + np.array([-30.0, 0.0, 0.0])))[0]
    assert slope > 100


@pytest.mark.parametrize(("copies", "share"), [(1, 1.0), (4, 0.25)])
def test_fair_share_is_one_over_how_often_a_galaxy_is_counted(copies, share):
    model = toy(overlap=False)
    model = type(model)(model.design, np.tile(model.kernels, (copies, 1)), model.level)
    assert fair_share(model.data(), model.jacobian()) == pytest.approx(share, rel=0.01)


class Heavy(ToyCounts):
    """The toy with thousands of halos in a batch, so that a batch is what needs memory."""

    def of_batch(self, batch, u):
        halos = jnp.sin(jnp.arange(4000.0)[:, None] * 1e-3 + u[0] * batch) * u[1] + jnp.cos(u[2] * batch)
        return super().of_batch(jnp.mean(jnp.exp(halos), axis=0), u)


def memory_of_value_and_gradient(n_batch):
    plain = NOISY.counts(n_batch)
    heavy = Heavy(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)})
    info = look(NOISY.data())
    program = jax.jit(jax.value_and_grad(lambda u, one: one(u)))
    compiled = program.lower(jnp.asarray(TRUTH), density(info, heavy)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_of_value_and_gradient_does_not_grow_with_the_number_of_batches():
    few, many = memory_of_value_and_gradient(4), memory_of_value_and_gradient(32)
    assert few > 4000 * N_BIN * 8 / 2  # a batch needs some
    assert many < 1.2 * few


def test_noise_of_derivatives_is_no_information(info):
    """Eight batches whose derivatives have noise that adds a third to the information of their mean."""
    likelihood, rng, n_batch = info.likelihood, np.random.default_rng(5), 8
    true = info.fisher
    noise = rng.standard_normal((2000, n_batch, *info.jacobian.shape))
    trace = np.trace(likelihood.precision) / n_batch  # of the noise of the mean, per parameter
    noise *= np.sqrt(np.trace(true) / N_PAR / trace / 3)
    noisy = info.jacobian + noise
    plain = [dataclasses.replace(info, jacobian=batches.mean(axis=0)).fisher for batches in noisy]
    assert np.trace(np.mean(plain, axis=0)) == pytest.approx(4 / 3 * np.trace(true), rel=0.02)
    unbiased = [fisher_between_batches(likelihood, batches) for batches in noisy]
    np.testing.assert_allclose(np.mean(unbiased, axis=0), true, atol=0.02 * np.trace(true))
    assert min(np.linalg.eigvalsh(fisher).min() for fisher in unbiased) > -1e-9


def test_without_noise_batches_have_the_information_of_their_mean(info):
    batches = np.repeat(info.jacobian[None], 3, axis=0)
    np.testing.assert_allclose(fisher_between_batches(info.likelihood, batches), info.fisher, rtol=1e-9)
