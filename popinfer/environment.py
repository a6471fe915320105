"""What the process finds around it: a home folder, a place for caches, JAX's devices.

Containers and batch systems start programs without HOME, with a user that no password file knows, or with a
home folder that can't be written. Matplotlib, Astropy and ArviZ want one when they are imported, so `settle`
comes before them. The module imports none of them, and no JAX.
"""

import atexit
import os
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_FUSES = "--xla_cpu_experimental_ynn_fusion_type"  # what of a program jaxlib hands to YNNPACK
# versions of jaxlib in which that is wrong (issue 39103 of jax) or crashes (39257); others may lack the flag
_FROM, _BEFORE = (0, 10, 2), (0, 12)


def jaxlib_version() -> tuple[int, ...]:
    """Numbers of the installed jaxlib's version; none when there is no jaxlib."""
    try:
        return tuple(map(int, re.findall(r"\d+", version("jaxlib"))[:3]))
    except PackageNotFoundError:
        return ()


def compile_right_sums() -> None:
    """Keep jaxlib from compilations that lose terms of sums on CPUs, unless XLA_FLAGS speak of them already.

    It is done in the environment, which JAX reads when it computes for the first time.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FROM <= jaxlib_version() < _BEFORE and _FUSES not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FUSES}=".strip()


def settle() -> list[str]:
    """Make sure that there are a home folder and cache folders; what was chosen, as lines for the user.

    Where there are none, the environment variables HOME, POPINFER_CACHE, XDG_CACHE_HOME and MPLCONFIGDIR are
    set for this process and those that it starts: to a folder that is removed when this process ends, unless
    POPINFER_CACHE was given. ArviZ can't be imported where the user's cache folder can't be written.
    """
    lines = []
    cache, reason = _candidate()
    if cache is None:
        cache = Path(tempfile.mkdtemp(prefix="popinfer-"))
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
        os.environ["POPINFER_CACHE"] = str(cache)
        lines.append(
            f"{reason}: compiled programs are kept in {cache} until this program ends; "
            "set POPINFER_CACHE to a folder to keep them"
        )
    if _home() is None:
        os.environ["HOME"] = str(cache)
    if not _can_be_written(_user_cache()):
        os.environ["XDG_CACHE_HOME"] = str(cache)
        os.environ.setdefault("MPLCONFIGDIR", str(cache))
    return lines


def cache_folder() -> Path | None:
    """Folder for compiled programs: POPINFER_CACHE, or the user's cache folder; None when neither works."""
    return _candidate()[0]


def _user_cache() -> Path:
    """Where programs keep the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _can_be_written(folder: Path) -> bool:
    """Whether files can be put into a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _candidate() -> tuple[Path | None, str]:
    """The cache folder, made if need be; or None, and why."""
    chosen, base = os.environ.get("POPINFER_CACHE"), os.environ.get("XDG_CACHE_HOME")
    home = _home()
    if chosen:
        folder, name = Path(chosen), f"POPINFER_CACHE={chosen}"
    elif base:
        folder, name = Path(base) / "popinfer" / "jax", f"XDG_CACHE_HOME={base}"
    elif home is not None:
        folder, name = home / ".cache" / "popinfer" / "jax", f"the home folder {home}"
    else:
        return None, "this user has no home folder"
    if _can_be_written(folder):
        return folder, ""
    return None, f"{name} can't be {'written' if folder.is_dir() else 'used'}"


def _home() -> Path | None:
    try:
        return Path.home()
    except (RuntimeError, KeyError):
        return None
