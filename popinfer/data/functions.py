"""Functions that the user writes in a Python file of their own."""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from popinfer.errors import InputError


def read_function(path: str | Path, name: str) -> Callable[..., Any]:
    """Function of a Python file, which is run as a module.

    Raises
    ------
    InputError
        The file is missing, fails when it is run, or has no such function.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of functions")
    return _loaded(path.resolve(), name, path.stat().st_mtime_ns)


@lru_cache
def _loaded(path: Path, name: str, _changed: int) -> Callable[..., Any]:
    """One object for an unchanged file's function, so that compiled programs are shared."""
    spec = importlib.util.spec_from_file_location(f"popinfer_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{path}: no function '{name}' there")
    return function
