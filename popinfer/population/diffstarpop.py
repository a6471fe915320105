"""Star formation histories of a halo's two possible galaxies (diffstarpop, Alarcon et al. 2023 and after).

diffstarpop draws, at fixed peak halo mass and time of peak, unbounded diffstar parameters
u = mu(lgM, t_peak; theta) + sigma(lgM; theta) eps for a main-sequence and for a quenched galaxy, and gives
the probability frac_q that the halo hosts the quenched one. Here eps are fixed standard normals, so the
histories are smooth in the 88 hyper-parameters theta (diffstarpop's scatter covariances are diagonal), and
both branches are kept as weighted points, so the mixture is smooth too.

Interpretable shifts move related diffstarpop parameters together (`popinfer.population.sfh.FAMILIES`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from diffmah.diffmah_kernels import DiffmahParams, _log_mah_kern
from diffstar.defaults import SFR_MIN, DiffstarUParams, get_bounded_diffstar_params
from diffstar.diffstarpop import DIFFSTARPOP_PBOUNDS, DiffstarPopParams
from diffstar.diffstarpop.kernels import sfh_pdf_mgash as _pdf
from diffstar.diffstarpop.kernels.params.params_diffstarpopfits_mgash import (
    DiffstarPop_Params_Diffstarpopfits_mgash as _CALIBRATIONS,
)
from diffstar.diffstarpop.kernels.satquenchpop_model import get_qprob_sat
from diffstar.kernels.main_sequence_kernels import MSUParams, _get_bounded_sfr_params, _sfr_eff_plaw
from diffstar.kernels.quenching_kernels import _jax_partial_u_tw_kern as _lg_quenching
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from popinfer.cosmology import Cosmology, age
from popinfer.population.roles import Histories
from popinfer.population.sfh import LG_MHALO_PIVOT
from popinfer.records import Arr, Halos
from popinfer.sps.units import exp10


class HaloGalaxies(NamedTuple):
    """Diffstar parameters of the two branches of one halo and the probability of the second."""

    main_sequence: Float[Array, "4"]
    quenched: Float[Array, "8"]
    frac_quenched: Float[Array, ""]


_CLIPPED = ("mean_udrop_int",)  # moved by quenching_depth
_LARGEST_SHIFT = 40.0  # of a logit: nothing but 0 and 1 is left
_MARGIN = 1e-4  # of a parameter's range: nearer to a bound the clipped lines' gradients overflow float32

_SHIFTED = {
    "critical_mass": ("mean_ulgm_mseq_ytp", "mean_ulgm_qseq_ytp"),
    "efficiency": ("mean_ulgy_mseq_ytp", "mean_ulgy_qseq_ytp"),
    "low_mass_slope": ("mean_ulgy_mseq_lo", "mean_ulgy_qseq_lo"),
    "high_mass_slope": ("mean_ulgy_mseq_hi", "mean_ulgy_qseq_hi"),
    "quenching_time": ("mean_uqt_ytp",),
    "quenching_time_slope": ("delta_uqt_slope",),
    "quenching_mass": tuple(f"frac_quench_{g}_x0_y{e}tpeak" for g in ("cen", "sat") for e in ("lo", "hi")),
}


def calibrated(name: str) -> DiffstarPopParams:
    """Published diffstarpop calibration, see `popinfer.population.sfh.CALIBRATIONS`."""
    return _CALIBRATIONS[name]


def histories(
    params: Any, halo: Halos, t: Float[Array, "time"], cosmology: Cosmology, normals: Float[Array, "12"]
) -> Histories:
    """Histories of one halo's galaxy; see `popinfer.population.roles.SfhModel`."""
    shifted = shift_families(params)
    galaxies = draw_galaxies(shifted, halo, normals, params.satellite_quenching)
    logt0 = jnp.log10(age(cosmology, 0.0)).astype(t.dtype)
    sfr = star_formation_histories(galaxies, halo.mah_params, t, logt0, cosmology.fb)
    tilt = jnp.asarray(params.efficiency_tilt) * (jnp.log10(t) - 1)
    above = jnp.asarray(halo.logmp0) - LG_MHALO_PIVOT
    shift = above * (params.quenching_slope + params.quenching_curvature * above)
    return Histories(sfr * exp10(tilt.astype(t.dtype)), _shift_logit(galaxies.frac_quenched, shift))


def shift_families(params: Any) -> DiffstarPopParams:
    """diffstarpop's parameters after the shifts of groups of related ones.

    Parameters
    ----------
    params : Any
        Shifts and diffstarpop's own parameters, see `popinfer.population.sfh.DiffstarPop`.

    Notes
    -----
    Shifts are plain additions, also where a calibration sits at the edge of diffstarpop's fitting range:
    these parameters enter smooth functions that know no bounds. Only the intercepts of diffstarpop's clipped
    lines must stay inside theirs, where the lines jump: quenching depth and scatters.
    """
    changed = {}
    for family, names in _SHIFTED.items():
        for name in names:
            changed[name] = getattr(params, name) + getattr(params, family)
    for name in _CLIPPED:
        changed[name] = _shift_inside(name, getattr(params, name), params.quenching_depth)
    factor = 10.0**params.lg_scatter
    for name in DiffstarPopParams._fields:
        if name.startswith("std_") and name.endswith("_int"):
            low, high = getattr(DIFFSTARPOP_PBOUNDS, name)
            scaled = low + (getattr(params, name) - low) * factor
            changed[name] = jnp.minimum(scaled, high - _MARGIN * (high - low))
    for name in ("frac_quench_cen_ylo_yhitpeak", "frac_quench_sat_ylo_yhitpeak"):
        changed[name] = _shift_logit(getattr(params, name), params.quenching_floor)
    own = {name: getattr(params, name) for name in DiffstarPopParams._fields}
    return DiffstarPopParams(**(own | changed))


def _shift_inside(name: str, value: Float[Array, ""] | float, shift: Float[Array, ""] | float) -> Array:
    """Add a shift that levels off over the last 2 % of the range before a bound, and never crosses it."""
    low, high = getattr(DIFFSTARPOP_PBOUNDS, name)
    width, margin = 0.02 * (high - low), _MARGIN * (high - low)

    def level_off(x: Float[Array, ""] | float) -> Array:
        return low + width * (jax.nn.softplus((x - low) / width) - jax.nn.softplus((x - high) / width))

    # the difference keeps a zero shift exact
    return jnp.clip(value + level_off(value + shift) - level_off(value), low + margin, high - margin)


def _shift_logit(fraction: Float[ArrayLike, ""], shift: Float[ArrayLike, ""]) -> Float[Array, ""]:
    # not as odds, which are infinite for a fraction of one; halos and shifts at the ends of their ranges give
    # shifts beyond 80, whose exponential is infinite in single precision
    shifted = jnp.asarray(fraction) * jnp.exp(jnp.clip(shift, -_LARGEST_SHIFT, _LARGEST_SHIFT))
    return shifted / (1 - fraction + shifted)


def draw_galaxies(
    params: DiffstarPopParams,
    halo: Halos,
    normals: Float[Array, "12"],
    satellite_quenching: Float[ArrayLike, ""] = 1.0,
) -> HaloGalaxies:
    """Diffstar parameters of one halo's two branches.

    Parameters
    ----------
    params : DiffstarPopParams
        Diffstarpop hyper-parameters.
    halo : Halos
        One halo, scalars in the fields of `Halos`.
    normals : Float[Array, "12"]
        Standard normal numbers of the galaxy.
    satellite_quenching : Float[ArrayLike, ""]
        Share of diffstarpop's quenching by infall; 1 is its own, 0 has none.
    """
    logmp0, t_peak = jnp.asarray(halo.logmp0), halo.mah_params.t_peak
    mu_ms = jnp.stack(_pdf._get_mean_u_params_mseq(params, logmp0))
    mu_q = jnp.stack(_pdf._get_mean_u_params_qseq(params, logmp0, t_peak))
    std_ms = jnp.stack(_pdf._get_cov_params_mseq_ms_block(params, logmp0)[0])
    std_q = jnp.stack(
        _pdf._get_cov_params_qseq_ms_block(params, logmp0)[0]
        + _pdf._get_cov_params_qseq_q_block(params, logmp0)[0]
    )
    u_ms = MSUParams(*(mu_ms + std_ms * normals[:4]))
    u_q = DiffstarUParams(*(mu_q + std_q * normals[4:]))
    frac_cen = _pdf._frac_quench_cen(params, logmp0, t_peak)
    infall = halo.lgmu_infall, halo.logmhost_infall, halo.gyr_since_infall
    before = _pdf._frac_quench_sat(params, logmp0, t_peak)
    frac_sat = before + satellite_quenching * (get_qprob_sat(params, *infall, before) - before)
    return HaloGalaxies(
        jnp.stack(_get_bounded_sfr_params(*u_ms)),
        jnp.stack(get_bounded_diffstar_params(u_q)),
        jnp.where(jnp.asarray(halo.is_central) > 0.5, frac_cen, frac_sat),
    )


def star_formation_histories(
    galaxies: HaloGalaxies,
    mah_params: DiffmahParams,
    t: Float[Arr, "time"],
    logt0: Float[ArrayLike, ""],
    fb: float,
) -> Float[Array, "2 time"]:
    """Star formation rates [Msun/yr] of one halo's main-sequence and quenched branch.

    Parameters
    ----------
    galaxies, mah_params : HaloGalaxies, DiffmahParams
        Of one halo.
    t : Float[Arr, "time"]
        Cosmic time [Gyr] > 0.
    logt0, fb : Float[ArrayLike, ""], float
        Log10 of today's cosmic time [Gyr], cosmic baryon fraction.

    Notes
    -----
    SFR = f_b M_h(t) 10^(efficiency(M_h)) x quenching(t): equal to diffstar's ``calc_sfh_singlegal``, but the
    mass assembly is computed once for both branches, and the quenching function, which diffstarpop sets to
    one for the main-sequence branch (its event starts at 32 Gyr), leaves that branch as it is.
    """
    lgm = _log_mah_kern(mah_params, t, logt0)
    lg_gas = jnp.log10(jnp.asarray(fb, lgm.dtype)) + lgm
    q = galaxies.quenched
    lg_width = exp10(q[5]) / 12  # a triweight of width w acts over 6 w on either side
    lg_drop = _lg_quenching(jnp.log10(t), q[4], lg_width, q[6], q[6] - q[7])

    def branch(efficiency: Float[Array, "4"], quenches: Float[Array, ""]) -> Float[Array, "time"]:
        sfr = exp10(lg_gas + _sfr_eff_plaw(lgm, *efficiency) + quenches * lg_drop)
        return jnp.maximum(sfr, SFR_MIN)

    # One program for both, told apart by a factor. XLA computes stacked results of two programs again in each
    # loop that uses them: the model with its counts then takes 20 us of a CPU's time a halo, not 11.
    efficiencies = jnp.stack([galaxies.main_sequence, q[:4]])
    return jax.vmap(branch)(efficiencies, jnp.asarray([0.0, 1.0], lgm.dtype))
