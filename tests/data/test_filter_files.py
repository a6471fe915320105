"""Filter files: what they say of themselves is believed, and nothing is read that can't be a filter."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.io.votable.tree import Param, VOTableFile
from astropy.table import Table
from speclite.filters import load_filter as speclite_filter
from typer.testing import CliRunner

from popinfer.cli import app, main
from popinfer.config.survey import BandConfig
from popinfer.data import filter_names, load_filters
from popinfer.data.filters import (
    FilterFile,
    curve_notes,
    known_filters,
    list_filters,
    load_filter,
    plot_filters,
    resolve_name,
)
from popinfer.errors import InputError
from popinfer.run.build import curve_of
from popinfer.sps import magnitudes

WAVE = np.linspace(4000.0, 6000.0, 41)
TRANS = np.sin(np.pi * (WAVE - 4000) / 2000) ** 2
PAIRS = list(zip(WAVE.tolist(), TRANS.tolist(), strict=True))
RISING = (WAVE - 4000) * (6000 - WAVE) ** 0.5 / 5e4


def text(path, wave=WAVE, trans=TRANS, *more, **how):
    np.savetxt(path, np.column_stack([wave, trans, *more]), **how)
    return path


def curve(path, **said):
    _, wave, trans = load_filter(FilterFile(path, **said))
    return wave, trans


def refusal(path, **said):
    with pytest.raises(InputError) as caught:
        load_filter(FilterFile(path, **said))
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def same(got, wave=WAVE, trans=TRANS):
    np.testing.assert_allclose(got[0], wave, rtol=1e-12)
    np.testing.assert_allclose(got[1], np.clip(trans, 0, None), rtol=1e-12, atol=1e-15)


# -- units ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "says", "factor"),
    [("nm", "nm", 10), ("micron", "micron", 1e4), ("m", "unit: m", 1e10)],
)
def test_wavelengths_in_another_unit_are_refused_with_its_name_and_read_when_it_is_said(
    tmp_path, unit, says, factor
):
    path = text(tmp_path / "f.dat", WAVE / factor)
    assert f"are the wavelengths in {unit}?" in refusal(path) and says in refusal(path)
    same(curve(path, unit=unit))


@pytest.mark.parametrize("factor", [1e-13, 1e3, 1e7])
def test_wavelengths_in_no_likely_unit_are_refused(tmp_path, factor):
    assert "pivot wavelength" in refusal(text(tmp_path / "f.dat", WAVE * factor))


def test_far_infrared_curves_need_their_unit_said(tmp_path):
    path = text(tmp_path / "f.dat", WAVE * 100)
    assert "outside 912 Angstrom to 30 micron" in refusal(path)
    same(curve(path, unit="angstrom"), WAVE * 100)
    text(path, WAVE / 100)
    same(curve(path, unit="micron"), WAVE * 100)


@pytest.mark.parametrize("written", ["nm", "Angstrom", "um", "AA"])
def test_ecsv_units_are_believed(tmp_path, written):
    unit = units.Unit(written)
    Table({"w": (WAVE * units.AA).to(unit), "t": TRANS}).write(tmp_path / "f.ecsv", format="ascii.ecsv")
    same(curve(tmp_path / "f.ecsv"))


@pytest.mark.parametrize(
    ("written", "factor"),
    [("ANGSTROMS", 1), ("Angstrom", 1), ("A", 1), ("MICRON", 1e4), ("nm", 10), ("um", 1e4)],
)
def test_fits_units_are_believed_in_every_spelling(tmp_path, written, factor):
    columns = [
        fits.Column("WAVELENGTH", "D", unit=written, array=WAVE / factor),
        fits.Column("THROUGHPUT", "D", array=TRANS),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "f.fits")
    same(curve(tmp_path / "f.fits"))


@pytest.mark.parametrize("key", ["unit", "units"])
@pytest.mark.parametrize("unit", ["nm", b"nm"])
def test_hdf5_unit_attributes_are_believed(tmp_path, key, unit):
    with h5py.File(tmp_path / "f.h5", "w") as store:
        store["wave"], store["transmission"] = WAVE / 10, TRANS
        store["wave"].attrs[key] = unit
    same(curve(tmp_path / "f.h5"))
    assert "nm, the run file says micron" in refusal(tmp_path / "f.h5", unit="micron")
    same(curve(tmp_path / "f.h5", unit="nanometer"))  # the same in other words


def test_a_header_that_speaks_of_nanometers_has_to_be_confirmed(tmp_path):
    """2159 nm would be a fine ultraviolet filter."""
    path = text(tmp_path / "ks.dat", WAVE / 2, header="Ks\nwavelength [nm]  transmission")
    assert "its header speaks of 'nm'" in refusal(path)
    same(curve(path, unit="nm"), WAVE * 5)
    same(curve(path, unit="angstrom"), WAVE / 2)


@pytest.mark.parametrize("unit", ["s", "Hz", "furlongs per fortnight", "Jy"])
def test_units_that_are_no_length_are_refused(tmp_path, unit):
    path = text(tmp_path / "f.dat")
    assert f"'{unit}', which is no length" in refusal(path, unit=unit)


# -- columns -------------------------------------------------------------------------------------------------


def test_more_than_two_columns_have_to_be_named(tmp_path):
    """Tables of a whole system: wavelength, open telescope, then one column a band."""
    path = text(tmp_path / "all.txt", WAVE, np.ones(41), TRANS, header="Wave Open gp1")
    message = refusal(path)
    assert "has 3 columns (Wave, Open, gp1)" in message and "columns: [Wave, Open]" in message
    same(curve(path, columns=("Wave", "gp1")))
    same(curve(path, columns=(1, 3)))
    assert "no column 'rp1'; it has Wave, Open, gp1" in refusal(path, columns=("Wave", "rp1"))
    assert "no column '4'" in refusal(path, columns=(1, 4))
    assert "both 'Wave'" in refusal(path, columns=(1, 1))


def test_an_index_column_before_the_wavelengths(tmp_path):
    path = text(tmp_path / "res.txt", np.arange(1, 42), WAVE, TRANS)
    assert "has 3 columns (1, 2, 3)" in refusal(path)
    same(curve(path, columns=(2, 3)))


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "xml"])
def test_columns_of_tables_are_named_too(tmp_path, suffix):
    path = tmp_path / f"f.{suffix}"
    table = Table({"t": TRANS, "airmass": np.ones(41), "w": WAVE / 10 * units.nm})
    table.write(path, format={"ecsv": "ascii.ecsv", "xml": "votable"}.get(suffix, suffix))
    assert "has 3 columns (t, airmass, w)" in refusal(path)
    same(curve(path, columns=("w", "t")))


def test_datasets_of_hdf5_are_named_too(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as store:
        store["a/lam"], store["a/g"] = WAVE, TRANS
    assert "needs the datasets wave and transmission; it holds ['a']" in refusal(tmp_path / "f.h5")
    same(curve(tmp_path / "f.h5", columns=("a/lam", "a/g")))
    assert "it holds ['a']" in refusal(tmp_path / "f.h5", columns=("a", "a/g"))


# -- text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [" ", ",", "\t", ", ", ";", "; "])
@pytest.mark.parametrize("name", ["f.dat", "f.csv", "f.txt", "f.par", "f"])
def test_every_delimiter_in_every_suffix(tmp_path, delimiter, name):
    (tmp_path / name).write_text("".join(f"{w!r}{delimiter}{t!r}\n" for w, t in PAIRS))
    same(curve(tmp_path / name))


def test_a_mix_of_delimiters_comments_and_blank_lines(tmp_path):
    lines = [f"{w!r}{' ,' if i % 2 else '  '}{t!r}" for i, (w, t) in enumerate(PAIRS)]
    lines[3] += "  # a note"
    content = "\ufeff# a curve\n#\nwave, transmission\n\n" + "\r\n".join(lines) + ",\n\n# end\n"
    (tmp_path / "f.txt").write_text(content, encoding="utf-8")
    same(curve(tmp_path / "f.txt"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("# only comments\n", "is empty"),
        ("wave trans\n", "is empty"),
        ("4000 0\n5000 1 1\n6000 0\n", "line 2: has another number of columns"),
        ("4000 0\n5000 INDEF\n6000 0\n", "line 2: '5000 INDEF'"),
        ("Title: a system\nAuthors: some\n4000 0\n5000 1\n6000 0\n", "line 2: 'Authors: some'"),
        ("4000,5;0\n5000,5;1\n6000,5;0\n", "decimal commas"),
        ("4000,5 0,3\n5000,5 1,0\n6000,5 0,0\n", "has 4 columns"),
        ("4000\n5000\n6000\n", "has 1 column (1)"),
        ("4000 0\n5000 nan\n6000 0\n", "row 2: the transmission is nan"),
        ("4000 0\ninf 1\n6000 0\n", "row 2: the wavelength is inf"),
        ("0 0\n5000 1\n6000 0\n", "row 1: wavelength 0 isn't positive"),
        ("4000 0\n", "has no positive transmission at two or more wavelengths"),
        ("4000 0.4\n5000 0.4\n", "the curve is cut there"),
    ],
)
def test_texts_that_are_no_curve(tmp_path, content, says):
    (tmp_path / "f.dat").write_text(content)
    assert says in refusal(tmp_path / "f.dat")


def test_a_file_too_large_for_a_curve(tmp_path):
    with (tmp_path / "f.dat").open("wb") as stream:
        stream.truncate(60_000_000)
    assert "60 MB" in refusal(tmp_path / "f.dat")


def test_folders_and_home(tmp_path, monkeypatch):
    text(tmp_path / "f.dat")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert np.size(load_filter("~/f.dat")[1]) == 41
    with pytest.raises(InputError, match="is a folder"):
        load_filter(tmp_path)


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [99.0, 99.99, 999.0, 9999.0])
@pytest.mark.parametrize("rows", [[0], [0, -1], [20]])
def test_stand_ins_are_refused(tmp_path, value, rows):
    trans = TRANS.copy()
    trans[rows] = value
    message = refusal(text(tmp_path / "f.dat", WAVE, trans))
    assert f"row {rows[0] + 1}: transmission {value:g}" in message and "not measured" in message


@pytest.mark.parametrize("value", [-1.0, -99.0, -9999.0, -0.05])
def test_negative_values_beyond_rounding_are_refused(tmp_path, value):
    trans = TRANS.copy()
    trans[7] = value
    assert f"row 8: transmission {value:g}" in refusal(text(tmp_path / "f.dat", WAVE, trans))


def test_rounding_below_zero_is_zero(tmp_path):
    trans = TRANS - 1e-4
    same(curve(text(tmp_path / "f.dat", WAVE, trans)), WAVE, trans)


@pytest.mark.parametrize("scale", [100.0, 0.003, 2.5e4])
def test_percent_and_areas_make_the_same_magnitude(tmp_path, scale):
    """Only ratios of transmissions count."""
    sed_wave = np.linspace(1000.0, 20_000.0, 2000)
    sed = (sed_wave / 5000) ** 2.5
    bands = load_filters([text(tmp_path / "a.dat"), text(tmp_path / "b.dat", WAVE, scale * TRANS)])
    one, two = np.asarray(magnitudes(sed_wave, jnp.asarray(sed), bands))
    assert two == pytest.approx(one, abs=1e-6)


def test_magnitudes_and_logarithms_of_transmission_are_refused(tmp_path):
    for trans in (-2.5 * np.log10(TRANS + 1e-3), -np.log10(TRANS + 1e-2)):
        assert "is it a magnitude or -log10" in refusal(text(tmp_path / "f.dat", WAVE, np.abs(trans)))


@pytest.mark.parametrize("kept", [slice(0, 25), slice(18, 41), slice(15, 26)])
def test_curves_that_are_cut_are_refused(tmp_path, kept):
    assert "the curve is cut there" in refusal(text(tmp_path / "f.dat", WAVE[kept], TRANS[kept]))


def test_box_filters_need_their_walls(tmp_path):
    path = tmp_path / "box.dat"
    path.write_text("4000 1\n5000 1\n")
    assert "one of transmission 0 if the filter ends so sharply" in refusal(path)
    path.write_text("4000 0\n4000 1\n5000 1\n5000 0\n")
    assert "wavelength 4000 is listed twice, with transmissions 0 and 1" in refusal(path)
    path.write_text("3999.9 0\n4000 1\n5000 1\n5000.1 0\n")
    np.testing.assert_array_equal(curve(path)[1], [0, 1, 1, 0])


def test_equal_rows_count_once_and_order_is_free(tmp_path):
    order = np.r_[np.arange(40, -1, -1), 12, 12]
    same(curve(text(tmp_path / "f.dat", WAVE[order], TRANS[order])))


@pytest.mark.parametrize("column", ["w", "t"])
def test_masked_entries_are_refused(tmp_path, column):
    table = Table({"w": WAVE, "t": TRANS}, masked=True)
    table[column].mask[4] = True
    table.write(tmp_path / "f.ecsv", format="ascii.ecsv")
    assert "row 5: the " in refusal(tmp_path / "f.ecsv")


def test_damaged_and_foreign_files(tmp_path):
    for name, kind in (("f.fits", "FITS"), ("f.xml", "VOTable"), ("f.h5", "HDF5"), ("f.ecsv", "ECSV")):
        (tmp_path / name).write_bytes(b"\x00garbage\xff" * 100)
        assert f"can't be read as {kind}" in refusal(tmp_path / name)
    fits.PrimaryHDU(np.ones((3, 3))).writeto(tmp_path / "image.fits")
    assert "has 0 tables" in refusal(tmp_path / "image.fits")
    (tmp_path / "f.dat").write_bytes(b"\x00\x01\x02\xff\xfe" * 50)
    assert "two columns of numbers" in refusal(tmp_path / "f.dat")


# -- photons and energy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [5.0, 100.0, 400.0])
def test_energy_curves_weigh_by_energy(tmp_path, step):
    """<f_nu> = int f_nu R dnu / int R dnu, by a plain sum over frequency."""
    wave = np.arange(4000.0, 6000.1, step)
    response = np.interp(wave, WAVE, RISING)
    path = text(tmp_path / "f.dat", wave, response)
    sed_wave = np.linspace(2000.0, 10_000.0, 8001)
    sed = np.exp(-sed_wave / 1500)
    bands = load_filters([path, FilterFile(path, counts="energy")])
    photon, energy = magnitudes(sed_wave, jnp.asarray(sed), bands)
    nu = np.linspace(1 / 6000.0, 1 / 4000.0, 400_001)
    weight, light = np.interp(1 / nu, wave, response), np.exp(-1 / nu / 1500)
    expected = np.trapezoid(weight * light, nu) / np.trapezoid(weight, nu)
    counted = np.trapezoid(weight * light / nu, nu) / np.trapezoid(weight / nu, nu)
    assert energy - photon == pytest.approx(-2.5 * np.log10(expected / counted), abs=2e-5)
    assert abs(energy - photon) > 0.02


def test_known_curves_may_be_said_to_count_energy_but_have_their_columns():
    _, wave, trans = load_filter(FilterFile("bessell_V", counts="energy"))
    _, plain_wave, plain = load_filter("bessell_V")
    ratio = np.interp(plain_wave, wave, trans * wave) / np.where(plain > 0, plain, np.nan)
    assert np.nanstd(ratio) < 1e-3 * np.nanmean(ratio)
    for said in ({"unit": "nm"}, {"columns": (1, 2)}):
        with pytest.raises(InputError, match="are for files"):
            load_filter(FilterFile("bessell_V", **said))


@pytest.mark.parametrize(("detector", "asks"), [("0", True), ("1", False)])
def test_a_votable_that_says_it_counts_energy_has_to_be_confirmed(tmp_path, detector, asks):
    """Profile services label some photon-counting curves so, SDSS's among them."""
    tree = VOTableFile.from_table(Table({"Wavelength": WAVE * units.AA, "Transmission": TRANS}))
    param = {"name": "DetectorType", "datatype": "char", "arraysize": "*", "value": detector}
    tree.get_first_table().params.append(Param(tree, **param))
    tree.to_xml(str(tmp_path / "f.xml"))
    if asks:
        assert "counts: energy" in refusal(tmp_path / "f.xml")
        same(curve(tmp_path / "f.xml", counts="photon"))
        assert curve(tmp_path / "f.xml", counts="energy")[0].size > 41
    else:
        same(curve(tmp_path / "f.xml"))


# -- names ---------------------------------------------------------------------------------------------------


def test_speclite_curves_are_speclites():
    names = known_filters("speclite")
    assert len(names) > 90 and {"decam2014-g", "Euclid-VIS", "hsc2017-g", "BASS-g"} <= set(names)
    for name in names:
        _, wave, trans = load_filter(name)
        grid = np.linspace(wave[0], wave[-1], 500)
        np.testing.assert_allclose(
            np.interp(grid, wave, trans), speclite_filter(name)(grid), atol=1e-4 * trans.max(), err_msg=name
        )


def test_a_package_may_be_named_first():
    assert resolve_name("speclite:decam2014-g") == resolve_name("decam2014-g") == "decam2014-g"
    assert resolve_name("sedpy:sdss_u0") == "sdss_u0"
    with pytest.raises(InputError, match="speclite has no such filter; did you mean sdss_u0"):
        resolve_name("speclite:sdss_u0")


def test_no_name_means_two_curves():
    assert not set(known_filters("sedpy")) & set(known_filters("speclite"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("decam2014_g", "decam2014-g"),
        ("euclid_vis", "Euclid-VIS"),
        ("sdss_x", "'popinfer filters sdss' lists the names"),
        ("qqqqqq", "'popinfer filters' lists the names"),
        ("wfc3.f160w", "no such file, and no filter has that name"),
    ],
)
def test_unknown_names_are_answered_with_near_ones_and_the_command(name, says):
    with pytest.raises(InputError) as caught:
        resolve_name(name) if "." not in name else load_filter(name)
    assert says in str(caught.value) and "popinfer filters" in str(caught.value)


def test_list_of_filters():
    rows = {row.name: row for row in list_filters()}
    assert len(rows) == len(known_filters())
    assert rows["sdss_r0"].source == "sedpy" and rows["Euclid-VIS"].source == "speclite"
    # Fukugita et al. 1996 and Cohen et al. 2003
    assert rows["sdss_r0"].pivot == pytest.approx(6165, rel=2e-3)
    assert rows["twomass_Ks"].pivot == pytest.approx(21590, rel=5e-3)
    assert rows["twomass_Ks"].width == pytest.approx(2620, rel=5e-2)
    assert [row.name for row in list_filters("SDSS_")] == [f"sdss_{band}0" for band in "ugriz"]
    assert {row.name for row in list_filters("decam2014-[gr]")} == {"decam2014-g", "decam2014-r"}


def test_command(tmp_path, capsys):
    picture = tmp_path / "euclid.png"
    done = CliRunner().invoke(app, ["filters", "euclid", "--plot", str(picture)])
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert " ".join(lines[0].split()) == "name source pivot [Angstrom] width [Angstrom]"
    assert lines[1].split()[:2] == ["Euclid-VIS", "speclite"] and len(lines) == 6
    assert picture.read_bytes().startswith(b"\x89PNG")
    for arguments, says in (
        (["sdsss"], "did you mean sdss_"),
        (["", "--plot", str(tmp_path / "all.png")], "too many for one picture"),
        (["euclid", "--plot", str(tmp_path / "a.docx")], "a.docx"),
        (
            ["euclid", "--plot", str(tmp_path / "none" / "a.png")],
            f"the folder {tmp_path / 'none'} doesn't ex",
        ),
        (["euclid", "--plot", str(picture / "a.png")], f"the folder {picture} isn't a folder"),
        (["euclid", "--plot", str(tmp_path)], "is a folder; name a picture in it"),
        (["euclid", "--plot", f"{tmp_path / ('x' * 300)}.png"], "can't be written (File name too long)"),
    ):
        assert main(["filters", *arguments]) == 2
        assert says in capsys.readouterr().err


def test_a_picture_without_a_folder_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("popinfer.data.filters._known_curve", lambda name: pytest.fail(f"{name} was read"))
    with pytest.raises(InputError, match=r"none/a\.png: the folder .*none doesn't exist; make it first"):
        plot_filters(["sdss_g0"], tmp_path / "none" / "a.png")


@pytest.mark.parametrize(
    ("survey", "names"),
    [
        ("desi", {"BASS-g", "BASS-r", "MzLS-z", "decam2014-z", "decam_r"}),
        ("DESI", {"BASS-g", "MzLS-z", "decam2014-g"}),
        ("legacysurvey", {"bass_g", "mzls_z", "decam_z"}),
        ("des", {"decam_g", "decam2014-Y"}),
        ("2mass", {"twomass_J", "twomass-Ks"}),
        ("ps1", {"panstarrs_g"}),
        ("hst", {"acs_wfc_f814w", "wfc3_ir_f160w"}),
        ("nircam", {"jwst_f115w"}),
        ("viking", {"vista_vircam_Ks"}),
        ("rubin", {"lsst_baseline_u", "lsst2023-u"}),
        ("unwise", {"wise_w1", "wise2010-W1"}),
        ("ukidss", {"ukirt_wfcam_K"}),
    ],
)
def test_surveys_are_found_by_the_names_of_their_cameras(survey, names):
    assert names <= {row.name for row in list_filters(survey)}


@pytest.mark.parametrize(
    ("name", "says"),
    [("desi_z", "did you mean MzLS-z"), ("des_g", "did you mean decam"), ("ps1_r", "did you mean panstarrs")],
)
def test_a_surveys_name_is_answered_with_its_cameras_filters(name, says):
    with pytest.raises(InputError, match=says):
        resolve_name(name)


def test_every_surveys_cameras_are_known():
    for survey, parts in filter_names._SURVEYS.items():
        rows = {row.name.lower() for row in list_filters(survey)}
        assert all(any(name.startswith(part) for name in rows) for part in parts), survey


def test_pictures_name_every_curve(tmp_path):
    plot_filters(["sdss_g0", "decam2014-g"], tmp_path / "two.svg")
    assert (tmp_path / "two.svg").stat().st_size > 2000


# -- notes and run files -------------------------------------------------------------------------------------


def test_equal_curves_and_open_ends_are_noted(tmp_path):
    ends = np.maximum(TRANS, 0.1)
    names = ["sdss_g", text(tmp_path / "f.dat", WAVE, ends), "sdss_g0", "sdss_r"]
    notes = curve_notes(load_filters(names), ("g", "v", "g2", "r"))
    assert len(notes) == 2
    assert "band v:" in notes[0] and "10 % of its peak" in notes[0]
    assert notes[1] == "bands g and g2 have the same filter curve (sdss_g0)"
    assert curve_notes(load_filters(["sdss_g", "sdss_r", "hsc_g"]), ("g", "r", "h")) == ()


def test_run_files_name_or_describe_a_filter(tmp_path):
    path = str(text(tmp_path / "f.dat", WAVE / 10, np.ones(41), TRANS))
    plain = BandConfig.model_validate({"filter": "sdss_g", "value": "g", "error": "e"})
    assert curve_of(plain) == plain.filter_name == "sdss_g"
    said = {"path": path, "columns": [1, 3], "unit": "nm", "counts": "photon"}
    band = BandConfig.model_validate({"filter": said, "value": "g", "error": "e"})
    assert band.filter_name == path and curve_of(band) == FilterFile(path, (1, 3), "nm", "photon")
    same(load_filter(curve_of(band))[1:])
