"""Nebular lines and continuum added to the SSPs of young stars.

The grid holds Cloudy models of the gas around each SSP: luminosity per Msun of stars formed against gas
metallicity, ionisation parameter and age (Byler et al. 2017, arXiv:1611.08305, for the method). It is
interpolated linearly in lgmet, logU and lg age. Stars younger than its first age emit as at that age; stars
older than its last (25 Myr) emit nothing. With an escape fraction f_esc,

    L_nu = L_stars [f_esc where lambda < 912 A and age <= 25 Myr] + (1 - f_esc) (L_continuum + L_lines),

because ionising photons that do not escape are those that power the gas.

A line of luminosity L between the nodes i and i+1 of the SED is shared by the two in proportion to its
nearness, as L lambda_i^2 / (c w_i) with w_i the half-width of node i: its profile is one or two grid steps
wide (10 A at 4000, 28 A at 7000 on the embedded grid), its luminosity and mean wavelength are kept.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import SSP, NebularGrid

from .units import LIGHT, Arr, Scalar

_LYMAN_LIMIT = 911.75


def add_nebular(
    ssp: SSP, grid: NebularGrid, logu: Scalar = -3.0, gas_lgmet: Scalar | None = None, f_esc: Scalar = 0.0
) -> SSP:
    """SSPs with nebular continuum and lines, and without the ionising light that powers them.

    Parameters
    ----------
    ssp : SSP
        Stars only.
    grid : NebularGrid
        Nebular emission.
    logu : float
        log10 of the ionisation parameter, inside the grid.
    gas_lgmet : float, optional
        log10 Z of the gas, the same for all SSPs; that of the stars when absent.
    f_esc : float
        Escape fraction of ionising photons.

    Returns
    -------
    SSP
        With ``ssp_emline_wave``, ``_luminosity`` and ``_name`` filled in.

    Raises
    ------
    InputError
        ``logu`` or ``gas_lgmet`` is outside the grid.
    """
    lines = line_grid(ssp, grid, logu, gas_lgmet) * (1 - f_esc)
    continuum = _on_ssp(ssp, grid, grid.cont_flux, logu, gas_lgmet) * (1 - f_esc)
    continuum = continuum @ _resampling(np.asarray(grid.cont_wave), np.asarray(ssp.ssp_wave))
    ionising = np.asarray(ssp.ssp_wave) < _LYMAN_LIMIT
    young = np.asarray(ssp.ssp_lg_age_gyr) <= float(grid.neb_lg_age_gyr[-1]) + 1e-4
    kept = jnp.where(young[:, None] & ionising, f_esc, 1.0)
    return dataclasses.replace(
        ssp,
        ssp_flux=jnp.asarray(ssp.ssp_flux) * kept
        + continuum
        + lines @ line_profiles(ssp.ssp_wave, grid.line_wave),
        ssp_emline_wave=np.asarray(grid.line_wave),
        ssp_emline_luminosity=lines,
        ssp_emline_name=grid.line_name,
    )


def line_grid(
    ssp: SSP, grid: NebularGrid, logu: Scalar, gas_lgmet: Scalar | None = None
) -> Float[Array, "met age line"]:
    """Line luminosities [Lsun per Msun formed] at the metallicities and ages of the SSPs, for f_esc = 0."""
    return _on_ssp(ssp, grid, grid.line_lum, logu, gas_lgmet)


def line_luminosities(
    ssp: SSP,
    grid: NebularGrid,
    weights: Float[Array, "... met age"],
    logu: Scalar = -3.0,
    gas_lgmet: Scalar | None = None,
    f_esc: Scalar = 0.0,
) -> Float[Array, "... line"]:
    """Intrinsic luminosities of the nebular lines of a composite population.

    Parameters
    ----------
    ssp, grid, logu, gas_lgmet, f_esc
        As in `add_nebular`.
    weights : Float[Array, "... met age"]
        Msun formed in each SSP.

    Returns
    -------
    Float[Array, "... line"]
        Lsun, in the order of ``grid.line_name``; multiply by ``frac_trans`` at ``grid.line_wave`` for dust.

    Raises
    ------
    InputError
        ``logu`` or ``gas_lgmet`` is outside the grid.
    """
    lum = line_grid(ssp, grid, logu, gas_lgmet).astype(weights.dtype)
    return jnp.asarray(1 - f_esc, lum.dtype) * jnp.einsum("...ma,mal->...l", weights, lum)


def _on_ssp(
    ssp: SSP,
    grid: NebularGrid,
    values: Float[Arr, "met logu nebage x"],
    logu: Scalar,
    gas_lgmet: Scalar | None,
) -> Float[Array, "sspmet sspage x"]:
    """A quantity of the nebular grid at the metallicities and ages of the SSPs."""
    at_logu = jnp.einsum("mlax,l->max", jnp.asarray(values), _weights(grid.neb_logu, logu, "logu"))
    if gas_lgmet is None:
        low, high = float(grid.neb_lgmet[0]), float(grid.neb_lgmet[-1])
        lgmets = np.clip(np.asarray(ssp.ssp_lgmet), low, high)
        by_met = jnp.stack([_weights(grid.neb_lgmet, float(x), "gas_lgmet") for x in lgmets])
    else:
        one = _weights(grid.neb_lgmet, gas_lgmet, "gas_lgmet")
        by_met = jnp.broadcast_to(one, (len(ssp.ssp_lgmet), one.size))
    ages, nodes = np.asarray(ssp.ssp_lg_age_gyr), np.asarray(grid.neb_lg_age_gyr)
    alive = ages <= nodes[-1] + 1e-4  # single-precision age axes
    by_age = alive[:, None] * np.stack([np.interp(ages, nodes, row) for row in np.eye(nodes.size)], axis=1)
    return jnp.einsum("sm,ta,max->stx", by_met, by_age, at_logu)


def _weights(nodes: Float[Arr, "node"], x: Scalar, name: str) -> Float[Array, "node"]:
    """Linear-interpolation weights; a concrete value outside the nodes is refused, a traced one held."""
    low, high = float(nodes[0]), float(nodes[-1])
    if isinstance(x, float | int) and not low - 1e-4 <= x <= high + 1e-4:
        raise InputError(f"{name} = {x:g}: the nebular grid covers {low:g} to {high:g}")
    eye = jnp.eye(len(nodes))
    return jnp.stack(
        [jnp.interp(jnp.asarray(x, eye.dtype), jnp.asarray(nodes, eye.dtype), row) for row in eye]
    )


def _resampling(old: Float[np.ndarray, "old"], new: Float[np.ndarray, "new"]) -> Float[np.ndarray, "old new"]:
    """Linear interpolation between wavelength grids as a matrix, zero outside."""
    if old.shape == new.shape and np.allclose(old, new, rtol=1e-6):
        return np.eye(old.size)
    return np.stack([np.interp(new, old, row, left=0, right=0) for row in np.eye(old.size)])


def line_profiles(wave: Float[Arr, "wave"], line_wave: Float[Arr, "line"]) -> Float[np.ndarray, "line wave"]:
    """SED [1/Hz] of lines of unit luminosity on a wavelength grid; lines outside it are left out."""
    grid, lines = np.asarray(wave, np.float64), np.asarray(line_wave, np.float64)
    half = np.empty_like(grid)
    half[1:-1] = 0.5 * (grid[2:] - grid[:-2])
    half[0], half[-1] = 0.5 * (grid[1] - grid[0]), 0.5 * (grid[-1] - grid[-2])
    left = np.clip(np.searchsorted(grid, lines) - 1, 0, grid.size - 2)
    share = (lines - grid[left]) / np.diff(grid)[left]
    inside = (share >= 0) & (share <= 1)
    out, rows = np.zeros((lines.size, grid.size)), np.arange(lines.size)
    out[rows, left] = np.where(inside, 1 - share, 0)
    out[rows, left + 1] = np.where(inside, share, 0)
    return out * grid**2 / (LIGHT * half)
