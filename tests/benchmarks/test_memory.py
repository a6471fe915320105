"""Memory of repeated fits and of many draws, in short; see `benchmarks/memory.py`."""

import pytest
from scripts import run_script


@pytest.mark.slow
def test_repeated_fits_do_not_grow():
    printed = run_script("memory.py", "--repeats", "10", "--draws", "0")
    assert "repeat  10 of 10" in printed and "growth after repeat 5" in printed


@pytest.mark.slow
def test_many_draws_take_less_than_two_gigabytes():
    assert "4 x 100,000 draws" in run_script("memory.py", "--repeats", "0", "--draws", "100000")
