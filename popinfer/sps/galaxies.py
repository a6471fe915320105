"""Spectra of many galaxies at once, and their magnitudes from SSP band tables.

A band flux is sum_t sum_met SFR(t) P(met) F(t, met), with F the band table carried through the matrix from
tabulated SFR to SSP ages (`age_weights` is linear in SFR). For galaxies at one redshift, F is built once, so
that a population costs one matrix product over its SFH table; galaxies at their own redshifts are weighed one
by one. Either way the answer is that of the full SED within the error that `BandTable.check` reports.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import SSP

from .age_weights import age_weights
from .band_table import BandTable, check_redshifts
from .burst import BurstParams, add_burst, burst_shape, check_burst
from .dust import transmitted
from .histories import as_floats, check_population
from .metallicity import lgmet_weights, lgmet_weights_by_age
from .photometry import to_magnitudes
from .sed import attenuated_sed, rest_sed_from_weights
from .stars import Attenuation, Stars
from .units import Arr, Scalar


def population_magnitudes(
    table: BandTable,
    stars: Stars,
    attenuation: Attenuation | None,
    z: Scalar | Float[Arr, "gal"],
    t_obs: Scalar | Float[Arr, "gal"],
    distance_modulus: Scalar | Float[Arr, "gal"] | None = None,
    *,
    chunk: int = 8192,
) -> Float[Array, "gal band"]:
    """AB magnitudes of a population of galaxies.

    Parameters
    ----------
    table : BandTable
        Bands and SSPs; its redshifts must enclose those of the galaxies (the ends are held where traced).
    stars : Stars
        Histories and metallicities.
    attenuation : Attenuation or None
        Dust.
    z, t_obs : float or Float[Array, "gal"]
        Redshift and cosmic time of observation [Gyr]; both one number (fast), or both one number a galaxy.
    distance_modulus : Scalar or Float[Arr, "gal"] or None
        Float or Float[Array, "gal"], optional [mag]; magnitudes are as seen from 10 pc without it.
    chunk : int
        Galaxies worked on at once, which bounds the memory.

    Returns
    -------
    Float[Array, "gal band"]
        In the dtype of ``stars.sfr_table``.

    Raises
    ------
    InputError
        A redshift is outside the table, or zero with a distance modulus; stars or dust can't be right (see
        `check_population`); a burst is degenerate (see `check_burst`); ``lg_age_birth`` differs by galaxy.
    """
    check_redshifts(table.z_grid, z)
    check_population(stars, attenuation, t_obs)
    if np.ndim(z) != np.ndim(t_obs):
        raise InputError(
            f"z has shape {np.shape(z)} and t_obs {np.shape(t_obs)}: both one number, or one a galaxy"
        )
    if stars.burst is not None:
        check_burst(stars.burst, table.ssp_lg_age_gyr)
    sfr = as_floats(stars.sfr_table)
    stars, attenuation = _as_arrays((stars, attenuation), sfr.dtype)
    route = _own_redshifts if jnp.ndim(z) else _one_redshift
    z, t_obs = jnp.asarray(z, sfr.dtype), jnp.asarray(t_obs, sfr.dtype)
    flux = route(table, stars, attenuation, z, t_obs, chunk)
    if distance_modulus is not None and jnp.ndim(distance_modulus) == 1:
        distance_modulus = jnp.asarray(distance_modulus)[:, None]
    return to_magnitudes(flux, distance_modulus)


def population_seds(
    ssp: SSP, stars: Stars, attenuation: Attenuation | None, t_obs: Scalar, *, chunk: int = 2048
) -> Float[Array, "gal wave"]:
    """Rest-frame SEDs [Lsun/Hz] of a population seen at one cosmic time.

    Parameters
    ----------
    ssp : SSP
        The grid, whose wavelengths the SEDs have.
    stars, attenuation : Stars, Attenuation or None
        As for `population_magnitudes`.
    t_obs : float
        Cosmic time of observation [Gyr].
    chunk : int
        Galaxies worked on at once, which bounds the memory beside the result's own.

    Returns
    -------
    Float[Array, "gal wave"]
        In the dtype of ``stars.sfr_table``: float32 takes half the time of float64.

    Raises
    ------
    InputError
        Stars or dust can't be right (see `check_population`), or a burst is degenerate (see `check_burst`).
    """
    check_population(stars, attenuation, t_obs)
    if stars.burst is not None:
        check_burst(stars.burst, ssp.ssp_lg_age_gyr)
    sfr = as_floats(stars.sfr_table)
    stars, attenuation = _as_arrays((stars, attenuation), sfr.dtype)
    t_obs = jnp.asarray(t_obs, sfr.dtype)
    to_age = jax.vmap(lambda row: age_weights(stars.t_table, row, t_obs, ssp.ssp_lg_age_gyr))
    matrix = to_age(jnp.eye(sfr.shape[1], dtype=sfr.dtype))

    def one(galaxy: _Galaxy) -> Float[Array, "wave"]:
        weights = _mass(galaxy, galaxy.sfr @ matrix, ssp)
        if attenuation is None:
            return rest_sed_from_weights(ssp, weights)
        return attenuated_sed(ssp, weights, attenuation.law, *galaxy.dust)

    return _map(one, _galaxies(stars, attenuation, t_obs, t_obs), chunk)


def sampling_error(
    table: BandTable,
    stars: Stars,
    z: Scalar | Float[Arr, "gal"],
    t_obs: Scalar | Float[Arr, "gal"],
) -> Float[Array, "gal band"]:
    """How far off the dust-free magnitudes are because the SFH table has few nodes [mag].

    A third of the change on leaving out every second node but the last: errors of linear interpolation fall
    fourfold with each doubling (Richardson).
    """
    n = len(stars.t_table)
    kept = np.unique(np.append(np.arange(0, n, 2), n - 1))
    tables = (jnp.asarray(stars.t_table)[kept], jnp.asarray(stars.sfr_table)[:, kept])
    half = eqx.tree_at(lambda s: (s.t_table, s.sfr_table), stars, tables)
    full, coarse = (population_magnitudes(table, s, None, z, t_obs) for s in (stars, half))
    return jnp.abs(full - coarse) / 3


class _Galaxy(eqx.Module):
    """One galaxy of a population; a batch of them while mapping."""

    sfr: Float[Array, "..."]
    lgmet: Float[Array, "..."]
    scatter: Float[Array, "..."]
    burst: BurstParams | None
    dust: Any  # (params, av, f_unobscured) or None
    z: Float[Array, "..."]
    t_obs: Float[Array, "..."]


def _galaxies(stars: Stars, attenuation: Attenuation | None, z: Array, t_obs: Array) -> _Galaxy:
    """Every quantity as one value a galaxy."""
    n = len(stars.sfr_table)
    dust = None if attenuation is None else (attenuation.params, attenuation.av, attenuation.f_unobscured)
    everything = _Galaxy(
        sfr=jnp.asarray(stars.sfr_table),
        lgmet=jnp.asarray(stars.lgmet),
        scatter=jnp.asarray(stars.lgmet_scatter),
        burst=stars.burst,
        dust=dust,
        z=z,
        t_obs=t_obs,
    )
    return jax.tree.map(lambda x: x if jnp.ndim(x) else jnp.broadcast_to(x, (n,)), everything)


@eqx.filter_jit  # what is checked was checked above; operation by operation it would be a hundred programs
def _one_redshift(
    table: BandTable, stars: Stars, attenuation: Attenuation | None, z: Array, t_obs: Array, chunk: int
) -> Float[Array, "gal band"]:
    """All galaxies at one redshift: the table is carried to the SFH nodes first."""
    sfr = jnp.asarray(stars.sfr_table)
    flux = _split_clouds(table.at(z, sfr.dtype), table, attenuation)
    n_met, n_age, n_part = flux.shape
    to_age = jax.vmap(lambda row: age_weights(stars.t_table, row, t_obs, table.ssp_lg_age_gyr))
    matrix = to_age(jnp.eye(sfr.shape[1], dtype=sfr.dtype))
    by_time = jnp.einsum("ta,mas->tms", matrix, flux).reshape(sfr.shape[1], -1)
    by_age = jnp.moveaxis(flux, 1, 0).reshape(n_age, -1)
    wave = jnp.asarray(table.wave_obs, sfr.dtype) / (1 + jnp.asarray(z, sfr.dtype))

    def one(galaxy: _Galaxy) -> Float[Array, "band"]:
        if galaxy.lgmet.ndim:
            light = jnp.einsum("ma,mas->s", _mass(galaxy, galaxy.sfr @ matrix, table), flux)
        else:
            light = galaxy.sfr @ by_time
            if galaxy.burst is not None:
                shape = burst_shape(galaxy.burst, table.ssp_lg_age_gyr).astype(sfr.dtype)
                fraction = 10**galaxy.burst.lgfburst
                light = (1 - fraction) * light + fraction * (galaxy.sfr @ matrix.sum(1)) * (shape @ by_age)
            shares = lgmet_weights(galaxy.lgmet, galaxy.scatter, table.ssp_lgmet)
            light = jnp.sum(light.reshape(n_met, n_part) * shares[:, None], axis=0)
        return _behind_dust(light, wave, galaxy, attenuation, table)

    return _map(one, _galaxies(stars, attenuation, z, t_obs), chunk)


@eqx.filter_jit
def _own_redshifts(
    table: BandTable, stars: Stars, attenuation: Attenuation | None, z: Array, t_obs: Array, chunk: int
) -> Float[Array, "gal band"]:
    """Every galaxy at its own redshift: two redshifts of the table are looked up for each."""
    dtype = stars.sfr_table.dtype
    flux = _split_clouds(jnp.asarray(table.flux, dtype), table, attenuation)
    grid = jnp.asarray(table.z_grid, dtype)

    def one(galaxy: _Galaxy) -> Float[Array, "band"]:
        mass = age_weights(stars.t_table, galaxy.sfr, galaxy.t_obs, table.ssp_lg_age_gyr)
        mass = _mass(galaxy, mass, table)
        low = jnp.clip(jnp.searchsorted(grid, galaxy.z) - 1, 0, max(grid.size - 2, 0))
        high = jnp.minimum(low + 1, grid.size - 1)
        step = jnp.where(high > low, grid[high] - grid[low], 1.0)
        share = jnp.clip((galaxy.z - grid[low]) / step, 0, 1)
        light = (1 - share) * jnp.einsum("ma,mas->s", mass, flux[low])
        light = light + share * jnp.einsum("ma,mas->s", mass, flux[high])
        wave = jnp.asarray(table.wave_obs, dtype) / (1 + galaxy.z)
        return _behind_dust(light, wave, galaxy, attenuation, table)

    return _map(one, _galaxies(stars, attenuation, z, t_obs), max(chunk // 32, 1))


def _mass(galaxy: _Galaxy, mass: Float[Array, "age"], table: BandTable | SSP) -> Float[Array, "met age"]:
    """Msun formed in each SSP, burst and metallicity included."""
    if galaxy.burst is not None:
        mass = add_burst(galaxy.burst, mass, table.ssp_lg_age_gyr)
    if galaxy.lgmet.ndim:
        return mass * lgmet_weights_by_age(galaxy.lgmet, galaxy.scatter, table.ssp_lgmet)
    return lgmet_weights(galaxy.lgmet, galaxy.scatter, table.ssp_lgmet)[:, None] * mass


def _split_clouds(
    flux: Float[Array, "... age sub"], table: BandTable, attenuation: Attenuation | None
) -> Float[Array, "... age part"]:
    """Light outside birth clouds, then light inside, along the last axis; as it is without clouds."""
    clouds = None if attenuation is None else attenuation.law.clouds
    if attenuation is None or clouds is None:
        return flux
    if jnp.ndim(getattr(attenuation.params, "lg_age_birth", 0.0)):
        raise InputError("lg_age_birth: one number for the whole population, not one a galaxy")
    ages = jnp.asarray(table.ssp_lg_age_gyr, flux.dtype)
    young = clouds.young(ages, attenuation.params)[:, None]
    return jnp.concatenate([flux * (1 - young), flux * young], axis=-1)


def _behind_dust(
    light: Float[Array, "part"],
    wave: Float[Array, "sub"],
    galaxy: _Galaxy,
    attenuation: Attenuation | None,
    table: BandTable,
) -> Float[Array, "band"]:
    """Band fluxes after attenuation at the rest-frame wavelengths of the parts."""
    if attenuation is None:
        return table.to_bands(light)
    params, av, f_unobscured = galaxy.dust
    law = attenuation.law
    depth = av * law(wave, params)
    if law.clouds is None:
        return table.to_bands(light * transmitted(depth, f_unobscured))
    inside_depth = depth + law.clouds(wave, params, av)
    outside, inside = light.reshape(2, -1)
    return table.to_bands(
        outside * transmitted(depth, f_unobscured) + inside * transmitted(inside_depth, f_unobscured)
    )


def _map(
    one: Callable[[_Galaxy], Float[Array, "out"]], galaxies: _Galaxy, chunk: int
) -> Float[Array, "gal out"]:
    """Apply to every galaxy, a chunk at a time; chunks without a remainder spare a copy of the input."""
    n = len(galaxies.sfr)
    if n <= chunk:
        return jax.vmap(one)(galaxies)
    even = (size for size in range(chunk, chunk // 2, -1) if n % size == 0)
    return jax.lax.map(one, galaxies, batch_size=next(even, chunk))


def _as_arrays(tree: Any, dtype: Any) -> Any:
    """Every number of a pytree as an array of one precision."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)
