"""Weighted halo lightcones in redshift slices: what the forward model is integrated over.

Abundances come from diffhalos' calibrated (sub)halo mass functions, assembly histories from its normalizing
flow P(diffmah parameters | mass, time). Every random number is a scrambled Sobol number, or an independent
one where halos are to scatter like a survey's: mass and redshift by inverse transform from a proposal
density, the flow's base variables and all galaxy-level scatter as standard normals. A halo drawn from
proposal density q carries the importance weight

    w = dn/dlgM (lgM, z) dV/dz / q(lgM, z)      (centrals),
    w = dn/dlgM_host dN/dlgmu dV/dz / q         (satellites),

divided by the volume V of the slice, so sums over halos estimate means over the lightcone whatever q is; q
only sets the variance. Halos are generated once and never differentiated.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import (
    DEFAULT_MAH_U_PARAMS,
    DiffmahParams,
    _log_mah_kern,
    get_bounded_mah_params,
)
from jaxtyping import Float, PRNGKeyArray
from scipy.special import ndtri

from popinfer.cosmology import NAMES, PLANCK15, Cosmology, age, comoving_volume_per_z, in_named_units
from popinfer.errors import InputError
from popinfer.precision import keep_precision
from popinfer.random import numpy_generator, sobol, stream
from popinfer.records import Halos

N_MAH = 5
N_SPACE = 3  # mass, redshift, host-to-satellite mass ratio
_LGM_MAX = 15.3
_HOST_STEP, _LOWEST_HOSTED = 0.05, 9.0  # of redshift, and log10 Msun: hosts of satellites are tabulated so
_FLOW_LGM_RANGE = (10.0, 14.5)  # where the flow was trained; outside, the edge's shapes are rescaled
# diffhalos' abundances and histories are fits to SMDPL, of sigma8 0.8228 and ns 0.96 (Klypin et al. 2016,
# MNRAS 457, 4340)
CALIBRATED_IN = Cosmology(om0=0.307115, h=0.6777, fb=0.048206 / 0.307115)
# H0, Om0, w0, wa: with sigma8 held, the mass function of Tinker et al. (2008) at z = 0.1 moves by 3 % with
# the first, 3 to 5 % with the second between 10^12 and 10^14 Msun, and next to nothing with the others
_TOLERATED = (1.0, 0.01, 0.05, 0.2)
_BLOCK = 1024  # halos whose histories are drawn together: the flow takes a second to compile for a new number
_FLOWS = {"central": "cenflow_v2_0_64bit.eqx", "satellite": "satflow_v2_0_64bit.eqx"}


@dataclass(frozen=True)
class LightconeSpec:
    """One redshift slice of the lightcone.

    Attributes
    ----------
    z_min, z_max : redshift range, 0 < z_min < z_max.
    n_halo : number of halos to draw; a fifth of them are satellites.
    lgm_min : log10 of the lowest peak halo mass [Msun].
    n_normal : number of standard normals each galaxy needs.
    flatten : halos are drawn in proportion to (abundance)^flatten; 1 is an unweighted sample, smaller
        values put more halos at the rare massive end.
    detection : (log10 masses, probabilities) that a galaxy in such a halo is in the sample; halos are drawn
        in proportion to its square root too. None draws without regard to detection.
    redshifts : (redshifts, density) to draw halos at, from z_min to z_max; the comoving volume when None.
    independent : draw halos independently of each other; sums over them scatter more.
    lgm_max : log10 of the highest peak halo mass [Msun]; there are hardly any above the default.
    """

    z_min: float
    z_max: float
    n_halo: int = 2048
    lgm_min: float = 11.0
    n_normal: int = 20
    flatten: float = 1.0
    detection: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    redshifts: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    independent: bool = False
    lgm_max: float = _LGM_MAX

    def __post_init__(self) -> None:
        """Refuse slices without volume or halos."""
        if not 0 < self.z_min < self.z_max:
            raise InputError(f"redshift slice ({self.z_min}, {self.z_max}): need 0 < z_min < z_max")
        if self.n_halo < 16:
            raise InputError(f"n_halo is {self.n_halo}: at least 16 halos a slice")
        if not 9.0 <= self.lgm_min < _LGM_MAX - 1:
            raise InputError(f"lgm_min is {self.lgm_min}: between 9 and {_LGM_MAX - 1} (log10 Msun)")
        if not self.lgm_min < self.lgm_max <= _LGM_MAX:
            raise InputError(f"lgm_max is {self.lgm_max}: between lgm_min and {_LGM_MAX} (log10 Msun)")


def other_cosmology(cosmology: Cosmology) -> str:
    """A caution where halos are drawn for another cosmology than their calibration's; "" for none."""
    ours, theirs = in_named_units(cosmology), in_named_units(CALIBRATED_IN)
    differing = [
        f"{name} is {here:g} and not {there:g}"
        for name, here, there, most in zip(NAMES, ours, theirs, _TOLERATED, strict=True)
        if abs(here - there) > most
    ]
    if not differing:
        return ""
    return (
        "halos are drawn from mass functions and assembly histories that are calibrated on SMDPL "
        f"(sigma8 0.8228), and {', '.join(differing)} in this run's cosmology: distances, volumes and ages "
        "follow it, halos don't"
    )


def draw_halos(key: PRNGKeyArray, spec: LightconeSpec, cosmology: Cosmology = PLANCK15) -> Halos:
    """Draw the weighted halos of one slice.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the Sobol scrambling or of independent numbers; equal keys give equal halos.
    spec : LightconeSpec
        Redshifts of the slice, number of halos, and lowest mass.
    cosmology : Cosmology
        Cosmology for volumes and ages; the mass functions are diffhalos' calibrations.

    Returns
    -------
    Halos
        NumPy arrays of float64, centrals first.
    """
    return jax.tree.map(lambda x: x[0], _draw_batches([key], spec, cosmology))


def draw_slices(key: PRNGKeyArray, specs: Sequence[LightconeSpec], cosmology: Cosmology = PLANCK15) -> Halos:
    """Draw the weighted halos of all slices.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the Sobol scrambling or of independent numbers; equal keys give equal halos.
    specs : Sequence[LightconeSpec]
        Redshifts of each slice, number of halos, and lowest mass.
    cosmology : Cosmology
        Cosmology for volumes and ages; the mass functions are diffhalos' calibrations.

    Returns
    -------
    Halos
        NumPy arrays of float64 [slice, halo].
    """
    return jax.tree.map(lambda x: x[0], draw_slice_batches([key], specs, cosmology))


def draw_slice_batches(
    keys: Sequence[PRNGKeyArray], specs: Sequence[LightconeSpec], cosmology: Cosmology = PLANCK15
) -> Halos:
    """Halos [batch, slice, halo] of all slices, a batch a key, in one go: each is that of `draw_slices`."""
    drawn = [
        _draw_batches([stream(key, "slice", index) for key in keys], spec, cosmology)
        for index, spec in enumerate(specs)
    ]
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *drawn)


def surviving(halos: Halos, survival: float) -> Halos:
    """Drawn halos with the weights of those subhalos that are left, as in a simulation.

    Parameters
    ----------
    halos : Halos
        Of any shape.
    survival : float
        Share of all subhalos that ever fell in.
    """
    left = np.where(np.asarray(halos.is_central) > 0.5, 1.0, survival)
    # batches have more axes than the record's constructor allows
    return eqx.tree_at(lambda x: x.weight, halos, np.asarray(halos.weight) * left)


def _draw_batches(keys: Sequence[PRNGKeyArray], spec: LightconeSpec, cosmology: Cosmology) -> Halos:
    """Halos [batch, halo] of one slice, a batch a key, centrals first."""
    n_sat, parts = spec.n_halo // 5, []
    for kind, n in (("central", spec.n_halo - n_sat), ("satellite", n_sat)):
        drawn = _draw_kind([stream(key, kind) for key in keys], kind, spec, n, cosmology)
        parts.append(jax.tree.map(lambda x, n=n: x.reshape(len(keys), n, *x.shape[1:]), drawn))
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


def _draw_kind(
    keys: Sequence[PRNGKeyArray], kind: str, spec: LightconeSpec, n: int, cosmology: Cosmology
) -> Halos:
    """Batches of n halos each, one after the other."""
    dim = N_SPACE + N_MAH + spec.n_normal
    uniforms = np.concatenate([unit_cube(key, n, dim, spec.independent) for key in keys])
    z, thinned = draw_redshift(uniforms[:, 1], spec, cosmology)
    if kind == "central":
        lgm, weight = _draw_central_mass(uniforms[:, 0], z, spec)
        lgmhost = lgm
    else:
        lgm, lgmhost, weight = _draw_satellite_mass(uniforms[:, 0], uniforms[:, 2], z, spec)
    t_obs = np.asarray(age(cosmology, z))
    logt0 = float(np.log10(age(cosmology, 0.0)))
    mah, logmp0 = assembly_histories(kind, ndtri(uniforms[:, N_SPACE : N_SPACE + N_MAH]), lgm, t_obs, logt0)
    central = kind == "central"
    zeros = np.zeros(len(z))
    return Halos(
        z_obs=z,
        t_obs=t_obs,
        mah_params=mah,
        logmp0=logmp0,
        is_central=np.full(len(z), float(central)),
        lgmu_infall=zeros if central else lgm - lgmhost,
        logmhost_infall=zeros if central else lgmhost,
        # a satellite stops growing when it falls in; diffstarpop marks centrals with -100 Gyr
        gyr_since_infall=zeros - 100.0 if central else t_obs - mah.t_peak,
        weight=weight * thinned / n,
        normals=ndtri(uniforms[:, N_SPACE + N_MAH :]),
    )


def unit_cube(key: PRNGKeyArray, n: int, dim: int, independent: bool) -> np.ndarray:
    """Points strictly inside the unit cube, scrambled Sobol ones if not independent; n as it comes."""
    points = numpy_generator(key).random((n, dim)) if independent else sobol(key, n, dim)
    return np.clip(points, 1e-9, 1 - 1e-9)


def draw_redshift(
    uniform: Float[np.ndarray, "halo"], spec: LightconeSpec, cosmology: Cosmology
) -> tuple[Float[np.ndarray, "halo"], Float[np.ndarray, "halo"]]:
    """Redshifts by inverse transform, and the density of comoving volume over that of the draws."""
    grid = np.linspace(spec.z_min, spec.z_max, 400)
    if spec.redshifts is None:
        volume = np.asarray(comoving_volume_per_z(cosmology, grid))
        return np.interp(uniform, _cdf(grid, volume), grid), np.ones_like(uniform)
    z, density = (np.asarray(x) for x in spec.redshifts)
    grid = np.union1d(grid, z[(z > spec.z_min) & (z < spec.z_max)])
    volume = np.asarray(comoving_volume_per_z(cosmology, grid))
    volume = volume / np.trapezoid(volume, grid)
    cdf = _cdf(grid, np.interp(grid, z, density))
    drawn = np.interp(uniform, cdf, grid)
    step = np.clip(np.searchsorted(grid, drawn, side="right") - 1, 0, len(grid) - 2)
    return drawn, np.interp(drawn, grid, volume) / (np.diff(cdf) / np.diff(grid))[step]


def _cdf(grid: np.ndarray, density: np.ndarray) -> np.ndarray:
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(grid)
    return np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()


def _draw_central_mass(
    uniform: np.ndarray, z: np.ndarray, spec: LightconeSpec
) -> tuple[np.ndarray, np.ndarray]:
    grid = np.linspace(spec.lgm_min, spec.lgm_max, 500)
    proposal = central_abundance(grid, np.full_like(grid, z.mean())) ** spec.flatten * visibility(spec, grid)
    proposal /= np.trapezoid(proposal, grid)
    lgm = np.interp(uniform, _cdf(grid, proposal), grid)
    return lgm, central_abundance(lgm, z) / np.interp(lgm, grid, proposal)


def detection_curve(
    lgm: np.ndarray, seen: np.ndarray, total: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smoothed share of the weight that the survey sees, against halo mass; never below 1e-4.

    Parameters
    ----------
    lgm : np.ndarray
        Log10 halo mass of a pilot sample.
    seen, total : np.ndarray
        Selected and total weight of each of its halos.
    """
    grid = np.linspace(lgm.min(), lgm.max(), 60)
    kernel = np.exp(-0.5 * ((grid[:, None] - lgm) / 0.1) ** 2)
    share = (kernel @ seen) / np.maximum(kernel @ total, 1e-300)
    return tuple(grid.tolist()), tuple(np.clip(share, 1e-4, 1.0).tolist())


def visibility(spec: LightconeSpec, lgm: Float[np.ndarray, "halo"]) -> Float[np.ndarray, "halo"]:
    """Square root of the probability that a galaxy in a halo of such a mass is in the sample."""
    if spec.detection is None:
        return np.ones_like(lgm)
    masses, probabilities = spec.detection
    return np.sqrt(np.interp(lgm, np.asarray(masses), np.asarray(probabilities)))


def _draw_satellite_mass(
    u_sat: np.ndarray, u_host: np.ndarray, z: np.ndarray, spec: LightconeSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the satellite mass from its flattened marginal, then the host mass given the satellite's."""
    lg_sat, lg_host, joint = _satellites_by_host(spec.lgm_min, float(z.mean().round(3)), spec.lgm_max)
    marginal = np.asarray(np.trapezoid(joint, lg_host, axis=1))
    proposal = marginal**spec.flatten * visibility(spec, lg_sat)
    proposal /= np.trapezoid(proposal, lg_sat)
    lgm = np.interp(u_sat, _cdf(lg_sat, proposal), lg_sat)
    q_sat = np.interp(lgm, lg_sat, proposal)
    position = np.clip((lgm - lg_sat[0]) / (lg_sat[1] - lg_sat[0]), 0, len(lg_sat) - 1 - 1e-9)
    below = position.astype(int)
    share = (position - below)[:, None]
    rows = (1 - share) * joint[below] + share * joint[below + 1] + 1e-300
    rows /= np.asarray(np.trapezoid(rows, lg_host, axis=1))[:, None]
    lgmhost, q_host = _draw_rows(u_host, lg_host, rows)
    abundance = central_abundance(lgmhost, z) * _satellites_per_host(lgm - lgmhost, lgmhost)
    return lgm, lgmhost, abundance / (q_sat * q_host)


@functools.cache
def _satellites_by_host(
    lgm_min: float, z: float, lgm_max: float = _LGM_MAX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Abundance of satellites [mass, host mass] on a grid of both at one redshift: what draws come from."""
    lg_sat = np.linspace(lgm_min, min(lgm_max, _LGM_MAX - 0.3), 200)
    lg_host = np.linspace(lgm_min, _LGM_MAX, 300)
    host_density = central_abundance(lg_host, np.full_like(lg_host, z))
    per_host = _satellites_per_host(lg_sat[:, None] - lg_host[None, :], lg_host[None, :])
    return lg_sat, lg_host, host_density * per_host


def _draw_rows(
    uniform: Float[np.ndarray, "draw"], grid: Float[np.ndarray, "x"], density: Float[np.ndarray, "draw x"]
) -> tuple[Float[np.ndarray, "draw"], Float[np.ndarray, "draw"]]:
    """Inverse transform of one uniform number a row of densities, and the density there."""
    step = grid[1] - grid[0]
    cdf = np.cumsum(0.5 * (density[:, 1:] + density[:, :-1]), axis=1)
    target = uniform * cdf[:, -1]
    below = np.minimum((cdf < target[:, None]).sum(axis=1), len(grid) - 2)
    row = np.arange(len(uniform))
    start = np.where(below > 0, cdf[row, below - 1], 0.0)
    share = (target - start) / (cdf[row, below] - start)
    value = density[row, below] + share * (density[row, below + 1] - density[row, below])
    return grid[below] + share * step, value


def hosts_of_satellites(
    uniform: Float[np.ndarray, "halo"], lgm: Float[np.ndarray, "halo"], z: Float[np.ndarray, "halo"]
) -> Float[np.ndarray, "halo"]:
    """Log10 masses of hosts given those of satellites [Msun], by diffhalos' abundance of both.

    A satellite's host doesn't depend on which others are asked for.

    Parameters
    ----------
    uniform : Float[np.ndarray, "halo"]
        Between 0 and 1, a number a satellite.
    lgm : Float[np.ndarray, "halo"]
        Their peak masses.
    z : Float[np.ndarray, "halo"]
        Their redshifts.
    """
    nearest, hosts = np.round(np.maximum(z, 0.0) / _HOST_STEP).astype(int), np.empty(len(lgm))
    for step in np.unique(nearest).tolist():
        rows = np.flatnonzero(nearest == step)
        lg_sat, lg_host, joint = _satellites_by_host(_LOWEST_HOSTED, round(step * _HOST_STEP, 3))
        below = ((lgm[rows] - lg_sat[0]) / (lg_sat[1] - lg_sat[0])).astype(int).clip(0, len(lg_sat) - 1)
        hosts[rows] = _draw_rows(uniform[rows], lg_host, joint[below] + 1e-300)[0]
    return hosts


def central_abundance(
    lgm: Float[np.ndarray, "halo"], z: Float[np.ndarray, "halo"]
) -> Float[np.ndarray, "halo"]:
    """dn/dlgM [1/Mpc^3/dex] of host halos, element by element."""
    with keep_precision():
        return np.asarray(_host_kernel()(jnp.asarray(lgm), jnp.asarray(z)))


@functools.cache
def _host_kernel() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The mass function as one compiled program; operation by operation it would be a hundred."""
    from diffhalos.hmf.hmf_model import DEFAULT_HMF_PARAMS, _dn_dlgm_kern

    return jax.jit(jax.vmap(functools.partial(_dn_dlgm_kern, DEFAULT_HMF_PARAMS)))


def _satellites_per_host(lgmu: np.ndarray, lgmhost: np.ndarray) -> np.ndarray:
    """dN/dlgmu [1/dex] of subhalos in a host (peak masses); zero where the satellite outweighs its host."""
    lgmu, lgmhost = np.broadcast_arrays(lgmu, lgmhost)
    inside = lgmu < -1e-3
    with keep_precision():
        kernel = _subhalo_kernel()
        value = kernel(jnp.asarray(lgmhost).ravel(), jnp.asarray(np.where(inside, lgmu, -1.0)).ravel())
        return np.where(inside, 10 ** np.asarray(value).reshape(lgmu.shape), 0.0)


@functools.cache
def _subhalo_kernel() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The conditional mass function of subhalos, given host masses and mass ratios, compiled likewise."""
    from diffhalos.ccshmf.ccshmf_model import DEFAULT_CCSHMF_PARAMS, predict_diff_cshmf

    return jax.jit(jax.vmap(lambda host, mu: predict_diff_cshmf(DEFAULT_CCSHMF_PARAMS, host, mu[None])[0]))


def assembly_histories(
    kind: str, normals: np.ndarray, lgm_obs: np.ndarray, t_obs: np.ndarray, logt0: float
) -> tuple[DiffmahParams, np.ndarray]:
    """Diffmah parameters given mass at t_obs, from the flow's base normals; and log10 mass today.

    Parameters
    ----------
    kind : str
        "central" or "satellite".
    normals : np.ndarray
        Base normals [halo, 5].
    lgm_obs : np.ndarray
        Log10 peak masses [Msun] at t_obs [Gyr].
    logt0 : float
        Log10 of the age of the universe today [Gyr].
    """
    histories, n = _compiled_histories(_FLOWS[kind]), len(lgm_obs)
    rows = np.minimum(np.arange(-(-n // _BLOCK) * _BLOCK), n - 1).reshape(-1, _BLOCK)
    blocks = [histories(normals[i], lgm_obs[i], t_obs[i], jnp.asarray(logt0)) for i in rows]
    return jax.tree.map(lambda *x: np.concatenate(x)[:n], *blocks)


@functools.cache
def _compiled_histories(model_name: str) -> Callable[..., tuple[DiffmahParams, jax.Array]]:
    """Compiled `assembly_histories` of a flow, for a number of halos that is always the same."""
    with keep_precision():
        import paramax
        from diffhalos.mah.diffmahnet import diffmahnet

    def histories(
        normals: jax.Array, lgm_obs: jax.Array, t_obs: jax.Array, logt0: jax.Array
    ) -> tuple[DiffmahParams, jax.Array]:
        # loaded while it is traced: a flow of random weights is made first, to be filled from the file, which
        # costs six seconds when it is computed, and nothing as a part of the program that no result needs
        model: Any = diffmahnet.load_pretrained_model(model_name)
        flow, scaler = paramax.unwrap(model.flow), model.scaler

        def transform(normals: jax.Array, condition: jax.Array) -> jax.Array:
            scaled = diffmahnet.scaler_transform(condition, scaler.u_scaler)
            # the base distribution's location and scale were trained too
            x = flow.bijection.transform(flow.base_dist.bijection.transform(normals), scaled)
            return diffmahnet.scaler_transform(x, scaler.x_scaler, inverse=True)

        condition = jnp.stack([jnp.clip(lgm_obs, *_FLOW_LGM_RANGE), t_obs], axis=1)
        mah = get_bounded_mah_params(DEFAULT_MAH_U_PARAMS._make(jax.vmap(transform)(normals, condition).T))
        kernel = jax.vmap(_log_mah_kern, in_axes=(0, 0, None))
        mah = mah._replace(logm0=mah.logm0 + lgm_obs - kernel(mah, t_obs, logt0))
        return mah, kernel(mah, jnp.full_like(t_obs, 10**logt0), logt0)

    return jax.jit(histories)
