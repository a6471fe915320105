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
from popinfer.data.published import baldry12
from popinfer.errors import InputError

_COLUMNS = ("lg_mstar_low", "lg_mstar_high", "phi", "phi_err")
_LGM_RANGE = (4.0, 14.0)
_LGM_COMPARED = (8.5, 11.3)  # the exponential end depends on how luminosities are measured
_FACTOR, _Z_COMPARED = 10.0, 1.0  # at z = 1 densities are three times lower (Ilbert et al. 2013)
_ROUNDING, _SINGULAR = 1e-6, 1e-10


@dataclass(frozen=True)
class MassFunctionTable:
    """Bins [log10 Msun], density [1/Mpc^3/dex] and its covariance."""

    low: Float[np.ndarray, "bin"]
    high: Float[np.ndarray, "bin"]
    phi: Float[np.ndarray, "bin"]
    cov: Float[np.ndarray, "bin bin"]


def read_mass_function(
    path: str | Path, covariance: str | Path | None = None, redshift: float | None = None
) -> MassFunctionTable:
    """Read a table of a stellar mass function.

    Parameters
    ----------
    path : str or Path
        Parquet, FITS, HDF5, CSV or ECSV file with the columns above.
    covariance : str or Path or None
        Text file of the covariance matrix; its diagonal replaces ``phi_err``. Bins are independent when
        absent.
    redshift : float or None
        Of the table; below 1 it is compared with a published one, where given.

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
    _check_bins(path, low, high)
    if redshift is not None and redshift < _Z_COMPARED:
        _check_amount(path, 0.5 * (low + high), phi)
    if covariance is not None:
        cov = _read_covariance(Path(covariance), len(phi))
        _check_errors(Path(covariance), "the square root of its diagonal", np.sqrt(np.diag(cov)), phi)
        return MassFunctionTable(low, high, phi, cov)
    error = columns["phi_err"]
    if error.min() <= 0:
        _refuse(path, f"phi_err: row {np.flatnonzero(error <= 0)[0] + 1} is not positive")
    _check_errors(path, "phi_err", error, phi)
    return MassFunctionTable(low, high, phi, np.diag(error**2))


def _check_bins(path: Path, low: Float[np.ndarray, "bin"], high: Float[np.ndarray, "bin"]) -> None:
    """Refuse bins that share masses: their galaxies would count twice."""
    order = np.argsort(low, kind="stable")
    shared = np.flatnonzero(low[order][1:] < high[order][:-1] - _ROUNDING)
    if shared.size:
        one, two = order[shared[0]], order[shared[0] + 1]
        _refuse(
            path,
            f"rows {one + 1} and {two + 1} share masses ({low[one]:g} to {high[one]:g}, {low[two]:g} to "
            f"{high[two]:g}): bins have to lie side by side, each listed once",
        )


def _check_errors(
    path: Path, name: str, error: Float[np.ndarray, "bin"], phi: Float[np.ndarray, "bin"]
) -> None:
    """Refuse errors that exceed the densities themselves."""
    ratio = float(np.median(error / phi))
    if ratio > 1:
        _refuse(
            path,
            f"{name} is {ratio:.3g} times phi in the median; is it in dex or percent? It has to be in "
            f"1/Mpc^3/dex like phi: ln(10) phi times an error in dex",
        )


def _check_amount(path: Path, lgm: Float[np.ndarray, "bin"], phi: Float[np.ndarray, "bin"]) -> None:
    """Refuse densities that differ tenfold from the published ones, where those evolve little."""
    used = (lgm > _LGM_COMPARED[0]) & (lgm < _LGM_COMPARED[1])
    if not used.any():
        return
    ratio = float(np.median(phi[used] / baldry12(lgm[used])))
    if not 1 / _FACTOR < ratio < _FACTOR:
        _refuse(
            path,
            f"phi is {ratio:.2g} times that of Baldry et al. (2012) in the median; it has to be a density in "
            "1/Mpc^3/dex without h (is it a number, per magnitude, or of other masses?)",
        )


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
    if np.linalg.eigvalsh(matrix / np.outer(sd, sd)).min() < _SINGULAR:
        _refuse(
            path,
            "is singular: some combination of bins would have no error at all (fewer simulated surveys "
            "than bins, or the same bin twice?)",
        )
    return matrix


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}")
