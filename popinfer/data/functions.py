"""Functions that the user writes in a Python file of their own."""

import difflib
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from popinfer.errors import InputError, first_line


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
    except SystemExit as error:
        raise InputError(
            f"{path}: ends the program when it is read (exit {error.code}); a file of functions defines "
            f"them only"
        ) from None
    except SyntaxError as error:
        raise InputError(f"{path}: line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__} when it is read: {first_line(error)}") from None
    function = getattr(module, name, None)
    if function is None:
        there = [x for x, value in vars(module).items() if callable(value) and not x.startswith("_")]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it defines {', '.join(there) or 'none'}"
        raise InputError(f"{path}: no function '{name}' there{hint}")
    if not callable(function) or isinstance(function, type):
        raise InputError(f"{path}: '{name}' is no function but of type {type(function).__name__}")
    return function
