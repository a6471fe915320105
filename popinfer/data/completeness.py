"""Completeness tables: two columns, magnitude and probability, as text."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from popinfer.errors import InputError, first_line

_MAG_RANGE = (-5.0, 40.0)


def read_completeness(path: str | Path) -> tuple[Float[np.ndarray, "node"], Float[np.ndarray, "node"]]:
    """Read a completeness table.

    Parameters
    ----------
    path : str or Path
        Text file with two columns, separated by blanks or commas; ``#`` opens a comment.

    Returns
    -------
    mag : Float[np.ndarray, "node"]
        AB magnitudes, increasing.
    probability : Float[np.ndarray, "node"]
        Share of the galaxies of these magnitudes that are in the sample.

    Raises
    ------
    InputError
        The file is missing, isn't two columns of numbers, or its magnitudes don't increase.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such completeness table")
    rows = _rows(path)
    if len(rows) < 2:
        raise InputError(
            f"{path}: has {len(rows)} rows; a completeness table has two columns and two or more rows"
        )
    mag, probability = np.array(rows).T
    _check(path, mag, probability)
    return mag, probability


def _rows(path: Path) -> list[tuple[float, float]]:
    """Two numbers a line."""
    rows = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: can't be read as text ({first_line(error)})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split("#")[0].replace(",", " ").replace(";", " ").split()
        if not cells:
            continue
        try:
            mag, probability = (float(cell) for cell in cells)
        except ValueError:
            raise InputError(
                f"{path}: line {number}: '{line.strip()[:40]}'; a completeness table has two columns of "
                f"numbers"
            ) from None
        rows.append((mag, probability))
    return rows


def _check(path: Path, mag: Float[np.ndarray, "node"], probability: Float[np.ndarray, "node"]) -> None:
    """Refuse magnitudes that don't increase and what are no probabilities of a survey's."""
    finite = np.isfinite(mag) & np.isfinite(probability)
    if not finite.all():
        raise InputError(f"{path}: row {np.flatnonzero(~finite)[0] + 1} holds a value that is not finite")
    if np.any(np.diff(mag) <= 0):
        row = np.flatnonzero(np.diff(mag) <= 0)[0]
        raise InputError(
            f"{path}: magnitudes have to increase; {mag[row]:g} is followed by {mag[row + 1]:g} in row "
            f"{row + 2}"
        )
    if mag[0] < _MAG_RANGE[0] or mag[-1] > _MAG_RANGE[1]:
        raise InputError(
            f"{path}: magnitudes run from {mag[0]:g} to {mag[-1]:g}; the first column has to be AB "
            f"magnitudes, {_MAG_RANGE[0]:g} to {_MAG_RANGE[1]:g}"
        )
    if probability.min() < 0 or probability.max() > 1 or probability.max() == 0:
        bad = int(np.argmax(np.maximum(probability - 1, -probability)))
        percent = (
            "; is it in percent? Divide by 100"
            if 1 < probability.max() <= 100 and probability.min() >= 0
            else ""
        )
        raise InputError(
            f"{path}: probabilities have to lie within 0..1 and not be zero everywhere; row {bad + 1} holds "
            f"{probability[bad]:g}{percent}"
        )
