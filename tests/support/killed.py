"""Ends what keeps a journal as SIGKILL does, again and again; and workers that do away with themselves."""

import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from popinfer.journal import Journal

Result = TypeVar("Result")
_LOST = 3  # steps that weren't on the disk yet


class KilledError(BaseException):
    """Ends a stage as SIGKILL does: nothing in memory is saved."""


def kill_every(monkeypatch, n_steps: int) -> None:
    """Make stages end after so many new steps, of which the last few weren't on the disk yet."""
    count, add = 0, Journal.add

    def add_or_end(journal: Journal, key: bytes, arrays) -> None:
        nonlocal count
        add(journal, key, arrays)
        count += 1
        if count % n_steps == n_steps - _LOST:
            journal.flush()
        if count % n_steps == 0:
            journal._pending.clear()
            raise KilledError

    monkeypatch.setattr(Journal, "add", add_or_end)


def finish(work: Callable[[], Result]) -> tuple[Result, int]:
    """Do some work again and again until nothing kills it; what it gives, and how often something did."""
    for times in range(200):
        try:
            return work(), times
        except KilledError:
            continue
    raise AssertionError("the work makes no headway")


def no_start(*_arguments: Any) -> None:
    """Start of a worker that needs nothing."""


def third_trial_kills(index: int, _spec: Any) -> dict[str, Any]:
    """A made-up survey; with the third the worker is gone, as when the system lacks memory."""
    if index == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"failed": "made up", "truth": [0.0, 0.0], "wall_time_s": 0.0}
