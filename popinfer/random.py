"""Named random streams: the one rule by which random numbers are told apart.

A root key is made of a seed, and every use of random numbers has a key of its own: the root's child by a path
of names,

    key = stream(root_key(seed), "halos", "candidates", 3),

such as "the third batch of candidates for the run's halos". A name is text or a whole number. Each is hashed
with its type (the first 64 bits of SHA-256), so that ("a", 1), ("a1",) and ("a", "1") are three streams, and
folded into the key (`jax.random.fold_in`, 32 bits at a time). Different paths give different keys, but for a
chance of 2^-64 a pair. Nothing is ever added to a seed: sums of two numbers are soon equal.

The rule for a function that uses random numbers: `key` is its first argument. It derives one stream for each
use, by a name that it gives to no other use, and hands these streams, not its own key, to the functions that
it calls. A key is used up by one draw: by `numpy_generator`, by `sobol`, or by a function of `jax.random`.
"""

import hashlib
import operator
from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import qmc

Name = str | int

_IMPLEMENTATION = "threefry2x32"  # named, so that a setting of the user's changes no result


def root_key(seed: int) -> PRNGKeyArray:
    """Key of a run, a mock or a calibration.

    Parameters
    ----------
    seed : any whole number; equal seeds give equal random numbers everywhere.
    """
    return _derived(jax.random.key(0, impl=_IMPLEMENTATION), ("seed", seed))


def fixed_key(*names: Name) -> PRNGKeyArray:
    """Key of numbers that are the same in every run, such as the points at which a user's function is tried.

    Parameters
    ----------
    names : where the numbers are used.
    """
    return _derived(jax.random.key(0, impl=_IMPLEMENTATION), ("fixed", *names))


def stream(key: PRNGKeyArray, name: Name, *names: Name) -> PRNGKeyArray:
    """The key of a named stream.

    Parameters
    ----------
    key : the parent's, left as it is.
    name, names : the path from there; texts and whole numbers. ``stream(key, "a", "b")`` is
        ``stream(stream(key, "a"), "b")``.

    Raises
    ------
    TypeError
        When a name is neither text nor a whole number.
    """
    return _derived(key, (name, *names))


def numpy_generator(key: PRNGKeyArray) -> np.random.Generator:
    """NumPy's generator, seeded by all bits of the key."""
    return np.random.default_rng(np.random.SeedSequence(_entropy(key)))


def sobol(key: PRNGKeyArray, n: int, dim: int) -> Float[np.ndarray, "n dim"]:
    """Sobol points in the unit cube, scrambled by the key: the first n of a power of two."""
    points = qmc.Sobol(dim, scramble=True, rng=numpy_generator(key))
    return points.random_base2(int(np.ceil(np.log2(n))))[:n]


def _derived(key: PRNGKeyArray, names: Iterable[Name]) -> Array:
    for name in names:
        for word in _words(name):
            key = jax.random.fold_in(key, word)
    return key


def _words(name: Name) -> np.ndarray:
    """Two 32-bit words that stand for a name and its type."""
    text = f"text {name}" if isinstance(name, str) else f"number {operator.index(name)}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], "<u4").astype(np.uint32)


def _entropy(key: PRNGKeyArray) -> list[int]:
    """The key's bits as whole numbers."""
    return [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()]
