"""Floating-point precision and process settings, chosen once where a program starts.

Library modules never call ``jax.config.update``: importing popinfer leaves JAX as it was. Entry points (the
command line, notebooks, tests) call `start` first. Packages that switch on float64 when imported are
imported under `keep_precision`.
"""

import contextlib
import ctypes
import ctypes.util
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import scipy.linalg  # noqa: F401 (whose LAPACK JAX calls on CPUs: it has to be there to be told of threads)
from threadpoolctl import threadpool_limits

from popinfer.environment import jaxlib_version
from popinfer.errors import InputError

# from this jaxlib on, programs for CPUs hand sums of products to a library, YNNPACK
_FIRST_WITH_YNN = (0, 10, 2)
# glibc's <malloc.h> parameter numbers
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def start(*, cache_dir: str | Path | None = None) -> None:
    """Prepare the process: float64 available, exact products, memory kept between calls, programs cached.

    Accelerators may round float32 factors to the 10 bits of TF32 or the 7 of bfloat16 unless told otherwise:
    relative errors of 5e-4 and 4e-3, which magnitudes and counts would inherit. BLAS gets one thread: the
    matrices here are small, and threads of BLAS that wait in busy loops hold cores that JAX's own need.

    Parameters
    ----------
    cache_dir : str or Path, optional
        Folder for JAX's persistent compilation cache; none is used when absent.

    Raises
    ------
    InputError
        This jaxlib computes wrong sums, as it is set up.
    """
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _keep_freed_memory()
    threadpool_limits(1, user_api="blas")
    version = jaxlib_version()
    if version >= _FIRST_WITH_YNN and not missing_devices() and not sums_are_right():
        raise InputError(
            f"jaxlib {'.'.join(map(str, version))} computes wrong sums here: import popinfer before JAX "
            "computes anything, or install another version of jaxlib"
        )


def sums_are_right() -> bool:
    """Whether a compiled program's sums of products are those of the same operations one by one.

    In jaxlib 0.10.2 they aren't where a small matrix meets many vectors (issue 39103 of jax): of the last
    vectors some are left out. Gradients of a surrogate came out wrong by a hundred times their size.
    """
    rows = jnp.arange(32_769, dtype=jnp.float32)[:, None] * jnp.array([1.0, 0.0, 0.0], jnp.float32)

    def squares(rows: jax.Array) -> jax.Array:
        matrix = jnp.eye(3, dtype=rows.dtype)
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    # whole numbers below 2^15: their squares are exact in single precision but for the last digits
    return bool(jnp.allclose(jax.jit(squares)(rows), rows[:, 0] ** 2, rtol=1e-5))


def missing_devices() -> str:
    """The choice of devices, JAX_PLATFORMS, when JAX can't give them; "" when all is well."""
    try:
        jax.devices()
    except Exception:  # a missing plugin raises errors of many kinds
        return f"JAX_PLATFORMS={jax.config.jax_platforms or ''}"
    return ""


def use_any_device() -> None:
    """Forget a choice of devices that can't be had, so that what there is can be listed."""
    jax.config.update("jax_platforms", None)


def _keep_freed_memory() -> None:
    """Stop glibc from handing XLA's buffers back to the kernel after every call.

    Page faults on re-allocated buffers cost about half of a gradient's time on CPU.
    """
    if not sys.platform.startswith("linux"):
        return
    name = ctypes.util.find_library("c")
    if name is None:
        return
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**28)
    mallopt(_M_ARENA_MAX, 1)


@contextlib.contextmanager
def keep_precision() -> Iterator[None]:
    """Restore JAX's float64 switch after the block, whatever the imports inside it do."""
    before = jax.config.read("jax_enable_x64")
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
