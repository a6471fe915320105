"""Equivalent widths of nebular lines, EW = F_line / F_continuum.

The continuum per unit wavelength at the line is measured on the SED without lines (stars and nebular
continuum), so nothing has to be fitted and weak or blended lines are no harder than strong ones:

    EW = L_line / L_lambda(continuum at the line),    L_lambda = L_nu c / lambda^2.

Rest-frame, positive in emission. Absorption in the stellar continuum at the line isn't subtracted. Dust that
attenuates line and continuum alike cancels.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .units import LIGHT, Arr


def equivalent_widths(
    line_wave: Float[Arr, "line"],
    line_luminosity: Float[Array, "line"],
    wave: Float[Arr, "wave"],
    continuum: Float[Array, "wave"],
) -> Float[Array, "line"]:
    """Rest-frame equivalent widths [Angstrom] of one galaxy's lines.

    Parameters
    ----------
    line_wave : Float[Array, "line"]
        Wavelengths of the lines [Angstrom].
    line_luminosity : Float[Array, "line"]
        Their luminosities [Lsun], behind the same dust as the continuum.
    wave, continuum : Float[Array, "wave"]
        Rest-frame wavelengths [Angstrom] and SED without lines [Lsun/Hz].

    Returns
    -------
    Float[Array, "line"]
        NaN for lines outside the SED.
    """
    lines = jnp.asarray(line_wave, continuum.dtype)
    level = jnp.interp(lines, jnp.asarray(wave, continuum.dtype), continuum, left=jnp.nan, right=jnp.nan)
    return line_luminosity / (level * LIGHT / lines**2)
