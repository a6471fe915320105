"""Tables of stellar mass functions: read as written, refused in one line otherwise."""

import numpy as np
import pytest

from popinfer.data import read_mass_function
from popinfer.errors import InputError

HEADER = "lg_mstar_low,lg_mstar_high,phi,phi_err\n"
GOOD = "9,9.5,1e-2,1e-3\n9.5,10,8e-3,1e-3\n"


@pytest.fixture
def written(tmp_path):
    def write(text: str, name="smf.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_errors_make_a_diagonal_covariance(written):
    table = read_mass_function(written(HEADER + GOOD))
    np.testing.assert_array_equal(table.low, [9, 9.5])
    np.testing.assert_array_equal(table.phi, [1e-2, 8e-3])
    np.testing.assert_allclose(table.cov, np.diag([1e-6, 1e-6]))


def test_a_covariance_matrix_replaces_the_errors(written):
    path = written("lg_mstar_low,lg_mstar_high,phi\n9,9.5,1e-2\n9.5,10,8e-3\n")
    cov = written("1e-6 5e-7\n5e-7 1e-6\n", "cov.txt")
    np.testing.assert_allclose(read_mass_function(path, cov).cov, [[1e-6, 5e-7], [5e-7, 1e-6]])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "no rows"),
        ("9,9.5,nan,1e-3\n", "column phi: row 1"),
        ("1e9,3e9,1e-2,1e-3\n", "log10 of masses"),
        ("9.5,9,1e-2,1e-3\n", "low below high"),
        ("9,9.5,-2.0,0.1\n", "not its logarithm"),
        ("9,9.5,1e-2,0\n", "phi_err: row 1"),
    ],
)
def test_refusals(written, rows, says):
    with pytest.raises(InputError, match=says) as refusal:
        read_mass_function(written(HEADER + rows))
    assert "smf.csv" in str(refusal.value)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ("1e-6\n", "1 x 1 numbers; the table has 2 bins"),
        ("1e-6 a\nb 1e-6\n", "matrix of numbers"),
        ("1e-6 5e-7\n4e-7 1e-6\n", "symmetric"),
        ("1e-6 2e-6\n2e-6 1e-6\n", "negative eigenvalue"),
        ("1e-6 nan\nnan 1e-6\n", "finite"),
    ],
)
def test_covariances(written, matrix, says):
    with pytest.raises(InputError, match=says):
        read_mass_function(written(HEADER + GOOD), written(matrix, "cov.txt"))


def test_missing_files(written, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_mass_function(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no such covariance"):
        read_mass_function(written(HEADER + GOOD), tmp_path / "none.txt")
