"""What a user writes in Python of their own: functions and classes, in a file or in an installed module.

Reading such a file runs it, as importing a module does. A program that shows its work to a person names the
code before it runs: `announce`.
"""

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from popinfer.errors import InputError, first_line, shortened

_OURS = __name__.partition(".")[0]


class _Announcer:
    """Names foreign code to a person before it runs, once each."""

    def __init__(self) -> None:
        self._say: Callable[[str], object] | None = None
        self._named: set[str] = set()

    def begin(self, say: Callable[[str], object] | None) -> None:
        """Tell a person from here on; nobody when there is none to tell."""
        self._say, self._named = say, set()

    def name(self, code: str) -> None:
        """Say that this code runs, unless that was said."""
        if self._say is not None and code not in self._named:
            self._named.add(code)
            self._say(f"runs code of {shortened(code, 300)}")


_announcer = _Announcer()


def announce(say: Callable[[str], object] | None) -> None:
    """Choose who is told which code is about to run, once for each file or module.

    Parameters
    ----------
    say : callable or None
        Gets a line; nobody is told when None, as in programs that use this package.
    """
    _announcer.begin(say)


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
    function = _named(_module_of(path), name, str(path), "function")
    if not callable(function) or isinstance(function, type):
        raise InputError(f"{path}: '{name}' is no function but of type {type(function).__name__}")
    return function


def read_class(module: str, name: str) -> type:
    """Class of a Python file, or of a module that can be imported.

    Parameters
    ----------
    module : str
        Path that ends with ``.py``, or name of a module.
    name : str
        Of the class.

    Raises
    ------
    InputError
        There is no such file, module or class, or it fails when it is run.
    """
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise InputError(f"{module}: no such Python file")
        loaded = _module_of(Path(module))
    else:
        loaded = _imported(module)
    value = _named(loaded, name, module, "class")
    if not isinstance(value, type):
        raise InputError(f"{module}: '{name}' is no class but of type {type(value).__name__}")
    return value


def _imported(module: str) -> ModuleType:
    if module.partition(".")[0] != _OURS:
        _announcer.name(module)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise InputError(
            f"{module}: no module '{missing}' is installed; a file is named with its ending, my_model.py"
        ) from None
    except SystemExit as error:
        raise InputError(f"{module}: ends the program when it is imported (exit {error.code})") from None
    except Exception as error:
        raise InputError(
            f"{module}: {type(error).__name__} when it is imported: {first_line(error)}"
        ) from None


def _module_of(path: Path) -> ModuleType:
    _announcer.name(str(path))
    return _run(path.resolve(), path, path.stat().st_mtime_ns)


@lru_cache
def _run(path: Path, shown: Path, _changed: int) -> ModuleType:
    """One module for an unchanged file, so that what it defines shares compiled programs."""
    name = f"popinfer_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{shown}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up the module of a class there
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise InputError(
            f"{shown}: ends the program when it is read (exit {error.code}); a file of functions defines "
            "them only"
        ) from None
    except SyntaxError as error:
        raise InputError(f"{shown}: line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise InputError(f"{shown}: {type(error).__name__} when it is read: {first_line(error)}") from None
    return module


def _named(module: ModuleType, name: str, shown: str, kind: str) -> Any:
    value = getattr(module, name, None)
    if value is None:
        there = [x for x, item in vars(module).items() if callable(item) and not x.startswith("_")]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it defines {', '.join(there) or 'none'}"
        raise InputError(f"{shown}: no {kind} '{name}' there{hint}")
    return value
