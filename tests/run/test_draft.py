"""``popinfer init``: what is guessed of a catalog, and that the file it writes can be run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table

from popinfer import cli
from popinfer.config import load_config
from popinfer.data.column_names import band_name, filter_of, redshift_names, survey_in
from popinfer.data.filter_names import known_filters
from popinfer.errors import InputError
from popinfer.run.check import check_run_file
from popinfer.run.draft import draft, run_file, write_draft
from popinfer.run.draft_bands import yaml_text

OBSERVED = Path(__file__).resolve().parents[3] / "shared" / "data" / "observed"
CATALOGS = ("sdss_gst_kcorrect_10k", "sdss_mgs_mlz_10k", "zcosmos_bright20k")


def flux_limited(n: int = 4000, limit: float = 20.0) -> pd.DataFrame:
    """Galaxies down to r = limit, counts rising by 0.4 dex a magnitude."""
    rng = np.random.default_rng(2)
    r = limit + np.log10(rng.uniform(1e-3, 1.0, n)) / 0.4
    frame = pd.DataFrame({"z_spec": rng.gamma(3.0, 0.05, n), "ra": rng.uniform(0, 360, n)})
    for band, color in (("g", 0.8), ("r", 0.0), ("i", -0.4)):
        frame[f"{band}mag"] = r + color + (rng.normal(0, 0.3, n) if color else 0.0)
        frame[f"{band}mag_err"] = rng.uniform(0.01, 0.05, n)
    return frame


@pytest.fixture
def drafted(tmp_path, monkeypatch):
    """Write a table, draft its run file and check it; the draft and the configuration."""
    monkeypatch.chdir(tmp_path)

    def made(frame: pd.DataFrame, name: str = "hsc_wide.parquet"):
        frame.to_parquet(name)
        result = draft(name)
        write_draft(result, Path("run.yaml"))
        check_run_file("run.yaml")
        return result, load_config("run.yaml")

    return made


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("u", ("u", "value", False, False, False, "")),
        ("eu", ("u", "error", False, False, False, "")),
        ("magerr_u", ("u", "error", False, False, False, "")),
        ("petroMagErr_r", ("r", "error", False, False, False, "petro")),
        ("MAG_AUTO_R", ("r", "value", False, False, False, "auto")),
        ("modelflux_g", ("g", "value", True, False, False, "model")),
        ("FLUX_IVAR_G", ("g", "error", True, True, False, "")),
        ("mag_J_vega", ("j", "value", False, False, True, "")),
        ("extinction_g", ("g", "extinction", False, False, False, "")),
        ("e_W1mag", ("w1", "error", False, False, False, "")),
        ("hsc_i_err", ("i", "error", False, False, False, "")),
    ],
)
def test_names_of_bands(column, said):
    found = band_name(column)
    assert found is not None and found[1:7] == said


@pytest.mark.parametrize(
    "column",
    ["u-g", "eg-r", "id", "ra", "dec", "ebv", "flag_maskb", "zspec", "split", "err", "mag", "ic", ""],
)
def test_other_columns_are_of_no_band(column):
    assert band_name(column) is None


def test_surveys_and_their_filters():
    assert survey_in("data/zCOSMOS_bright.fits") == "cosmos"
    assert survey_in("des_y3") == "decam"
    assert survey_in("galaxies") == ""
    assert filter_of("r", "hsc") == "hsc_r"
    assert filter_of("j", "sdss") == "twomass_J"  # not its own
    assert filter_of("q", "sdss") == ""
    curves = {
        filter_of(band, s) for s in ("cosmos", "lsst", "hsc", "decam", "panstarrs", "") for band in "ugrizyk"
    }
    assert curves - {""} <= set(known_filters())
    assert redshift_names(["z", "g", "Z_SPEC", "zphot"]) == ["Z_SPEC", "zphot", "z"]


def test_the_embedded_sample(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "sdss_mgs"]) == 0
    said = capsys.readouterr().out
    config = load_config("sdss_mgs.yaml")
    assert [band.filter for band in config.catalog.bands.values()] == [f"sdss_{x}0" for x in "ugriz"]
    assert config.catalog.redshift == "zs" and config.features == ["u-g", "g-r", "r-i", "i-z", "r"]
    # the main sample's limit is r = 17.77 before extinction and survey-wide
    assert config.catalog.selection.band == "r" and 17.2 <= config.catalog.selection.faint_mag <= 17.8
    assert "band u: columns u and eu, filter sdss_u0\n" in said
    assert cli.main(["check", "sdss_mgs.yaml"]) == 0


def test_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("precious")
    assert cli.main(["init", "sdss_mgs", "--out", "mine.yaml"]) == 2
    assert "mine.yaml: is there already" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "precious"


@pytest.mark.parametrize("name", CATALOGS)
def test_observed_catalogs(name, tmp_path, monkeypatch):
    path = OBSERVED / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} isn't there")
    monkeypatch.chdir(tmp_path)
    made = draft(str(path))
    write_draft(made, Path("run.yaml"))
    plan = check_run_file("run.yaml")
    assert plan.catalog.z.size > 4000
    assert made.redshift == {"sdss_gst_kcorrect_10k": "z", "zcosmos_bright20k": "zpec"}.get(name, "zs")
    assert len(made.guessed.bands) == {"sdss_gst_kcorrect_10k": 8, "zcosmos_bright20k": 9}.get(name, 5)


def test_what_a_flux_limited_sample_gives(drafted):
    made, config = drafted(flux_limited())
    assert [band.filter for band in config.catalog.bands.values()] == ["hsc_g", "hsc_r", "hsc_i"]
    assert config.catalog.selection.band == "r"
    assert config.catalog.selection.faint_mag == pytest.approx(20.0, abs=0.11)  # a bin
    z = flux_limited().z_spec
    numbers = [((z >= low) & (z < high)).sum() for low, high in config.slices]
    assert len(numbers) == 2 and max(numbers) < 1.4 * min(numbers)
    assert list(made.lowest_masses) == sorted(made.lowest_masses)
    assert next(iter(config.free)) == "sfh.efficiency"


def test_fluxes_with_units_inverse_variances_and_a_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = flux_limited()
    table = Table({"redshift": frame.z_spec, "clean": np.arange(len(frame)) % 10 > 0})
    for band in "gri":
        flux = 10 ** (-0.4 * (frame[f"{band}mag"].to_numpy() - 31.4))
        table[f"flux_{band}"], table[f"ivar_flux_{band}"] = flux, 1 / (0.03 * flux) ** 2
        table[f"flux_{band}"].unit = "nJy"
    table.write("galaxies.fits")
    made = draft("galaxies.fits")
    write_draft(made, Path("run.yaml"))
    plan = check_run_file("run.yaml")
    assert plan.config.catalog.where == ["clean"]
    assert {band.error_kind for band in plan.config.catalog.bands.values()} == {"ivar"}
    assert any(line.startswith("filters: no name speaks of a survey") for line in made.said)


@pytest.mark.parametrize(("sign", "where"), [(1, "still in gflux"), (-1, "still in gmag")])
def test_magnitudes_and_fluxes_tell_where_extinction_is_in(drafted, sign, where):
    frame = flux_limited()
    frame["ext_g"] = np.random.default_rng(5).uniform(0.1, 0.3, len(frame))
    frame["ext_r"] = 0.1
    of_flux = frame["gmag"] + sign * frame["ext_g"]
    table = Table.from_pandas(frame)
    table["gflux"], table["rflux"] = (10 ** (-0.4 * (x - 23.9)) for x in (of_flux, frame["rmag"] + 0.5))
    table["gflux"].unit = table["rflux"].unit = "uJy"
    table.write("hsc.fits")
    said = "\n".join(draft("hsc.fits").said)
    assert where in said and "as ext_g says (0.2" in said
    assert (
        "band r: rflux is +0.50 mag from rmag in the median: another aperture, system or extinction" in said
    )
    assert "band r: whether rmag still holds ext_r the file can't say; it isn't subtracted" in said
    text = run_file(draft("hsc.fits"))
    assert ("error: gmag_err, extinction: ext_g}" in text) == (sign < 0) and "# extinction: ext_g" not in text
    assert "# extinction: ext_r subtracts it, if it is still in" in text
    assert "band i: ext" not in said and "imag in the median" not in said


@pytest.mark.parametrize("sign", [1, 0, -1])
def test_fluxes_without_a_unit_tell_extinction_from_galaxy_to_galaxy(drafted, sign):
    frame = flux_limited()
    frame["ext_g"] = np.random.default_rng(5).uniform(0.1, 0.3, len(frame))
    frame["gflux"] = 10 ** (-0.4 * (frame["gmag"] + sign * frame["ext_g"] - 22.5))
    made, config = drafted(frame)
    said = "\n".join(made.said)
    if sign == 0:
        assert "whether gmag still holds ext_g the file can't say" in said
    else:
        inside = "gflux" if sign > 0 else "gmag"
        assert "gflux and gmag differ from galaxy to galaxy, as ext_g says (0.20)" in said
        assert f"still in {inside}" in said
    assert (config.catalog.bands["g"].extinction == "ext_g") == (sign < 0)


def test_bands_of_the_near_infrared_are_said_to_be_vegas(drafted):
    frame = flux_limited()
    frame["twomass_J"], frame["twomass_J_err"] = frame["imag"] - 1.0, 0.05
    made, _ = drafted(frame)
    assert any("band j: 2MASS and its successors publish Vega" in line for line in made.said)


def test_what_cannot_be_used_is_told(drafted):
    frame = flux_limited()
    rng = np.random.default_rng(3)
    frame["umag"], frame["umag_err"] = (
        np.where(rng.uniform(size=len(frame)) < 0.5, 20.0 + rng.normal(size=len(frame)), np.nan),
        0.1,
    )
    frame["ymag"] = 19.0 + rng.normal(size=len(frame))
    frame["flux_z"], frame["fluxerr_z"] = rng.uniform(1, 9, len(frame)), 0.3
    frame.loc[:5, "gmag_err"] = -1.0
    frame["ext_r"] = 0.1
    made, config = drafted(frame)
    said = "\n".join(made.said)
    assert list(config.catalog.bands) == ["g", "r", "i"]
    assert "band u: left out, measured in " in said
    assert "band y: left out, no column of its errors" in said
    assert "band z: left out, the unit of its flux isn't stated" in said
    text = run_file(made)
    assert "band r: whether rmag still holds ext_r" in said and "# extinction: ext_r" in text
    assert "    # z: {filter: hsc_z, value: flux_z, error: fluxerr_z, unit: }  # nmgy" in text
    assert config.catalog.missing == [-1.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="z_spec"), "no column is called like a redshift"),
        (lambda f: f.assign(z_spec=f.z_spec * 3e5), "no column is called like a redshift"),
        (lambda f: f[["z_spec", "gmag", "gmag_err"]], "fewer than two bands have columns"),
        (lambda f: f.iloc[:100], "100 rows have a redshift|rows have a redshift and all of the bands"),
    ],
)
def test_tables_that_no_run_file_can_be_made_for(change, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change(flux_limited()).to_parquet("t.parquet")
    with pytest.raises(InputError, match=says):
        draft("t.parquet")


@pytest.mark.parametrize("text", ["plain", "a b", "no", "1.5", "it's", "x: y", "#c", "name[2]", "~/x", ""])
def test_texts_are_read_back_as_they_are(text):
    assert yaml.safe_load(f"key: {yaml_text(text)}") == {"key": text}
