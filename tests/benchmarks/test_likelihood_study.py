"""The likelihood study's densities, proposals and reference against closed forms."""

import likelihood_candidates as study
import numpy as np
import pytest
from likelihood_candidates import CANDIDATES, Local
from likelihood_proposals import SCALE, draw, emulator, log_student_t
from likelihood_reference import _scores
from likelihood_summary import summarise
from scipy.stats import multivariate_t, norm

from popinfer.infer.likelihood import TRACE_KEPT, Problem, eigenmodes

N_STAT, N_PAR = 12, 2


def spd(rng, n, size):
    root = rng.normal(size=(n, 3 * n))
    return size * root @ root.T / (3 * n)


@pytest.fixture(scope="module")
def toy():
    """Many galaxies, so that the Poisson likelihood is quadratic; its maximum is at u = 0."""
    rng = np.random.default_rng(3)
    observed = 1e7 * rng.uniform(1, 2, N_STAT)
    slice_of = np.repeat([0, 1], N_STAT // 2)
    same = slice_of[:, None] == slice_of
    noise, error, mc = (same * spd(rng, N_STAT, size) for size in (1e-6, 4e-7, 2e-7))
    return Local(
        observed,
        noise * np.outer(observed, observed),
        noise * np.outer(observed, observed),
        error,
        mc,
        slice_of,
        rng.normal(size=(N_STAT, N_PAR)),
        np.log(observed),
        np.zeros(N_PAR),
        np.zeros(N_PAR),
    )


def points(toy, width):
    u = width * np.random.default_rng(4).normal(size=(60, N_PAR))
    return u, np.log(toy.observed) + u @ toy.jacobian.T


def curvature_of(weighed):
    """Minus the Hessian of a log-density that is quadratic, by regression, in units of its own size."""
    scale = weighed.u.std(axis=0)
    x = weighed.u / scale
    i, j = np.triu_indices(N_PAR)
    fit, *_ = np.linalg.lstsq(
        np.column_stack([np.ones(len(x)), x, x[:, i] * x[:, j]]), weighed.log_density, rcond=None
    )
    hessian = np.zeros((N_PAR, N_PAR))
    hessian[i, j] = fit[1 + N_PAR :]
    return -(hessian + hessian.T) / np.outer(scale, scale)


def test_adjusted_composite_likelihoods_have_the_curvature_that_their_papers_say(toy):
    u, log_m = points(toy, 1e-5)
    h, v, prior = toy.sensitivity, toy.variability, np.eye(N_PAR)
    godambe = h @ np.linalg.solve(v, h)
    expected = {
        "poisson": h,
        "poisson_magnitude": N_PAR / np.trace(np.linalg.inv(h) @ v) * h,
        "poisson_curvature": godambe,
    }
    for name, likelihood in expected.items():
        found = curvature_of(CANDIDATES[name](toy, log_m, u))
        np.testing.assert_allclose(found, likelihood + prior, rtol=2e-3, atol=1e-3 * np.abs(likelihood).max())


def test_open_faced_sandwich_turns_the_composite_covariance_into_the_sandwich(toy):
    u, log_m = points(toy, 1e-5)
    moved = CANDIDATES["poisson_open_faced"](toy, log_m, u).u
    omega = np.linalg.lstsq(u, moved, rcond=None)[0].T
    inverse = np.linalg.inv(toy.sensitivity)
    np.testing.assert_allclose(omega @ inverse @ omega.T, inverse @ toy.variability @ inverse, rtol=1e-6)


def test_all_modes_are_the_dense_gaussian(toy):
    np.testing.assert_allclose(study.untruncated(toy), np.linalg.inv(toy.cov), rtol=1e-6, atol=1e-3)


def test_modes_below_the_monte_carlo_noise_are_left_out(toy):
    loud = Local(**{**vars(toy), "mc_cov": 1e3 * toy.mc_cov})
    n_modes = np.linalg.matrix_rank(study.truncated(loud))
    assert n_modes < np.linalg.matrix_rank(study.truncated(toy)) == N_STAT


def test_compression_loses_nothing_of_a_linear_model(toy):
    u, log_m = points(toy, 1e-3)
    log_m = log_m + 1e-3 * np.random.default_rng(5).normal(size=N_STAT)
    whole, few = (CANDIDATES[name](toy, log_m, u).log_density for name in ("log_modes_0.99", "moped"))
    assert np.ptp(whole) > 10
    np.testing.assert_allclose(whole - few, (whole - few)[0], atol=1e-6)


def test_the_gate_closes_where_the_fit_is_bad(toy):
    u, log_m = points(toy, 1e-5)
    assert np.isfinite(CANDIDATES["moped_gated"](toy, log_m, u).log_density).all()
    shifted = log_m + 0.05 * np.random.default_rng(6).normal(size=N_STAT)
    assert np.isneginf(CANDIDATES["moped_gated"](toy, shifted, u).log_density).all()


def test_modes_at_the_packages_trace_are_the_packages(toy):
    problem = Problem(
        ("a", "b"), lambda u: u, toy.observed, toy.data_cov, toy.slice_of, (), N_STAT, toy.error_cov
    )
    ours, theirs = study.leading_modes(toy, TRACE_KEPT), eigenmodes(problem)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, rtol=1e-9)


def test_proposals_have_the_density_that_weights_assume():
    mean, factor = np.array([1.0, -2.0]), np.array([[2.0, 0.0], [0.5, 1.0]])
    u = draw(mean, factor, 4000, np.random.default_rng(7))
    law = multivariate_t(mean, SCALE**2 * factor @ factor.T, df=5)
    np.testing.assert_allclose(log_student_t(u, mean, factor), law.logpdf(u), rtol=1e-10)
    np.testing.assert_allclose(np.cov(u.T), 5 / 3 * law.shape, rtol=0.15)


def test_emulator_is_exact_for_quadratic_counts():
    rng = np.random.default_rng(8)
    v, coefficients = rng.normal(size=(80, 2)), rng.normal(size=(6, 3))

    def quadratic(u):
        x, y = u.T
        return np.column_stack([np.ones(len(u)), x, y, x * x, x * y, y * y]) @ coefficients

    emulated = emulator(v, quadratic(v), (np.ones(2), np.array([[2.0, 0.0], [1.0, 0.5]])))
    np.testing.assert_allclose(emulated(v + 3), quadratic(v + 3), rtol=1e-8)


def test_score_of_a_shifted_gaussian():
    """Galaxies N(u, 1), counted with weights exp(b y), blurred by h: N(u + b, 1 + h^2) at b = 0."""
    y, h = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None], 0.5
    weight, shift = np.ones(len(y)), np.ones_like(y)
    galaxies = [y, weight, np.stack([shift, 0 * y], axis=-1), np.column_stack([0 * y, y])]
    x = np.linspace(-2, 2, 9)[:, None]
    found = _scores(np.asarray(x, np.float32), galaxies, h)
    expected = x / (1 + h**2)
    np.testing.assert_allclose(found, np.hstack([expected, expected]), atol=0.01)


def trial(distance2, rank, ess):
    found = {"ess": ess, "pareto_k": 0.1, "distance2": distance2, "log_volume": -3.0, "efficiency": 0.5}
    return {
        "truth": [0.0, 0.0],
        "n_modes": 1,
        "n_proposals": 10,
        "log_volume_unbinned": {"0.35": -5.0},
        "seconds": {"weights": 1.0},
        "posteriors": {
            "poisson | K1 h1.0 N1": found | {"rank": rank},
            "moped | K1 h1.0 N1": found | {"rank": rank, "log_volume": -1.0, "ess": 150.0},
        },
    }


def test_summary_counts_what_it_should():
    trials = [trial(2.0, [0.5, 0.9], 200.0), trial(40.0, [0.01, 0.8], 200.0), trial(1.0, [0.5, 0.5], 20.0)]
    row, wider = summarise(trials, "0.35", "poisson | K1 h1.0 N1")["rows"]
    assert (wider["n_reliable"], row["width_ratio"]) == (3, 1.0)
    assert wider["width_ratio"] == pytest.approx(np.e)
    assert row["n_reliable"] == 2
    assert row["distance2_mean"] == pytest.approx(10.5)
    assert (row["cover68"], row["cover95"], row["n_failures"]) == (0.5, 0.75, 1)
    assert row["width"] == pytest.approx(np.e)
    assert row["evaluations"] == 800
