"""A person who watches stages at work."""

import contextlib
from collections.abc import Iterator

from popinfer.run.progress import Silent, Update


class Listening(Silent):
    """Keeps the lines that a person would see, and how far each bar came, of how much."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, tuple[int | None, list[int]]] = {}

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Update]:
        """Note a bar's steps."""
        self.bars[title] = total, []
        yield lambda done, text="", total=None: self.bars[title][1].append(done)

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)
