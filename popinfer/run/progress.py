"""What a stage says while it works: bars with remaining time on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# steps done, a few words, and how many steps there are, where that has changed; the last two may be left out
Update = Callable[..., None]


@runtime_checkable
class Reporter(Protocol):
    """How stages talk to a person."""

    def task(self, title: str, total: int | None = None) -> contextlib.AbstractContextManager[Update]:
        """Open a task of `total` steps; call the result with steps done and a few words."""
        ...

    def say(self, text: str) -> None:
        """One line."""
        ...


def with_total(update: Update) -> Callable[[int, int, str], None]:
    """The same for whoever knows at each step how many there are: called with done, total and words."""
    return lambda done, total, words: update(done, words, total)


class Silent:
    """Says nothing: ``--quiet``, and the default of the Python functions."""

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Update]:
        """Ignore a task."""
        yield _ignore

    def say(self, text: str) -> None:
        """Ignore a line."""


class Terminal:
    """Bars on standard error while a person watches; one line a finished task on standard output."""

    def __init__(self) -> None:
        self._bars = Console(stderr=True)
        self._lines = Console(highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Update]:
        """Show a bar with remaining time, then how long the task took."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[words]}"),
        )
        start, words = time.perf_counter(), ""
        with Progress(
            *columns, console=self._bars, transient=True, disable=not self._bars.is_terminal
        ) as progress:
            bar = progress.add_task(title, total=total, words="")

            def update(done: int, text: str = "", total: int | None = None) -> None:
                nonlocal words
                words = text
                progress.update(bar, completed=done, words=text, total=total)

            yield update
        tail = f"  {words}" if words else ""
        self.say(f"{title:<44s} {time.perf_counter() - start:7.1f} s{tail}")

    def say(self, text: str) -> None:
        """Print a line to standard output."""
        self._lines.print(text, markup=False)


def _ignore(done: int, text: str = "", total: int | None = None) -> None:
    pass
