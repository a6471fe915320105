"""Whatever is wrong with the input: one line that says what, exit code 2, and no folder of results."""

import copy

import numpy as np
import pandas as pd
import pytest

from popinfer.cli import main
from popinfer.data.embedded import asset_path


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return pd.read_parquet(asset_path("sdss_mgs")).head(3000)


@pytest.fixture
def refused(tmp_path, capsys, write_config):
    """Run with changed sections; return the one line that the program says."""

    def run(**changed) -> str:
        out = tmp_path / "results"
        assert main(["run", str(write_config(**changed)), "--out", str(out)]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        lines = [line for line in lines if not line.startswith("runs code of ")]
        assert len(lines) == 1
        assert not out.exists()
        return lines[0]

    return run


@pytest.fixture
def catalog(tiny_config):
    """The tiny run file's catalog section with some keys changed."""

    def section(**changed) -> dict:
        return {**copy.deepcopy(tiny_config["catalog"]), **changed}

    return section


def test_missing_catalog(refused, catalog, tmp_path):
    path = str(tmp_path / "none.parquet")
    assert path in refused(catalog=catalog(path=path))


def test_unreadable_fits(refused, catalog, tmp_path):
    path = tmp_path / "broken.fits"
    path.write_bytes(b"SIMPLE  = not a FITS file" * 10)
    assert "broken.fits" in refused(catalog=catalog(path=str(path)))


def test_unknown_filter(refused, catalog):
    section = catalog()
    section["bands"]["g"]["filter"] = "sdss_gg0"
    message = refused(catalog=section)
    assert "sdss_gg0" in message
    assert "sdss_g0" in message


def test_unknown_band(refused):
    assert "'q'" in refused(features=["g-q", "r"])


def test_misspelled_key(refused):
    assert "did you mean 'n_centers'" in refused(kernels={"n_centres": 30})


def test_misspelled_parameter(refused):
    assert "did you mean 'dust.lg_av'" in refused(free={"dust.lg_aw": {"loc": -0.4, "scale": 0.2}})


def test_no_magnitudes(refused, catalog, sample, tmp_path):
    sample.assign(g=np.nan).to_parquet(tmp_path / "nan.parquet")
    assert "band g" in refused(catalog=catalog(path=str(tmp_path / "nan.parquet")))


def test_markers_of_missing_values_can_be_named(refused, catalog, sample, tmp_path):
    path = tmp_path / "marked.parquet"
    sample.assign(g=-77.0).to_parquet(path)
    assert "band g" in refused(catalog=catalog(path=str(path), missing=[-77.0]))


def test_empty_catalog(refused, catalog, sample, tmp_path):
    sample.head(0).to_parquet(tmp_path / "empty.parquet")
    assert "no rows" in refused(catalog=catalog(path=str(tmp_path / "empty.parquet")))


def test_negative_error(refused, catalog, sample, tmp_path):
    sample.assign(er=-0.01).to_parquet(tmp_path / "negative.parquet")
    assert "negative" in refused(catalog=catalog(path=str(tmp_path / "negative.parquet")))


@pytest.mark.parametrize("slices", [[[9.0, 9.5]], [[25.0, 26.0]], [[0.4, 0.3]], [[0.0, 0.1]]])
def test_redshift_out_of_range(refused, slices):
    message = refused(slices=slices)
    assert "redshift" in message or "slices" in message


def test_too_few_galaxies(refused):
    assert "galaxies" in refused(slices=[[0.06, 0.0601]])


def test_parameter_free_and_fixed(refused):
    assert "both free and fixed" in refused(model={"fixed": {"dust.lg_av": -0.2}})


def test_unknown_calibration(refused):
    assert "unknown SFH calibration" in refused(
        model={"sfh": {"kind": "diffstarpop", "calibration": "smdpl_dr9"}}
    )


def test_missing_ssp(refused, tmp_path):
    assert "none.h5" in refused(model={"ssp": str(tmp_path / "none.h5")})


def test_results_where_a_file_is(write_config, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["run", str(write_config()), "--out", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ({"kind": "magnitude", "band": "q", "faint_mag": 19}, "'q' is not one of"),
        ({"kind": "magnitude", "band": "g"}, "bright_mag, faint_mag or both"),
        ({"kind": "magnitude", "band": "g", "faint_mag": float("nan")}, "finite"),
        ({"kind": "magnitude", "band": "g", "faint_magn": 19}, "did you mean 'faint_mag'"),
        ({"kind": "linear", "coefficients": {"g": 1, "x": -1}, "threshold_mag": 0.5}, "'x' is not one of"),
        ({"kind": "completeness", "band": "r", "path": "/nowhere/r.txt"}, "/nowhere/r.txt"),
        ({"kind": "surface"}, "'magnitude', 'linear', 'function', 'completeness'"),
        ({"kind": "function", "path": "/nowhere/cuts.py", "name": "f", "bands": ["r"]}, "/nowhere/cuts.py"),
        ({"kind": "function", "path": "c.py", "name": "f", "bands": ["g", "x"]}, "'x' is not one of"),
    ],
)
def test_cuts(refused, catalog, cut, says):
    assert says in refused(catalog=catalog(cuts=[cut]))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(g, r:", "cuts.py: line 1: '(' was never closed"),
        ("import nothing_of_this_name", "cuts.py: ModuleNotFoundError"),
        ("def other(g, r): return g", "cuts.py: no function 'f' there"),
        ("def f(g): return 0 * g", "cuts.py: f(g, r) fails on JAX arrays"),
        ("def f(g, r): return 1.0 if g > r else 0.0", "cuts.py: f(g, r) fails on JAX arrays"),
        ("def f(g, r): return g - r", "a probability lies within 0..1"),
        ("def f(g, r): return (g * 0 + 1).sum() / len(g)", "f has to give one probability for each"),
        ("def f(g, r): return (g - r) / (g - r) * 0.5", "f gives nan at g = "),
        ("def f(g, r): return 0 * g + 0.6", "f has to fall from 1 to 0 at a surface"),
    ],
)
def test_functions_that_are_no_cuts(refused, catalog, tmp_path, code, says):
    (tmp_path / "cuts.py").write_text(code)
    cut = {"kind": "function", "path": str(tmp_path / "cuts.py"), "name": "f", "bands": ["g", "r"]}
    assert says in refused(catalog=catalog(cuts=[cut]))


def test_completeness_table_with_percentages(refused, catalog, tmp_path):
    (tmp_path / "r.txt").write_text("16 99\n17 90\n")
    message = refused(
        catalog=catalog(cuts=[{"kind": "completeness", "band": "r", "path": str(tmp_path / "r.txt")}])
    )
    assert "r.txt: probabilities have to lie within 0..1" in message


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ({"g-q": 0.1}, "'g-q' has to be two of"),
        ({"g-r": 1.2}, "noise_correlation.g-r: has to be less than 1"),
        ({"g-r": 0.9999999}, "positive definite"),
        ({"g": 0.1}, "like 'g-r'"),
    ],
)
def test_noise_correlation(refused, catalog, pairs, says):
    assert says in refused(catalog=catalog(noise_correlation=pairs))


@pytest.mark.parametrize(
    ("photoz", "says"),
    [
        ({"scatter": -0.01}, "greater than or equal to 0.00001"),
        ({"scatter": float("nan")}, "photoz.scatter"),
        ({"scatter": 0.02, "outlier_fraction": 0.1}, "needs an outlier_range"),
        ({"scatter": 0.02, "outlier_range": [0.5, 0.2]}, "low < high"),
        ({"scatter": 0.02, "outlier_range": [0.2, 0.5]}, "has to contain all slices"),
        ({"scatter": 0.02, "outliers": 0.1}, "did you mean 'outlier_"),
    ],
)
def test_photometric_redshifts(refused, catalog, photoz, says):
    assert says in refused(catalog=catalog(photoz=photoz))


def test_photoz_parameter_without_its_section(refused):
    prior = {"prior": "lognormal", "loc": 0.02, "scale": 0.2}
    assert "'photoz.scatter' needs" in refused(free={"photoz.scatter": prior})


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"area_deg2": 0}, "greater than or equal to 0.000001"),
        ({"area_deg2": 1e6}, "41253"),
        ({"area_deg2": 100, "sampling": 90}, "sampling"),
        ({"area_deg2": 100, "biass": 1}, "did you mean 'bias'"),
        ({"area": 100}, "area_deg2"),
    ],
)
def test_number_density(refused, catalog, section, says):
    assert says in refused(catalog=catalog(number_density=section))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"redshift": 0.5}, "joint.0: redshift 0.5 is in none of the slices"),
        ({"path": "/nowhere/smf.csv"}, "/nowhere/smf.csv"),
        ({"covarianc": "c.txt"}, "did you mean 'covariance'"),
        ({"kind": "luminosity"}, "mass_function"),
    ],
)
def test_joint_tables(refused, tmp_path, changed, says):
    (tmp_path / "smf.csv").write_text("lg_mstar_low,lg_mstar_high,phi,phi_err\n10,10.5,1e-3,1e-4\n")
    table = {"kind": "mass_function", "path": str(tmp_path / "smf.csv"), "redshift": 0.07, **changed}
    assert says in refused(joint=[table])
