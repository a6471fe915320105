import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.sps.nebular import add_nebular, line_grid, line_luminosities, line_profiles
from popinfer.sps.units import LIGHT

WEIGHTS = np.zeros((6, 94))
WEIGHTS[4, :60] = 1e6


def test_profiles_keep_luminosity_and_wavelength(ssp):
    lines = np.array([1215.67, 4861.3, 6562.8, 18751.0, 3e5])
    wave = ssp.ssp_wave
    per_angstrom = line_profiles(wave, lines) * LIGHT / wave**2
    np.testing.assert_allclose(np.trapezoid(per_angstrom, wave)[:4], 1, rtol=1e-9)
    np.testing.assert_allclose(np.trapezoid(per_angstrom * wave, wave)[:4], lines[:4], rtol=1e-3)
    assert np.all(per_angstrom[4] == 0)


def test_only_the_young_shine(ssp, nebular):
    gas = add_nebular(ssp, nebular, -2.7)
    old = ssp.ssp_lg_age_gyr > -1.59
    np.testing.assert_array_equal(np.asarray(gas.ssp_flux)[:, old], np.asarray(ssp.ssp_flux)[:, old])
    bright = (ssp.ssp_wave > 912) & (ssp.ssp_wave < 20000)
    young = np.asarray(gas.ssp_flux)[:, ~old][:, :, bright]
    assert np.all(young >= np.asarray(ssp.ssp_flux)[:, ~old][:, :, bright])
    dark = dataclasses.replace(ssp, ssp_flux=ssp.ssp_flux * 0)
    gas_only = add_nebular(dark, nebular, -2.7).ssp_flux
    np.testing.assert_array_equal(gas.ssp_flux[:, ~old, :40], gas_only[:, ~old, :40])
    assert ssp.ssp_wave[40] < 911


def test_h_alpha_counts_ionising_photons(ssp, nebular):
    """Case B at 1e4 K: L = 1.37e-12 erg per ionising photon (Osterbrock & Ferland 2006)."""
    hz = LIGHT / ssp.ssp_wave
    ionising = ssp.ssp_wave < 911.8
    for age in (11, 20, 30):
        flux = np.asarray(ssp.ssp_flux)[4, age][ionising] * 3.828e33 / (6.626e-27 * hz[ionising])
        photons = -np.trapezoid(flux, hz[ionising])
        h_alpha = line_grid(ssp, nebular, -3.0)[4, age, nebular.line_name.index("H  1  6562.80A")] * 3.828e33
        assert float(h_alpha) / (1.37e-12 * photons) == pytest.approx(1, abs=0.04)


def test_escape(ssp, nebular):
    leaky = add_nebular(ssp, nebular, -3.0, None, 1.0)
    np.testing.assert_allclose(leaky.ssp_flux, ssp.ssp_flux, rtol=1e-12)
    half = line_luminosities(ssp, nebular, jnp.asarray(WEIGHTS), -3.0, None, 0.5)
    full = line_luminosities(ssp, nebular, jnp.asarray(WEIGHTS), -3.0)
    np.testing.assert_allclose(half, 0.5 * full, rtol=1e-12)


def test_lines_add_up_in_the_spectrum(ssp, nebular):
    gas = add_nebular(ssp, nebular, -3.0)
    dry = add_nebular(ssp, dataclasses.replace(nebular, line_lum=nebular.line_lum * 0), -3.0)
    excess = np.einsum("ma,maw->w", WEIGHTS, np.asarray(gas.ssp_flux) - np.asarray(dry.ssp_flux))
    total = np.trapezoid(excess * LIGHT / ssp.ssp_wave**2, ssp.ssp_wave)
    lines = line_luminosities(ssp, nebular, jnp.asarray(WEIGHTS), -3.0)
    inside = nebular.line_wave < ssp.ssp_wave[-1]
    assert total == pytest.approx(float(lines[inside].sum()), rel=1e-8)


@pytest.mark.parametrize("which", ["logu", "gas_lgmet", "f_esc"])
def test_gradients(ssp, nebular, which):
    at = {"logu": -2.8, "gas_lgmet": -1.8, "f_esc": 0.2}

    def f(x):
        lum = line_luminosities(ssp, nebular, jnp.asarray(WEIGHTS), **(at | {which: x}))
        return jnp.log(lum[:20]).sum()

    x0 = jnp.asarray(at[which])
    want = (f(x0 + 1e-6) - f(x0 - 1e-6)) / 2e-6
    got = jax.grad(f)(x0)
    assert got == pytest.approx(float(want), rel=1e-6) and abs(got) > 1e-3


def with_own_lines(ssp, nebular):
    """Stars whose file lists lines that the spectra don't hold."""
    return dataclasses.replace(
        ssp,
        ssp_emline_wave=nebular.line_wave,
        ssp_emline_luminosity=np.asarray(line_grid(ssp, nebular, -3.0)),
        ssp_emline_name=nebular.line_name,
    )


def test_lines_of_the_ssp_file_are_usable(ssp, nebular):
    own, weights = with_own_lines(ssp, nebular), jnp.asarray(WEIGHTS)
    lines = line_luminosities(own, None, weights)
    np.testing.assert_allclose(lines, line_luminosities(ssp, nebular, weights), rtol=1e-12)
    half = line_luminosities(own, None, weights, f_esc=0.5)
    np.testing.assert_allclose(half, 0.5 * lines, rtol=1e-12)
    gas = add_nebular(own, None)
    np.testing.assert_array_equal(line_luminosities(gas, None, weights), lines)
    excess = np.einsum("ma,maw->w", WEIGHTS, np.asarray(gas.ssp_flux) - ssp.ssp_flux)
    total = np.trapezoid(excess * LIGHT / ssp.ssp_wave**2, ssp.ssp_wave)
    assert total == pytest.approx(float(lines[nebular.line_wave < ssp.ssp_wave[-1]].sum()), rel=1e-8)


def test_emission_is_not_added_twice(ssp, nebular):
    own = with_own_lines(ssp, nebular)
    for done in (
        add_nebular(ssp, nebular),
        add_nebular(own, None),
        add_nebular(ssp, nebular, with_lines=False),
    ):
        for grid in (nebular, None):
            with pytest.raises(InputError, match="already hold nebular emission"):
                add_nebular(done, grid)
    with pytest.raises(InputError, match="lines of its own"):
        add_nebular(own, nebular)
    dark = dataclasses.replace(own, ssp_emline_luminosity=0 * own.ssp_emline_luminosity)
    add_nebular(dark, nebular)  # as FSPS lists them when it adds no emission


def test_lines_that_are_not_there_are_refused(ssp, nebular):
    with pytest.raises(InputError, match="lists no emission lines"):
        add_nebular(ssp, None)
    with pytest.raises(InputError, match="lists no emission lines"):
        line_luminosities(ssp, None, jnp.asarray(WEIGHTS))
    with pytest.raises(InputError, match="need a nebular grid"):
        line_luminosities(with_own_lines(ssp, nebular), None, jnp.asarray(WEIGHTS), logu=-2.0)


def test_continuum_without_lines(ssp, nebular):
    dry = add_nebular(ssp, nebular, -3.0, with_lines=False)
    no_lines = dataclasses.replace(nebular, line_lum=nebular.line_lum * 0)
    np.testing.assert_allclose(dry.ssp_flux, add_nebular(ssp, no_lines, -3.0).ssp_flux, rtol=1e-12)
    assert np.asarray(dry.ssp_emline_luminosity).any()
