"""Is a catalog's photometry what its description says? Colors that no galaxy has, and a table of the catalog.

Median colors of each slice are compared with those of any mixture of a young and an old stellar population,
of any metallicity, behind any amount of dust. Zero points that were forgotten (Vega magnitudes, wrong units
in a band), filters that were swapped, and extinction that was taken out twice shift several colors at once,
away from all of them. The library is the run's own stellar populations, so a doubt may also be one of these.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from popinfer.config import RunConfig
from popinfer.data.filter_files import pivot
from popinfer.records import SSP, Catalog, Filters
from popinfer.sps.dust import KriekConroy13
from popinfer.sps.photometry import band_matrix
from popinfer.survey.features import slice_members

# mag, between the medians of a slice and the nearest mixture: medians of the embedded SDSS sample are within
# 0.02; the same given as Vega magnitudes are 0.26 to 0.30 away, and with two neighboring filters swapped 0.2
# to 2.2
MAX_DISTANCE = 0.12
_YOUNG_FRACTION = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the mass, formed in the young population
_AV = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # mag
_EVERY = 6  # of the SSP ages
_MIN_GALAXIES = 10  # of which a median is taken
_MIN_REST = 1300.0  # Angstrom; bluer light is absorbed between the galaxies, which the library leaves out


class ColorDoubt(NamedTuple):
    """A slice whose median colors no galaxy has.

    Attributes
    ----------
    slice : its redshifts, low and high.
    bands : the two of the color that is farthest away.
    text : a sentence for a person.
    """

    slice: tuple[float, float]
    bands: tuple[str, str]
    text: str


def color_doubts(config: RunConfig, catalog: Catalog, ssp: SSP, filters: Filters) -> tuple[ColorDoubt, ...]:
    """Slices whose median colors no galaxy has.

    Parameters
    ----------
    config : RunConfig
        Its slices.
    catalog : Catalog
        Cleaned galaxies.
    ssp : SSP
        Stellar populations that galaxies are mixtures of.
    filters : Filters
        Curves of the catalog's bands.
    """
    doubts = []
    members = slice_members(config.slices, catalog.z)
    for (low, high), inside in zip(config.slices, members, strict=True):
        mag = np.asarray(catalog.mag)[inside]
        complete = mag[np.isfinite(mag).all(axis=1)]
        if len(complete) < _MIN_GALAXIES or mag.shape[1] < 2:
            continue
        z = float(np.median(np.asarray(catalog.z)[inside]))
        library, pivots = _library_magnitudes(ssp, filters, z)
        used = np.flatnonzero(pivots > _MIN_REST)
        if len(used) < 2:
            continue
        bands = [catalog.bands[b] for b in used]
        measured = -np.median(np.diff(complete[:, used], axis=1), axis=0)
        away = measured + np.diff(library[:, used], axis=1)
        nearest = away[np.argmin(np.abs(away).max(axis=1))]
        if np.abs(nearest).max() > MAX_DISTANCE:
            pairs = list(itertools.pairwise(bands))
            names = [f"{a}-{b}" for a, b in pairs]
            worst = int(np.abs(nearest).argmax())
            medians = ", ".join(f"{name} {x:.2f}" for name, x in zip(names, measured, strict=True))
            text = (
                f"at {low:g} < z < {high:g} the median colors ({medians}) are {np.abs(nearest).max():.2f} "
                f"mag from those of any galaxy, most in {names[worst]}: check that "
                "magnitudes are AB (or set system: vega), that each band has its own filter, and that "
                "extinction is taken out once"
            )
            doubts.append(ColorDoubt((low, high), pairs[worst], text))
    return tuple(doubts)


def _library_magnitudes(
    ssp: SSP, filters: Filters, z: float
) -> tuple[Float[np.ndarray, "galaxy band"], Float[np.ndarray, "band"]]:
    """Magnitudes of all mixtures, up to a constant of each, and the bands' rest-frame pivots [Angstrom]."""
    light = np.asarray(ssp.ssp_flux) @ band_matrix(ssp.ssp_wave, filters, z, igm=False)
    curves = zip(filters.wave, filters.trans, strict=True)
    pivots = np.array([pivot(np.asarray(wave), np.asarray(trans)) for wave, trans in curves]) / (1 + z)
    ages = np.asarray(ssp.ssp_lg_age_gyr)
    chosen = np.arange(0, len(ages), _EVERY)
    young, old = chosen[ages[chosen] < 0], chosen[ages[chosen] >= -0.5]
    y, o = (x.ravel() for x in np.meshgrid(young, old))
    fraction = np.array(_YOUNG_FRACTION)[:, None, None, None]
    mixed = (fraction * light[:, y] + (1 - fraction) * light[:, o]).reshape(-1, light.shape[-1])
    k = np.asarray(KriekConroy13()(pivots, KriekConroy13().fiducial), float)
    mag = -2.5 * np.log10(np.maximum(mixed, np.finfo(float).tiny)) + np.array(_AV)[:, None, None] * k
    return mag.reshape(-1, mag.shape[-1]), pivots


def reading_table(config: RunConfig, catalog: Catalog, doubts: tuple[ColorDoubt, ...] = ()) -> list[str]:
    """Lines for a person: galaxies, medians and errors by slice and band, and what was left out, and why.

    Parameters
    ----------
    config : RunConfig
        Its slices.
    catalog : Catalog
        Cleaned galaxies, and what each slice and band lost.
    doubts : tuple of ColorDoubt
        Slices and bands to mark besides those that the catalog itself doubts.
    """
    lines = []
    mag, error = np.asarray(catalog.mag), np.asarray(catalog.mag_err)
    members = slice_members(config.slices, catalog.z)
    for (low, high), inside in zip(config.slices, members, strict=True):
        here = [doubt for doubt in doubts if doubt.slice == (low, high)]
        marked = set(catalog.doubtful_bands).union(*(doubt.bands for doubt in here))
        mark = " (implausible colors, see the warnings)" if here else ""
        lost = _losses(catalog, (low, high), "")
        out = f"; left out: {lost}" if lost else ""
        lines.append(f"  {low:g} < z < {high:g}: {int(inside.sum()):,} galaxies{out}{mark}")
        for band, m, e in zip(catalog.bands, mag[inside].T, error[inside].T, strict=True):
            lost = _losses(catalog, (low, high), band)
            mark = " (implausible, see the warnings)" if band in marked else ""
            lines.append(f"    {band}: {_medians(m, e)}{f'; without: {lost}' if lost else ''}{mark}")
    lines += [f"  left out: {rows:,} {reason}" for reason, rows in catalog.dropped]
    return lines + [f"  {note}" for note in catalog.notes]


def _losses(catalog: Catalog, limits: tuple[float, float], band: str) -> str:
    """What a slice lost in a band, by reason; galaxies as such where the band is empty."""
    lost = [x for x in catalog.losses if (x.low, x.high, x.band) == (*limits, band)]
    return ", ".join(f"{x.rows:,} {x.reason}" for x in lost)


def _medians(mag: Float[np.ndarray, "gal"], error: Float[np.ndarray, "gal"]) -> str:
    """Median magnitude and error of a band's measured galaxies, and how many have none."""
    seen = np.isfinite(mag)
    if not seen.any():
        return "none measured"
    lacking = "" if seen.all() else f", {int((~seen).sum()):,} not measured"
    return f"median {np.median(mag[seen]):.2f}, error {np.median(error[seen]):.3f} mag{lacking}"
