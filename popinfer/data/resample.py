"""Put spectra on a coarser wavelength grid without changing what broad bands see.

A spectrum f, linear between its wavelengths, becomes the piecewise linear g on nodes x_i that is nearest to
it in the mean square: M c = b with hat functions phi_i, M_ij = int phi_i phi_j, b_i = int phi_i f, and
g = sum_i c_i phi_i. The hats add up to one, so the integral is kept, and the error against a smooth filter is
of fourth order in the spacing, where averages in bins are of second order. Where deep lines would make a node
negative, or nearly so, it is held at a small part of the local average b_i / int phi_i. Shortwards of the
Lyman limit, where old populations fall by many decades, the local averages themselves are used.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

FloatArray = NDArray[np.float64]

_LYMAN_LIMIT = 912.0
_FLOOR = 0.01  # of the local average
_MANTISSA_BITS = 15

# (from, to [Angstrom], spacing, whether the spacing is in ln(wavelength)). Finest where filters up to z = 1
# look and where line blanketing is strong; two nodes at the Lyman limit carry the break.
_SEGMENTS = (
    (91.0, 911.0, 0.05, True),
    (911.0, 912.5, 0.5, False),
    (912.5, 1300.0, 0.004, True),
    (1300.0, 2000.0, 4.0, False),
    (2000.0, 4400.0, 8.0, False),
    (4400.0, 9000.0, 15.0, False),
    (9000.0, 50000.0, 0.014, True),
)


def compact_wavelengths() -> FloatArray:
    """The embedded grids' wavelengths [Angstrom], shape (wave,)."""
    nodes = [np.array([_SEGMENTS[0][0]])]
    for start, stop, step, logarithmic in _SEGMENTS:
        length = np.log(stop / start) if logarithmic else stop - start
        count = int(np.ceil(length / step - 1e-9)) + 1
        space = np.geomspace if logarithmic else np.linspace
        nodes.append(space(start, stop, count)[1:])
    return np.concatenate(nodes)


def resample(wave: FloatArray, flux: FloatArray, nodes: FloatArray) -> FloatArray:
    """Nearest piecewise linear spectra on `nodes`.

    Parameters
    ----------
    wave : array, shape (fine,)
        Ascending wavelengths [Angstrom] that cover `nodes`.
    flux : array, shape (..., fine)
        Non-negative spectra, any unit.
    nodes : array, shape (wave,)
        Ascending wavelengths of the result.

    Returns
    -------
    array, shape (..., wave)
        Non-negative spectra on `nodes`.
    """
    rows = flux.reshape(-1, wave.size)
    moments = _hat_moments(wave, rows, nodes)
    step = np.diff(nodes)
    mass = np.zeros((2, nodes.size))
    mass[1, :-1] += step / 3
    mass[1, 1:] += step / 3
    mass[0, 1:] = step / 6
    nearest = solveh_banded(mass, moments.T).T
    hat_area = np.zeros(nodes.size)
    hat_area[:-1] += step / 2
    hat_area[1:] += step / 2
    average = moments / hat_area
    result = np.where(nodes < _LYMAN_LIMIT, average, np.maximum(nearest, _FLOOR * average))
    return result.reshape(*flux.shape[:-1], nodes.size)


def _hat_moments(wave: FloatArray, rows: FloatArray, nodes: FloatArray) -> FloatArray:
    """Integrals of hat function times spectrum, shape (row, node): exact (Simpson) between knots."""
    inside = (wave > nodes[0]) & (wave < nodes[-1])
    knots = np.union1d(wave[inside], nodes)
    at_knots = _interpolate(wave, rows, knots)
    width = np.diff(knots)
    middle = 0.5 * (knots[1:] + knots[:-1])
    cell = np.searchsorted(nodes, middle) - 1
    left, right = np.zeros((2, rows.shape[0], width.size))
    samples = (
        (knots[:-1], at_knots[:, :-1], 1 / 6),
        (middle, 0.5 * (at_knots[:, 1:] + at_knots[:, :-1]), 4 / 6),
        (knots[1:], at_knots[:, 1:], 1 / 6),
    )
    for place, value, share in samples:
        rising = (place - nodes[cell]) / np.diff(nodes)[cell]
        right += value * (rising * share * width)
        left += value * ((1 - rising) * share * width)
    first_in_cell = np.searchsorted(cell, np.arange(nodes.size - 1))
    moments = np.zeros((rows.shape[0], nodes.size))
    moments[:, :-1] += np.add.reduceat(left, first_in_cell, axis=1)
    moments[:, 1:] += np.add.reduceat(right, first_in_cell, axis=1)
    return moments


def _interpolate(wave: FloatArray, rows: FloatArray, where: FloatArray) -> FloatArray:
    """Linear interpolation along the last axis."""
    upper = np.searchsorted(wave, where).clip(1, wave.size - 1)
    share = (where - wave[upper - 1]) / (wave[upper] - wave[upper - 1])
    return rows[:, upper - 1] * (1 - share) + rows[:, upper] * share


def round_mantissa(values: FloatArray) -> NDArray[np.float32]:
    """Round to 15 significant bits (1.5e-5) in float32: smaller files, free of last-bit noise."""
    mantissa, exponent = np.frexp(values)
    scale = 2.0**_MANTISSA_BITS
    return np.ldexp(np.round(mantissa * scale) / scale, exponent).astype(np.float32)
