"""Runs that can't fit into memory are refused with both numbers."""

from pathlib import Path

import pytest

from popinfer.config import load_config
from popinfer.config.inference import NutsExactConfig, SmcConfig
from popinfer.errors import InputError
from popinfer.run.memory import available_bytes, check_memory, needed_bytes

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "sdss.yaml")


def changed(**sections):
    update = {name: getattr(CONFIG, name).model_copy(update=values) for name, values in sections.items()}
    return CONFIG.model_copy(update=update)


def test_shipped_runs_fit_a_laptop():
    assert max(needed_bytes(CONFIG).values()) < 4 * 2**30
    check_memory(CONFIG, 4 * 2.0**30)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"halos": {"n_per_slice": 10**12}}, "halos.n_per_slice: 1,000,000,000,000"),
        ({"kernels": {"n_centers": 200_000}}, "kernels.n_centers: 200,000"),
        ({"sample": {"n_chains": 10**7}}, "sample.n_chains: 10,000,000"),
        ({"sample": {"max_evaluations": 10**9}}, "sample.max_evaluations: 1,000,000,000"),
        ({"sample": {"n_kept": 10**9}}, "sample.n_kept: 1,000,000,000"),
        ({"predictive": {"n_draws": 10**8}}, "predictive.n_draws: 100,000,000"),
    ],
)
def test_the_key_is_named_that_asks_for_most(sections, key):
    with pytest.raises(InputError) as refused:
        check_memory(changed(**sections), 16 * 2.0**30)
    assert str(refused.value).startswith(f"{key} needs about ")
    assert "GiB of memory, and this machine has 16.0 GiB to give; use fewer" in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (SmcConfig(kind="smc").model_copy(update={"n_particles": 10**9}), "sample.n_particles"),
        (NutsExactConfig(kind="nuts_exact").model_copy(update={"n_chains": 10**9}), "sample.n_chains"),
    ],
)
def test_every_sampler_is_asked_for_what_it_keeps(settings, key):
    with pytest.raises(InputError, match=f"{key}: 1,000,000,000 needs about"):
        check_memory(CONFIG.model_copy(update={"sample": settings}), 16 * 2.0**30)


def of_halos(n):
    return needed_bytes(changed(halos={"n_per_slice": n}))["halos.n_per_slice"]


def test_one_batch_of_halos_is_evaluated_at_a_time():
    """Up to 64 batches of 4,096 they grow with the sample, beyond it their number does."""
    small, large = ((of_halos(2 * n) - of_halos(n)) / n for n in (16384, 2**20))
    assert small > 1.5 * large
    stored = 8 * 33 * len(CONFIG.slices)
    assert 2 * stored < large < 3 * stored
    assert of_halos(4 * 2**20) - of_halos(2 * 2**20) == 2 * (of_halos(2 * 2**20) - of_halos(2**20))


def test_all_counts_of_the_nodes_are_kept():
    few, many = (
        needed_bytes(CONFIG.model_copy(update={"free": dict(list(CONFIG.free.items())[:n])})) for n in (3, 9)
    )
    assert many["kernels.n_centers"] > few["kernels.n_centers"]


def test_this_machine_has_memory():
    available = available_bytes()
    assert available is None or available > 2**26
