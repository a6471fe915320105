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

# glibc's <malloc.h> parameter numbers
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def start(*, cache_dir: str | Path | None = None) -> None:
    """Prepare the process: float64 available, exact products, memory kept between calls, programs cached.

    Accelerators may round float32 factors to the 10 bits of TF32 or the 7 of bfloat16 unless told otherwise:
    relative errors of 5e-4 and 4e-3, which magnitudes and counts would inherit.

    Parameters
    ----------
    cache_dir : str or Path, optional
        Folder for JAX's persistent compilation cache; none is used when absent.
    """
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _keep_freed_memory()


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
