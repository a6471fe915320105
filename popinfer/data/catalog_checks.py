"""Is a catalog what its run file says? Checks of columns by the values that survey catalogs can have.

What can't be judged by a single row is judged by medians and ranks of many. Such a judgement may be wrong
for an unusual sample: a user can then turn refusals into warnings.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from popinfer.data.photometric_units import UnitError, parse_unit
from popinfer.data.photometry_columns import BandColumns, BandPhotometry
from popinfer.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Z_CEILING = 20.0

_FEWEST = 20  # rows below which nothing is judged by medians
_FEWEST_RANKS, _MOST_RANKS = 100, 20_000  # rows for a rank correlation
_MEDIAN_ERROR = (2e-4, 1.0)  # mag; no ground-based catalog's photometry is better, none is used that is worse
_WRONG_WAY = 0.5  # rank correlation of errors and brightness, against what photon noise makes
_TOO_CLOSE = 1e-3  # redshift; errors of redshifts are smaller, samples of galaxies aren't
_BRIGHTENING = -0.3  # rank correlation of magnitude and redshift
_REPEATED = 0.01  # share of rows that may be copies of others
_EXTINCTION_MEDIAN = 1.0  # mag; E(B-V) = 0.25, where surveys of galaxies don't look
_SIGNIFICANT = 4.0  # standard errors of a slope
_REDDENING = re.compile(r"(^|[^a-z])e[_ ]?\(?b[-_ ]?v\)?([^a-z]|$)", re.IGNORECASE)


@dataclass
class Verdicts:
    """What the checks of one catalog say: refusals are raised, warnings kept.

    Attributes
    ----------
    path : the file, for messages.
    strict : whether what is implausible is refused, or only warned of.
    warnings : sentences for the user.
    """

    path: str | Path
    strict: bool = True
    warnings: list[str] = field(default_factory=list)

    def refuse(self, why: str) -> NoReturn:
        """Refuse what can't be right."""
        raise InputError(f"{self.path}: {why}")

    def implausible(self, why: str) -> None:
        """Refuse what is hardly right, or warn of it where the user wants that."""
        if self.strict:
            self.refuse(f"{why} (catalog.plausibility: warn lets it pass)")
        self.warn(why)

    def warn(self, what: str) -> None:
        """Keep a sentence on what the user should look at."""
        self.warnings.append(what)


def check_redshift(
    verdicts: Verdicts, column: str, unit: str | None, z: FloatArray, others: Mapping[str, FloatArray]
) -> None:
    """Refuse a column that is no redshift: a velocity, a logarithm, an error, a magnitude.

    Parameters
    ----------
    column, unit, z : name, unit as the file says it, and values of shape (row,).
    others : magnitude and flux columns by name.
    """
    wrong = _unit_of_redshift(unit)
    if wrong:
        verdicts.refuse(f"column {column!r} is in {unit!r}; redshift has to name {wrong}")
    finite = np.isfinite(z)
    absurd = finite & ((z < -0.1) | (z > Z_CEILING))
    if absurd.sum() > finite.sum() / 2:
        verdicts.refuse(
            f"column {column!r} is outside 0..{Z_CEILING:g} in {int(absurd.sum())} rows, first in row "
            f"{np.flatnonzero(absurd)[0]} ({z[absurd][0]:g}); redshift has to name the redshift, not a "
            "velocity "
            "or a logarithm"
        )
    negative = finite & (z < 0)
    if negative.sum() > finite.sum() / 2:
        verdicts.refuse(
            f"column {column!r} is negative in {int(negative.sum())} rows, first in row "
            f"{np.flatnonzero(negative)[0]} ({z[negative][0]:g}); is it a logarithm? redshift has to name "
            "the "
            "redshift"
        )
    for name, values in others.items():
        if z.size >= _FEWEST and np.array_equal(z, values, equal_nan=True):
            verdicts.refuse(f"column {column!r} equals column {name!r} in every row; one of them is misnamed")
    usable = z[finite & (z > 0)]
    if usable.size < _FEWEST:
        return
    middle = float(np.median(usable))
    if usable.min() == usable.max():
        verdicts.implausible(
            f"column {column!r} is {middle:g} in every row; redshift has to name the redshift"
        )
    if middle < _TOO_CLOSE:
        verdicts.implausible(
            f"the median of column {column!r} is {middle:.2g}; is it the error of the redshift, or a "
            "velocity over "
            "something else than c?"
        )


def _unit_of_redshift(unit: str | None) -> str:
    """What a redshift column with a physical unit should have been; empty where the unit is none."""
    text = (unit or "").strip()
    if re.fullmatch(r"k?m\s*/?\s*s(ec)?\s*(\^|\*\*)?\s*(-1)?", text, re.IGNORECASE):
        return "z, not c z: divide by 299792.458 km/s"
    if re.fullmatch(r"([kMG]?pc|[GM]?yr|Angstrom|AA|um|nm|mag|dex)", text):
        return "a redshift, which has no unit"
    return ""


def check_trend(verdicts: Verdicts, column: str, z: FloatArray, mag: FloatArray) -> None:
    """Warn where galaxies become brighter with redshift: it falls with distance, as a scale factor does."""
    rho = _rank_correlation(z, mag)
    if rho < _BRIGHTENING:
        verdicts.warn(
            f"galaxies become brighter as column {column!r} grows (rank correlation {rho:.2f}): is it a "
            "scale factor "
            "or an age instead of the redshift?"
        )


def check_values(verdicts: Verdicts, name: str, column: str, value: FloatArray) -> None:
    """Refuse a column that measures nothing: truth values, or the same number in every row."""
    usable = value[np.isfinite(value)]
    if usable.size < _FEWEST:
        return
    if np.isin(usable, (0.0, 1.0)).all():
        verdicts.refuse(f"band {name}: column {column!r} holds 0 and 1 only; is it a flag?")
    if usable.min() == usable.max():
        verdicts.implausible(f"band {name}: column {column!r} is {usable[0]:g} in every row")


def check_errors(
    verdicts: Verdicts,
    name: str,
    band: BandColumns,
    columns: Mapping[str, FloatArray],
    photometry: BandPhotometry,
    inside: BoolArray,
) -> None:
    """Refuse errors that aren't what the run file says, by their size and by how they go with brightness.

    Photon noise makes the error of a flux grow with the flux, and that of a magnitude shrink with it; an
    inverse variance does the opposite.

    Parameters
    ----------
    name, band, columns, photometry : the band, its columns and what became of them.
    inside : rows to judge by: those of the redshifts and magnitudes in use.
    """
    usable = inside & np.isfinite(photometry.stated_err)
    if band.detection is not None:
        usable &= photometry.stated_mag <= band.detection
    if usable.sum() < _FEWEST or not isinstance(band.error, str):
        return
    is_sigma = band.error_kind == "sigma"
    stated, error = photometry.stated_err[usable], columns[band.error][usable]
    middle = float(np.median(stated))
    other = "is it an inverse variance? Then set error_kind: ivar"
    if not is_sigma:
        other = "is it a standard deviation? Then set error_kind: sigma"
    what = f"band {name}: the median error from column {band.error!r} is {middle:.3g} mag"
    # the same column read the other way: sigma^-1/2 for sigma, or the reverse
    with np.errstate(over="ignore"):
        otherwise = float(np.median(stated * error ** (-1.5 if is_sigma else 1.5)))
    remedy = other if _MEDIAN_ERROR[0] < otherwise < _MEDIAN_ERROR[1] else "leave the band out"
    if middle > _MEDIAN_ERROR[1]:
        verdicts.implausible(f"{what}; check its unit, or {remedy}")
    elif middle < _MEDIAN_ERROR[0]:
        verdicts.implausible(f"{what}, better than any survey's; check its unit, or {remedy}")
    brightness = -photometry.stated_mag[usable]
    rho = _rank_correlation(error, brightness)
    grows = photometry.flux_errors == is_sigma
    if (-rho if grows else rho) > _WRONG_WAY:
        way = "larger" if rho > 0 else "smaller"
        verdicts.implausible(
            f"band {name}: the values of column {band.error!r} are {way} for brighter galaxies (rank "
            "correlation "
            f"{rho:.2f}), which no {'error is' if is_sigma else 'inverse variance is'}; {other}"
        )


def check_extinction(
    verdicts: Verdicts, name: str, column: str, unit: str | None, extinction: FloatArray
) -> None:
    """Refuse an extinction that isn't one in magnitudes of this band."""
    if _REDDENING.search(column):
        verdicts.implausible(
            f"band {name}: column {column!r} looks like E(B-V); extinction has to be A of this band in mag, "
            "R E(B-V) "
            "with the R of this filter"
        )
    try:
        scale = parse_unit(unit)
    except UnitError:
        scale = None
        wrong = True
    else:
        wrong = scale is not None and (scale.kind != "mag" or scale.power != 1)
    if wrong:
        verdicts.refuse(f"band {name}: column {column!r} is in {unit!r}; extinction has to be in mag")
    usable = extinction[np.isfinite(extinction)]
    if usable.size < _FEWEST:
        return
    middle = float(np.median(usable))
    if middle < 0:
        verdicts.implausible(
            f"band {name}: extinction {column!r} is negative (median {middle:.3g} mag): it is subtracted, "
            "and so has "
            "to be positive"
        )
    if middle > _EXTINCTION_MEDIAN:
        verdicts.implausible(f"band {name}: the median of extinction {column!r} is {middle:.3g} mag")


def check_dereddening(
    verdicts: Verdicts,
    z: FloatArray,
    mag: FloatArray,
    extinction: Mapping[int, FloatArray],
    names: Sequence[str],
) -> None:
    """Warn where colors go with the extinction that was subtracted: they don't know of dust in our Galaxy.

    Where magnitudes had been corrected before, colors fall one for one with the difference of extinctions;
    where too little is subtracted, they rise with it.

    Parameters
    ----------
    z, mag : redshifts [row] and magnitudes [row band] of the rows in use.
    extinction : extinction [row] by column of `mag`, where one was subtracted.
    names : of the bands.
    """
    if len(extinction) < 2:
        return
    # the pair whose extinctions differ most says most
    order = sorted(extinction, key=lambda b: float(np.nanmedian(extinction[b])))
    red, blue = order[0], order[-1]
    color, difference = mag[:, blue] - mag[:, red], extinction[blue] - extinction[red]
    good = np.isfinite(color) & np.isfinite(difference)
    if good.sum() < _FEWEST_RANKS or np.ptp(difference[good]) == 0:
        return
    slope, error = _slope(color[good], difference[good], z[good], mag[good, red])
    if abs(slope) < max(_SIGNIFICANT * error, 0.5):
        return
    text = (
        f"colors {names[blue]}-{names[red]} change by {slope:.2f} +- {error:.2f} mag per mag of extinction "
        "subtracted, "
        "and should not"
    )
    if slope < 0:
        verdicts.warn(f"{text}; were the magnitudes corrected for it before? Then leave extinction out")
    else:
        verdicts.warn(f"{text}; is extinction in mag, of these bands?")


def _slope(color: FloatArray, difference: FloatArray, z: FloatArray, mag: FloatArray) -> tuple[float, float]:
    """Slope of colors with the difference of extinctions, beside redshift and magnitude; and its error.

    Galaxies whose colors lie far from the others' don't count.
    """
    design = np.stack([np.ones_like(z), z, z**2, mag, difference], axis=1)
    design = np.concatenate([design[:, :1], design[:, 1:] - design[:, 1:].mean(axis=0)], axis=1)
    design, color = (
        design[np.abs(color - np.median(color)) < 1.5],
        color[np.abs(color - np.median(color)) < 1.5],
    )
    if len(color) < _FEWEST_RANKS:
        return 0.0, np.inf
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ design.T @ color
    scatter = np.std(color - design @ weights)
    return float(weights[-1]), float(scatter * np.sqrt(inverse[-1, -1]))


def check_present(verdicts: Verdicts, name: str, column: str, photometry: BandPhotometry, keep: bool) -> None:
    """Refuse a band that is mostly absent: a wrong column, or a band the sample does not have.

    Parameters
    ----------
    keep : whether rows may lack bands; then only values that aren't measurements count, or no value at all.
    """
    lost, rows = int(np.isnan(photometry.mag).sum()), photometry.mag.size
    junk = int(np.any([photometry.unusable[reason] for reason in photometry.junk], axis=0).sum())
    there = int(np.isfinite(photometry.stated_mag).sum()) + junk
    if lost <= rows / 2 or (keep and lost < rows and junk <= there / 2):
        return
    why = ", ".join(
        f"{reason} ({int(bad.sum())})" for reason, bad in photometry.unusable.items() if bad.any()
    )
    verdicts.refuse(
        f"band {name} can't be used in {lost} of {rows} rows: {why}; check column {column!r} or leave the "
        "band out"
    )


def check_repeated(
    verdicts: Verdicts, z: FloatArray, mag: FloatArray, ids: Sequence[str] | None, *, allowed: bool
) -> None:
    """Refuse a catalog that lists galaxies several times: each would count as often.

    Parameters
    ----------
    z, mag : redshifts [row] and magnitudes [row band] of the rows in use.
    ids : names of the galaxies, or None.
    allowed : whether copies are wanted.
    """
    frame = pd.DataFrame(np.column_stack([z, mag]))
    counts = [(frame.duplicated().to_numpy(), "equal another in redshift and all magnitudes")]
    if ids is not None:
        names = pd.Series(list(ids))
        empty = int((names == "").sum())
        if empty:
            verdicts.warn(f"{empty} galaxies have no id")
        counts.append(((names.duplicated() & (names != "")).to_numpy(), "have the id of another"))
    for repeated, what in counts:
        n, rows = int(repeated.sum()), len(z)
        if n == 0:
            continue
        first = int(np.flatnonzero(repeated)[0])
        which = f"id {ids[first]!r}" if ids is not None else f"z = {z[first]:g}"
        text = f"{n} of {rows} galaxies in use {what}, as the one with {which}"
        if n > max(_REPEATED * rows, 1) and not allowed:
            verdicts.refuse(
                f"{text}: a galaxy has to be listed once; take copies out, or set catalog.duplicates: allow"
            )
        verdicts.warn(text)


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's rank correlation; 0 where there are too few rows or nothing varies."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    step = max(1, x.size // _MOST_RANKS)
    x, y = x[::step], y[::step]
    if x.size < _FEWEST_RANKS or x.min() == x.max() or y.min() == y.max():
        return 0.0
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
