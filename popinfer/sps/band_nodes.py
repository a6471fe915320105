"""Where to split bands and redshifts: the nodes of a band table.

Dust acts on a band at the nodes of the Gauss quadrature in ln(lambda) whose weight is the filter's
transmission; redshifts are as dense as linear interpolation of the fluxes needs.
"""

import jax
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import SSP, Filters

from .age_weights import lookback_matrix
from .dust import Calzetti00, DustLaw, Salim18, frac_trans
from .photometry import band_matrix, band_moments
from .units import Arr, Scalar

MIN_STEP = 1e-4  # in redshift: a tolerance that asks for less is refused
_MAX_NODES = 14


def enough_nodes(
    ssp: SSP, curve: tuple[np.ndarray, np.ndarray], z_grid: Float[np.ndarray, "z"], tol: float
) -> Float[np.ndarray, "node"]:
    """Fewest dust wavelengths whose errors at redshifts 0.05 apart stay within ``tol`` [mag].

    99 % of the populations and redshifts are off by less than ``tol``, all of them by less than twice that.

    Raises
    ------
    InputError
        14 of them don't do.
    """
    sed = probe_histories(ssp.ssp_lg_age_gyr) @ np.asarray(ssp.ssp_flux, np.float64)
    sed = sed.reshape(-1, len(ssp.ssp_wave))
    laws = (Salim18(), Calzetti00())
    trans = [transmission(law, ssp.ssp_wave) for law in laws]
    some = z_grid[np.unique(np.round((z_grid - z_grid[0]) / 0.05), return_index=True)[1]]
    exact = [
        [(sed * t) @ band_moments(ssp.ssp_wave, *curve, float(z), None)[:, 0] for t in trans] for z in some
    ]
    error = []
    for n in range(1, _MAX_NODES + 1):
        nodes = gauss_nodes(*curve, n)
        error = []
        for z, truth in zip(some, exact, strict=True):
            parts = sed @ band_moments(ssp.ssp_wave, *curve, float(z), nodes)
            approx = [parts @ transmission(law, nodes / (1 + z)) for law in laws]
            error.append(-2.5 * np.log10(np.maximum(np.stack(approx) / np.stack(truth), 1e-3)))
        if np.percentile(np.abs(error), 99) < tol and np.max(np.abs(error)) < 2 * tol:
            return nodes
    raise InputError(
        f"tol = {tol:g} mag: {_MAX_NODES} dust wavelengths a band leave {np.max(np.abs(error)):.2g}; "
        "see refined_table, or set n_sub"
    )


def transmission(law: DustLaw, wave: Float[Arr, "*n"], av: float = 2.0) -> Float[np.ndarray, "*n"]:
    """Fraction transmitted by a law at its fiducial parameters, compiled for few lengths."""
    flat = np.ravel(np.asarray(wave))
    padded = np.pad(flat, (0, -flat.size % 1024), mode="edge")
    return np.asarray(_transmission(law, padded, av), np.float64)[: flat.size].reshape(np.shape(wave))


@jax.jit
def _transmission(law: DustLaw, wave: Float[Arr, "n"], av: Scalar) -> Float[Array, "n"]:
    return frac_trans(law(wave, law.fiducial), av)


def gauss_nodes(
    wave: Float[np.ndarray, "f"], trans: Float[np.ndarray, "f"], n_nodes: int
) -> Float[np.ndarray, "node"]:
    """Wavelengths of the Gauss quadrature in ln(lambda) whose weight is the transmission.

    Eigenvalues of the Jacobi matrix from Lanczos on the discretised weight (Golub & Welsch 1969).
    """
    fine = np.interp(np.linspace(0, wave.size - 1, 40 * wave.size), np.arange(wave.size), wave)
    x, w = np.log(fine), np.interp(fine, wave, trans) * np.gradient(np.log(fine))
    center, scale = np.average(x, weights=w), np.ptp(x)
    x = (x - center) / scale
    previous, current = np.zeros_like(x), np.ones_like(x) / np.sqrt(w.sum())
    diagonal, off = np.zeros(n_nodes), np.zeros(n_nodes)
    for k in range(n_nodes):
        diagonal[k] = np.sum(w * x * current**2)
        following = (x - diagonal[k]) * current - off[k - 1] * previous
        off[k] = np.sqrt(np.sum(w * following**2))
        previous, current = current, following / off[k]
    jacobi = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    return np.exp(center + scale * np.linalg.eigvalsh(jacobi))


def pivot_wavelength(wave: Float[np.ndarray, "f"], trans: Float[np.ndarray, "f"]) -> float:
    """Pivot wavelength [Angstrom]: sqrt(int T lambda dlambda / int T dlambda / lambda)."""
    return float(np.sqrt(np.trapezoid(trans * wave, wave) / np.trapezoid(trans / wave, wave)))


def redshift_grid(
    ssp: SSP, filters: Filters, z_low: float, z_high: float, tol: float = 0.002, igm: bool = True
) -> Float[np.ndarray, "z"]:
    """Redshifts between which linear interpolation of band fluxes errs by less than ``tol`` [mag].

    Starts from steps of at most 0.05 and halves those where a dust-free population of any metallicity, with
    constant or 1 Gyr exponential star formation, is off at the middle. Dust isn't considered: a table that
    is to meet a tolerance with dust comes from `refined_table`.

    Parameters
    ----------
    ssp, filters : SSP, Filters
        What the table will be built from.
    z_low, z_high : float
        First and last redshift.
    tol : float
        Float [mag].
    igm : bool
        Absorb by the intergalactic medium.

    Raises
    ------
    InputError
        A filter reaches beyond the redshifted SED, or steps of 1e-4 don't do.
    """
    sed = probe_histories(ssp.ssp_lg_age_gyr)[[0, 2]] @ np.asarray(ssp.ssp_flux, np.float64)
    sed = sed.reshape(-1, len(ssp.ssp_wave))

    def fluxes(z: float) -> Float[np.ndarray, "pop band"]:
        return sed @ band_matrix(ssp.ssp_wave, filters, float(z), igm=igm)

    def between(low: float, high: float, f_low: np.ndarray, f_high: np.ndarray) -> list[float]:
        mid = 0.5 * (low + high)
        f_mid = fluxes(mid)
        if np.abs(2.5 * np.log10(0.5 * (f_low + f_high) / f_mid)).max() < tol:
            return [low]
        if high - low < MIN_STEP:
            raise InputError(f"tol = {tol:g} mag isn't met by redshifts {MIN_STEP:g} apart at z = {mid:.4f}")
        return between(low, mid, f_low, f_mid) + between(mid, high, f_mid, f_high)

    start = np.linspace(z_low, z_high, 1 + max(int(np.ceil((z_high - z_low) / 0.05)), 1))
    known = [fluxes(z) for z in start]
    steps = zip(start[:-1], start[1:], known[:-1], known[1:], strict=True)
    return np.array([z for step in steps for z in between(*step)] + [z_high])


def probe_histories(ssp_lg_age_gyr: Float[Arr, "age"]) -> Float[np.ndarray, "pop age"]:
    """SSP weights of constant, 5, 1 and 0.2 Gyr exponential histories over the span of the SSP ages."""
    ages = np.linspace(0, float(10 ** ssp_lg_age_gyr[-1]), 400)
    rates = [np.exp((ages - ages[-1]) / tau) for tau in (1e9, 5.0, 1.0, 0.2)]
    return np.stack(rates) @ lookback_matrix(ages, ssp_lg_age_gyr)
