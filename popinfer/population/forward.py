"""The chain from halos to the galaxies that a survey would list. Read this first.

For each halo of a redshift slice, with fixed random numbers:

    halo assembly -> star formation history of its main-sequence and its quenched galaxy   (sfh.py)
    -> stellar mass, specific SFR -> metallicity, dust                      (metallicity.py, dust.py)
    -> recent fluctuations of the SFR                                       (burstiness.py)
    -> band fluxes from the SSP band table, attenuated                       (popinfer.sps.band_table)
    -> apparent magnitudes with template error and zero points -> noise -> selection   (popinfer.survey)

The result is two weighted points a halo: weights w (1 - f_q) and w f_q. Nothing here is random, and
everything is differentiable in `ModelParams`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age, distance_modulus
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.metallicity import MassMetallicity
from popinfer.population.parameters import ModelParams
from popinfer.population.sfh import N_NORMALS as N_SFH
from popinfer.population.sfh import draw_galaxies, shift_families, star_formation_histories
from popinfer.records import SSP, Arr, Filters, Galaxies, Halos
from popinfer.sps.age_weights import lookback_matrix
from popinfer.sps.band_table import BandTable, SmoothSfhTable, smooth_sfh_fluxes, z_weights
from popinfer.sps.dust import DustLaw, frac_trans
from popinfer.sps.metallicity import lgmet_weights

_T_MIN = 1e-3  # Gyr; diffmah's gradient is NaN at t = 0
_SOLAR_LGMET = -1.69897

Observe = Callable[[Array, Array], tuple[Array, Array]]


def n_normals(n_band: int) -> int:
    """Standard normals that one halo needs: SFHs, metallicity, dust, bursts, noise (both branches)."""
    return N_SFH + 3 + n_band


class SliceTables(eqx.Module):
    """What is precomputed for one redshift slice.

    Attributes
    ----------
    light : SSP fluxes at lookback nodes of smooth SFHs.
    mass : surviving stellar mass per unit SFR at the nodes, solar metallicity [yr], on the slice's redshift
        grid.
    template_basis : response of each band to the template-error knots, on the slice's redshift grid.
    """

    light: SmoothSfhTable
    mass: Float[Arr, "z node"]
    template_basis: Float[Arr, "z band knot"]


class ForwardModel(eqx.Module):
    """Halos and parameters -> weighted galaxies; components are exchangeable modules."""

    cosmology: Cosmology
    dust_law: DustLaw
    metallicity: MassMetallicity
    dust: DustPopulation
    burstiness: Burstiness

    def __call__(
        self,
        params: ModelParams,
        halos: Halos,
        tables: SliceTables,
        observe: Observe,
    ) -> Galaxies:
        """Predict one slice.

        Parameters
        ----------
        params : model parameters.
        halos : the slice's halos; their dtype is the precision of the computation.
        tables : the slice's tables.
        observe : true magnitudes and standard normals [point band] -> measured magnitudes, and probability to
            be in the sample.

        Returns
        -------
        Galaxies
            Points in the order main-sequence galaxies of all halos, then quenched ones.
        """
        dtype = halos.weight.dtype
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        sfr, frac_q = self._histories(params, halos, tables)
        n_halo = halos.weight.shape[0]
        sfr = sfr.transpose(1, 0, 2).reshape(2 * n_halo, -1)
        z = jnp.tile(jnp.asarray(halos.z_obs), 2)
        normals = jnp.tile(jnp.asarray(halos.normals), (2, 1))

        by_z = z_weights(tables.light.z_grid, z)
        mass = jnp.einsum("pn,pz,zn->p", sfr, by_z, jnp.asarray(tables.mass, dtype))
        lg_mstar = jnp.log10(mass)
        lg_ssfr = jnp.log10(sfr[:, 0]) - lg_mstar
        lgmet = jax.vmap(self.metallicity, in_axes=(None, 0, 0, 0, 0))(
            params.metallicity, lg_mstar, lg_ssfr, z, normals[:, N_SFH]
        )
        av = jax.vmap(self.dust, in_axes=(None, 0, 0, 0))(
            params.dust, lg_mstar, lg_ssfr, normals[:, N_SFH + 1]
        )
        lookback = jnp.tile(jnp.asarray(halos.t_obs), 2)[:, None] * jnp.asarray(tables.light.fractions, dtype)
        flicker = jax.vmap(self.burstiness, in_axes=(None, 0, 0))(
            params.burstiness, lookback, normals[:, N_SFH + 2]
        )
        flux = self._fluxes(params, tables, (sfr * flicker, lgmet, av, z))
        mag = -2.5 * jnp.log10(flux) + distance_modulus(self.cosmology, z).astype(dtype)[:, None]
        mag = (
            mag
            + params.zero_point
            + jnp.einsum("pz,zbk,k->pb", by_z, jnp.asarray(tables.template_basis, dtype), params.template)
        )
        measured, kept = observe(mag, normals[:, N_SFH + 3 :])
        occupied = jnp.where(jnp.asarray(halos.is_central) > 0.5, 1.0, params.halos.satellite_survival)
        weight_halo = jnp.asarray(halos.weight) * occupied.astype(dtype)
        weight_all = jnp.concatenate([weight_halo * (1 - frac_q), weight_halo * frac_q])
        return Galaxies(measured, weight_all * kept, weight_all, lg_mstar, lg_ssfr, mag, lgmet, av)

    def _histories(
        self, params: ModelParams, halos: Halos, tables: SliceTables
    ) -> tuple[Float[Array, "halo 2 node"], Float[Array, "halo"]]:
        """SFRs at the lookback nodes and quenched probability of each halo."""
        dtype = halos.weight.dtype
        pop = shift_families(params.sfh, params.families)
        elapsed = (1 - jnp.asarray(tables.light.fractions)).astype(dtype)
        logt0 = jnp.log10(age(self.cosmology, 0.0)).astype(dtype)

        def one(mah: DiffmahParams, host: tuple, t_obs: Any, normals: Any) -> tuple[Array, Array]:
            galaxies = draw_galaxies(pop, mah, host, normals)
            t = jnp.maximum(t_obs * elapsed, _T_MIN)
            return star_formation_histories(
                galaxies, mah, t, logt0, self.cosmology.fb
            ), galaxies.frac_quenched

        host = (
            halos.logmp0,
            halos.is_central,
            halos.lgmu_infall,
            halos.logmhost_infall,
            halos.gyr_since_infall,
        )
        return jax.vmap(one)(halos.mah_params, host, halos.t_obs, halos.normals[:, :N_SFH])

    def _fluxes(
        self, params: ModelParams, tables: SliceTables, galaxies: tuple[Array, Array, Array, Array]
    ) -> Float[Array, "point band"]:
        """Attenuated band fluxes [AB maggies at 10 pc]."""
        sfr, lgmet, av, z = galaxies
        shares = jax.vmap(lgmet_weights, in_axes=(0, None, None))(
            lgmet, params.metallicity.mdf_scatter, jnp.asarray(tables.light.ssp_lgmet, lgmet.dtype)
        )
        flux = smooth_sfh_fluxes(tables.light, sfr, shares, z)
        wave = jnp.asarray(tables.light.wave_obs, z.dtype) / (1 + z)[:, None]
        curve = self.dust_law(wave, type(self.dust_law.fiducial)(params.dust.delta))
        trans = jax.vmap(frac_trans, in_axes=(0, 0, None))(curve, av, params.dust.f_unobscured)
        return tables.light.to_bands(flux * trans)


def build_tables(
    ssp: SSP, filters: Filters, z_grid: np.ndarray, cosmology: Cosmology, knots: tuple[float, ...]
) -> SliceTables:
    """Tables of one slice.

    Parameters
    ----------
    ssp : SSP grid, nebular emission included.
    filters : bands.
    z_grid : redshifts that span the slice.
    cosmology : for ages.
    knots : rest-frame wavelengths of the template-error knots [Angstrom], increasing.
    """
    # two parts a band keep attenuation of low-redshift optical bands exact to 0.004 mag at A_V = 2;
    # the same number in every slice lets the slices share one program
    table = BandTable.build(ssp, filters, z_grid, n_sub=2)
    light = table.for_smooth_sfh(cosmology)
    solar = int(np.argmin(np.abs(np.asarray(ssp.ssp_lgmet) - _SOLAR_LGMET)))
    surviving = ssp.ssp_surviving_mstar_frac
    surviving = np.ones(len(ssp.ssp_lg_age_gyr)) if surviving is None else np.asarray(surviving)[solar]
    t_grid = np.asarray(age(cosmology, jnp.asarray(z_grid)))
    mass = [lookback_matrix(np.asarray(light.fractions) * t, ssp.ssp_lg_age_gyr) @ surviving for t in t_grid]
    return SliceTables(light, np.stack(mass), template_basis(np.asarray(table.wave_eff_band), knots))


def template_basis(wave: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """Linear interpolation in ln(wavelength) between template-error knots, flat beyond the ends.

    Parameters
    ----------
    wave : rest-frame wavelengths, any shape [Angstrom].
    knots : increasing wavelengths [Angstrom].

    Returns
    -------
    ndarray
        Shape of `wave` plus one axis of knots; rows add up to one.
    """
    ln_knots, response = np.log(np.asarray(knots, float)), np.zeros((*np.shape(wave), len(knots)))
    for i, column in enumerate(np.eye(len(knots))):
        response[..., i] = np.interp(np.log(wave), ln_knots, column)
    return response
