"""The gate passes each sampler's draws of an easy posterior, and catches each broken case."""

import jax
import numpy as np
import pytest
from at_the_gate import failed, gate_groups
from targets import COV5, MEAN5, bimodal, cliff, funnel, gaussian5, infinite, no_slope, nowhere, rugged
from toy import silent

from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.nuts import NutsSpec, nuts
from popinfer.infer.tempered import SmcSpec, smc
from popinfer.report import judge

FIVE, THREE = Mixture.single(Laplace(MEAN5, COV5)), Mixture.single(Laplace(np.zeros(3), np.eye(3)))


def verdict(sample, density, start, spec):
    """The gate's answer to a sampler's draws."""
    return judge(gate_groups(sample(jax.random.key(3), density, start, spec, silent), start))


@pytest.mark.parametrize(
    ("sample", "spec"),
    [
        (nuts, NutsSpec(4, 150, 500)),
        (smc, SmcSpec(1000)),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_gaussian_converges(sample, spec):
    found = verdict(sample, gaussian5, FIVE, spec)
    assert found.converged, str(found)
    assert found.sampler == {nuts: "nuts_exact", smc: "smc"}[sample]


def test_chains_in_two_modes_are_caught():
    titles = failed(verdict(nuts, bimodal, THREE, NutsSpec(4, 100, 300)))
    assert "R-hat" in titles


@pytest.mark.slow
def test_funnel_is_caught():
    start = Mixture.single(Laplace(np.zeros(3), np.diag([9.0, 1.0, 1.0])))
    titles = failed(verdict(nuts, funnel, start, NutsSpec(4, 100, 300, start_scale=0.5)))
    assert {"R-hat", "Bulk ESS"} <= titles
    assert {"Divergences", "E-BFMI"} <= titles


def test_short_chains_are_caught():
    assert {"Bulk ESS", "Tail ESS"} <= failed(verdict(nuts, gaussian5, FIVE, NutsSpec(4, 50, 30)))


def test_frozen_chains_are_caught():
    titles = failed(verdict(nuts, nowhere, THREE, NutsSpec(4, 10, 20)))
    assert {"Moving chains", "Divergences", "R-hat"} <= titles


@pytest.mark.parametrize("density", [cliff, no_slope, infinite], ids=lambda density: density.__name__)
def test_region_without_numbers_is_caught(density):
    start = Mixture.single(Laplace(np.array([-2.0, 0.0, 0.0]), 0.2 * np.eye(3)))
    assert "Divergences" in failed(verdict(nuts, density, start, NutsSpec(4, 100, 300)))


@pytest.mark.slow
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


@pytest.mark.parametrize("density", [cliff, no_slope, infinite], ids=lambda density: density.__name__)
def test_particles_at_a_region_without_numbers_are_caught(density):
    assert failed(verdict(smc, density, THREE, SmcSpec(1000))) == {"Defined density"}
