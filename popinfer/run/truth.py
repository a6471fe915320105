"""True parameters of a mock catalog, in a file beside it."""

import json
import math
from pathlib import Path
from typing import Any

from popinfer.errors import InputError, first_line, shortened
from popinfer.storage import read_sealed


def truth_path(catalog: str | Path) -> Path:
    """Where a mock catalog's true parameters are stored."""
    return Path(catalog).with_suffix(".truth.json")


def read_truth(catalog: str | Path, names: tuple[str, ...]) -> dict[str, float]:
    """True values of the free parameters, as far as they are known; none for real catalogs.

    Parameters
    ----------
    catalog : str or Path
        Path of the catalog.
    names : tuple[str, ...]
        Of the free parameters.

    Raises
    ------
    InputError
        The file can't be read, is damaged, or holds something else than numbers by name. One that a person
        wrote has no checksum, and needs none.
    """
    path = truth_path(catalog)
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({first_line(error)}); correct or remove it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: has to be a mapping of parameters to numbers; correct or remove it")
    if "seal" in content:
        content = json.loads(read_sealed(path, "truth", "mock").content)
    for name, value in content.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value)):
            raise InputError(
                f"{path}: {shortened(name)}: has to be a finite number; correct the file or remove it"
            )
    return {name: float(content[name]) for name in names if name in content}
