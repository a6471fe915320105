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
The root key itself is used up too: by the choice of the kernels' centers (`popinfer.run.observed`).
"""

import hashlib
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Name = str | int

_IMPLEMENTATION = "threefry2x32"  # named, so that a setting of the user's changes no result


def root_key(seed: int) -> PRNGKeyArray:
    """Key of a run, a mock or a calibration: that of `jax.random.key`, whatever JAX's settings are.

    Parameters
    ----------
    seed : int
        Any whole number from zero; equal seeds give equal random numbers everywhere.

    Returns
    -------
    PRNGKeyArray
        A typed key of JAX, of no shape.
    """
    if not 0 <= seed < 2**64:  # a key holds 64 bits
        return _derived(_plain_key(0), ("seed", seed))
    return _plain_key(seed)


def fixed_key(*names: Name) -> PRNGKeyArray:
    """Key of numbers that are the same in every run, such as the points at which a user's function is tried.

    Parameters
    ----------
    *names : Name
        Where the numbers are used.
    """
    return _derived(_plain_key(0), ("fixed", *names))


def stream(key: PRNGKeyArray, name: Name, *names: Name) -> PRNGKeyArray:
    """The key of a named stream.

    Parameters
    ----------
    key : PRNGKeyArray
        The parent's, left as it is.
    name, *names : Name
        The path from there; texts and whole numbers. ``stream(key, "a", "b")`` is ``stream(stream(key, "a"),
        "b")``.

    Returns
    -------
    PRNGKeyArray
        A typed key of JAX, of the parent's shape.

    Raises
    ------
    TypeError
        When a name is neither text nor a whole number.

    Examples
    --------
    >>> key = root_key(1)
    >>> bool(stream(key, "halos", 3) == stream(stream(key, "halos"), 3))
    True
    >>> bool(stream(key, "halos", 3) == stream(key, "halos", "3"))
    False
    """
    return _derived(key, (name, *names))


def numpy_generator(key: PRNGKeyArray) -> np.random.Generator:
    """NumPy's generator, seeded by the key's bits as one number; of a root key that is its seed."""
    return np.random.default_rng(_entropy(key))


def sobol(key: PRNGKeyArray, n: int, dim: int) -> Float[np.ndarray, "n dim"]:
    """Sobol points in the unit cube, scrambled by the key: the first n of a power of two."""
    from scipy.stats import qmc  # loads for half a second, which checks of a run file needn't wait for

    points = qmc.Sobol(dim, scramble=True, rng=numpy_generator(key))
    return points.random_base2(int(np.ceil(np.log2(n))))[:n]


def _plain_key(seed: int) -> Array:
    """What `jax.random.key` makes of a number of at most 64 bits where float64 is enabled."""
    words = np.frombuffer(operator.index(seed).to_bytes(8, "big"), ">u4").astype(np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(words), impl=_IMPLEMENTATION)


def _derived(key: PRNGKeyArray, names: Iterable[Name]) -> Array:
    for name in names:
        for word in _words(name):
            key = jax.random.fold_in(key, word)
    return key


def _words(name: Name) -> np.ndarray:
    """Two 32-bit words that stand for a name and its type."""
    text = f"text {name}" if isinstance(name, str) else f"number {operator.index(name)}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], "<u4").astype(np.uint32)


def _entropy(key: PRNGKeyArray) -> int:
    """The key's bits as one whole number."""
    return int.from_bytes(np.asarray(jax.random.key_data(key)).astype(">u4").tobytes(), "big")
