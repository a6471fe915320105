"""Random numbers that belong to a halo: made of a key and the halo's name, whatever is read or drawn with it.

Threefry of the key with both 32-bit words of the name: chunks, order, threads and devices don't matter.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt64

_MULTIPLE = 4096  # names are padded to a multiple, so that chunks of all sizes share few programs


def normals_of_halos(
    key: PRNGKeyArray, halo_id: Int[np.ndarray, "halo"], n: int
) -> Float[np.ndarray, "halo n"]:
    """Standard normal numbers of each halo.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of a use; equal keys give equal numbers.
    halo_id : Int[np.ndarray, "halo"]
        Names of halos.
    n : int
        How many each.
    """
    return _draw_padded(partial(_normals, key, n=n), halo_id)


def uniforms_of_halos(
    key: PRNGKeyArray, halo_id: Int[np.ndarray, "halo"], n: int
) -> Float[np.ndarray, "halo n"]:
    """Uniform numbers between 0 and 1 of each halo; see `normals_of_halos`."""
    return _draw_padded(partial(_uniforms, key, n=n), halo_id)


def order_of_halos(key: PRNGKeyArray, halo_id: Int[np.ndarray, "halo"]) -> UInt64[np.ndarray, "halo"]:
    """A random 64-bit number of each halo, by which halos can be put in a random order."""
    (salt,) = np.asarray(jax.random.key_data(key), np.uint32).view(np.uint64)
    x = halo_id.astype(np.uint64) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finaliser
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def _draw_padded(draw: partial, halo_id: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(halo_id, np.int64).view(np.uint32).reshape(-1, 2)
    extra = -len(words) % _MULTIPLE
    return np.asarray(draw(words=jnp.asarray(np.pad(words, ((0, extra), (0, 0))))))[: len(words)]


def _key_of(key: PRNGKeyArray, words: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1])


@partial(jax.jit, static_argnames="n")
def _normals(key: PRNGKeyArray, *, words: Array, n: int) -> Array:
    return jax.vmap(lambda w: jax.random.normal(_key_of(key, w), (n,), jnp.float32))(words)


@partial(jax.jit, static_argnames="n")
def _uniforms(key: PRNGKeyArray, *, words: Array, n: int) -> Array:
    return jax.vmap(lambda w: jax.random.uniform(_key_of(key, w), (n,), jnp.float32))(words)
