"""Completeness tables: two columns, magnitude and probability, as text."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from popinfer.errors import InputError


def read_completeness(path: str | Path) -> tuple[Float[np.ndarray, "node"], Float[np.ndarray, "node"]]:
    """Read a completeness table.

    Parameters
    ----------
    path : text file with two columns, separated by blanks or commas; ``#`` opens a comment.

    Returns
    -------
    mag, probability : AB magnitudes, increasing, and the share of galaxies in the sample there.

    Raises
    ------
    InputError
        The file is missing, isn't two columns of numbers, or its magnitudes don't increase.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such completeness table")
    try:
        lines = [
            line.split("#")[0].replace(",", " ").split()
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        table = np.array([[float(x) for x in line] for line in lines if line])
    except (ValueError, OSError):
        raise InputError(f"{path}: a completeness table has two columns of numbers") from None
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
        raise InputError(f"{path}: a completeness table has two columns and two or more rows")
    mag, probability = table.T
    if not np.isfinite(table).all():
        row = np.flatnonzero(~np.isfinite(table).all(axis=1))[0]
        raise InputError(f"{path}: row {row + 1} holds a value that is not finite")
    if np.any(np.diff(mag) <= 0):
        row = np.flatnonzero(np.diff(mag) <= 0)[0]
        raise InputError(f"{path}: magnitudes have to increase; {mag[row]:g} is followed by {mag[row + 1]:g}")
    if probability.min() < 0 or probability.max() > 1 or probability.max() == 0:
        raise InputError(f"{path}: probabilities have to lie within 0..1 and not be zero everywhere")
    return mag, probability
