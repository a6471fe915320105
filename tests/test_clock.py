"""Clocks that jump: nothing is lost, and nothing that is computed changes."""

import itertools
import re
import time
from pathlib import Path

import numpy as np
import pytest
from killed import finish, kill_every

import popinfer
from popinfer import journal
from popinfer.journal import Journal, kept, kept_in

DAY = 86_400.0
JUMPS = {
    "forward": itertools.accumulate(itertools.repeat(400 * DAY)),
    "back": itertools.accumulate(itertools.repeat(-400 * DAY)),
    "to and fro": itertools.cycle([0.0, 4e9, -1e9, 17.0, 2**31, 0.5]),
    "standing still": itertools.repeat(0.0),
}


def stage(folder: Path) -> np.ndarray:
    """Twenty steps, each of which depends on those before it."""
    x = np.ones(50)
    with kept_in(folder / "stage.journal", "mine"):
        for i in range(20):
            inputs = {"i": np.array(i), "x": x}
            x = kept("step", inputs, lambda x=x: {"x": np.sin(3 * x) + 1e-3 * np.arange(50)})["x"]
    return x


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS.keys())
def test_a_killed_stage_ends_equal_whatever_clocks_say(tmp_path, monkeypatch, jumps):
    whole = stage(tmp_path)
    for clock in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: next(jumps))
    kill_every(monkeypatch, 6)
    again, times = finish(lambda: stage(tmp_path))
    np.testing.assert_array_equal(again, whole)
    assert times >= 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_after_a_jump_steps_still_go_to_the_disk(tmp_path, monkeypatch, jump):
    """The steady clock may jump when a machine sleeps; at the latest its wait later a journal is flushed."""
    now, shift = time.monotonic, 0.0
    monkeypatch.setattr(journal.time, "monotonic", lambda: now() + shift)
    store = Journal(tmp_path / "j", "mine")
    store.add(bytes(32), {"x": np.ones(3)})
    shift = jump
    time.sleep(0.3)  # longer than the shortest wait
    store.add(bytes(32), {"x": np.ones(3)})
    assert store.n_kept == 2


def test_no_result_depends_on_the_time_of_day():
    """Only steady clocks are read: of the other, a person or a server may set the hands."""
    source = Path(popinfer.__file__).parent
    asks = re.compile(r"\btime\.time\(|datetime\.now|\btime\.(?:ctime|localtime|gmtime)\(")
    assert not [path for path in source.rglob("*.py") if asks.search(path.read_text(encoding="utf-8"))]
