"""Runs that can't fit into memory are refused with both numbers."""

from pathlib import Path

import pytest

from popinfer.config import load_config
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
        ({"sample": {"n_proposals": 10**9}}, "sample.n_proposals: 1,000,000,000"),
        ({"predictive": {"n_draws": 10**8}}, "predictive.n_draws: 100,000,000"),
    ],
)
def test_the_key_is_named_that_asks_for_most(sections, key):
    with pytest.raises(InputError) as refused:
        check_memory(changed(**sections), 16 * 2.0**30)
    assert str(refused.value).startswith(f"{key} needs about ")
    assert "GiB of memory, and this machine has 16.0 GiB to give; use fewer" in str(refused.value)


def test_memory_grows_in_proportion_to_halos():
    double = changed(halos={"n_per_slice": 2 * CONFIG.halos.n_per_slice})
    assert needed_bytes(double)["halos.n_per_slice"] == 2 * needed_bytes(CONFIG)["halos.n_per_slice"]


def test_this_machine_has_memory():
    available = available_bytes()
    assert available is None or available > 2**26
