"""Samplers of the exact density that are killed go on where they were, and end equal bit for bit."""

import jax
import numpy as np
import pytest
from killed import finish, kill_every
from targets import COV5, MEAN5, cliff, gaussian5
from toy import silent

from popinfer.infer.laplace import Laplace, Mixture
from popinfer.infer.nuts import NutsSpec, nuts
from popinfer.infer.tempered import SmcSpec, smc
from popinfer.journal import kept_in

FIVE, THREE = Mixture.single(Laplace(MEAN5, COV5)), Mixture.single(Laplace(np.zeros(3), np.eye(3)))
CASES = {  # with the steps that each life has, of which three are lost
    "chains in sequence": (nuts, gaussian5, FIVE, NutsSpec(2, 8, 12), 7),
    "chains side by side": (nuts, gaussian5, FIVE, NutsSpec(2, 8, 12, chains="vmap"), 5),
    "chains at an edge": (nuts, cliff, THREE, NutsSpec(2, 8, 12), 7),
    "particles": (smc, gaussian5, FIVE, SmcSpec(200), 4),
}


@pytest.mark.parametrize(("sample", "density", "start", "spec", "n_steps"), CASES.values(), ids=CASES.keys())
def test_killed_samplers_end_equal(tmp_path, monkeypatch, sample, density, start, spec, n_steps):
    def draw():
        with kept_in(tmp_path / "sample.journal", "mine"):
            return sample(jax.random.key(3), density, start, spec, silent)

    whole = sample(jax.random.key(3), density, start, spec, silent)
    kill_every(monkeypatch, n_steps)
    draws, times = finish(draw)
    assert times >= 2
    np.testing.assert_array_equal(draws.u, whole.u)
    assert set(draws.stats) == set(whole.stats) and draws.attrs == whole.attrs
    for name, values in whole.stats.items():
        np.testing.assert_array_equal(draws.stats[name], values, err_msg=name)
    assert not list(tmp_path.iterdir())


def test_draws_are_those_of_the_journal(tmp_path, monkeypatch):
    """A step's numbers come from the disk: what is there isn't computed again."""
    spec, calls = NutsSpec(2, 10, 10), 0
    kill_every(monkeypatch, 13)
    from popinfer.infer import nuts as module

    step = module._step

    def counted(*arguments):
        nonlocal calls
        calls += 1
        return step(*arguments)

    def draw():
        with kept_in(tmp_path / "sample.journal", "mine"):
            return nuts(jax.random.key(3), gaussian5, FIVE, spec, silent)

    monkeypatch.setattr(module, "_step", counted)
    _, times = finish(draw)
    assert times == 3 and calls == spec.n_steps + 3 * times  # the last three of each life weren't on the disk
