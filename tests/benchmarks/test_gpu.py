"""`benchmarks/gpu.py` on whatever JAX finds, with few galaxies and halos."""

import json

import pytest
from scripts import run_script

RUN_FILE = """
name: tiny
catalog:
  path: sdss_mgs
  redshift: zs
  bands:
    g: {filter: sdss_g0, value: g, error: eg}
    r: {filter: sdss_r0, value: r, error: er}
  selection: {band: r, bright_mag: 14.0, faint_mag: 17.5, width_mag: 0.05}
slices: [[0.06, 0.09]]
features: [g-r, r]
halos: {n_per_slice: 4096, lgm_min: 11.0}
free:
  dust.lg_av: {loc: -0.4, scale: 0.3}
  metallicity.zero_point: {loc: 0.0, scale: 0.15}
kernels: {n_centers: 30, floor_mag: 0.05, model_error: 0.1}
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the script printed, and the JSON that it wrote."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "tiny.yaml").write_text(RUN_FILE, encoding="utf-8")
    options = ["--sizes", "100,200", "--at-once", "100", "--repeats", "1", "--points", "2"]
    options += ["--precision", "double", "--no-nuts-exact", "--n-per-slice", "256"]
    options += ["--run", str(folder / "tiny.yaml"), "--json", str(folder / "gpu.json")]
    printed = run_script("gpu.py", *options)
    return printed, json.loads((folder / "gpu.json").read_text(encoding="utf-8"))


def test_every_figure_is_there_with_where_it_comes_from(measured):
    _, result = measured
    assert set(result["galaxies_per_second"]) == {"100", "200"}
    standard = result["standard_sps_cpu_galaxies_per_second"]
    for size, rates in result["galaxies_per_second"].items():
        for work in ("forward", "gradient"):
            assert rates[work] > 0
            ratio = result["ratio_to_standard_sps_cpu"][size][work]
            assert ratio == pytest.approx(rates[work] / standard[work])
    assert result["log_density"]["n_halos"] == 256
    assert min(result["log_density"]["per_second"].values()) > 0
    assert result["nuts_exact"] is None
    assert result["versions"]["jax"] != "not installed"
    assert "--n-per-slice 256" in result["command"] and result["device"]["kind"]


def test_the_cpu_agrees_with_itself_and_the_output_says_so(measured):
    printed, result = measured
    if result["device"]["platform"] == "cpu":
        assert "no accelerator: the CPU is compared with itself" in printed
    # one program on one device gives one number, but for the order in which threads add
    assert result["magnitude_difference"]["cpu_in_same_precision"] < 1e-9
    assert result["log_density"]["difference_nat"]["cpu_in_same_precision"] < 1e-9
    assert result["magnitude_difference"]["device"] < 1e-6
    assert result["log_density"]["difference_nat"]["device"] < 1e-4
