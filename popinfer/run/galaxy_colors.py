"""Can any galaxy have a survey's colors? Median colors against all mixtures of the embedded stellar
populations.

A galaxy's light is a sum of simple stellar populations, each dimmed by dust. For A_V of 0 to 3 mag (Calzetti
et al. 2000) the mixture of ages and metallicities that comes nearest to the median fluxes f_b,

    min over w >= 0 of sum_b (sum_k w_k S_kb / f_b - 1)^2,

says how far the colors are from what is possible: a few hundredths of a magnitude is what libraries and zero
points are worth. Vega magnitudes taken for AB ones, or filters of two bands exchanged, are further away;
whether undoing that brings the colors back tells which it was.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import nnls

from popinfer.config import RunConfig
from popinfer.data import load_filters, load_ssp
from popinfer.data.filters import vega_to_ab
from popinfer.errors import InputError
from popinfer.records import Catalog, Filters
from popinfer.run.observed import curve_of
from popinfer.sps.dust import Calzetti00, NoParams
from popinfer.sps.photometry import band_matrix

FAR = (
    0.06  # mag rms: SDSS' own colors are within 0.02, those of Vega magnitudes taken for AB ones 0.07 to 0.1
)
_NEAR = 0.5  # of that distance, for a remedy to be named
_ALIKE = 0.03  # mag; differences of distance below this say nothing
_AV = (0.0, 0.5, 1.0, 2.0, 3.0)  # mag
_FEWEST, _MOST = 60, 1000  # galaxies for a median
_LYMAN_ALPHA = 1216.0  # Angstrom; bluer light is absorbed on its way
_DEPTH = 0.02  # half the range of redshift / (1 + z) of galaxies that are put together
_PRECISE = 0.05  # mag; error of bands whose color may sort galaxies, else their noise would shift the medians


@dataclass(frozen=True)
class Library:
    """Fluxes of all populations behind dust at one redshift, [A_V population band], relative to AB zero."""

    flux: Float[np.ndarray, "av pop band"]

    def distance(self, mag: Float[np.ndarray, "band"]) -> float:
        """Rms of magnitudes minus those of the nearest mixture [mag]."""
        shape = 10 ** (-0.4 * (mag - np.mean(mag)))
        return min(_residual(flux / shape) for flux in self.flux)


def _residual(flux: Float[np.ndarray, "pop band"]) -> float:
    """Rms in magnitudes of the best mixture of fluxes that should each be one."""
    weight, _ = nnls((flux / flux.max(axis=1, keepdims=True)).T, np.ones(flux.shape[1]))
    mixed = (flux / flux.max(axis=1, keepdims=True)).T @ weight
    offsets = 2.5 * np.log10(np.maximum(mixed, 1e-10))
    return float(np.std(offsets))


def color_warnings(config: RunConfig, catalog: Catalog) -> tuple[str, ...]:
    """Sentences on slices whose galaxies have colors that no galaxy can have, with the likely reason.

    Parameters
    ----------
    config : slices and filters.
    catalog : cleaned galaxies.
    """
    filters = load_filters([curve_of(band) for band in config.catalog.bands.values()])
    worst: tuple[float, str, list[tuple[Library, np.ndarray]], list[int]] | None = None
    for low, high in config.slices:
        inside = (catalog.z >= low) & (catalog.z < high)
        cases, bands = _cases(catalog, filters, np.asarray(inside))
        distance = max((library.distance(mag) for library, mag in cases), default=0.0)
        if worst is None or distance > worst[0]:
            worst = distance, f"{low:g}..{high:g}", cases, bands
    if worst is None or worst[0] <= FAR:
        return ()
    distance, where, cases, bands = worst
    names = [catalog.bands[b] for b in bands]
    colors = ", ".join(
        f"{a}-{b} = {x:.2f}"
        for (a, b), x in zip(itertools.pairwise(names), -np.diff(cases[0][1]), strict=True)
    )
    text = (
        f"galaxies at {where} have median colors {colors}, {distance:.2f} mag (rms) from those of any "
        "mixture of "
        "stars and dust"
    )
    return (f"{text}: {_reason(config, catalog, cases, bands, distance)}",)


def _cases(
    catalog: Catalog, filters: Filters, inside: Bool[np.ndarray, "gal"]
) -> tuple[list[tuple[Library, np.ndarray]], list[int]]:
    """Median magnitudes of a slice's galaxies, and of its bluest and reddest third, each with the library."""
    mag, z = np.asarray(catalog.mag)[inside], np.asarray(catalog.z)[inside]
    if z.size < _FEWEST:
        return [], []
    middle = float(np.median(z))
    near = np.abs(z - middle) <= _DEPTH * (1 + middle)
    mag, err = mag[near][:_MOST], np.asarray(catalog.mag_err)[inside][near][:_MOST]
    covered, library = _library(filters, middle)
    bands = [b for b in covered if np.isfinite(mag[:, b]).mean() > 0.5]
    bands.sort(key=lambda b: float(np.average(filters.wave[b], weights=filters.trans[b])))
    if len(bands) < 2:
        return [], []
    flux = library.flux[..., [covered.index(b) for b in bands]]
    library = Library(flux)
    complete = np.isfinite(mag[:, bands]).all(axis=1)
    mag, err = mag[complete][:, bands], err[complete][:, bands]
    if len(mag) < _FEWEST:
        return [], []
    groups = [mag]
    precise = np.flatnonzero(np.median(err, axis=0) < _PRECISE)
    if precise.size >= 2 and len(mag) >= 3 * _FEWEST:
        order = np.argsort(mag[:, precise[0]] - mag[:, precise[-1]])
        groups += [mag[rows] for rows in np.array_split(order, 3)]
    return [(library, _typical(group)) for group in groups], bands


def _typical(mag: Float[np.ndarray, "gal band"]) -> Float[np.ndarray, "band"]:
    """Median magnitudes relative to each galaxy's mean."""
    return np.median(mag - mag.mean(axis=1, keepdims=True), axis=0)


def _library(filters: Filters, z: float) -> tuple[list[int], Library]:
    """Bands that the embedded populations cover at a redshift, and the library in them."""
    wave, sed = _populations()
    covered, columns = [], []
    for b, (w, t) in enumerate(zip(filters.wave, filters.trans, strict=True)):
        try:
            single = Filters((w,), (t,), (filters.names[b],))
            columns.append(band_matrix(wave, single, z, igm=bool(w[0] < _LYMAN_ALPHA * (1 + z)))[:, 0])
        except InputError:
            continue
        covered.append(b)
    if not covered:
        return [], Library(np.zeros((0, 0, 0)))
    return covered, Library(np.maximum(sed @ np.stack(columns, axis=1), 1e-30))


@functools.cache
def _populations() -> tuple[Float[np.ndarray, "wave"], Float[np.ndarray, "av pop wave"]]:
    """Wavelengths and spectra of the embedded populations behind dust."""
    ssp = load_ssp()
    wave = np.asarray(ssp.ssp_wave, np.float64)
    dimming = np.asarray(jax.jit(Calzetti00())(wave, NoParams()), np.float64)
    sed = np.asarray(ssp.ssp_flux, np.float64).reshape(-1, wave.size)
    return wave, np.stack([sed * 10 ** (-0.4 * av * dimming) for av in _AV])


def _reason(
    config: RunConfig,
    catalog: Catalog,
    cases: list[tuple[Library, np.ndarray]],
    bands: list[int],
    distance: float,
) -> str:
    """What would bring the colors back to those of galaxies."""
    names, n = [catalog.bands[b] for b in bands], len(bands)
    offsets = _vega_offsets(config, names)
    remedies: dict[str, float] = {}
    for chosen in [range(n), *(range(i, n) for i in range(1, n)), *(range(i) for i in range(1, n))]:
        if offsets is None:
            break
        to_ab = np.where(np.isin(np.arange(n), chosen), offsets, 0.0)
        of = ", ".join(names[i] for i in chosen)
        key = f"they would fit if {of} were Vega magnitudes; if so, set system: vega there"
        remedies[key] = _distance(cases, lambda mag, to_ab=to_ab: mag + to_ab)
    for i, j in itertools.combinations(range(n), 2):
        order = np.arange(n)
        order[[i, j]] = j, i
        key = f"they would fit with the columns or filters of {names[i]} and {names[j]} exchanged"
        remedies[key] = _distance(cases, lambda mag, order=order: mag[order])
    # of remedies that are about as good, the first: all bands are Vega more often than some
    best = min(remedies, key=lambda key: round(remedies[key] / _ALIKE)) if remedies else ""
    if best and remedies[best] < _NEAR * distance:
        return best
    return "look at units, zero points, extinction (subtracted twice?) and filters of these bands"


def _distance(cases: list[tuple[Library, np.ndarray]], remedy: Callable[[np.ndarray], np.ndarray]) -> float:
    return max(library.distance(remedy(mag)) for library, mag in cases)


def _vega_offsets(config: RunConfig, names: list[str]) -> np.ndarray | None:
    """AB magnitudes of Vega in some bands; None where a band reaches beyond its spectrum."""
    try:
        return np.array([vega_to_ab(curve_of(config.catalog.bands[name])) for name in names])
    except InputError:
        return None
