import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.sps import add_nebular, age_weights, line_luminosities, rest_sed_from_weights
from popinfer.sps.equivalent_width import equivalent_widths
from popinfer.sps.units import LIGHT


def test_flat_continuum():
    wave = np.linspace(4000, 7000, 301)
    lum = jnp.full(1, 2 * 30.0)  # 30 A of a continuum of 2 Lsun/A
    sed = jnp.asarray(2 * wave**2 / LIGHT)
    assert float(equivalent_widths(np.array([6000.0]), lum, wave, sed)[0]) == pytest.approx(30.0)
    assert np.isnan(equivalent_widths(np.array([9000.0]), lum, wave, sed)[0])


def test_h_alpha_of_a_steady_star_former(ssp, nebular):
    """After 1 Gyr of constant star formation H-alpha is about 100-200 A wide (Kennicutt 1983)."""
    mass = age_weights(np.array([0.0, 1.0]), jnp.ones(2), 1.0, ssp.ssp_lg_age_gyr)
    weights = jnp.zeros((6, 94)).at[4].set(mass)
    dry = add_nebular(ssp, nebular, -3.0, with_lines=False)
    lines = line_luminosities(ssp, nebular, weights, -3.0)
    widths = equivalent_widths(nebular.line_wave, lines, ssp.ssp_wave, rest_sed_from_weights(dry, weights))
    at = nebular.line_name.index("H  1  6562.80A")
    assert 80 < float(widths[at]) < 250
    assert 1.2e41 < float(lines[at]) * 3.828e33 < 3.2e41  # erg/s; Murphy et al. (2011): 1.9e41
