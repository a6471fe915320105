"""What a run file's catalog section does: limits, conditions, colors, and what is said after reading."""

import contextlib
import copy

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import yaml

from popinfer.cli import main
from popinfer.config import load_config
from popinfer.config.survey import BandConfig
from popinfer.data.filters import vega_to_ab
from popinfer.run.catalog_table import catalog_table
from popinfer.run.cuts import build_selection
from popinfer.run.galaxy_colors import color_warnings
from popinfer.run.mock import mock_band
from popinfer.run.observed import build_catalog
from popinfer.run.prepare import prepare
from popinfer.run.summarise import of_catalog
from tests.support.base_catalog import BANDS, ROWS, base


@pytest.fixture
def survey(tmp_path, tiny_config):
    """Configuration and catalog of a frame in all five bands, with some changes of its section."""

    def build(frame, bands=None, slices=((0.06, 0.09), (0.09, 0.12)), **changed):
        path = tmp_path / "base.parquet"
        frame.to_parquet(path)
        section = copy.deepcopy(tiny_config["catalog"])
        section["path"] = str(path)
        section["bands"] = {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in BANDS}
        for name, settings in (bands or {}).items():
            section["bands"][name].update(settings)
        section.update(changed)
        content = {**tiny_config, "catalog": section, "slices": [list(x) for x in slices]}
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        config = load_config(file)
        return config, build_catalog(config)

    return build


def test_galaxies_of_the_sky_have_possible_colors(survey):
    config, catalog = survey(base())
    assert color_warnings(config, catalog) == () and catalog.warnings == ()


def test_vega_magnitudes_taken_for_ab_ones(survey):
    frame = base()
    for b in BANDS:
        frame[b] -= vega_to_ab(f"sdss_{b}0")
    (warning,) = color_warnings(*survey(frame))
    assert "would fit if u, g, r, i, z were Vega magnitudes; if so, set system: vega" in warning
    assert "u-g = 0." in warning
    settings = {b: {"system": "vega"} for b in BANDS}
    assert color_warnings(*survey(frame, settings)) == ()


@pytest.mark.parametrize(("first", "second"), [("u", "g"), ("g", "r"), ("r", "i"), ("u", "z")])
def test_filters_of_two_bands_exchanged(survey, first, second):
    swapped = {first: {"filter": f"sdss_{second}0"}, second: {"filter": f"sdss_{first}0"}}
    (warning,) = color_warnings(*survey(base(), swapped))
    assert "mag (rms) from those of any mixture" in warning
    pair = (first, second)
    assert any(f"filters of {a} and {b} exchanged" in warning for a, b in (pair, pair[::-1]))


@pytest.mark.parametrize("band", BANDS)
def test_a_band_that_is_off(survey, band):
    frame = base()
    frame[band] += 0.5
    (warning,) = color_warnings(*survey(frame))
    assert "look at units, zero points, extinction" in warning or "would fit" in warning


SFD = {"u": 4.24, "g": 3.30, "r": 2.29, "i": 1.70, "z": 1.26}  # A / E(B-V), Schlafly & Finkbeiner (2011)


def reddened(times):
    """The base catalog behind dust of a dusty field, `times` over, with the right extinction as columns a."""
    frame = base()
    reddening = np.random.default_rng(8).lognormal(np.log(0.06), 0.7, ROWS)
    for b, a in SFD.items():
        frame[f"a{b}"] = a * reddening
        frame[b] += times * a * reddening
    return frame


def test_extinction_subtracted_once_and_twice(survey):
    settings = {b: {"extinction": f"a{b}"} for b in BANDS}
    limits = {"band": "r", "bright_mag": 8, "faint_mag": 19}
    config, catalog = survey(reddened(1), settings, selection=limits)
    np.testing.assert_allclose(catalog.mag, base()[list(BANDS)])
    assert catalog.warnings == ()
    lines = catalog_table(config, catalog)
    for line, b in zip(lines[2:7], BANDS, strict=True):
        assert float(line.split()[4]) == pytest.approx(np.median(reddened(0)[f"a{b}"]), abs=6e-4)
    (warning,) = survey(reddened(0), settings, selection=limits)[1].warnings
    assert "colors u-z change by -1." in warning or "colors u-z change by -0.9" in warning
    assert "corrected for it before? Then leave extinction out" in warning
    (warning,) = survey(reddened(3), settings, selection=limits)[1].warnings
    assert "is extinction in mag, of these bands?" in warning


def test_colors_need_two_bands_and_galaxies(survey):
    config, catalog = survey(base().head(40))
    assert color_warnings(config, catalog) == ()


def test_the_table_has_a_line_a_slice_and_band(survey):
    frame = base()
    frame.loc[:29, "u"] = 0.0
    frame["ei"] = 0.5
    config, catalog = survey(frame, selection={"band": "r", "bright_mag": 14.0, "faint_mag": 17.0})
    lines = catalog_table(config, catalog)
    assert len(lines) == 1 + 2 * (1 + len(BANDS))
    for start, (low, high) in ((1, (0.06, 0.09)), (7, (0.09, 0.12))):
        inside = (frame.zs >= low) & (frame.zs < high)
        zeros = int((inside & (frame.u == 0)).sum())
        left = frame[inside & (frame.u != 0) & (frame.r <= 17.0)]
        assert lines[start].startswith(f"{low:g}..{high:g}") and f" {len(left):,d} " in lines[start]
        assert f"value of exactly 0 in u {zeros}" in lines[start] and "fainter than r = 17" in lines[start]
        for line, b in zip(lines[start + 1 : start + 6], BANDS, strict=True):
            words = line.split()
            assert words[:2] == [b, f"{len(left):,d}"]
            assert float(words[2]) == pytest.approx(left[b].median(), abs=6e-4)
            assert float(words[3]) == pytest.approx(left[f"e{b}"].median(), abs=6e-5)
            assert ("! noisy" in line) == (b == "i")


def test_limits_of_a_band_cut_data_and_model_alike(survey):
    frame = base()
    limits = {"g": {"bright_mag": 16.0, "faint_mag": 18.0}, "u": {"faint_mag": 19.5}}
    config, catalog = survey(frame, limits)
    mag = frame[list(BANDS)].to_numpy()
    kept = (mag[:, 1] >= 16) & (mag[:, 1] <= 18) & (mag[:, 0] <= 19.5) & (mag[:, 2] >= 14)
    np.testing.assert_array_equal(catalog.mag, mag[kept])
    dropped = dict(catalog.dropped)
    assert (
        dropped["fainter than u = 19.5"] == (mag[:, 0] > 19.5).sum() - (mag[mag[:, 2] < 14, 0] > 19.5).sum()
    )
    assert "fainter than g = 18" in dropped and "brighter than g = 16" in dropped
    selection = build_selection(config)
    np.testing.assert_array_equal(selection.sharp(mag) > 0, kept)
    inside = np.array([[19.0, 17.0, 16.0, 15.8, 15.6]])
    outside = inside + np.array([0.6, 0, 0, 0, 0])
    assert selection(jnp.asarray(inside))[0] > 0.99 and selection(jnp.asarray(outside))[0] < 0.01
    assert sum(n for _, n in catalog.dropped) + catalog.z.size == ROWS


def test_names_follow_their_galaxies_through_cuts(survey):
    frame = base().assign(name=[f"J{i}" for i in range(ROWS)])
    cut = {"kind": "linear", "coefficients": {"g": 1, "r": -1}, "threshold_mag": 0.8}
    _, catalog = survey(frame, {"g": {"faint_mag": 18.0}}, id="name", cuts=[cut], where="r < 17.2")
    kept = (frame.g <= 18) & (frame.g - frame.r >= 0.8) & (frame.r < 17.2) & (frame.r >= 14)
    assert catalog.id == tuple(frame.name[kept])
    np.testing.assert_array_equal(catalog.z, frame.zs[kept])


def test_conditions_may_be_text_or_a_list(survey):
    frame = base().assign(clean=np.arange(ROWS) % 2 == 0, flag=np.arange(ROWS) % 4)
    assert survey(frame, where="clean")[1].z.size == ROWS / 2
    assert survey(frame, where=["clean", "flag == 0"])[1].z.size == ROWS / 4


def test_missing_adds_to_the_usual_markers(survey):
    frame = base()
    frame.loc[:9, "u"], frame.loc[10:19, "g"] = 99.0, -77.0
    dropped = dict(survey(frame, missing=[-77])[1].dropped)
    assert dropped["no magnitude in u"] == 10 and dropped["no magnitude in g"] == 10


def test_an_error_that_is_a_number(survey):
    _, catalog = survey(base(), {"g": {"error": 0.03}})
    np.testing.assert_array_equal(catalog.mag_err[:, 1], 0.03)


class Listener:
    """A reporter that remembers what it is told."""

    def __init__(self):
        self.lines = []

    @contextlib.contextmanager
    def task(self, title, total=None):
        yield lambda done, text="": None

    def say(self, text):
        self.lines.append(text)


def test_a_run_says_what_it_read_and_keeps_what_is_odd(tmp_path, tiny_config):
    frame = pd.concat([base(), base().head(10)], ignore_index=True)
    frame["r"] -= 0.5  # g-r = 1.4 at z = 0.07
    frame.to_parquet(tmp_path / "base.parquet")
    section = {**tiny_config["catalog"], "path": str(tmp_path / "base.parquet")}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**tiny_config, "catalog": section}), encoding="utf-8")
    listener = Listener()
    run = prepare(file, tmp_path / "out", listener)
    assert listener.lines[0].split() == ["slice", "band", "galaxies", "median", "error", "A", "sub."]
    assert listener.lines[1].startswith("0.06..0.09") and f"{run.catalog.z.size:,}" in listener.lines[1]
    copies, colors = run.catalog.warnings
    assert "equal another in redshift" in copies
    assert "median colors g-r = 1.3" in colors or "median colors g-r = 1.4" in colors
    assert [f"warning: {copies}", f"warning: {colors}"] == listener.lines[4:6]
    assert of_catalog(run) == [f"The catalog: {copies}.", f"The catalog: {colors}."]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: pd.concat([f] * 4, ignore_index=True), "catalog.duplicates: allow"),
        (lambda f: f.assign(er=f.er**-2.0), "is it an inverse variance?"),
        (lambda f: f.assign(g=0.0), "band g"),
        (lambda f: f.assign(zs=f.r), "equals column 'r' in every row"),
        (lambda f: f.assign(g=(f.zs > 0.09).astype(float)), "is it a flag?"),
    ],
)
def test_the_program_refuses_before_anything_is_written(tmp_path, tiny_config, capsys, spoil, says):
    path = tmp_path / "base.parquet"
    spoil(base()).to_parquet(path)
    file = tmp_path / "run.yaml"
    section = {**tiny_config["catalog"], "path": str(path)}
    file.write_text(yaml.safe_dump({**tiny_config, "catalog": section}), encoding="utf-8")
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and says in lines[0] and "base.parquet" in lines[0]
    assert not (tmp_path / "out").exists()


def test_mocks_are_in_plain_units(tiny_config):
    band = BandConfig(
        filter="sdss_r0", value="m[2]", error=0.03, system="vega", extinction="a", unit="luptitude"
    )
    plain = mock_band(band)
    assert (plain.value, plain.error, plain.unit, plain.system) == ("m_2", "m_2_err", "mag", None)
    assert plain.extinction is None
    flux = mock_band(BandConfig(filter="f", value="F", error="S", unit="mJy", error_kind="ivar"))
    assert (flux.unit, flux.error, flux.error_kind) == ("mJy", "S", "ivar")
    scaled = mock_band(BandConfig(filter="f", value="F", error="S", ab_of_unit_mag=25))
    assert (scaled.unit, scaled.ab_of_unit_mag) == ("mag", None)
