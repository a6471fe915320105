"""Published stellar mass functions: a table of bins and densities, and optionally a covariance matrix.

Columns ``lg_mstar_low``, ``lg_mstar_high`` [log10 Msun], ``phi`` and ``phi_err`` [1/Mpc^3/dex], no h in them;
the covariance [1/Mpc^6/dex^2] is a text file with as many rows and columns as the table has bins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from popinfer.data.catalog_io import read_columns
from popinfer.errors import InputError

_COLUMNS = ("lg_mstar_low", "lg_mstar_high", "phi", "phi_err")
_LGM_RANGE = (4.0, 14.0)


@dataclass(frozen=True)
class MassFunctionTable:
    """Bins [log10 Msun], density [1/Mpc^3/dex] and its covariance."""

    low: Float[np.ndarray, "bin"]
    high: Float[np.ndarray, "bin"]
    phi: Float[np.ndarray, "bin"]
    cov: Float[np.ndarray, "bin bin"]


def read_mass_function(path: str | Path, covariance: str | Path | None = None) -> MassFunctionTable:
    """Read a table of a stellar mass function.

    Parameters
    ----------
    path : Parquet, FITS, HDF5, CSV or ECSV file with the columns above.
    covariance : text file of the covariance matrix; its diagonal replaces ``phi_err``. Bins are independent
        when absent.

    Raises
    ------
    InputError
        A file, column or number is missing or can't be right; the message says which.
    """
    path = Path(path)
    names = _COLUMNS if covariance is None else _COLUMNS[:-1]
    columns = {name: column.values for name, column in read_columns(path, names).items()}
    for name, values in columns.items():
        if len(values) == 0:
            _refuse(path, "has no rows")
        if not np.isfinite(values).all():
            _refuse(path, f"column {name}: row {np.flatnonzero(~np.isfinite(values))[0] + 1} is not finite")
    low, high, phi = (columns[name] for name in _COLUMNS[:3])
    if low.min() < _LGM_RANGE[0] or high.max() > _LGM_RANGE[1] or np.any(high <= low):
        _refuse(path, "lg_mstar_low and lg_mstar_high are log10 of masses in Msun, low below high")
    if phi.min() <= 0 or phi.max() > 1:
        _refuse(
            path, "phi is a density in 1/Mpc^3/dex, not its logarithm: between 0 and 1, empty bins left out"
        )
    if covariance is not None:
        return MassFunctionTable(low, high, phi, _read_covariance(Path(covariance), len(phi)))
    error = columns["phi_err"]
    if error.min() <= 0:
        _refuse(path, f"phi_err: row {np.flatnonzero(error <= 0)[0] + 1} is not positive")
    return MassFunctionTable(low, high, phi, np.diag(error**2))


def _read_covariance(path: Path, n: int) -> Float[np.ndarray, "bin bin"]:
    if not path.is_file():
        _refuse(path, "no such covariance matrix")
    try:
        matrix = np.loadtxt(
            path,
            delimiter="," if "," in path.read_text(encoding="utf-8") else None,
            ndmin=2,
            encoding="utf-8",
        )
    except (ValueError, OSError):
        _refuse(path, "can't be read as a matrix of numbers")
    if matrix.shape != (n, n):
        _refuse(path, f"has {' x '.join(map(str, matrix.shape))} numbers; the table has {n} bins")
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0):
        _refuse(path, "a covariance matrix is finite and symmetric")
    sd = np.sqrt(np.maximum(np.diag(matrix), 0))
    if sd.min() <= 0 or np.linalg.eigvalsh(matrix / np.outer(sd, sd)).min() < -1e-8:
        _refuse(path, "is no covariance matrix: it has a negative eigenvalue")
    return matrix


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
