"""Ends what keeps a journal as SIGKILL does, again and again."""

from collections.abc import Callable
from typing import TypeVar

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
