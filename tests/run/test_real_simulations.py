"""Real merger trees from file to posterior and back to a mock; skipped without the sample files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from popinfer.cli import main

FOLDER = Path(__file__).parents[3] / "shared/data/halos"
FOREST = FOLDER / "splitForests-milliMillennium-tree1000020000000.hdf5"
BOLSHOI = FOLDER / "bolshoiTestTrees.dat"
ANY = ["--allow-unconverged", "--allow-misfit"]  # verdicts on a hundred halos are no errors here

pytestmark = pytest.mark.skipif(not FOREST.is_file(), reason="the sample trees aren't there")


@pytest.fixture
def run_file(tiny_config, tmp_path):
    """Write the tiny run file on trees; return its path."""

    def write(path: Path) -> Path:
        source = {"kind": "trees", "path": str(path), "geometry": {"kind": "box"}, "mass_function": "ignore"}
        source["geometry"] |= {"redshift": 0.0893} if path == FOREST else {}
        halos = {"n_per_slice": 512, "lgm_min": 10.7, "source": source}
        file = tmp_path / "run.yaml"
        raw = {**tiny_config, "slices": [[0.075, 0.1]], "halos": halos}
        file.write_text(yaml.safe_dump(raw), encoding="utf-8")
        return file

    return write


@pytest.mark.slow
def test_a_forest_of_millimillennium_from_file_to_posterior_and_back(run_file, tmp_path):
    file, out, mock = run_file(FOREST), tmp_path / "out", tmp_path / "mock.parquet"
    assert main(["run", str(file), "--out", str(out), "--quiet", *ANY]) == 0
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "a small part of the box" in report
    command = ["mock", str(file), "--on-halos", "--results", str(out), "--out", str(mock), "--quiet"]
    assert main(command) == 0
    galaxies = pd.read_parquet(mock)
    # all halos of that snapshot, those below the lowest mass of the run, too
    assert len(galaxies) == galaxies["halo_id"].nunique() > 100
    assert np.isfinite(galaxies[["mag_g", "mag_r", "lg_mstar", "logm0", "t_peak"]].to_numpy()).all()
    assert np.corrcoef(galaxies["logmp_obs"], galaxies["lg_mstar"])[0, 1] > 0.5


def test_a_file_whose_halos_are_all_too_light_says_so(run_file, capsys):
    """The consistent-trees sample has one halo, of 10^9 Msun."""
    assert main(["halos", str(run_file(BOLSHOI)), "--quiet"]) == 2
    assert "none of its 1 halos has 10^10.7 Msun or more" in capsys.readouterr().err
