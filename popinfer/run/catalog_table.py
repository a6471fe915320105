"""What a person sees of the catalog after reading: a table of slices and bands, and what is odd."""

import re

import numpy as np

from popinfer.config import RunConfig
from popinfer.records import Catalog

_DIM_ERROR = 0.3  # mag; colors from such bands say little
_FEW = 0.2  # share of galaxies below which a band is marked
_CHANGED = 0.5  # share of a slice's galaxies left out for their photometry that is marked


def catalog_table(config: RunConfig, catalog: Catalog) -> list[str]:
    """Lines that describe the catalog.

    Parameters
    ----------
    config : slices, in the order of the lines.
    catalog : cleaned galaxies.

    Returns
    -------
    lines : for each slice the number of galaxies and of those left out, by reason; below, a line a band:
    galaxies
        that have it, median magnitude and error, and the median extinction that was subtracted [mag]. A mark
        ``!`` with a word stands beside what is unusual.
    """
    dropped = dict(catalog.dropped_by_slice)
    lines = ["slice          band  galaxies    median     error   A sub."]
    for low, high in config.slices:
        inside = (np.asarray(catalog.z) >= low) & (np.asarray(catalog.z) < high)
        n = int(inside.sum())
        reasons = dropped.get((low, high), ())
        out = ", ".join(f"{why} {rows:,}" for why, rows in reasons) or "none"
        lines.append(f"{f'{low:g}..{high:g}':<20s} {n:>8,d}    left out: {out}{_losses(reasons, n)}")
        lines += [_band_line(catalog, b, inside) for b in range(len(catalog.bands))]
    return lines


def _band_line(catalog: Catalog, b: int, inside: np.ndarray) -> str:
    mag, err = np.asarray(catalog.mag)[inside, b], np.asarray(catalog.mag_err)[inside, b]
    measured = np.isfinite(mag)
    n = int(measured.sum())
    extinction = catalog.extinction[b] if catalog.extinction else None
    subtracted = "-" if extinction is None else f"{extinction:.3f}"
    if n == 0:
        return f"{'':<15s}{catalog.bands[b]:<5s} {0:>9d} {'-':>9s} {'-':>9s} {subtracted:>8s}  ! no values"
    middle, error = float(np.median(mag[measured])), float(np.median(err[measured]))
    marks = "  ! noisy" if error > _DIM_ERROR else ""
    marks += "  ! in few galaxies" if n < _FEW * measured.size else ""
    return f"{'':<15s}{catalog.bands[b]:<5s} {n:>9,d} {middle:>9.3f} {error:>9.4f} {subtracted:>8s}{marks}"


def _losses(reasons: tuple[tuple[str, int], ...], n: int) -> str:
    """A mark where photometry that can't be used takes a large share of a slice."""
    limits = re.compile(r"fainter than|brighter than|outside|not |without ")
    lost = sum(rows for why, rows in reasons if not limits.match(why))
    return "  ! many without photometry" if lost > _CHANGED * (n + lost) else ""
