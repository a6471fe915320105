"""Nebular lines and continuum added to the SSPs of young stars.

The grid holds Cloudy models of the gas around each SSP: luminosity per Msun of stars formed against gas
metallicity, ionisation parameter and age (Byler et al. 2017, arXiv:1611.08305, for the method). It is
interpolated linearly in lgmet, logU and lg age. Stars younger than its first age emit as at that age; stars
older than its last (25 Myr) emit nothing. With an escape fraction f_esc,

    L_nu = L_stars [f_esc where lambda < 912 A and age <= 25 Myr] + (1 - f_esc) (L_continuum + L_lines),

because ionising photons that do not escape are those that power the gas.

Outside the grid, where only traced values of logU and gas metallicity can come, the luminosities go on from
the last two nodes v0, v1 with spacing h as v1 exp[e (v1 - v0) / v1], e = (d/h) / (1 + 10 d/h), at distance d:
smooth at the edge, positive, never beyond a tenth of an interval, with a gradient that decays as 1/d^2.

A line of luminosity L between the nodes i and i+1 of the SED is shared by the two in proportion to its
nearness, as L lambda_i^2 / (c w_i) with w_i the half-width of node i: its profile is one or two grid steps
wide (10 A at 4000, 28 A at 7000 on the embedded grid), its luminosity and mean wavelength are kept.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from popinfer.errors import InputError
from popinfer.records import SSP, NebularGrid

from .concrete import known, require
from .units import LIGHT, Arr, Scalar

LOGU_FIDUCIAL = -3.0
_LYMAN_LIMIT = 911.75
_FARTHEST = 0.1
_AGE_SLACK = 1e-4  # dex: age axes may be in single precision


def add_nebular(
    ssp: SSP,
    grid: NebularGrid | None,
    logu: Scalar | None = None,
    gas_lgmet: Scalar | None = None,
    f_esc: Scalar = 0.0,
    *,
    with_lines: bool = True,
) -> SSP:
    """SSPs with nebular continuum and lines, and without the ionising light that powers them.

    Parameters
    ----------
    ssp : SSP
        Stars only.
    grid : NebularGrid or None
        Nebular emission. With None the lines that the SSPs' own file lists are added to the spectra, scaled
        by 1 - ``f_esc``; the rest of the spectra is left as it is, ionising light included.
    logu : Scalar or None
        Float, optional log10 of the ionisation parameter, inside the grid; -3 when absent.
    gas_lgmet : Scalar or None
        Float, optional log10 Z of the gas, the same for all SSPs; that of the stars when absent.
    f_esc : float
        Escape fraction of ionising photons, from 0 to 1.
    with_lines : bool
        Lines in the spectra. Without them the SEDs are the continuum that `equivalent_widths` needs.

    Returns
    -------
    SSP
        With ``ssp_emline_wave``, ``_luminosity`` and ``_name`` filled in and ``emission_in_flux`` set.

    Raises
    ------
    InputError
        ``logu`` or ``gas_lgmet`` is outside the grid or given without one, ``f_esc`` isn't a fraction, there
        are no lines, the spectra already hold nebular emission, or a grid would add to that of the file.
    """
    check_not_twice(ssp, grid)
    lines = line_grid(ssp, grid, logu, gas_lgmet) * (1 - _fraction(f_esc))
    flux = jnp.asarray(ssp.ssp_flux)
    wave = np.asarray(ssp.ssp_emline_wave if grid is None else grid.line_wave)
    if grid is not None:
        continuum = _on_ssp(ssp, grid, grid.cont_flux, logu, gas_lgmet) * (1 - f_esc)
        continuum = continuum @ _resampling(np.asarray(grid.cont_wave), np.asarray(ssp.ssp_wave))
        flux = flux * jnp.where(ionising(ssp, grid), f_esc, 1.0) + continuum
    if with_lines:
        flux = flux + lines @ line_profiles(ssp.ssp_wave, wave)
    return dataclasses.replace(
        ssp,
        ssp_flux=flux,
        ssp_emline_wave=wave,
        ssp_emline_luminosity=lines,
        ssp_emline_name=ssp.ssp_emline_name if grid is None else grid.line_name,
        emission_in_flux=True,
    )


def ionising(ssp: SSP, grid: NebularGrid) -> Bool[np.ndarray, "age wave"]:
    """Whether light of stars of each age and wavelength powers the gas."""
    young = np.asarray(ssp.ssp_lg_age_gyr) <= float(grid.neb_lg_age_gyr[-1]) + _AGE_SLACK
    return young[:, None] & (np.asarray(ssp.ssp_wave) < _LYMAN_LIMIT)


def gas_spectra(grid: NebularGrid, wave: Float[Arr, "wave"]) -> Float[np.ndarray, "met logu nebage wave"]:
    """Spectra of the gas [Lsun/Hz per Msun formed], continuum and lines, if no ionising photon escapes.

    Parameters
    ----------
    grid : NebularGrid
        Nebular emission.
    wave : Float[Arr, "wave"]
        Where the spectra are wanted [Angstrom].
    """
    continuum = np.asarray(grid.cont_flux) @ _resampling(np.asarray(grid.cont_wave), np.asarray(wave))
    return continuum + np.asarray(grid.line_lum) @ line_profiles(wave, grid.line_wave)


def nebular_ages(ssp_lg_age_gyr: Float[Arr, "age"], grid: NebularGrid) -> Float[np.ndarray, "age nebage"]:
    """Share of each age of the grid in the emission of gas around stars of each SSP age.

    Stars younger than the grid's first age emit as at that age, stars older than its last emit nothing.
    """
    ages, nodes = np.asarray(ssp_lg_age_gyr), np.asarray(grid.neb_lg_age_gyr)
    alive = ages <= nodes[-1] + _AGE_SLACK
    return alive[:, None] * np.stack([np.interp(ages, nodes, row) for row in np.eye(nodes.size)], axis=1)


def line_grid(
    ssp: SSP, grid: NebularGrid | None, logu: Scalar | None = None, gas_lgmet: Scalar | None = None
) -> Float[Array, "met age line"]:
    """Line luminosities [Lsun per Msun formed] at the metallicities and ages of the SSPs, for f_esc = 0.

    Those that the SSPs carry themselves where ``grid`` is None.
    """
    if grid is not None:
        return _on_ssp(ssp, grid, grid.line_lum, logu, gas_lgmet)
    if ssp.ssp_emline_luminosity is None:
        raise InputError("this SSP grid lists no emission lines: give a nebular grid")
    if logu is not None or gas_lgmet is not None:
        raise InputError("logu and gas_lgmet need a nebular grid: the lines of an SSP file have their own")
    return jnp.asarray(ssp.ssp_emline_luminosity)


def line_luminosities(
    ssp: SSP,
    grid: NebularGrid | None,
    weights: Float[Array, "... met age"],
    logu: Scalar | None = None,
    gas_lgmet: Scalar | None = None,
    f_esc: Scalar = 0.0,
) -> Float[Array, "... line"]:
    """Intrinsic luminosities of the nebular lines of a composite population.

    Parameters
    ----------
    ssp : SSP
        As in `add_nebular`.
    grid : NebularGrid or None
        None takes the lines that the SSPs carry: from their file, or from `add_nebular`.
    weights : Float[Array, "... met age"]
        Msun formed in each SSP.
    logu, gas_lgmet : Scalar or None
        As in `add_nebular`.
    f_esc : float
        Escape fraction of ionising photons, from 0 to 1; on top of what the lines of ``ssp`` may hold.

    Returns
    -------
    Float[Array, "... line"]
        Lsun, in the order of ``grid.line_name`` or ``ssp.ssp_emline_name``; multiply by ``frac_trans`` at
        the lines' wavelengths for dust.

    Raises
    ------
    InputError
        ``logu`` or ``gas_lgmet`` is outside the grid or given without one, ``f_esc`` isn't a fraction, or
        there are no lines.
    """
    lum = line_grid(ssp, grid, logu, gas_lgmet).astype(weights.dtype)
    return jnp.asarray(1 - _fraction(f_esc), lum.dtype) * jnp.einsum("...ma,mal->...l", weights, lum)


def check_not_twice(ssp: SSP, grid: NebularGrid | None) -> None:
    """Refuse gas for spectra that hold nebular emission already."""
    if ssp.emission_in_flux:
        raise InputError("the spectra of this SSP grid already hold nebular emission: leave add_nebular out")
    lines = None if ssp.ssp_emline_luminosity is None else known(ssp.ssp_emline_luminosity)
    if grid is not None and lines is not None and np.any(lines):
        raise InputError("this SSP grid has emission lines of its own: take them by grid=None, or drop them")


def _fraction(f_esc: Scalar) -> Scalar:
    require("f_esc", f_esc, 0, 1, "a fraction, from 0 to 1")
    return f_esc


def _on_ssp(
    ssp: SSP,
    grid: NebularGrid,
    values: Float[Arr, "met logu nebage x"],
    logu: Scalar | None,
    gas_lgmet: Scalar | None,
) -> Float[Array, "sspmet sspage x"]:
    """A quantity of the nebular grid at the metallicities and ages of the SSPs."""
    logu = LOGU_FIDUCIAL if logu is None else logu
    at_logu = at_node(jnp.moveaxis(jnp.asarray(values), 1, 0), grid.neb_logu, logu, "logu")
    n_met, mets = len(ssp.ssp_lgmet), np.asarray(grid.neb_lgmet)
    if gas_lgmet is None:
        by_met = np.stack([np.interp(np.asarray(ssp.ssp_lgmet), mets, row) for row in np.eye(mets.size)], 1)
        at_met = jnp.einsum("sm,max->sax", by_met, at_logu)
    else:
        one = at_node(at_logu, mets, gas_lgmet, "gas_lgmet")
        at_met = jnp.broadcast_to(one, (n_met, *one.shape))
    return jnp.einsum("ta,sax->stx", nebular_ages(ssp.ssp_lg_age_gyr, grid), at_met)


def at_node(
    values: Float[Array, "node *rest"], nodes: Float[Arr, "node"], x: Scalar, name: str
) -> Float[Array, "*rest"]:
    """Linear interpolation along the first axis; outside, known values are refused, traced ones go on."""
    ends = known(nodes)
    if ends is not None:
        low, high = float(ends[0]), float(ends[-1])
        require(name, x, low, high, f"the nebular grid covers {low:g} to {high:g}", 1e-4)
    return _interpolated(values, jnp.asarray(nodes, values.dtype), jnp.asarray(x, values.dtype))


@jax.jit
def _interpolated(values: Array, axis: Array, x: Array) -> Array:
    """Values at x, along the first axis: one compiled program."""
    inside = jnp.stack([jnp.interp(x, axis, row) for row in jnp.eye(axis.size, dtype=values.dtype)])
    held = jnp.tensordot(inside, values, 1)
    below, above = _excess(axis[0] - x, axis[1] - axis[0]), _excess(x - axis[-1], axis[-1] - axis[-2])
    change = below * (values[0] - values[1]) + above * (values[-1] - values[-2])
    return held * jnp.exp(change / jnp.where(held > 0, held, 1))


def _excess(distance: Float[Array, ""], interval: Float[Array, ""]) -> Float[Array, ""]:
    """How far to go on beyond the grid, in intervals: at first the distance itself, at last a tenth."""
    steps = jnp.maximum(distance, 0) / interval
    return steps / (1 + steps / _FARTHEST)


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
