"""Tables of stellar mass functions: read as written, refused in one line otherwise."""

import numpy as np
import pytest

from popinfer.data import read_mass_function
from popinfer.data.mass_function import baldry12
from popinfer.errors import InputError

FILE = "smf.csv"
HEADER = "lg_mstar_low,lg_mstar_high,phi,phi_err\n"
GOOD = "9,9.5,1e-2,1e-3\n9.5,10,8e-3,1e-3\n"


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
        ("9,9.5,1e-2,0.05\n9.5,10,8e-3,0.06\n", "phi_err is 6.25 times phi in the median; is it in dex"),
        ("9,9.5,1e-2,10\n9.5,10,8e-3,12\n", "in dex or percent"),
        ("9,9.5,1e-2,1e-3\n9.4,10,8e-3,1e-3\n", "rows 1 and 2 share masses"),
        ("9,9.5,1e-2,1e-3\n10,10.5,8e-3,1e-3\n9,9.5,1e-2,1e-3\n", "rows 1 and 3 share masses"),
        ("9,9.5,2.0,0.1\n9.5,10,2.1,0.1\n", "not its logarithm"),
        ("9,9.5,1e-2,nan\n", "column phi_err: row 1"),
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
        ("1e-6 1e-6\n1e-6 1e-6\n", "is singular"),
        ("1e-2 0\n0 1e-2\n", "is it in dex or percent"),
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


SCHECHTER = np.array([[8.75, 9.25, 0.0118], [9.75, 10.25, 0.0061], [10.75, 11.25, 0.0017]])


@pytest.mark.parametrize(
    ("factor", "redshift", "refused"),
    [
        (1, 0.05, False),
        (5, 0.05, False),
        (0.3, 0.9, False),
        (50, 0.05, True),
        (0.02, 0.5, True),
        (0.02, 2.0, False),
    ],
)
def test_densities_far_from_published_ones(written, factor, redshift, refused):
    rows = "".join(f"{a},{b},{factor * c},{1e-4 * factor}\n" for a, b, c in SCHECHTER)
    path = written(HEADER + rows)
    if refused:
        with pytest.raises(InputError, match="times that of Baldry"):
            read_mass_function(path, None, redshift)
    else:
        assert len(read_mass_function(path, None, redshift).phi) == 3


def test_baldry_is_as_published():
    """Table 1 of the paper: log M, number in 1e-3 / dex / Mpc3."""
    lgm = np.array([9.0, 9.9, 10.6, 11.1])
    np.testing.assert_allclose(1e3 * baldry12(lgm), [12.2, 6.3, 4.5, 1.0], rtol=0.25)
