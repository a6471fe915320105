"""The embedded galaxies are a random subset of the survey: the luminosity function tells their numbers."""

import numpy as np
import pandas as pd
from scripts import ROOT, as_module

from popinfer.data.embedded import asset_path

fair_sample = as_module(ROOT / "benchmarks" / "fair_sample.py")


def test_embedded_galaxies_are_as_many_as_expected_in_every_cell():
    frame = pd.read_parquet(asset_path("sdss_mgs"))
    found = fair_sample.compared(*(frame[name].to_numpy() for name in ("zs", "r", "u")))
    assert found["n"] > 3000 and found["cells"] > 50
    # Petrosian magnitudes are some 0.1 mag fainter, and K corrections of galaxies differ
    assert found["chi2"] < 1.7 * found["cells"]
    np.testing.assert_allclose(found["along_r"][3:], 1, atol=0.2)


def test_galaxies_that_were_chosen_by_color_and_brightness_are_told():
    frame = pd.read_parquet(asset_path("sdss_mgs"))
    kept = (frame.r < 16.4) | (np.random.default_rng(0).uniform(size=len(frame)) < 0.6)
    found = fair_sample.compared(*(frame[name].to_numpy()[kept] for name in ("zs", "r", "u")))
    assert found["chi2"] > 2.5 * found["cells"]
