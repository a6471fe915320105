"""The chain from halos to the galaxies that a survey would list. Read this first.

For each halo of a redshift slice, with fixed random numbers:

    halo assembly -> star formation history of its main-sequence and its quenched galaxy   (sfh.py)
    -> stellar mass, specific SFR -> metallicity, dust                      (metallicity.py, dust.py)
    -> recent fluctuations of the SFR                                       (burstiness.py)
    -> band fluxes with the gas around young stars, birth clouds, dust       (popinfer.sps.light_table)
    -> apparent magnitudes with template error and zero points -> noise -> selection   (popinfer.survey)

The result is two weighted points a halo: weights w (1 - f_q) and w f_q. Nothing here is random, and
everything is differentiable in `ModelParams`. Each step is a component that may be another one
(`popinfer.population.roles`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import ROLES, Component
from popinfer.cosmology import PLANCK15, Cosmology, age, distance_modulus
from popinfer.errors import InputError
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.gas import UniformGas
from popinfer.population.metallicity import MassMetallicity
from popinfer.population.parameters import ModelParams
from popinfer.population.roles import (
    DustAmount,
    DustRelation,
    GalaxyProperties,
    GasRelation,
    Histories,
    MetallicityRelation,
    SatelliteOccupation,
    SfhModel,
    SfrFluctuation,
    StellarMetallicity,
    TemplateOffset,
    ZeroPointModel,
)
from popinfer.population.satellites import SatelliteSurvival
from popinfer.population.sfh import DiffstarPop
from popinfer.population.template import TemplateKnots
from popinfer.population.zero_points import ZeroPoints
from popinfer.records import SSP, Arr, Filters, Galaxies, Halos, NebularGrid
from popinfer.sps.age_weights import lookback_matrix
from popinfer.sps.band_table import smooth_sfh_fluxes, z_weights
from popinfer.sps.dust import BirthClouds, DustLaw, EqualClouds, KriekConroy13, transmitted
from popinfer.sps.light_table import LightTable, Surroundings
from popinfer.sps.line_table import LineTable
from popinfer.sps.metallicity import lgmet_weights
from popinfer.sps.surviving_mass import RETURN_FITS, surviving_fraction

_T_MIN = 1e-3  # Gyr; diffmah's gradient is NaN at t = 0
_SOLAR_LGMET = -1.69897

Observe = Callable[[Array, Array], tuple[Array, Array]]


class SliceTables(eqx.Module):
    """What is precomputed for one redshift slice.

    Attributes
    ----------
    light : of stellar populations at lookback nodes of smooth SFHs.
    mass : surviving stellar mass per unit SFR at the nodes, solar metallicity [yr], on the slice's redshift
        grid.
    """

    light: LightTable
    mass: Float[Arr, "z node"]


class ForwardModel(eqx.Module):
    """Halos and parameters -> weighted galaxies.

    Attributes
    ----------
    cosmology : of ages, distances and volumes.
    sfh : star formation histories of halos; this role and all that follow are in `popinfer.population.roles`.
    metallicity : metallicity of stars.
    dust : amount of dust of each galaxy.
    dust_law : attenuation as a function of wavelength.
    birth_cloud : further attenuation of young stars; None where there is none.
    nebular : state of the gas around young stars; None where it emits nothing.
    burstiness : fluctuations of star formation; None for smooth histories.
    satellites : share of subhalos that still host a galaxy.
    template : smooth error of the stellar populations' spectra; None for none.
    zero_point : errors of the survey's zero points; None for none.
    """

    cosmology: Cosmology = PLANCK15
    sfh: SfhModel = DiffstarPop()
    metallicity: MetallicityRelation = MassMetallicity()
    dust: DustRelation = DustPopulation()
    dust_law: DustLaw = KriekConroy13()
    birth_cloud: BirthClouds | None = EqualClouds()
    nebular: GasRelation | None = UniformGas()
    burstiness: SfrFluctuation | None = Burstiness()
    satellites: SatelliteOccupation = SatelliteSurvival()
    template: TemplateOffset | None = TemplateKnots()
    zero_point: ZeroPointModel | None = None

    def __check_init__(self) -> None:
        """Refuse two kinds of birth clouds."""
        if self.dust_law.clouds is not None:
            raise InputError(
                f"dust_law: {type(self.dust_law).__name__} brings birth clouds of its own; take its diffuse "
                "part (power_law), and the clouds as birth_cloud (proportional)"
            )

    def in_bands(self, bands: tuple[str, ...]) -> "ForwardModel":
        """The chain with zero points of a survey's bands, where their model has a field ``bands``."""
        if self.zero_point is None:
            return dataclasses.replace(self, zero_point=ZeroPoints(bands))
        if not any(field.name == "bands" for field in dataclasses.fields(self.zero_point)):
            return self
        zero_point: Any = self.zero_point
        return dataclasses.replace(self, zero_point=dataclasses.replace(zero_point, bands=bands))

    @property
    def components(self) -> Mapping[str, Component | None]:
        """Components by role."""
        return {role: getattr(self, role) for role in ROLES}

    def n_normals(self, n_band: int) -> int:
        """Standard normals that one halo needs: those of the components, then noise (both branches)."""
        return sum(self._shares_of_normals().values()) + n_band

    def _shares_of_normals(self) -> dict[str, int]:
        """How many standard normals each role that needs some takes, in their order."""
        drawing = {role: getattr(self, role) for role in ("sfh", "metallicity", "dust", "burstiness")}
        return {role: 0 if part is None else part.n_normal for role, part in drawing.items()}

    def _split_normals(self, normals: Float[Array, "*n normal"]) -> dict[str, Float[Array, "*n _"]]:
        """Each role's standard normals, and those of the noise."""
        split, start = {}, 0
        for role, number in self._shares_of_normals().items():
            split[role] = normals[..., start : start + number]
            start += number
        return split | {"noise": normals[..., start:]}

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
        params : ModelParams
            Parameters of all components.
        halos : Halos
            The slice's halos; their dtype is the precision of the computation.
        tables : SliceTables
            The slice's tables.
        observe : Observe
            True magnitudes and standard normals [point band] -> measured magnitudes, and probability to be in
            the sample.

        Returns
        -------
        Galaxies
            Points in the order main-sequence galaxies of all halos, then quenched ones.
        """
        params = jax.tree.map(lambda x: jnp.asarray(x, halos.weight.dtype), params)
        sfr, galaxies, lgmet, frac_q = self._stars(params, halos, tables)
        normals, z, dtype = self._normals_of_points(halos), galaxies.z, halos.weight.dtype
        dust = jax.vmap(self.dust, in_axes=(None, 0, 0))(params.dust, galaxies, normals["dust"])
        flux = self._fluxes(params, tables.light, sfr, z, (lgmet, dust))
        mag = -2.5 * jnp.log10(flux) + distance_modulus(self.cosmology, z).astype(dtype)[:, None]
        if self.zero_point is not None:
            mag = mag + self.zero_point(params.zero_point)
        if self.template is not None:
            wave = jnp.asarray(tables.light.pivot, dtype) / (1 + z)[:, None]
            mag = mag + jax.vmap(self.template, in_axes=(None, 0, 0))(params.template, wave, galaxies)
        measured, kept = observe(mag, normals["noise"])
        occupied = jax.vmap(self.satellites, in_axes=(None, 0))(params.satellites, halos)
        weight_halo = jnp.asarray(halos.weight) * occupied.astype(dtype)
        weight_all = jnp.concatenate([weight_halo * (1 - frac_q), weight_halo * frac_q])
        return Galaxies(
            measured,
            weight_all * kept,
            weight_all,
            galaxies.lg_mstar,
            galaxies.lg_ssfr,
            galaxies.lg_ssfr + self.lg_median_fluctuation(params, galaxies),
            mag,
            lgmet.lgmet,
            dust.av,
        )

    def _normals_of_points(self, halos: Halos) -> dict[str, Float[Array, "point _"]]:
        """Each role's standard normals; both branches of a halo have the same."""
        return self._split_normals(jnp.tile(jnp.asarray(halos.normals), (2, 1)))

    def _stars(
        self, params: ModelParams, halos: Halos, tables: SliceTables
    ) -> tuple[Float[Array, "point node"], GalaxyProperties, StellarMetallicity, Float[Array, "halo"]]:
        """SFRs at the nodes, fluctuating, galaxies' properties, metallicities, and quenched fractions."""
        dtype = halos.weight.dtype
        elapsed = (1 - jnp.asarray(tables.light.outside.fractions)).astype(dtype)
        sfr, frac_q = self.histories(params, halos, elapsed)
        n_halo = halos.weight.shape[0]
        sfr = sfr.transpose(1, 0, 2).reshape(2 * n_halo, -1)
        z = jnp.tile(jnp.asarray(halos.z_obs), 2)
        normals = self._normals_of_points(halos)

        light = tables.light.outside
        mass = jnp.einsum("pn,pz,zn->p", sfr, z_weights(light.z_grid, z), jnp.asarray(tables.mass, dtype))
        lg_mstar = jnp.log10(mass)
        galaxies = GalaxyProperties(
            lg_mstar,
            jnp.log10(sfr[:, 0]) - lg_mstar,
            z,
            *(jnp.tile(jnp.asarray(x), 2) for x in (halos.t_obs, halos.logmp0, halos.is_central)),
            is_quenched=jnp.repeat(jnp.asarray([0.0, 1.0], dtype), n_halo),
        )
        if self.burstiness is not None:
            lookback = galaxies.t_obs[:, None] * jnp.asarray(light.fractions, dtype)
            sfr = sfr * jax.vmap(self.burstiness, in_axes=(None, 0, 0, 0))(
                params.burstiness, galaxies, lookback, normals["burstiness"]
            )
        lgmet = jax.vmap(self.metallicity, in_axes=(None, 0, 0))(
            params.metallicity, galaxies, normals["metallicity"]
        )
        return sfr, galaxies, lgmet, frac_q

    def lg_median_fluctuation(self, params: ModelParams, galaxies: GalaxyProperties) -> Float[Array, "point"]:
        """log10 of the factor on the SFR of now that the median of galaxies like each of these has.

        Fluctuations that leave the mean SFR as it is leave most galaxies below their smooth histories: by
        ln(10) sd^2 / 2 dex of a normal one.
        """
        if self.burstiness is None:
            return jnp.zeros_like(galaxies.lg_ssfr)
        now, median = jnp.zeros(1, galaxies.lg_ssfr.dtype), jnp.zeros(self.burstiness.n_normal)
        factor = jax.vmap(self.burstiness, in_axes=(None, 0, None, None))(
            params.burstiness, galaxies, now, median.astype(now.dtype)
        )
        return jnp.log10(factor[:, 0])

    def line_luminosities(
        self, params: ModelParams, halos: Halos, tables: SliceTables, lines: LineTable
    ) -> Float[Array, "point line"]:
        """Intrinsic luminosities of nebular lines [Lsun] of the points that a call gives.

        Parameters
        ----------
        params, halos, tables : ModelParams, Halos, SliceTables
            Parameters, halos and tables as in a call; the model has to have gas.
        lines : LineTable
            At the nodes of ``tables``.
        """
        dtype = halos.weight.dtype
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        if self.nebular is None:
            raise InputError("model.nebular: is none, and lines are of the gas")
        sfr, galaxies, lgmet, _ = self._stars(params, halos, tables)
        shares = jax.vmap(lgmet_weights, in_axes=(0, 0, None))(
            lgmet.lgmet, lgmet.scatter, jnp.asarray(lines.ssp_lgmet, dtype)
        )
        return lines(self.nebular(params.nebular), sfr, shares, galaxies.z)

    def histories(self, params: ModelParams, halos: Halos, elapsed: Float[Array, "node"]) -> Histories:
        """Histories of halos at fractions of the cosmic time at which each is observed.

        Parameters
        ----------
        params : ModelParams
            Parameters of all components.
        halos : Halos
            Halos of one slice, arrays [halo].
        elapsed : Float[Array, "node"]
            Fractions, from 0, the Big Bang, to 1, the time of observation.

        Returns
        -------
        Histories
            With a leading axis of halos.
        """

        def one_halo(halo: Halos, normals: Float[Array, "normal"]) -> Histories:
            t = jnp.maximum(halo.t_obs * elapsed, _T_MIN)
            return self.sfh(params.sfh, halo, t, self.cosmology, normals)

        normals = jnp.asarray(halos.normals)[:, : self.sfh.n_normal]
        return jax.vmap(one_halo)(jax.tree.map(jnp.asarray, halos), normals)

    def _fluxes(
        self,
        params: ModelParams,
        table: LightTable,
        sfr: Float[Array, "point node"],
        z: Float[Array, "point"],
        inside: tuple[StellarMetallicity, DustAmount],
    ) -> Float[Array, "point band"]:
        """Attenuated band fluxes [AB maggies at 10 pc]."""
        lgmet, dust = inside
        shares = jax.vmap(lgmet_weights, in_axes=(0, 0, None))(
            lgmet.lgmet, lgmet.scatter, jnp.asarray(table.outside.ssp_lgmet, z.dtype)
        )
        gas = None if self.nebular is None else self.nebular(params.nebular)
        outside, clouded = table.around(gas, z.dtype)
        flux = smooth_sfh_fluxes(outside, sfr, shares, z)
        young = smooth_sfh_fluxes(clouded, sfr[:, : clouded.fractions.size], shares, z)
        wave = jnp.asarray(outside.wave_obs, z.dtype) / (1 + z)[:, None]
        if self.birth_cloud is not None:
            depth = jax.vmap(self.birth_cloud, in_axes=(0, None, 0))(wave, params.birth_cloud, dust.av)
            young = young * transmitted(depth)
        curve = self.dust_law(wave, params.dust_law)
        trans = jax.vmap(transmitted)(dust.av[:, None] * curve, dust.f_unobscured)
        return outside.to_bands((flux + young) * trans)


def build_tables(
    ssp: SSP, filters: Filters, z_grid: np.ndarray, model: ForwardModel, nebular: NebularGrid | None
) -> SliceTables:
    """Tables of one slice.

    Parameters
    ----------
    ssp : SSP
        Stellar populations, without nebular emission where the model adds it.
    filters : Filters
        Bands.
    z_grid : np.ndarray
        Redshifts that span the slice.
    model : ForwardModel
        Its cosmology, birth clouds and gas.
    nebular : NebularGrid or None
        Emission of the gas; what the model has no gas for isn't used.
    """
    # two parts a band keep attenuation of low-redshift optical bands exact to 0.004 mag at A_V = 2;
    # the same number in every slice lets the slices share one program
    around = Surroundings(None if model.nebular is None else nebular, model.birth_cloud)
    light = LightTable.build(ssp, filters, z_grid, model.cosmology, around)
    t_grid = np.asarray(age(model.cosmology, jnp.asarray(z_grid)))
    nodes = np.asarray(light.outside.fractions)
    mass = [lookback_matrix(nodes * t, ssp.ssp_lg_age_gyr) @ solar_survivors(ssp) for t in t_grid]
    return SliceTables(light, np.stack(mass))


def solar_survivors(ssp: SSP) -> Float[np.ndarray, "age"]:
    """Surviving mass per Msun formed of stars of each age, at solar metallicity.

    A grid that doesn't tell is taken for Kroupa's initial mass function, remnants included.
    """
    if ssp.ssp_surviving_mstar_frac is None:
        return np.asarray(surviving_fraction(np.asarray(ssp.ssp_lg_age_gyr) + 9, RETURN_FITS["kroupa"]))
    solar = int(np.argmin(np.abs(np.asarray(ssp.ssp_lgmet) - _SOLAR_LGMET)))
    return np.asarray(ssp.ssp_surviving_mstar_frac)[solar]
