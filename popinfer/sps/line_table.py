"""Luminosities of nebular lines of smooth histories, as functions of the gas.

A line's luminosity is linear in the SFR at fixed lookback nodes, as band fluxes are
(`popinfer.sps.light_table`):

    L = (1 - f_esc) sum_node SFR_node sum_met P_met  l(node, logU, Z_gas = Z_met 10^offset),

with l the emission of the gas around all stars that a node stands for. It is intrinsic: dust is left out.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age
from popinfer.errors import InputError
from popinfer.records import SSP, NebularGrid

from .age_weights import lookback_matrix
from .band_table import z_weights
from .light_table import Gas
from .nebular import at_node, nebular_ages
from .units import Arr


def line_label(name: str) -> str:
    """Name of a line without blanks, such as H1_6562.80A for Cloudy's "H  1  6562.80A".

    Parameters
    ----------
    name : str
        Element, ion and wavelength as Cloudy writes them.
    """
    *who, wave = name.split()
    return f"{''.join(who)}_{wave}"


class LineTable(eqx.Module):
    """Line luminosities per unit SFR at the nodes of young stars.

    Attributes
    ----------
    luminosity : if no photon escapes [Lsun per Msun/yr].
    z_grid : redshifts of the table.
    neb_logu, neb_lgmet : nodes of the gas.
    ssp_lgmet : of the stars.
    labels : of the lines, see `line_label`.
    """

    luminosity: Float[Arr, "logu gasmet z young line"]
    z_grid: Float[Arr, "z"]
    neb_logu: Float[Arr, "logu"]
    neb_lgmet: Float[Arr, "gasmet"]
    ssp_lgmet: Float[Arr, "met"]
    labels: tuple[str, ...] = eqx.field(static=True)

    @classmethod
    def build(
        cls,
        ssp: SSP,
        grid: NebularGrid,
        labels: tuple[str, ...],
        z_grid: Float[np.ndarray, "z"],
        fractions: Float[np.ndarray, "node"],
        cosmology: Cosmology,
    ) -> "LineTable":
        """Tabulate lines.

        Parameters
        ----------
        ssp : SSP
            Stellar populations, without nebular emission.
        grid : NebularGrid
            Emission of the gas.
        labels : tuple[str, ...]
            Names of the lines; empty for all.
        z_grid : Float[np.ndarray, "z"]
            Redshifts of the table, increasing.
        fractions : Float[np.ndarray, "node"]
            Lookback nodes, as fractions of the time of observation.
        cosmology : Cosmology
            Cosmology for cosmic times.

        Raises
        ------
        InputError
            The grid has no such line.
        """
        known = [line_label(name) for name in grid.line_name]
        for label in labels:
            if label not in known:
                raise InputError(f"no line is called '{label}'; there are {', '.join(known)}")
        columns = [known.index(label) for label in labels or known]
        by_nebular_age = nebular_ages(ssp.ssp_lg_age_gyr, grid)
        t_grid = np.asarray(age(cosmology, jnp.asarray(z_grid)), np.float64)
        rows = np.stack([lookback_matrix(fractions * t, ssp.ssp_lg_age_gyr) @ by_nebular_age for t in t_grid])
        young = int(np.flatnonzero(np.any(rows != 0, axis=(0, 2)))[-1]) + 1
        lum = np.asarray(grid.line_lum, np.float64)[..., columns]
        return cls(
            np.einsum("znb,gubl->ugznl", rows[:, :young], lum, optimize=True),
            np.asarray(z_grid, np.float64),
            np.asarray(grid.neb_logu, np.float64),
            np.asarray(grid.neb_lgmet, np.float64),
            np.asarray(ssp.ssp_lgmet, np.float64),
            tuple(known[i] for i in columns),
        )

    def __call__(
        self,
        gas: Gas,
        sfr: Float[Array, "gal node"],
        lgmet_shares: Float[Array, "gal met"],
        z: Float[Array, "gal"],
    ) -> Float[Array, "gal line"]:
        """Intrinsic luminosities [Lsun], in the dtype of ``sfr``.

        Parameters
        ----------
        gas : Gas
            Its state.
        sfr : Float[Array, "gal node"]
            At cosmic times t_obs (1 - fractions) [Msun/yr].
        lgmet_shares : Float[Array, "gal met"]
            Share of the stars of each SSP metallicity.
        z : Float[Array, "gal"]
            redshift.
        """
        by_met = self._of_stars(gas, sfr.dtype)
        n_z, n_young = by_met.shape[1:3]
        at_z = z_weights(self.z_grid, z).astype(sfr.dtype)
        made = jnp.einsum("pn,pz,pm->pmzn", sfr[:, :n_young], at_z, lgmet_shares)
        stays = 1 - jnp.asarray(gas.f_esc, sfr.dtype)
        return stays * made.reshape(len(z), -1) @ by_met.reshape(by_met.shape[0] * n_z * n_young, -1)

    def _of_stars(self, gas: Gas, dtype: Any) -> Float[Array, "met z young line"]:
        """The table for one state of the gas, at the metallicities of the stars plus an offset."""
        at_logu = at_node(
            jnp.asarray(self.luminosity, dtype), self.neb_logu, jnp.asarray(gas.logu, dtype), "logu"
        )
        lgmet = jnp.asarray(self.ssp_lgmet, dtype) + jnp.asarray(gas.lgmet_offset, dtype)
        return jnp.einsum("mg,gznl->mznl", z_weights(self.neb_lgmet, lgmet).astype(dtype), at_logu)
