"""The gate passes each sampler's draws of an easy posterior, and catches each broken case."""

import arviz as az
import jax
import numpy as np
import pytest
from targets import (
    COV5,
    MEAN5,
    MODE_SD,
    MODE_WEIGHTS,
    MODES,
    bimodal,
    cauchy_like,
    cliff,
    funnel,
    gaussian5,
    near_modes,
    nowhere,
    rugged,
)
from toy import silent

from popinfer.infer.laplace import Laplace
from popinfer.infer.mixture import Mixture
from popinfer.infer.sample import MclmcSpec, NutsSpec, PsisSpec, SmcSpec, mclmc, nuts, psis_laplace, smc
from popinfer.report import judge
from popinfer.run.posterior import sample_statistics

CHAINS = {"nuts": (nuts, NutsSpec), "mclmc": (mclmc, MclmcSpec)}
FIVE, THREE = Mixture.single(Laplace(MEAN5, COV5)), Mixture.single(Laplace(np.zeros(3), np.eye(3)))


def verdict(sample, density, start, spec):
    """The gate's answer to a sampler."""
    return gate(sample(jax.random.key(3), density, start, spec, silent))


def gate(draws):
    """The gate's answer to draws stored as a run stores them."""
    idata = az.from_dict(posterior={f"p{i}": draws.u[..., i] for i in range(draws.u.shape[-1])})
    idata.add_groups(sample_stats=sample_statistics(draws))
    return judge(idata)


def failed(found):
    """Titles of the checks that failed; at least one must have."""
    titles = {check.title for check in found.checks if not check.passed}
    assert not found.converged and len(found.failures) == len(titles) > 0
    return titles


@pytest.fixture(params=CHAINS)
def chain(request):
    return CHAINS[request.param]


@pytest.mark.parametrize(
    ("sample", "spec"),
    [
        (nuts, NutsSpec(4, 150, 500)),
        (mclmc, MclmcSpec(4, 150, 800)),
        (psis_laplace, PsisSpec(2000)),
        (smc, SmcSpec(1000)),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_gaussian_converges(sample, spec):
    found = verdict(sample, gaussian5, FIVE, spec)
    assert found.converged, str(found)
    assert found.sampler == sample.__name__


def test_chains_in_two_modes_are_caught(chain):
    sample, spec = chain
    titles = failed(verdict(sample, bimodal, THREE, spec(4, 100, 300)))
    assert "R-hat" in titles


def test_funnel_is_caught(chain):
    sample, spec = chain
    start = Mixture.single(Laplace(np.zeros(3), np.diag([9.0, 1.0, 1.0])))
    titles = failed(verdict(sample, funnel, start, spec(4, 100, 300, start_scale=0.5)))
    assert {"R-hat", "Bulk ESS"} <= titles
    if sample is nuts:
        assert {"Divergences", "E-BFMI"} <= titles


def test_short_chains_are_caught(chain):
    sample, spec = chain
    assert {"Bulk ESS", "Tail ESS"} <= failed(verdict(sample, gaussian5, FIVE, spec(4, 50, 30)))


def test_frozen_chains_are_caught(chain):
    sample, spec = chain
    titles = failed(verdict(sample, nowhere, THREE, spec(4, 10, 20)))
    assert {"Moving chains", "Divergences", "R-hat"} <= titles


def test_region_without_numbers_is_caught(chain):
    sample, spec = chain
    start = Mixture.single(Laplace(np.array([-2.0, 0.0, 0.0]), 0.2 * np.eye(3)))
    assert "Divergences" in failed(verdict(sample, cliff, start, spec(4, 100, 300)))


def test_heavy_tails_are_caught_by_the_importance_weights():
    # with unit width k-hat is 0.4 to 1 from key to key: proposals that reach so far hide the tails
    narrow = Mixture.single(Laplace(np.zeros(3), 0.3 * np.eye(3)))
    assert "Pareto k-hat" in failed(verdict(psis_laplace, cauchy_like, narrow, PsisSpec(2000, n_rounds=1)))


def test_a_funnel_is_caught_by_the_importance_weights():
    start = Mixture.single(Laplace(np.zeros(6), np.diag([9.0, 1.0, 1.0, 1.0, 1.0, 1.0])))
    assert {"Pareto k-hat", "Importance ESS"} & failed(verdict(psis_laplace, funnel, start, PsisSpec(2000)))


def test_a_second_mode_is_shared_out_or_caught_by_the_importance_weights():
    """Proposals of one mode whose tails meet the other, and wide ones; a far mode needs a start there."""
    second = Mixture.single(Laplace(np.array([0.6, 0.0, 0.0]), MODE_SD**2 * np.eye(3)))
    n_caught = 0
    for key in range(3, 9):
        draws = psis_laplace(jax.random.key(key), near_modes, second, PsisSpec(2000), silent)
        if gate(draws).converged:
            assert np.mean(draws.u[..., 0] > 0) == pytest.approx(MODE_WEIGHTS[1], abs=0.06)
        else:
            n_caught += "Pareto k-hat" in failed(gate(draws))
    assert 6 > n_caught >= 3
    assert "Importance ESS" in failed(verdict(psis_laplace, bimodal, THREE, PsisSpec(2000)))
    modes = [Laplace(np.array([x, 0.0, 0.0]), MODE_SD**2 * np.eye(3)) for x in MODES]
    draws = psis_laplace(
        jax.random.key(3), bimodal, Mixture(tuple(modes), np.array([0.5, 0.5])), PsisSpec(4000), silent
    )
    assert np.mean(draws.u[..., 0] > 0) == pytest.approx(MODE_WEIGHTS[1], abs=0.05)


def test_few_proposals_are_caught():
    assert "Importance ESS" in failed(verdict(psis_laplace, gaussian5, FIVE, PsisSpec(200)))


def test_proposals_without_numbers_are_caught():
    assert "Defined density" in failed(verdict(psis_laplace, cliff, THREE, PsisSpec(2000)))
    assert {"Pareto k-hat", "Defined density"} <= failed(
        verdict(psis_laplace, nowhere, THREE, PsisSpec(100, n_draws=40))
    )


def test_particles_in_two_modes_converge_when_they_are_enough():
    few, many = (verdict(smc, bimodal, THREE, SmcSpec(n)) for n in (1000, 6000))
    # p0 has the two modes: how they share the mass is known to the counting noise of some hundred prior draws
    assert failed(few) <= {"Bulk ESS", "Tail ESS"} and all("p0." in text for text in few.failures)
    assert many.converged, str(many)


def test_few_particles_are_caught():
    assert {"Bulk ESS", "Tail ESS"} <= failed(verdict(smc, gaussian5, FIVE, SmcSpec(200)))


def test_particles_that_can_not_move_are_caught():
    titles = failed(verdict(smc, rugged, THREE, SmcSpec(1000, n_moves=1)))
    assert "Moving particles" in titles
    assert {"Bulk ESS", "Tail ESS"} & titles


def test_particles_that_never_leave_the_prior_are_caught():
    titles = failed(verdict(smc, nowhere, THREE, SmcSpec(40)))
    assert {"Tempering", "Moving particles"} <= titles


def test_a_funnel_wider_than_the_prior_is_caught():
    assert {"Bulk ESS", "Tail ESS"} & failed(verdict(smc, funnel, THREE, SmcSpec(1000)))


def test_particles_at_a_region_without_numbers_are_caught():
    assert failed(verdict(smc, cliff, THREE, SmcSpec(1000))) == {"Defined density"}
