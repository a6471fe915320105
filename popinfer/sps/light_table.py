"""Light of a population in a survey's bands as a function of its gas, stars in birth clouds apart.

The band fluxes of a galaxy are linear in its SFR at fixed lookback nodes (`SmoothSfhTable`). What surrounds
young stars acts on few of the nodes, and is tabulated in parts:

    outside the clouds   stars - (1 - f_esc) ionising light + (1 - f_esc) gas(logU, Z)
    inside the clouds    the same of the stars that are still in them,

where the gas is interpolated linearly in logU and in its metallicity, which is that of the stars plus an
offset. Ionising light that doesn't escape powers the gas (`popinfer.sps.nebular`). So all of it, and the
clouds' attenuation, can be parameters of a population at the cost of a few nodes.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age
from popinfer.records import SSP, Filters, NebularGrid

from .age_weights import lookback_fractions, lookback_matrix
from .band_nodes import gauss_nodes, pivot_wavelength
from .band_table import SmoothSfhTable, part_matrices, z_weights
from .dust import BirthClouds
from .nebular import at_node, check_not_twice, gas_spectra, ionising, nebular_ages
from .photometry import check_coverage
from .units import Arr, Scalar

_NOTHING = 1e-9  # of the stars of an age: fewer in the clouds are none


class Gas(NamedTuple):
    """Gas around young stars.

    Attributes
    ----------
    logu : log10 of the ionisation parameter.
    lgmet_offset : log10 of its metallicity relative to that of the stars [dex].
    f_esc : escape fraction of ionising photons.
    """

    logu: Scalar
    lgmet_offset: Scalar
    f_esc: Scalar


class LightTable(eqx.Module):
    """Band fluxes of smooth histories in parts; see the module's text.

    Attributes
    ----------
    outside : of stars outside birth clouds, no gas.
    inside : of stars in birth clouds, at the first nodes only; their fractions are those of ``outside``.
    ionising : light that powers the gas, of stars outside and inside, in the units of the tables.
    gas : its emission if no photon escapes, around stars outside and inside; None where there is no gas.
    neb_logu, neb_lgmet : nodes of ``gas``: log10 of the ionisation parameter and of the metallicity.
    pivot : observed pivot wavelength of each band [Angstrom].
    """

    outside: SmoothSfhTable
    inside: SmoothSfhTable
    ionising: Float[Arr, "2 z young met sub"]
    gas: Float[Arr, "2 logu gasmet z young sub"] | None
    neb_logu: Float[Arr, "logu"]
    neb_lgmet: Float[Arr, "gasmet"]
    pivot: Float[Arr, "band"]

    @classmethod
    def build(
        cls,
        ssp: SSP,
        filters: Filters,
        z_grid: Float[np.ndarray, "z"],
        cosmology: Cosmology,
        surroundings: "Surroundings",
        n_sub: int = 2,
        n_nodes: int = 64,
    ) -> "LightTable":
        """Tabulate.

        Parameters
        ----------
        ssp : SSP
            Stars only, or with emission in the spectra where `surroundings` have no gas.
        filters : Filters
            Curves of the bands.
        z_grid : Float[np.ndarray, "z"]
            Redshifts of the table, increasing.
        cosmology : Cosmology
            Cosmology for cosmic times.
        surroundings : Surroundings
            Gas and clouds.
        n_sub : int
            Parts of each band, see `BandTable`.
        n_nodes : int
            Lookback nodes of smooth histories.

        Raises
        ------
        InputError
            A filter reaches beyond the redshifted SED, or the spectra hold nebular emission already.
        """
        if surroundings.grid is not None:
            check_not_twice(ssp, surroundings.grid)
        for z in z_grid:
            check_coverage(ssp.ssp_wave, filters, float(z))
        curves = list(zip(filters.wave, filters.trans, strict=True))
        nodes = [gauss_nodes(np.asarray(w), np.asarray(t), n_sub) for w, t in curves]
        fractions = lookback_fractions(n_nodes)
        t_grid = np.asarray(age(cosmology, jnp.asarray(z_grid)), np.float64)
        by_age = np.stack([lookback_matrix(fractions * t, ssp.ssp_lg_age_gyr) for t in t_grid])
        bands = np.stack(list(part_matrices(ssp.ssp_wave, filters, z_grid, nodes)))
        stars = np.asarray(ssp.ssp_flux, np.float64)
        in_clouds = surroundings.share_in_clouds(ssp)
        powers, gas, by_nebular_age = _gas_parts(ssp, surroundings.grid, bands)
        n_young = _young_nodes(by_age, in_clouds, by_nebular_age)

        def in_bands(flux: np.ndarray) -> np.ndarray:
            return np.einsum("maw,zws->zmas", flux, bands, optimize=True)

        light = in_bands(stars)
        shares = np.stack([1 - in_clouds, in_clouds])
        young = by_age[:, :n_young]
        tables = [
            SmoothSfhTable(
                z_grid=np.asarray(z_grid, np.float64),
                fractions=fractions[: rows.shape[1]],
                flux=np.einsum("zna,a,zmas->znms", rows, share, light, optimize=True),
                wave_obs=np.concatenate(nodes),
                ssp_lgmet=np.asarray(ssp.ssp_lgmet, np.float64),
                band_index=tuple(b for b, n in enumerate(nodes) for _ in n),
                names=filters.names,
            )
            for rows, share in zip((by_age, young), shares, strict=True)
        ]
        taken = np.einsum("zna,pa,zmas->pznms", young, shares, in_bands(stars * powers), optimize=True)
        emitted = None
        grid = surroundings.grid
        if gas is not None and by_nebular_age is not None:
            emitted = np.einsum("zna,pa,ab,gubzs->pugzns", young, shares, by_nebular_age, gas, optimize=True)
        return cls(
            outside=tables[0],
            inside=tables[1],
            ionising=taken,
            gas=emitted,
            neb_logu=np.zeros(0) if grid is None else np.asarray(grid.neb_logu, np.float64),
            neb_lgmet=np.zeros(0) if grid is None else np.asarray(grid.neb_lgmet, np.float64),
            pivot=np.array([pivot_wavelength(np.asarray(w), np.asarray(t)) for w, t in curves]),
        )

    def with_young_nodes(self, number: int) -> "LightTable":
        """The same table with as many nodes of young stars, by nodes without any."""
        more = number - self.inside.fractions.size

        def padded(values: Arr, axis: int) -> np.ndarray:
            return np.pad(values, [(0, more if i == axis else 0) for i in range(np.ndim(values))])

        inside = dataclasses.replace(
            self.inside,
            flux=padded(self.inside.flux, 1),
            fractions=np.asarray(self.outside.fractions)[:number],
        )
        gas = None if self.gas is None else padded(self.gas, 4)
        return dataclasses.replace(self, inside=inside, ionising=padded(self.ionising, 2), gas=gas)

    def around(self, gas: Gas | None, dtype: Any) -> tuple[SmoothSfhTable, SmoothSfhTable]:
        """Tables of the light outside and inside birth clouds for one state of the gas.

        Parameters
        ----------
        gas : Gas or None
            Its state; None where there is none.
        dtype : Any
            Precision of the tables.
        """
        outside, inside = (jnp.asarray(t.flux, dtype) for t in (self.outside, self.inside))
        if gas is not None and self.gas is not None:
            stays = 1 - jnp.asarray(gas.f_esc, dtype)
            change = stays * (self._emission(gas, dtype) - jnp.asarray(self.ionising, dtype))
            outside = outside.at[:, : change.shape[2]].add(change[0])
            inside = inside + change[1]
        return tuple(
            dataclasses.replace(table, flux=flux)
            for table, flux in ((self.outside, outside), (self.inside, inside))
        )  # pyright: ignore[reportReturnType]

    def _emission(self, gas: Gas, dtype: Any) -> Float[Array, "2 z young met sub"]:
        """Light of the gas at the metallicities of the stars plus an offset."""
        table = jnp.moveaxis(jnp.asarray(self.gas, dtype), 1, 0)
        at_logu = at_node(table, self.neb_logu, jnp.asarray(gas.logu, dtype), "logu")
        lgmet = jnp.asarray(self.outside.ssp_lgmet, dtype) + jnp.asarray(gas.lgmet_offset, dtype)
        by_met = z_weights(self.neb_lgmet, lgmet)  # linear between the nodes, held beyond them
        return jnp.einsum("mg,pgzns->pznms", by_met, at_logu)


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What surrounds young stars.

    Attributes
    ----------
    grid : emission of the gas; None where there is none.
    clouds : birth clouds; None where there are none.
    """

    grid: NebularGrid | None = None
    clouds: BirthClouds | None = None

    def share_in_clouds(self, ssp: SSP) -> Float[np.ndarray, "age"]:
        """Share of the stars of each SSP age that are in their clouds."""
        if self.clouds is None:
            return np.zeros(len(ssp.ssp_lg_age_gyr))
        share = np.asarray(self.clouds.young(ssp.ssp_lg_age_gyr, self.clouds.fiducial), np.float64)
        return np.where(share > _NOTHING, share, 0.0)


def _gas_parts(
    ssp: SSP, grid: NebularGrid | None, bands: Float[np.ndarray, "z wave sub"]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Where stars' light is ionising [age wave], the gas' band fluxes [met logu nebage z sub], its ages."""
    if grid is None:
        return np.zeros((len(ssp.ssp_lg_age_gyr), len(ssp.ssp_wave))), None, None
    spectra = gas_spectra(grid, ssp.ssp_wave)
    gas = np.einsum("gubw,zws->gubzs", spectra, bands, optimize=True)
    return ionising(ssp, grid).astype(float), gas, nebular_ages(ssp.ssp_lg_age_gyr, grid)


def _young_nodes(
    by_age: Float[np.ndarray, "z node age"],
    in_clouds: Float[np.ndarray, "age"],
    by_nebular_age: Float[np.ndarray, "age nebage"] | None,
) -> int:
    """Number of the first nodes that hold all stars in clouds or with gas, one at least."""
    young = in_clouds > 0
    if by_nebular_age is not None:
        young = young | np.any(by_nebular_age > 0, axis=1)
    concerned = np.flatnonzero(np.any(by_age[:, :, young] != 0, axis=(0, 2)))
    return int(concerned[-1]) + 1 if concerned.size else 1
