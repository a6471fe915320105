"""Two maxima twelve standard deviations apart: the search finds both, and the gate asks for draws at both.

No sampler that starts at one of them can know of the other; what the search finds is what the gate has.
"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from at_the_gate import failed, gate_groups
from targets import MODE_SD, MODE_WEIGHTS, MODES, bimodal
from toy import N_BIN, ToyCounts, silent, toy

from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.nuts import NutsSpec, nuts
from popinfer.infer.optimise import Composite
from popinfer.infer.search import find_maxima, follow_maxima
from popinfer.random import root_key
from popinfer.report import judge
from popinfer.run.guides import Guide
from popinfer.run.prepare import Run
from popinfer.run.progress import Silent
from popinfer.run.search import _starts

PEAK = np.array([0.9, 0.0, 0.0])
MODEL = toy(level=3.06, noise=0.05)
N_PRIOR_STARTS = 4  # the run file's default


class Folded(ToyCounts):
    """The toy with the first parameter's square, leaning to its positive side, in place of it."""

    lean: float = 0.02

    def of_batch(self, batch, u):
        return super().of_batch(batch, u.at[0].set(u[0] ** 2 / 2 + self.lean * u[0]))


def folded(lean: float) -> Folded:
    plain = MODEL.counts(8)
    return Folded(
        **{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}, lean=lean
    )


@pytest.fixture(scope="module")
def problem():
    """The model's counts, and data at one of the two places."""
    return problem_leaning(0.02)


def problem_leaning(lean: float):
    counts = folded(lean)
    quiet = dataclasses.replace(counts, batches=jnp.ones((2, N_BIN)))
    return counts, MODEL.data(np.exp(log_counts_and_jacobian(quiet, jnp.asarray(PEAK))[0]))


def searched(problem, seed: int, n_prior_starts: int = N_PRIOR_STARTS):
    """As a run searches when its first answer is at one of them."""
    counts, data = problem
    guide = Guide((Composite(counts, data).with_fair_weight(PEAK),), "levenberg_marquardt", 40)
    run = object.__new__(Run)  # of which the starts need one setting
    fit = SimpleNamespace(n_prior_starts=n_prior_starts)
    object.__setattr__(run, "config", SimpleNamespace(fit=fit))
    return find_maxima(counts, data, _starts(root_key(seed), run, guide, PEAK, Silent()))


def test_the_usual_starts_find_both(problem):
    """Each draw of the prior leads to either; four of them miss one in a sixteenth of all searches."""
    searches = [searched(problem, seed) for seed in range(8)]
    assert [len(search.maxima) for search in searches] == 8 * [2]
    for search in searches:
        one, other = search.maxima
        assert one.distance(other.approx.mean) == pytest.approx(12, abs=0.5)
        assert min(search.mixture.weights) > 0.3


def test_without_starts_from_the_prior_one_is_missed(problem):
    """So that the test above can fail."""
    assert len(searched(problem, 0, n_prior_starts=0).maxima) == 1


def test_a_maximum_that_seems_to_hold_next_to_nothing_is_looked_at_on_all_halos():
    """The prior's density at the second is 8.8 nat lower: on few halos it is kept, and it falls on all."""
    counts, data = problem_leaning(1.7)
    search = find_maxima(counts, data, [PEAK, np.array([-4.3, 0.0, 0.0])])
    assert 1e-5 < search.mixture.weights[1] < 1e-3
    assert search.maxima[1].approx.mean[0] == pytest.approx(-4.3, abs=0.1)
    assert len(follow_maxima(counts, data, search.mixture).maxima) == 1


def test_chains_at_one_of_both_are_not_converged():
    """Though they mix there, and would pass if the search had found but that one."""
    parts = [Laplace(np.array([mode, 0.0, 0.0]), MODE_SD**2 * np.eye(3)) for mode in MODES]
    both, known = Mixture(tuple(parts), MODE_WEIGHTS), Mixture.single(parts[1])
    draws = nuts(jax.random.key(3), bimodal, known, NutsSpec(4, 100, 300), silent)
    assert (draws.u[..., 0] > 0).all()
    found = judge(gate_groups(draws, both))
    assert failed(found) == {"Maxima visited"}
    (failure,) = found.failures
    assert failure.startswith("No draw is near maxima that hold about 30 % of the posterior's mass.")
    assert judge(gate_groups(draws, known)).converged
