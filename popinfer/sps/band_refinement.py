"""Band tables that meet a tolerance: redshifts and parts of bands are added until they do.

The error of a `BandTable` has two sources: redshifts too far apart, and dust that acts on too few parts of a
band. Both laws that `BandTable.check` knows to be demanding are tried midway between the redshifts. Parts
are added where a table made for that very redshift is off by three quarters of the tolerance; elsewhere the
interval is halved. The laws of Calzetti's family jump by 0.006 A_V at 1500 and 6300 Angstrom, so that errors
fall only as 1 / parts in bands that see these wavelengths: SDSS tables at z < 0.3 reach 1e-3 mag with 56
redshifts and at most 26 parts a band, but not 3e-4, where the full SED is the better route.
"""

import numpy as np
from jaxtyping import Bool, Float

from popinfer.errors import InputError
from popinfer.records import SSP, Filters

from .band_nodes import MIN_STEP, redshift_grid
from .band_table import BandTable
from .dust import Calzetti00, Salim18

_MAX_PARTS = 64


def refined_table(
    ssp: SSP,
    filters: Filters,
    z_low: float,
    z_high: float,
    tol: float,
    av: float = 2.0,
    igm: bool = True,
) -> BandTable:
    """Band table whose errors against the full SED are below a tolerance.

    Parameters
    ----------
    ssp : SSP
        With nebular emission already added, if wanted.
    filters : Filters
        The bands.
    z_low, z_high : float
        First and last redshift; equal for a table of one.
    tol : float
        Largest error [mag] midway between redshifts, of populations of every metallicity and constant, 5, 1
        and 0.2 Gyr histories behind `Salim18` and `Calzetti00` dust.
    av : float
        V-band attenuation up to which the tolerance holds [mag].
    igm : bool
        Absorb by the intergalactic medium.

    Returns
    -------
    BandTable
        As `BandTable.build` makes it.

    Raises
    ------
    InputError
        A filter reaches beyond the redshifted SED; or the tolerance isn't met by 64 parts of a band, or by
        redshifts 1e-4 apart.
    """

    def build(z: Float[np.ndarray, "z"], parts: tuple[int, ...]) -> BandTable:
        return BandTable.build(ssp, filters, z, n_sub=parts, igm=igm)

    def error(table: BandTable, z: Float[np.ndarray, "check"]) -> Float[np.ndarray, "check band"]:
        by_law = [np.abs(table.check(ssp, filters, av, law, z)) for law in (Salim18(), Calzetti00())]
        return np.maximum(*by_law).max(axis=1)

    def enough_parts(z: Float[np.ndarray, "z"], parts: tuple[int, ...]) -> tuple[int, ...]:
        while np.any(few := (off := error(build(z, parts), z).max(axis=0)) > 0.75 * tol):
            band = int(np.argmax(few * np.array(parts)))
            if parts[band] >= _MAX_PARTS:
                raise InputError(
                    f"tol = {tol:g} mag: {_MAX_PARTS} parts of {filters.names[band]} leave {off[band]:.2g}; "
                    "take the full SED, or a larger tolerance"
                )
            parts = tuple(
                min(n + 1 + n // 3, _MAX_PARTS) if f else n for n, f in zip(parts, few, strict=True)
            )
        return parts

    one = z_high <= z_low
    z_grid = np.array([z_low]) if one else redshift_grid(ssp, filters, z_low, z_high, tol, igm)
    parts = enough_parts(_sparse(z_grid), (1,) * len(filters.names))
    while True:
        table = build(z_grid, parts)
        middle = z_grid if one else 0.5 * (z_grid[1:] + z_grid[:-1])
        off = error(table, middle) >= tol
        if not off.any():
            return table
        grown = enough_parts(middle[off.any(axis=1)], parts)
        z_grid = _halve(z_grid, np.asarray(off[:, np.equal(grown, parts)].any(axis=1)), tol)
        parts = grown


def _sparse(z_grid: Float[np.ndarray, "z"]) -> Float[np.ndarray, "some"]:
    """Redshifts at least 0.02 apart."""
    return z_grid[np.unique(np.floor((z_grid - z_grid[0]) / 0.02), return_index=True)[1]]


def _halve(
    z_grid: Float[np.ndarray, "z"], wide: Bool[np.ndarray, "interval"], tol: float
) -> Float[np.ndarray, "more"]:
    """Add the middle of the intervals that are too wide."""
    middle = 0.5 * (z_grid[1:] + z_grid[:-1])[wide]
    if np.any(np.diff(z_grid)[wide] < 2 * MIN_STEP):
        raise InputError(
            f"tol = {tol:g} mag isn't met by redshifts {MIN_STEP:g} apart near z = {middle[0]:.4f}"
        )
    return np.union1d(z_grid, middle)
