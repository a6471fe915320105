"""How messages show numbers."""

import pytest

from popinfer.errors import percent


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0, "0 %"),
        (1e-9, "less than 0.001 %"),
        (0.00012, "0.012 %"),
        (0.0634, "6.3 %"),
        (0.0999, "10 %"),
        (0.123, "12 %"),
        (0.996, "100 %"),
        (1.0, "100 %"),
        (12.3, "1230 %"),
    ],
)
def test_percents_are_readable(fraction, text):
    assert percent(fraction) == text
