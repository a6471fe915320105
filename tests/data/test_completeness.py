"""Completeness tables: read as written, refused in one line otherwise."""

import numpy as np
import pytest

from popinfer.data import read_completeness
from popinfer.errors import InputError

FILE = "table.txt"


def test_blanks_commas_and_comments(written):
    mag, probability = read_completeness(written("# r  share\n16 1\n17.0, 0.9  # fainter\n\n18\t0.2\n"))
    np.testing.assert_array_equal(mag, [16, 17, 18])
    np.testing.assert_array_equal(probability, [1, 0.9, 0.2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "two columns"),
        ("16 1\n", "two or more rows"),
        ("16 1 3\n17 1 2\n", "line 1: '16 1 3'; a completeness table has two columns"),
        ("16 1\n17 0.9 x\n", "line 2: '17 0.9 x'"),
        ("mag share\n16 1\n", "two columns of numbers"),
        ("16 1\n17\n", "two columns of numbers"),
        ("17 1\n16 1\n", "17 is followed by 16"),
        ("16 1\n17 nan\n", "row 2"),
        ("16 100\n17 90\n", "within 0..1"),
        ("16 100\n17 90\n", "row 1 holds 100; is it in percent"),
        ("16 1\n17 -0.1\n", "row 2 holds -0.1"),
        ("16 0.99\n17 1.2\n", "row 2 holds 1.2"),
        ("1e-6 0.9\n1e3 0.1\n", "magnitudes run from 1e-06 to 1000"),
        ("16 1\ninf 0\n", "row 2"),
        ("16 1\n16 0.5\n", "16 is followed by 16 in row 2"),
        ("16 0\n17 0\n", "zero everywhere"),
    ],
)
def test_refusals_name_the_file(written, text, says):
    path = written(text)
    with pytest.raises(InputError, match=says) as refusal:
        read_completeness(path)
    assert str(path) in str(refusal.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such completeness table"):
        read_completeness(tmp_path / "none.txt")
