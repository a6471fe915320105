"""Halos for a run: as many samples as their noise asks for."""

import numpy as np
import pytest

from popinfer.config import load_config
from popinfer.random import root_key
from popinfer.run import pilot
from popinfer.run.pilot import lacking
from popinfer.run.prepare import prepare
from popinfer.run.progress import Silent


@pytest.fixture(scope="module")
def run(tiny_run):
    return prepare(tiny_run[0])


@pytest.fixture(scope="module")
def few(run):
    return pilot.tuned_halos(root_key(3), run.config, run.setup, run.survey, Silent())


def test_quiet_halos_need_no_more(run, few):
    assert len(few.samples) == 1 + run.config.halos.n_replicates
    assert lacking(run.setup, run.survey, few.samples, few.pilot, 1000) == 0


def test_replicates_are_added_until_their_noise_is_small(run, few, tiny_run, monkeypatch):
    monkeypatch.setattr(pilot, "MAX_NOISE", 0.01)
    wanted = lacking(run.setup, run.survey, few.samples, few.pilot, 1000)
    assert 3 < wanted < 300
    assert lacking(run.setup, run.survey, few.samples, few.pilot, 18) == 2  # no more than are allowed
    assert lacking(run.setup, run.survey, few.samples, few.pilot, 16) == 0
    config = load_config(tiny_run[0])
    halos = config.halos.model_copy(update={"max_replicates": 1000})
    config = config.model_copy(update={"halos": halos})
    more = pilot.tuned_halos(root_key(3), config, run.setup, run.survey, Silent())
    assert len(more.samples) == 17 + wanted
    for one, other in zip(more.samples, few.samples, strict=False):  # the first ones stay
        np.testing.assert_array_equal(one.logmp0, other.logmp0)


def test_number_that_is_asked_for_does_not_depend_on_the_number_tried(run, few, monkeypatch):
    monkeypatch.setattr(pilot, "MAX_NOISE", 0.001)
    asked = [
        n + lacking(run.setup, run.survey, few.samples[:n], few.pilot, 10_000) for n in (9, len(few.samples))
    ]
    assert asked[0] == pytest.approx(asked[1], rel=0.7)  # noise known from 8 samples and from 16
