"""Stellar mass that survives: what has not been returned to the gas.

From the SSP grid where it has ``ssp_surviving_mstar_frac``; otherwise from the fits of Hearin et al. (2023,
arXiv:2112.06830, appendix) to FSPS. With x = lg(age/yr) and sigma(y) = 1/(1 + e^-y), the returned fraction is

    R(x) = h + (z - h) sigma(10^0.7 (x - 6.5)),    z = a + [d + (e - d) sigma(10^-0.5 (x - 8))] (x - 8),

and the fraction locked in remnants, lg M(x) = r + [1.3 - 1.1 sigma(10 (x - 7))] (x - 7).

The fits count remnants as surviving, as FSPS does. Grids differ: the embedded BC03 grid counts living stars
only, to which `remnant_mass` adds 0.1 to 0.15 of the mass formed.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from popinfer.records import SSP

from .units import Arr


class ReturnFit(NamedTuple):
    """Return fraction at 10^8 yr (a), its slopes before (d) and after (e), and lg remnants at 10^7 yr."""

    a: float
    d: float
    lg_remnant: float
    e: float = 0.08


RETURN_FITS = {
    "salpeter": ReturnFit(0.13, 0.055, -1.67),
    "chabrier": ReturnFit(0.225, 0.145, -1.42),
    "kroupa": ReturnFit(0.211, 0.13, -1.45),
    "van_dokkum": ReturnFit(0.238, 0.156, -1.4),
}
_YOUNG = 0.005  # returned at once: h


def surviving_fraction(lg_age_yr: Float[Arr, "age"], fit: ReturnFit) -> Float[Array, "age"]:
    """Fraction of the mass formed that survives at an age (log10 yr), for one of `RETURN_FITS`."""
    x = jnp.asarray(lg_age_yr)
    z = fit.a + (fit.d + (fit.e - fit.d) * sigmoid(10**-0.5 * (x - 8))) * (x - 8)
    return 1 - (_YOUNG + (z - _YOUNG) * sigmoid(10**0.7 * (x - 6.5)))


def remnant_fraction(lg_age_yr: Float[Arr, "age"], fit: ReturnFit) -> Float[Array, "age"]:
    """Fraction of the mass formed that is in stellar remnants at an age (log10 yr)."""
    x = jnp.asarray(lg_age_yr)
    return 10 ** (fit.lg_remnant + (1.3 - 1.1 * sigmoid(10 * (x - 7))) * (x - 7))


def remnant_mass(
    ssp: SSP, weights: Float[Array, "... met age"], fit: ReturnFit = RETURN_FITS["kroupa"]
) -> Float[Array, "..."]:
    """Mass of stellar remnants [Msun] of populations with these weights (Msun formed in each SSP)."""
    lg_age = jnp.asarray(ssp.ssp_lg_age_gyr, weights.dtype) + 9
    return jnp.sum(weights * remnant_fraction(lg_age, fit), axis=(-2, -1))


def surviving_mass(
    ssp: SSP, weights: Float[Array, "... met age"], fit: ReturnFit = RETURN_FITS["kroupa"]
) -> Float[Array, "..."]:
    """Surviving stellar mass [Msun], with remnants where the grid counts them (see the module's docstring).

    Parameters
    ----------
    ssp : SSP
        The grid; its own surviving fractions are used where it has them.
    weights : Float[Array, "... met age"]
        Msun formed in each SSP.
    fit : ReturnFit
        For grids without surviving fractions: the one of their initial mass function.
    """
    if ssp.ssp_surviving_mstar_frac is not None:
        fraction = jnp.asarray(ssp.ssp_surviving_mstar_frac, weights.dtype)
    else:
        fraction = surviving_fraction(jnp.asarray(ssp.ssp_lg_age_gyr, weights.dtype) + 9, fit)
    return jnp.sum(weights * fraction, axis=(-2, -1))
