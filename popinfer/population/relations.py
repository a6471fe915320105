"""What the population parameters say about galaxies and halos at large: relations that no survey selected.

Halo samples of their own, drawn without regard to detection: one near z = 0.1 for

- the median stellar mass of central galaxies at fixed halo mass,
- the quenched fraction, the share of galaxies with sSFR below 10^-11 / yr at fixed stellar mass,
- the mean log10 sSFR of the others at fixed stellar mass, now, with the fluctuation of the median galaxy,

and thin shells at several redshifts for the cosmic star formation rate density

    rho_SFR(z) = sum_j n_j [(1 - f_q) SFR_ms + f_q SFR_q],   n_j the halo's comoving number density.

Halos of a shell carry weights that add up to their comoving number density, so the sum is the integral over
the halo mass function above `LGM_MIN`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import _log_mah_kern
from jaxtyping import Array, Float, PRNGKeyArray

from popinfer.cosmology import Cosmology, age
from popinfer.halos.lightcone import LightconeSpec, draw_halos, surviving
from popinfer.population.forward import ForwardModel, solar_survivors
from popinfer.population.parameters import ModelParams
from popinfer.population.roles import GalaxyProperties
from popinfer.random import stream
from popinfer.records import SSP, Arr, Halos
from popinfer.sps.age_weights import lookback_matrix

Z_RELATIONS = 0.1
Z_DENSITY = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
LGM_MIN = 10.5  # log10 Msun
LG_SSFR_QUENCHED = -11.0  # log10 1/yr
_HALF_WIDTH = 0.01  # of a shell in redshift
# Halos of shells are drawn in proportion to about the SFR of their galaxies, M^1.5 up to 10^12 Msun and level
# above, the square of which stands where a lightcone has the share that a survey sees.
_LGM = np.linspace(LGM_MIN, 16.0, 56)
_FORMING = (tuple(_LGM), tuple(np.clip(10 ** (3 * (_LGM - 12.0)), 1e-3, 1.0)))
_SMOOTHING = 0.12  # dex, width of the running window in mass


class Sample(eqx.Module):
    """A population at one redshift, main-sequence galaxies of all halos first, then quenched ones.

    ``lgm_halo`` is the peak halo mass at the time of observation; others are as of `Galaxies`.
    """

    lgm_halo: Float[Arr, "point"]
    is_central: Float[Arr, "point"]
    lg_mstar: Float[Arr, "point"]
    lg_ssfr: Float[Arr, "point"]
    lg_ssfr_now: Float[Arr, "point"]
    weight: Float[Arr, "point"]


@dataclass(frozen=True)
class Grids:
    """Where the relations are evaluated [log10 Msun]."""

    lgmh: np.ndarray
    lgmstar: np.ndarray


GRIDS = Grids(np.arange(11.0, 14.51, 0.125), np.arange(9.0, 11.61, 0.1))


class Relations(eqx.Module):
    """Halo samples and stellar mass tables; a function of the model's parameters.

    Attributes
    ----------
    model : the chain, of which histories and satellites are used.
    halos : the sample near z = 0.1.
    shells : thin shells at `Z_DENSITY`, leading axis.
    fractions : node ages as fractions of the time of observation.
    mass : surviving stellar mass per unit SFR at the nodes [yr].
    """

    model: ForwardModel
    halos: Halos
    shells: Halos
    fractions: Float[np.ndarray, "node"]
    mass: Float[np.ndarray, "node"]

    @classmethod
    def build(
        cls,
        key: PRNGKeyArray,
        model: ForwardModel,
        ssp: SSP,
        fractions: np.ndarray,
        n_halo: int,
        survival: float = 1.0,
    ) -> "Relations":
        """Draw the samples, `n_halo` near z = 0.1 and in each shell; see `draw_shells` for `survival`."""
        cosmology, n_normal = model.cosmology, model.sfh.n_normal
        at_z = LightconeSpec(
            Z_RELATIONS - _HALF_WIDTH, Z_RELATIONS + _HALF_WIDTH, n_halo, LGM_MIN, n_normal, 0.5
        )
        stacked = draw_shells(key, Z_DENSITY, n_halo, n_normal, cosmology, survival)
        nodes = np.asarray(fractions) * float(age(cosmology, Z_RELATIONS))
        mass = lookback_matrix(nodes, ssp.ssp_lg_age_gyr) @ solar_survivors(ssp)
        near = surviving(draw_halos(stream(key, "near"), at_z, cosmology), survival)
        return cls(model, near, stacked, np.asarray(fractions), mass)

    def sample(self, params: ModelParams) -> Sample:
        """The population near z = 0.1."""
        halos = jax.tree.map(jnp.asarray, self.halos)
        sfr, frac_q = self.model.histories(params, halos, jnp.asarray(1 - self.fractions))
        mass = sfr @ jnp.asarray(self.mass)
        lg_mstar, lg_ssfr = jnp.log10(mass), jnp.log10(sfr[..., 0]) - jnp.log10(mass)
        of_halos = (halos.z_obs, halos.t_obs, halos.logmp0, halos.is_central)
        galaxies = GalaxyProperties(
            lg_mstar.ravel(),
            lg_ssfr.ravel(),
            *(jnp.repeat(x, 2) for x in of_halos),
            is_quenched=jnp.tile(jnp.asarray([0.0, 1.0], mass.dtype), len(mass)),
        )
        now = lg_ssfr + self.model.lg_median_fluctuation(params, galaxies).reshape(lg_ssfr.shape)
        logt0 = jnp.log10(age(self.model.cosmology, 0.0))
        lgm = jax.vmap(_log_mah_kern, in_axes=(0, 0, None))(halos.mah_params, halos.t_obs, logt0)
        weight = _occupied(self.model, params, halos)[:, None] * jnp.stack([1 - frac_q, frac_q], axis=1)
        columns = (lgm[:, None], halos.is_central[:, None], lg_mstar, lg_ssfr, now, weight)
        return Sample(*(jnp.broadcast_to(c, weight.shape).T.ravel() for c in columns))

    def lg_sfr_density(self, params: ModelParams) -> Float[Array, "z"]:
        """log10 of the cosmic star formation rate density at `Z_DENSITY` [Msun/yr/Mpc^3]."""
        shells = jax.tree.map(jnp.asarray, self.shells)
        return jnp.log10(jax.vmap(lambda halos: sfr_density(self.model, params, halos))(shells))

    def __call__(self, params: ModelParams) -> tuple[Sample, Float[Array, "z"]]:
        """Population near z = 0.1 and star formation rate density; compile this one."""
        return self.sample(params), self.lg_sfr_density(params)


def draw_shells(
    key: PRNGKeyArray,
    redshifts: Sequence[float],
    n_halo: int,
    n_normal: int,
    cosmology: Cosmology,
    survival: float = 1.0,
) -> Halos:
    """Halos of thin shells, arrays [shell, halo], weights in 1/Mpc^3.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the draws.
    redshifts : Sequence[float]
        Of the shells' middles.
    n_halo : int
        Of each.
    n_normal : int
        Standard normal numbers of a galaxy.
    cosmology : Cosmology
        Of distances and ages.
    survival : float
        Share of subhalos that is left, where the model doesn't know it: on simulations.
    """
    specs = [
        LightconeSpec(
            max(z - _HALF_WIDTH, 1e-3), z + _HALF_WIDTH, n_halo, LGM_MIN, n_normal, detection=_FORMING
        )
        for z in redshifts
    ]
    drawn = [draw_halos(stream(key, "shell", i), spec, cosmology) for i, spec in enumerate(specs)]
    return surviving(jax.tree.map(lambda *x: np.stack(x), *drawn), survival)


def sfr_density(model: ForwardModel, params: ModelParams, halos: Halos) -> Float[Array, ""]:
    """Mean star formation rate of the galaxies of a thin shell per volume [Msun/yr/Mpc^3].

    Parameters
    ----------
    model, params : ForwardModel, ModelParams
        Of the histories and satellites.
    halos : Halos
        The shell's, weights in 1/Mpc^3.
    """
    sfr, frac_q = model.histories(params, halos, jnp.ones(1, halos.weight.dtype))
    mean = (1 - frac_q) * sfr[:, 0, 0] + frac_q * sfr[:, 1, 0]
    return jnp.sum(_occupied(model, params, halos) * mean)


def _occupied(model: ForwardModel, params: ModelParams, halos: Halos) -> Float[Array, "halo"]:
    """Number of galaxies that each halo stands for."""
    occupied = jax.vmap(model.satellites, in_axes=(None, 0))(params.satellites, halos)
    return jnp.asarray(halos.weight) * occupied


def summarise(sample: Sample, grids: Grids = GRIDS) -> dict[str, np.ndarray]:
    """Relations of one population on a grid, by running windows of 0.12 dex.

    Returns
    -------
    dict
        ``smhm`` on ``lgmh``; ``quenched_fraction`` and ``lg_ssfr`` on ``lgmstar``. NaN where there are too
        few galaxies to say.
    """
    x = jax.tree.map(lambda column: np.asarray(column, float), sample)
    near_halo = _windows(grids.lgmh, x.lgm_halo) * (x.weight * (x.is_central > 0.5))
    near_mass = _windows(grids.lgmstar, x.lg_mstar) * x.weight
    quenched = x.lg_ssfr < LG_SSFR_QUENCHED
    forming = near_mass * ~quenched
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = (near_mass @ quenched) / near_mass.sum(axis=1)
        lg_ssfr = (forming @ np.where(quenched, 0.0, x.lg_ssfr_now)) / forming.sum(axis=1)
    order = np.argsort(x.lg_mstar)
    smhm = [_median(x.lg_mstar[order], row[order]) for row in near_halo]
    return {
        "smhm": np.where(_well_filled(near_halo), smhm, np.nan),
        "quenched_fraction": np.where(_well_filled(near_mass), fraction, np.nan),
        "lg_ssfr": np.where(_well_filled(forming), lg_ssfr, np.nan),
    }


def _windows(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weight of each galaxy at each grid point; zero beyond three widths, so that nothing is extrapolated."""
    distance = np.abs(grid[:, None] - x) / _SMOOTHING
    return np.where(distance < 3, np.exp(-0.5 * distance**2), 0.0)


def _well_filled(weights: np.ndarray) -> np.ndarray:
    """Rows with at least eight effective galaxies."""
    return weights.sum(axis=1) ** 2 > 8 * np.maximum((weights**2).sum(axis=1), 1e-300)


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted median of sorted values."""
    cumulative = np.cumsum(weights)
    return float(np.interp(0.5 * cumulative[-1], cumulative - 0.5 * weights, values))
