"""Catalogs whose colors no galaxy has are told, in the terminal and in the report."""

import copy
import dataclasses
import inspect
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from popinfer.config import RunConfig
from popinfer.data.filters import vega_to_ab
from popinfer.errors import InputError
from popinfer.halos.source import LightconeSource
from popinfer.inference_data import from_groups
from popinfer.run import run_summary
from popinfer.run.build import build_light
from popinfer.run.catalog import build_catalog
from popinfer.run.plausible import color_doubts, reading_table
from popinfer.run.prepare import prepare
from tests.support.base_catalog import base_catalog
from tests.support.listening import Listening

TO_AB = {"u": -0.036, "g": 0.012, "r": 0.010, "i": 0.028, "z": 0.040}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> pd.DataFrame:
    return base_catalog()


@pytest.fixture(scope="module")
def raw(tiny_config, base, tmp_path_factory) -> dict:
    """All five bands of the base catalog."""
    path = tmp_path_factory.mktemp("base") / "b.parquet"
    base.to_parquet(path)
    raw = copy.deepcopy(tiny_config)
    raw["catalog"] |= {"path": str(path)}
    raw["catalog"]["bands"] = {
        b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}", "zero_point_mag": TO_AB[b]} for b in "ugriz"
    }
    raw |= {"slices": [[0.06, 0.09], [0.09, 0.12]], "features": ["u-g", "g-r", "r-i", "i-z", "r"]}
    raw["halos"] = {"n_per_slice": 64, "lgm_min": 11.2}
    return raw


@pytest.fixture(scope="module")
def config(raw) -> RunConfig:
    return RunConfig.model_validate(raw)


@pytest.fixture(scope="module")
def light(config):
    """Filters and stellar populations."""
    light = build_light(config)
    return light.filters, light.shining


@pytest.fixture(scope="module")
def catalog(config):
    return build_catalog(config)


@pytest.fixture
def doubts(config, light, catalog):
    """Doubts about the catalog with other magnitudes."""

    def of(mag=None, **changed) -> tuple[str, ...]:
        mag = catalog.mag if mag is None else mag
        other = dataclasses.replace(catalog, mag=mag, **changed)
        return tuple(doubt.text for doubt in color_doubts(config, other, *light[::-1]))

    return of


def test_the_sample_itself_is_no_doubt(doubts, catalog):
    assert doubts() == ()
    # nor is dust in front of all of it, or brightness
    assert doubts(catalog.mag + np.array([1.6, 1.2, 0.85, 0.65, 0.48])) == ()
    assert doubts(catalog.mag + 3.0) == ()


def test_vega_magnitudes_taken_for_ab(doubts, catalog):
    said = doubts(catalog.mag - np.array([vega_to_ab(f"sdss_{b}0") for b in "ugriz"]))
    assert len(said) == 2 and "at 0.06 < z < 0.09" in said[0] and "at 0.09 < z < 0.12" in said[1]
    assert "system: vega" in said[0]


@pytest.mark.parametrize("first", range(4))
def test_neighboring_bands_swapped(doubts, catalog, first):
    order = np.arange(5)
    order[[first, first + 1]] = order[[first + 1, first]]
    said = doubts(catalog.mag[:, order])
    assert len(said) == 2 and "each band has its own filter" in said[0]


@pytest.mark.parametrize("band", [1, 2])
def test_zero_point_of_a_band(doubts, catalog, band):
    assert len(doubts(catalog.mag + 0.4 * np.eye(5)[band])) == 2


def test_a_median_of_few_galaxies_is_not_judged(doubts, catalog):
    mag = np.full_like(catalog.mag, np.nan)
    mag[:9] = catalog.mag[:9, ::-1]
    assert doubts(mag) == ()


def test_ultraviolet_of_the_restframe_is_not_judged(config, light, catalog):
    """At z = 4 u and g lie where gas between the galaxies absorbs."""
    far = config.model_copy(update={"slices": [(3.9, 4.1)]})
    mag = np.array([29.0, 25.5, 24.0, 23.9, 23.8]) + np.zeros_like(catalog.mag)
    high = dataclasses.replace(catalog, z=np.full_like(catalog.z, 4.0), mag=mag)
    assert color_doubts(far, high, *light[::-1]) == ()


def test_prepare_says_it_and_keeps_it(raw, tmp_path):
    changed = copy.deepcopy(raw)
    bands = changed["catalog"]["bands"]
    bands["g"]["filter"], bands["r"]["filter"] = bands["r"]["filter"], bands["g"]["filter"]
    heard = Listening()
    run = prepare(RunConfig.model_validate(changed), tmp_path / "out", heard)
    warnings = [line for line in heard.lines if "from those of any galaxy" in line]
    assert len(warnings) == 2 and all(line.startswith("warning: ") for line in warnings)
    assert run.catalog.warnings == tuple(line.removeprefix("warning: ") for line in warnings)
    assert not (tmp_path / "out").exists()
    assert heard.bars["Stellar populations in the survey's bands"] == (4, [1, 2, 3, 4])


def test_catalog_warnings_reach_the_report(monkeypatch):
    """Of the summary only the warnings matter here."""
    free = SimpleNamespace(free=(), names=())
    run = SimpleNamespace(
        model=SimpleNamespace(space=free, params_at=lambda u: None),
        catalog=SimpleNamespace(warnings=("the catalog's",), dropped=()),
        config=SimpleNamespace(name="n", to_yaml=str, catalog=SimpleNamespace(path="none")),
        fingerprint=str,
        hashes=dict,
        n_galaxies=(),
        physical=lambda u: {},
        truth={},
        source=LightconeSource(),
    )
    fit = SimpleNamespace(
        per_slice=(),
        wall_time_s=0.0,
        approx=SimpleNamespace(mean=np.zeros(0)),
        log_density=0.0,
        goodness=SimpleNamespace(chi2=0.0, n_eff=0.0, p_value=0.0),
        halo_counts=np.zeros(1),
        flat=(),
        starts=(),
        cautions=("the fit's",),
        halo_counting=np.zeros(1),
    )
    checks = xr.Dataset({"p_chi2_slice": ("slice", np.empty(0)), "p_chi2": 0.0})
    idata = from_groups(
        {"posterior": xr.Dataset(attrs={"wall_time_s": 0.0}), "sample_stats": xr.Dataset(), "checks": checks}
    )
    monkeypatch.setattr(run_summary, "versions", dict)
    monkeypatch.setattr(run_summary, "drawn_beside", lambda config: [])
    monkeypatch.setattr(run_summary, "galaxies_missing", lambda run, params: [])
    monkeypatch.setattr(run_summary, "read_region", lambda run: SimpleNamespace(wall_time_s=0.0))
    taken = {}
    monkeypatch.setattr(run_summary, "RunSummary", lambda **keys: taken.update(keys))
    unchecked = inspect.unwrap(run_summary.summary_of_run)  # of types, which stand-ins don't have
    unchecked(run, SimpleNamespace(wall_time_s=0.0, n_halos=0), fit, idata)
    assert taken["warnings"] == ("the catalog's", "the fit's")


def test_reading_table(config, catalog):
    lines = reading_table(config, catalog)
    low = (catalog.z >= 0.06) & (catalog.z < 0.09)
    (faint,) = [loss.rows for loss in catalog.losses if loss.low == 0.06]
    assert lines[0] == (
        f"  0.06 < z < 0.09: {int(low.sum()):,} galaxies; left out: {faint} fainter than r = 17.5"
    )
    mag, err = np.median(catalog.mag[low, 0]), np.median(catalog.mag_err[low, 0])
    assert lines[1] == f"    u: median {mag:.2f}, error {err:.3f} mag"
    assert len(lines) == 2 * 6 + len(catalog.dropped)


def test_reading_table_tells_what_was_left_out_and_done(raw, base, tmp_path):
    frame = base.assign(a_g=0.12)
    frame.loc[:59, "u"] = 0.0
    frame.loc[60:79, "eu"] = 9.9e99
    frame.to_parquet(tmp_path / "b.parquet")
    changed = copy.deepcopy(raw)
    changed["catalog"] |= {"path": str(tmp_path / "b.parquet"), "where": "r > 15"}
    changed["catalog"]["bands"]["g"]["extinction"] = "a_g"
    config = RunConfig.model_validate(changed)
    lines = reading_table(config, build_catalog(config))
    bright = frame.r <= 15
    zeros, vague = (~bright & (frame.u == 0)).sum(), (~bright & (frame.eu > 1)).sum()
    assert f"  left out: {bright.sum()} not r > 15" in lines
    assert f"  left out: {zeros} zero for a magnitude in u" in lines
    assert f"  left out: {vague} error of u above 3 mag" in lines
    assert "  extinction subtracted in g: 0.120 mag in the median (column 'a_g')" in lines
    of_u = [line for line in lines if line.startswith("    u: ")]
    assert len(of_u) == 2 and all("zero for a magnitude in u" in line for line in of_u)
    per_slice = [int(line.split("; without: ")[1].split()[0]) for line in of_u]
    assert sum(per_slice) == zeros
    cut = [line.split(" not r > 15")[0].split()[-1] for line in lines if "galaxies; left out" in line]
    assert sum(int(rows) for rows in cut if rows.isdigit()) == bright.sum()


def test_reading_table_tells_what_kept_galaxies_lack(raw, base, tmp_path):
    frame = base.copy()
    frame.loc[::10, "u"] = 0.0
    frame.loc[1::10, "eu"] = np.nan
    frame.to_parquet(tmp_path / "b.parquet")
    changed = copy.deepcopy(raw)
    changed["catalog"] |= {"path": str(tmp_path / "b.parquet"), "missing_bands": "keep"}
    config = RunConfig.model_validate(changed)
    catalog = build_catalog(config)
    of_u = [line for line in reading_table(config, catalog) if line.startswith("    u: ")]
    for line in of_u:
        lacking = int(line.split(" not measured")[0].split()[-1])
        zero, error = (int(part.split()[0]) for part in line.split("; without: ")[1].split(", "))
        assert zero + error == lacking and "no error in u" in line


def test_limits_of_bands_have_reasons_of_their_own(raw):
    changed = copy.deepcopy(raw)
    changed["catalog"]["bands"]["g"] |= {"faint_mag": 18.0}
    changed["catalog"]["bands"]["u"] |= {"bright_mag": 17.5}
    changed["catalog"]["cuts"] = [{"kind": "magnitude", "band": "i", "faint_mag": 16.9}]
    config = RunConfig.model_validate(changed)
    catalog = build_catalog(config)
    dropped = dict(catalog.dropped)
    assert set(dropped) >= {"fainter than g = 18", "brighter than u = 17.5", "outside catalog.cuts"}
    assert (
        sum(loss.rows for loss in catalog.losses if loss.reason == "fainter than g = 18")
        == (dropped["fainter than g = 18"])
    )
    assert "fainter than g = 18" in reading_table(config, catalog)[0]


def test_reading_table_marks_colors(config, light, catalog):
    mag = catalog.mag + 0.4 * np.eye(5)[1]
    low = (catalog.z >= 0.06) & (catalog.z < 0.09)
    half = dataclasses.replace(catalog, mag=np.where(low[:, None], mag, catalog.mag))
    (doubt,) = color_doubts(config, half, *light[::-1])
    assert doubt.slice == (0.06, 0.09) and "g" in doubt.bands
    lines = reading_table(config, half, (doubt,))
    assert lines[0].endswith("(implausible colors, see the warnings)") and "implausible" not in lines[6]
    marked = [line.split(":")[0].strip() for line in lines[1:6] if "(implausible, see" in line]
    assert tuple(marked) == doubt.bands
    assert not any("implausible" in line for line in lines[6:])


def test_reading_table_marks_what_is_implausible(raw, base, tmp_path):
    base.assign(eg=base.eg**-2 / 1e4).to_parquet(tmp_path / "b.parquet")
    changed = copy.deepcopy(raw)
    changed["catalog"] |= {"path": str(tmp_path / "b.parquet"), "implausible": "warn"}
    config = RunConfig.model_validate(changed)
    marked = [line for line in reading_table(config, build_catalog(config)) if "implausible" in line]
    assert len(marked) == 2 and all(line.startswith("    g: ") for line in marked)
    changed["catalog"]["implausible"] = "refuse"
    with pytest.raises(InputError, match="band g: the median error is"):
        build_catalog(RunConfig.model_validate(changed))


def test_reading_table_of_missing_bands(config, catalog):
    mag = np.array(catalog.mag)
    mag[:100, 0] = np.nan
    mag[:, 1] = np.nan
    lines = reading_table(config, dataclasses.replace(catalog, mag=mag))
    assert "    g: none measured" in lines
    lacking = sum(int(line.rsplit(", ", 1)[1].split()[0]) for line in lines if "not measured" in line)
    assert lacking == 100
