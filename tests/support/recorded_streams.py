"""Which random streams a piece of work used: every key that was derived, and every generator that was made."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
import pytest

import popinfer.random

Bits = tuple[int, ...]
Path = tuple[str | int, ...]


def bits(key: jax.Array) -> Bits:
    """A key's content."""
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


class Recorded:
    """Streams in the order of their use.

    Attributes
    ----------
    paths : names from the root of every key that was seen, the root's own (``"seed", seed``) included.
    derived : keys of named streams, once for each call of `popinfer.random.stream`.
    generated : keys that generators were seeded by, once for each generator.
    """

    def __init__(self) -> None:
        self.paths: dict[Bits, Path] = {}
        self.derived: list[Bits] = []
        self.generated: list[Bits] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Take down what is used inside the block."""
        derive, entropy = popinfer.random._derived, popinfer.random._entropy

        def derived(key, names):
            names = tuple(names)
            child = derive(key, names)
            parent = bits(key)
            self.paths[bits(child)] = self.paths.get(parent, ()) + names
            if parent in self.paths:  # roots and fixed keys have no parent, and are made anew where needed
                self.derived.append(bits(child))
            return child

        def entropies(key):
            self.generated.append(bits(key))
            return entropy(key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(popinfer.random, "_derived", derived)
            patch.setattr(popinfer.random, "_entropy", entropies)
            yield

    def repeated(self) -> list[Path | Bits]:
        """Streams that were derived twice, or that seeded two generators."""
        return [
            self.paths.get(key, key)
            for used in (self.derived, self.generated)
            for key, times in Counter(used).items()
            if times > 1
        ]

    def below(self, *start: str | int) -> list[Path]:
        """Paths of the streams below one, from there on."""
        n = len(start)
        return [self.paths[key][n:] for key in self.derived if self.paths[key][:n] == start]
