"""Packages that are installed for one format only, such as ``pip install popinfer[ytree]``."""

import importlib
from typing import Any

from popinfer.errors import InputError, first_line


def optional_package(name: str, extra: str, format: str) -> Any:
    """A package that a format is read with.

    Parameters
    ----------
    name : str
        Of the package.
    extra : str
        Of popinfer that installs it.
    format : str
        That needs it.

    Raises
    ------
    InputError
        It isn't installed, or fails to be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"halos.source.format: {format} needs the package {name} ({first_line(error)}); install it with "
            f"pip install 'popinfer[{extra}]'"
        ) from error
