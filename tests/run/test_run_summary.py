import numpy as np
import pytest

from popinfer.run.run_summary import _halo_noise


@pytest.mark.parametrize("shares", [[0.09, 0.02], [0.0, 0.0]])
def test_no_warning_below_a_tenth_of_counting_noise(shares):
    assert _halo_noise(np.array(shares)) == []


def test_halo_noise_is_told_in_units_of_counting_noise():
    """A tenth of the sum of both is more than a tenth of one."""
    (warning,) = _halo_noise(np.array([0.2, 0.05, 0.05]))
    assert "reaches 25 % of the counting noise" in warning
    assert "median 5 %" in warning
    assert _halo_noise(np.array([0.095]))
    assert "more than 1,000 % of the counting noise" in _halo_noise(np.ones(1))[0]
