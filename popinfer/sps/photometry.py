"""AB magnitudes of an SED through photon-counting filters.

    flux = (1 + z) int L_nu(lambda / (1+z)) T(lambda) dln(lambda) / int T(lambda) dln(lambda) / AB0

is the band luminosity in units of the one that has magnitude zero at 10 pc, so that

    absolute magnitude (band at redshift z) = -2.5 lg flux,    apparent = -2.5 lg flux + distance modulus.

SED and filter are both linear between their own nodes; the integral of their product is taken exactly enough
(two-point Gauss-Legendre on every interval of the joint grid), so a coarsely sampled filter or SED costs
nothing. For given z it is linear in the SED: flux = sed @ `band_matrix`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import Filters

from .concrete import known, require
from .igm import igm_transmission
from .units import AB0, Arr, Scalar

_X2, _W2 = np.array([0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12)]), np.array([0.5, 0.5])
_LYMAN_LIMIT = 912.0
_LEAK = 1e-3


def band_matrix(
    wave: Float[Arr, "wave"], filters: Filters, z: float = 0.0, *, igm: bool = True
) -> Float[np.ndarray, "wave band"]:
    """Matrix from a rest-frame SED [Lsun/Hz] to band fluxes at redshift z, relative to AB zero at 10 pc.

    Parameters
    ----------
    wave : Float[Array, "wave"]
        Rest-frame wavelengths of the SED [Angstrom], increasing.
    filters : Filters
        The bands.
    z : float
        Redshift, concrete and not negative.
    igm : bool
        Absorb by the intergalactic medium (`igm_transmission`).

    Returns
    -------
    Float[ndarray, "wave band"]
        In float64; magnitude = -2.5 lg(sed @ matrix), plus the distance modulus where apparent.

    Raises
    ------
    InputError
        A filter reaches beyond the redshifted SED (on the blue side, only where that starts redward of the
        Lyman limit: no light is expected below it), or z is negative.
    """
    pairs = zip(filters.wave, filters.trans, strict=True)
    check_coverage(wave, filters, z)
    matrix = np.stack([band_moments(wave, w, t, z, None)[:, 0] for w, t in pairs], axis=1)
    return matrix * igm_rows(wave, z) if igm else matrix


def igm_rows(wave: Float[Arr, "wave"], z: float) -> Float[np.ndarray, "wave 1"]:
    """Intergalactic transmission at the SED's wavelengths, to multiply the rows of a band matrix."""
    with jax.ensure_compile_time_eval():  # a constant, also of a function that is being traced
        return np.asarray(_igm_transmission(np.asarray(wave, np.float64), z), np.float64)[:, None]


_igm_transmission = jax.jit(igm_transmission)  # tables ask for hundreds of redshifts


def band_moments(
    wave: Float[Arr, "wave"],
    filter_wave: Float[Arr, "f"],
    filter_trans: Float[Arr, "f"],
    z: float,
    nodes: Float[np.ndarray, "node"] | None,
) -> Float[np.ndarray, "wave node"]:
    """One band's matrix, split by Lagrange polynomials in ln(observed wavelength) through ``nodes``.

    The columns add up to the plain band matrix (the only column when ``nodes`` is None). A smooth factor
    g(lambda), such as attenuation, enters a band flux as sum_k flux_k g(node_k), exactly so for polynomials
    of degree below the number of nodes.
    """
    rest = np.asarray(wave, np.float64)
    fw, ft = np.asarray(filter_wave, np.float64), np.asarray(filter_trans, np.float64)
    observed = rest * (1 + z)
    inside = observed[(observed > fw[0]) & (observed < fw[-1])]
    edges = np.union1d(fw, inside)
    lam = (edges[:-1, None] + np.diff(edges)[:, None] * _X2).ravel()
    weight = (np.diff(edges)[:, None] * _W2).ravel() * np.interp(lam, fw, ft) / lam
    weight *= (1 + z) / (AB0 * weight.sum())
    left = np.clip(np.searchsorted(observed, lam) - 1, 0, rest.size - 2)
    share = (lam - observed[left]) / np.diff(observed)[left]
    covered = (share >= 0) & (share <= 1)
    shape = np.ones((1, lam.size)) if nodes is None else lagrange(np.log(lam), np.log(nodes))
    weight = np.where(covered, weight, 0) * shape
    low = [np.bincount(left, w * (1 - share), rest.size) for w in weight]
    high = [np.bincount(left + 1, w * share, rest.size) for w in weight]
    return np.stack(low, axis=1) + np.stack(high, axis=1)


def lagrange(x: Float[np.ndarray, "x"], nodes: Float[np.ndarray, "node"]) -> Float[np.ndarray, "node x"]:
    """Lagrange basis polynomials through the nodes, in the barycentric form that is stable for many."""
    apart = (nodes[:, None] - nodes) / np.ptp(nodes) * 4 if nodes.size > 1 else np.ones((1, 1))
    np.fill_diagonal(apart, 1)
    away = x - nodes[:, None]
    hit = away == 0
    terms = 1 / np.prod(apart, axis=1)[:, None] / np.where(hit, 1, away)
    return np.where(hit.any(0), hit, terms / terms.sum(0))


def check_coverage(wave: Float[Arr, "wave"], filters: Filters, z: float) -> None:
    """Raise `InputError` unless every filter lies within the SED redshifted to z.

    A thousandth of its transmission may lie outside. Below an SED that starts at or below the Lyman limit no
    light is expected: only filters with no transmission redward of it are refused there.
    """
    if not z >= 0:
        raise InputError(f"redshift {z}: must be zero or positive")
    blue, red = float(wave[0]), float(wave[-1])
    for name, w, t in zip(filters.names, filters.wave, filters.trans, strict=True):
        rest, trans = np.asarray(w, np.float64) / (1 + z), np.asarray(t, np.float64)
        area = np.concatenate([[0.0], np.cumsum(0.5 * (trans[1:] + trans[:-1]) * np.diff(np.log(rest)))])
        below, above = np.interp([blue, red], rest, area / area[-1])
        if 1 - above > _LEAK or (below > _LEAK and blue > _LYMAN_LIMIT) or below > 1 - _LEAK:
            low, high = np.interp([_LEAK, 1 - _LEAK], area / area[-1], rest)
            raise InputError(
                f"filter {name} at z = {z:g} needs rest-frame {low:.0f}-{high:.0f} Angstrom, "
                f"but the SED covers {blue:.0f}-{red:.0f}"
            )


def band_fluxes(
    wave: Float[Arr, "wave"], sed: Float[Array, "wave"], filters: Filters, z: Scalar, *, igm: bool = True
) -> Float[Array, "band"]:
    """Band fluxes of one SED at a redshift that may be traced and differentiated.

    The same integral as ``sed @ band_matrix(wave, filters, z)``; coverage isn't checked.

    Parameters
    ----------
    wave, sed : Float[Array, "wave"]
        Rest-frame wavelengths [Angstrom] and SED [Lsun/Hz].
    filters : Filters
        The bands.
    z : float
        Redshift.
    igm : bool
        Absorb by the intergalactic medium.

    Returns
    -------
    Float[Array, "band"]
        In units of AB zero at 10 pc, in the dtype of ``sed``.

    Raises
    ------
    InputError
        The redshift is negative (unless traced).
    """
    require("z", z, 0, np.inf, "a redshift, zero or positive")
    dtype = sed.dtype
    factor = jnp.asarray(1 + jnp.asarray(z), dtype)
    observed = jnp.asarray(wave, dtype) * factor
    if igm:
        sed = sed * igm_transmission(jnp.asarray(wave, dtype), factor - 1).astype(dtype)
    x2, w2 = jnp.asarray(_X2, dtype), jnp.asarray(_W2, dtype)
    fluxes = []
    for curve in zip(filters.wave, filters.trans, strict=True):
        fw, ft = (jnp.asarray(x, dtype) for x in curve)
        edges = jnp.sort(jnp.concatenate([fw, jnp.clip(observed, fw[0], fw[-1])]))
        width = jnp.diff(edges)
        lam = (edges[:-1, None] + width[:, None] * x2).ravel()
        weight = (width[:, None] * w2).ravel() * jnp.interp(lam, fw, ft) / lam
        light = jnp.interp(lam, observed, sed, left=0, right=0)
        fluxes.append(jnp.sum(weight * (light / AB0)) / jnp.sum(weight))
    return factor * jnp.stack(fluxes)


def magnitudes(
    wave: Float[Arr, "wave"],
    sed: Float[Array, "... wave"],
    filters: Filters,
    z: float = 0.0,
    distance_modulus: Scalar | None = None,
) -> Float[Array, "... band"]:
    """AB magnitudes of one or many SEDs seen at one redshift.

    Parameters
    ----------
    wave : Float[Array, "wave"]
        Rest-frame wavelengths [Angstrom].
    sed : Float[Array, "... wave"]
        Rest-frame SED [Lsun/Hz].
    filters : Filters
        The bands.
    z : float
        Redshift, concrete (see `band_fluxes` for a traced one).
    distance_modulus : Scalar or None
        Float, optional [mag]; without it the magnitudes are as seen from 10 pc, that is absolute ones in
        redshifted bands.

    Returns
    -------
    Float[Array, "... band"]
        AB magnitudes.

    Raises
    ------
    InputError
        A filter reaches beyond the SED, z is negative, or the distance modulus is -inf (z = 0).
    """
    sed = jnp.asarray(sed)
    flux = sed @ jnp.asarray(band_matrix(wave, filters, z), sed.dtype)
    return to_magnitudes(flux, distance_modulus)


def to_magnitudes(
    flux: Float[Array, "... band"], distance_modulus: Scalar | Float[Arr, "gal 1"] | None
) -> Float[Array, "... band"]:
    """-2.5 lg flux, shifted to the distance; see `magnitudes`.

    No light at all is +inf mag, with gradient zero, so that it can't turn the gradients of other galaxies to
    NaN.
    """
    lit = flux > 0
    mag = jnp.where(lit, -2.5 * jnp.log10(jnp.where(lit, flux, 1)), jnp.inf)
    if distance_modulus is None:
        return mag
    values = known(distance_modulus)
    if values is not None and np.any(np.isneginf(values)):
        raise InputError("apparent magnitudes have no meaning at z = 0; leave out distance_modulus for 10 pc")
    return mag + jnp.asarray(distance_modulus, mag.dtype)
