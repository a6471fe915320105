"""One pair of runs with and without checkpoints; see `benchmarks/checkpoints.py`."""

import pytest
from scripts import ROOT, run_script


@pytest.mark.slow
def test_the_cost_of_checkpoints_is_told():
    printed = run_script("checkpoints.py", str(ROOT / "benchmarks" / "tiny.yaml"), "--n", "1")
    assert "warm-up: with checkpoints" in printed and "pair 1: without checkpoints" in printed
    ratio = float(printed.rpartition("medians ")[2].split(",")[0])
    assert 0.2 < ratio < 5  # that both kinds ran; a busy machine tells no more
