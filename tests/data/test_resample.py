"""Thinning of spectra: what it keeps."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from popinfer.data.resample import compact_wavelengths, resample, round_mantissa

FINE = np.linspace(2000.0, 9000.0, 7001)
COARSE = np.concatenate([np.arange(2000.0, 4000.0, 8.0), np.linspace(4000.0, 9000.0, 301)])


def test_compact_grid_ascends_and_resolves_the_optical():
    nodes = compact_wavelengths()
    step = np.diff(nodes)
    assert np.all(step > 0)
    assert nodes[0] == 91.0 and nodes[-1] == pytest.approx(50_000.0)
    optical = (nodes[1:] > 2000) & (nodes[1:] < 9000)
    assert step[optical].max() < 15.1
    assert nodes.size < 1100


def test_spectra_linear_between_the_nodes_are_unchanged():
    values = 1 + np.random.default_rng(1).random(COARSE.size)
    fine = np.union1d(FINE, COARSE)
    again = resample(fine, np.interp(fine, COARSE, values)[None], COARSE)[0]
    np.testing.assert_allclose(again, values, rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.8))
def test_integral_is_kept(seed, depth):
    rng = np.random.default_rng(seed)
    spectrum = 1 - depth * rng.random(FINE.size)
    thin = resample(FINE, spectrum[None], COARSE)[0]
    assert np.trapezoid(thin, COARSE) == pytest.approx(np.trapezoid(spectrum, FINE), rel=1e-9)


def test_deep_lines_never_turn_negative():
    spectrum = np.where(np.abs(FINE - 5000) < 30, 1e-9, 1.0)
    thin = resample(FINE, spectrum[None], COARSE)[0]
    assert thin.min() > 0


def test_leading_axes_are_kept():
    flux = np.ones((2, 3, FINE.size))
    assert resample(FINE, flux, COARSE).shape == (2, 3, COARSE.size)


@given(st.floats(1e-30, 1e3))
def test_rounding_keeps_five_digits(value):
    rounded = round_mantissa(np.array([value]))
    assert rounded.dtype == np.float32
    assert abs(float(rounded[0]) / value - 1) < 2**-15
