"""Band fluxes of every SSP on a redshift grid: photometry of a population without its spectra.

The band flux of a galaxy is linear in the SSP weights, flux_b = sum_(met, age) w F_b(z, met, age), where F is
tabulated here and interpolated linearly in z. Dust multiplies the SED before the filter integral. To keep
that, every band is split by Lagrange polynomials l_k through the nodes lambda_k of the Gauss quadrature with
its transmission as weight,

    F_(b,k) = int L_nu(SSP) T l_k dln(lambda) / int T dln(lambda),    flux_b = sum_k g(lambda_k) F_(b,k),

which is exact for any attenuation factor g that is a polynomial in ln(lambda) of degree below ``n_sub``,
whatever the SED; a single effective wavelength would depend on the SED. `BandTable.check` measures what is
left.
"""

from collections.abc import Iterator

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age
from popinfer.records import SSP, Filters

from .age_weights import lookback_fractions, lookback_matrix
from .band_nodes import enough_nodes, gauss_nodes, pivot_wavelength, probe_histories, transmission
from .concrete import known, require
from .dust import DustLaw, Salim18
from .photometry import band_matrix, band_moments, check_coverage, igm_rows
from .units import Arr, Scalar


class BandTable(eqx.Module):
    """SSP band fluxes [maggies per Msun formed, as if at 10 pc] on a redshift grid.

    Attributes
    ----------
    z_grid : redshifts, increasing.
    flux : AB maggies per Msun formed; the factor (1 + z) is in.
    wave_obs : observed wavelength at which dust acts on each part of a band [Angstrom].
    wave_eff, wave_eff_band : rest-frame wavelength of the parts, and pivot wavelength of the bands
    [Angstrom].
    ssp_lgmet, ssp_lg_age_gyr : axes of the SSP grid.
    band_index : the band of each part.
    names : filter names.
    igm : whether the intergalactic medium absorbs.
    """

    z_grid: Float[Arr, "z"]
    flux: Float[Arr, "z met age sub"]
    wave_obs: Float[Arr, "sub"]
    wave_eff: Float[Arr, "z sub"]
    wave_eff_band: Float[Arr, "z band"]
    ssp_lgmet: Float[Arr, "met"]
    ssp_lg_age_gyr: Float[Arr, "age"]
    band_index: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    igm: bool = eqx.field(static=True, default=True)

    @classmethod
    def build(
        cls,
        ssp: SSP,
        filters: Filters,
        z_grid: Float[Arr, "z"],
        n_sub: int | tuple[int, ...] | None = None,
        tol: float = 0.003,
        igm: bool = True,
    ) -> "BandTable":
        """Tabulate an SSP grid through filters.

        The table is made once, in NumPy and float64, and is constant to JAX: gradients with respect to what
        went into the SSPs (logU, f_esc, the depth of birth clouds) take the SED route. `refined_table` picks
        redshifts and parts that meet a tolerance.

        Parameters
        ----------
        ssp : SSP
            With nebular emission already added, if wanted.
        filters : Filters
            The bands.
        z_grid : Float[Array, "z"]
            Redshifts >= 0, increasing; one or more.
        n_sub : int or tuple of int, optional
            Parts per band, or of each band. By default each gets as few as keep the error of attenuation by
            A_V = 2 (Calzetti and Salim laws) within ``tol`` (see `enough_nodes`): two for SDSS bands at low
            redshift, more in the ultraviolet.
        tol : float
            Float [mag]; see ``n_sub``. The spacing of ``z_grid`` has its own error.
        igm : bool
            Absorb by the intergalactic medium.

        Returns
        -------
        BandTable
            NumPy arrays of float64.

        Raises
        ------
        InputError
            A filter reaches beyond the redshifted SED, or no number of parts tried meets ``tol``.
        """
        z_grid = np.atleast_1d(np.asarray(z_grid, np.float64))
        for z in z_grid:
            check_coverage(ssp.ssp_wave, filters, float(z))
        curves = _curves(filters)
        n_parts = n_sub if isinstance(n_sub, tuple) else (n_sub,) * len(curves)
        nodes = [
            gauss_nodes(*c, n) if n else enough_nodes(ssp, c, z_grid, tol)
            for c, n in zip(curves, n_parts, strict=True)
        ]
        sed = np.asarray(ssp.ssp_flux, np.float64).reshape(-1, len(ssp.ssp_wave))
        flux = [sed @ matrix for matrix in part_matrices(ssp.ssp_wave, filters, z_grid, nodes, igm)]
        wave_obs, pivot = np.concatenate(nodes), np.array([pivot_wavelength(*c) for c in curves])
        return cls(
            z_grid=z_grid,
            flux=np.stack(flux).reshape(z_grid.size, *ssp.ssp_flux.shape[:2], -1),
            wave_obs=wave_obs,
            wave_eff=wave_obs / (1 + z_grid[:, None]),
            wave_eff_band=pivot / (1 + z_grid[:, None]),
            ssp_lgmet=np.asarray(ssp.ssp_lgmet, np.float64),
            ssp_lg_age_gyr=np.asarray(ssp.ssp_lg_age_gyr, np.float64),
            band_index=tuple(b for b, n in enumerate(nodes) for _ in n),
            names=filters.names,
            igm=igm,
        )

    def at(self, z: Scalar, dtype: jnp.dtype | None = None) -> Float[Array, "met age sub"]:
        """SSP fluxes at one redshift, which may be traced; see `check_redshifts`."""
        check_redshifts(self.z_grid, z)
        flux = jnp.asarray(self.flux, dtype)
        return jnp.tensordot(z_weights(self.z_grid, jnp.asarray(z, flux.dtype)), flux, 1)

    def to_bands(self, flux: Float[Array, "... sub"]) -> Float[Array, "... band"]:
        """Add up the parts of each band."""
        return sum_parts(flux, self.band_index)

    def for_smooth_sfh(self, cosmology: Cosmology, n_nodes: int = 64) -> "SmoothSfhTable":
        """Contract the age axis with the fixed lookback nodes of smooth SFHs; see `SmoothSfhTable`."""
        fractions = lookback_fractions(n_nodes)
        t_grid = np.asarray(age(cosmology, jnp.asarray(self.z_grid)), np.float64)
        flux = [
            np.einsum("na,mas->nms", lookback_matrix(fractions * t, self.ssp_lg_age_gyr), f)
            for t, f in zip(t_grid, np.asarray(self.flux), strict=True)
        ]
        return SmoothSfhTable(
            z_grid=self.z_grid,
            fractions=fractions,
            flux=np.stack(flux),
            wave_obs=self.wave_obs,
            ssp_lgmet=self.ssp_lgmet,
            band_index=self.band_index,
            names=self.names,
        )

    def check(
        self,
        ssp: SSP,
        filters: Filters,
        av: float = 2.0,
        law: DustLaw | None = None,
        z: Float[np.ndarray, "check"] | None = None,
    ) -> Float[np.ndarray, "check pop band"]:
        """Error of this table against the full SED [mag].

        Parameters
        ----------
        ssp, filters : SSP, Filters
            What the table was built from.
        av : float
            V-band attenuation [mag].
        law : DustLaw
            Attenuation law at its fiducial parameters; `Salim18` by default, whose bump is demanding.
        z : Float[ndarray, "check"], optional
            Where to compare; by default midway between the table's redshifts, where the error is largest.

        Returns
        -------
        Float[ndarray, "check pop band"]
            Magnitude differences for populations of every metallicity and constant, 5, 1 and 0.2 Gyr
            histories.
        """
        law = Salim18() if law is None else law
        middle = 0.5 * (self.z_grid[1:] + self.z_grid[:-1]) if self.z_grid.size > 1 else self.z_grid
        at = np.asarray(middle if z is None else z)
        weights = probe_histories(self.ssp_lg_age_gyr)
        sed = np.einsum("pa,maw->mpw", weights, np.asarray(ssp.ssp_flux), optimize=True)
        sed = sed * transmission(law, ssp.ssp_wave, av)
        parts = np.einsum("pa,zmas->zmps", weights, np.asarray(self.flux), optimize=True)
        shares = np.stack([np.interp(at, self.z_grid, row) for row in np.eye(self.z_grid.size)], axis=1)
        dust = transmission(law, self.wave_obs / (1 + at[:, None]), av)
        errors = []
        for i, z_i in enumerate(at):
            table = np.tensordot(shares[i], parts, 1) * dust[i] @ _membership(self.band_index)
            exact = sed @ band_matrix(ssp.ssp_wave, filters, float(z_i), igm=self.igm)
            errors.append(-2.5 * np.log10(table / exact))
        return np.stack(errors).reshape(at.size, -1, len(self.names))


def part_matrices(
    wave: Float[Arr, "wave"],
    filters: Filters,
    z_grid: Float[np.ndarray, "z"],
    nodes: list[Float[np.ndarray, "_"]],
    igm: bool = True,
) -> Iterator[Float[np.ndarray, "wave sub"]]:
    """Matrices that turn SEDs into fluxes of the parts of each band [maggies], one for each redshift.

    Parameters
    ----------
    wave : Float[Arr, "wave"]
        Rest-frame wavelengths of the SEDs [Angstrom].
    filters : Filters
        The bands.
    z_grid : Float[np.ndarray, "z"]
        Redshifts.
    nodes : list[Float[np.ndarray, "_"]]
        Observed wavelengths at which dust acts on each band's parts [Angstrom].
    igm : bool
        Whether the intergalactic medium absorbs.
    """
    curves = _curves(filters)
    for z in z_grid:
        parts = [band_moments(wave, *c, float(z), n) for c, n in zip(curves, nodes, strict=True)]
        yield np.hstack(parts) * (igm_rows(wave, float(z)) if igm else 1)


def _curves(filters: Filters) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(w), np.asarray(t)) for w, t in zip(filters.wave, filters.trans, strict=True)]


class SmoothSfhTable(eqx.Module):
    """Band fluxes per unit SFR at lookback nodes that scale with the time of observation.

    A galaxy seen at t_obs has flux = sum_n SFR(t_obs (1 - fractions_n)) flux[z, n, met, sub]: one matrix
    product over the nodes for a whole population, see `smooth_sfh_fluxes`. At each tabulated redshift the
    nodes are those of its own cosmic time.

    Attributes
    ----------
    z_grid : redshifts.
    fractions : node ages as fractions of t_obs, 0 (now) to 1 (the Big Bang).
    flux : AB maggies at 10 pc per Msun/yr.
    wave_obs : observed wavelength at which dust acts on each part of a band [Angstrom].
    ssp_lgmet : log10 Z of the metallicity axis.
    band_index : the band of each part.
    names : filter names.
    """

    z_grid: Float[Arr, "z"]
    fractions: Float[Arr, "node"]
    flux: Float[Arr, "z node met sub"]
    wave_obs: Float[Arr, "sub"]
    ssp_lgmet: Float[Arr, "met"]
    band_index: tuple[int, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def to_bands(self, flux: Float[Array, "... sub"]) -> Float[Array, "... band"]:
        """Add up the parts of each band."""
        return sum_parts(flux, self.band_index)


def smooth_sfh_fluxes(
    table: SmoothSfhTable,
    sfr: Float[Array, "gal node"],
    lgmet_shares: Float[Array, "gal met"],
    z: Float[Array, "gal"] | Float[Array, ""],
) -> Float[Array, "gal sub"]:
    """Dust-free fluxes of the parts of each band for a population, in the dtype of ``sfr``.

    Parameters
    ----------
    table : SmoothSfhTable
        With as few redshifts as the population needs: the work is proportional to them.
    sfr : Float[Array, "gal node"]
        SFR [Msun/yr] at cosmic times t_obs (1 - table.fractions); zero before the first star.
    lgmet_shares : Float[Array, "gal met"]
        `lgmet_weights` of each galaxy.
    z : Float[Array, "gal"]
        Redshift, inside the table's grid (the ends are held where traced); or one for all.

    Returns
    -------
    Float[Array, "gal sub"]
        AB maggies at 10 pc; multiply by ``frac_trans`` at wave_obs / (1 + z), then `to_bands`.

    Raises
    ------
    InputError
        A redshift is outside the table.
    """
    check_redshifts(table.z_grid, z)
    flux = jnp.asarray(table.flux, sfr.dtype)
    n_z, n_node, n_met, n_sub = flux.shape
    by_z = z_weights(table.z_grid, jnp.asarray(z, sfr.dtype))
    if by_z.ndim == 1:  # one redshift: interpolate the table instead of the galaxies
        light = sfr @ jnp.tensordot(by_z, flux, 1).reshape(n_node, -1)
        return jnp.einsum("gms,gm->gs", light.reshape(-1, n_met, n_sub), lgmet_shares)
    if n_node < n_z:  # the longer of the two axes is summed first: fewer numbers a galaxy
        light = by_z @ flux.reshape(n_z, -1)
        shares = (sfr[:, :, None] * lgmet_shares[:, None, :]).reshape(len(sfr), -1)
    else:
        light = sfr @ jnp.moveaxis(flux, 1, 0).reshape(n_node, -1)
        shares = (by_z[:, :, None] * lgmet_shares[:, None, :]).reshape(len(sfr), -1)
    return jnp.einsum("gms,gm->gs", light.reshape(len(sfr), -1, n_sub), shares)


def check_redshifts(z_grid: Float[Arr, "z"], z: Scalar | Float[Arr, "gal"]) -> None:
    """Raise `InputError` for redshifts outside the grid by more than single precision; traced ones pass."""
    grid = known(z_grid)
    if grid is None:
        return
    low, high = grid[[0, -1]]
    require("z", z, low, high, f"the band table covers {low:g} to {high:g}", 1e-6 * (1 + high))


def z_weights(z_grid: Float[Arr, "z"], z: Float[Array, "*gal"]) -> Float[Array, "... z"]:
    """Linear-interpolation weights of a redshift on the grid; held at the ends."""
    grid = jnp.asarray(z_grid, z.dtype)
    if grid.size == 1:
        return jnp.ones((*z.shape, 1), z.dtype)
    share = (jnp.clip(z, grid[0], grid[-1])[..., None] - grid[:-1]) / jnp.diff(grid)
    ramp = jnp.clip(share, 0, 1)  # 0 below each interval, 1 above it
    one, none = jnp.ones_like(ramp[..., :1]), jnp.zeros_like(ramp[..., :1])
    return jnp.concatenate([one, ramp], -1) - jnp.concatenate([ramp, none], -1)


def sum_parts(flux: Float[Array, "... sub"], band_index: tuple[int, ...]) -> Float[Array, "... band"]:
    """Add up the parts of each band."""
    return flux @ jnp.asarray(_membership(band_index), flux.dtype)


def _membership(band_index: tuple[int, ...]) -> Float[np.ndarray, "sub band"]:
    return np.eye(max(band_index) + 1)[list(band_index)]
