"""Real processes that are killed at random moments end equal; see `benchmarks/kill.py` for more of them."""

import pytest
from scripts import run_script


@pytest.mark.slow
@pytest.mark.parametrize(("command", "n"), [("run", 4), ("calibrate", 2), ("mock", 4)])
def test_ten_killed_commands_end_equal(command, n):
    printed = run_script("kill.py", "--n", str(n), "--command", command)
    assert f"{n} of {n} resumed and equal" in printed and "DIFFERS" not in printed
