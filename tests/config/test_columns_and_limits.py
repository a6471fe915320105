"""Mistakes that the run file alone shows: columns, conditions, filters, limits, and one line for each."""

import pytest

G, R = "g: {filter: sdss_g0, value: g, error: eg}", "r: {filter: sdss_r0, value: r, error: er}"
Z, CLEAN = "redshift: zs", "redshift: zs\n  where: "
SELECTION = "selection: {band: r, bright_mag: 14.0, faint_mag: 17.5}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((Z, "redshift: g"), ":7: catalog: column 'g' is named as the redshift and in band g"),
        ((Z, "redshift: eg"), ":7: catalog: column 'eg' is named as the redshift and in band g"),
        ((Z, "redshift: ' '"), ":5: catalog.redshift: is empty; a name is needed"),
        (("value: r", "value: g"), ":8: catalog: column 'g' is the value of bands g and r"),
        (("error: er", "error: g"), ":8: catalog: band r: column 'g' is named as error, and as the value of"),
        (("error: eg", "error: r"), ":7: catalog: band g: column 'r' is named as error, and as the value of"),
        (("error: eg", "error: g"), ":7: catalog.bands.g.error: column 'g' is the value's"),
        (
            ("error: er", "error: er, extinction: er"),
            ":8: catalog.bands.r.extinction: column 'er' is that of",
        ),
        (("error: er", "error: er, extinction: g"), "band r: column 'g' is named as extinction, and as the"),
        (("error: er", "error: ''"), ":8: catalog.bands.r.error: is empty; a name is needed"),
        (("error: er", "error: nan"), ":8: catalog.bands.r.error: 'nan' is no error"),
        (("error: er", "error: '-inf'"), ":8: catalog.bands.r.error: '-inf' is no error"),
        (("error: er", "unit: mag, error: 5"), "catalog.bands.r.error: 5 mag for all rows; values with"),
        ((Z, "redshift: zs\n  id: g"), ":6: catalog: column 'g' is named as id and as numbers"),
        ((Z, f"{CLEAN}x > 1\n  id: x"), ":7: catalog: column 'x' is named as id and as numbers"),
        ((Z, f"{CLEAN}not not clean"), ":6: catalog.where: 'not not clean' has to be a column of true"),
        ((Z, f"{CLEAN}not"), ":6: catalog.where: 'not' has to be a column of true"),
        ((Z, f"{CLEAN}not flag == 0"), ":6: catalog.where: 'not flag == 0' has to be a column of true"),
        ((Z, f"{CLEAN}not clean == true"), ":6: catalog.where: 'not clean == true' has to be a column of"),
        ((Z, f"{CLEAN}clean and good"), ":6: catalog.where: 'clean and good' has to be a column of true"),
        ((Z, f"{CLEAN}clean OR good"), "write several conditions as a list"),
        ((Z, f"{CLEAN}NOT  not clean"), ":6: catalog.where: 'NOT  not clean' has to be a column of true"),
        ((Z, f"{CLEAN}[clean, flag = 0]"), ":6: catalog.where: 'flag = 0' has to be a column of true"),
        ((Z, f"{CLEAN}'0 < flag < 3'"), "catalog.where: '0 < flag < 3' has to be a column of true"),
        ((Z, f"{CLEAN}flag < 1e999"), "catalog.where: 'flag < 1e999' compares with '1e999'"),
        ((Z, f"{CLEAN}''"), "catalog.where: '' has to be a column of true and false"),
        (
            ("sdss_g0", "sdss_gg0"),
            ":7: catalog.bands.g.filter: sdss_gg0: is no known filter and no file; did",
        ),
        (("sdss_g0", "desi_g"), "desi_g: is no known filter and no file; did you mean BASS-g, bass_g, decam"),
        (("sdss_g0", "decam"), "catalog.bands.g.filter: decam: is no known filter"),
        (("sdss_g0", "gaia_g_"), "catalog.bands.g.filter: gaia_g_: is no known filter"),
        (("sdss_g0", "/"), ":7: catalog.bands.g.filter: /: is a folder; name a file in it"),
        (("sdss_g0", "{path: sdss_g0, unit: nm}"), "columns and unit are for files; this is a known curve's"),
        (("sdss_g0", "{path: g.txt, unit: Jy}"), ":7: catalog.bands.g.filter.unit: is no length; angstrom"),
        (("sdss_g0", "{path: g.txt, unit: nmm}"), "catalog.bands.g.filter.unit: is no length"),
        (
            ("sdss_g0", "{path: g.txt, columns: [1, 1]}"),
            "filter.columns: wavelength and transmission are both",
        ),
        (("sdss_g0", "{path: g.txt, columns: [0, 1]}"), "filter.columns.0: has to be greater than or equal"),
    ],
)
def test_what_only_the_catalogs_reader_used_to_find(refused, change, says):
    (line,) = refused(change)
    assert line.startswith("run.yaml:") and says in line


def test_all_of_them_are_told_at_once(refused):
    """Also those of a section in which something else is wrong."""
    lines = refused(
        (Z, f"{CLEAN}not not clean\n  formatt: csv"),
        ("filter: sdss_r0, value: r", "filter: sdss_x, value: g"),
        (SELECTION, SELECTION.replace("17.5", "40")),
    )
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"run.yaml:{n}" for n in (6, 7, 10, 10, 11)]
    assert lines[-1] == "run.yaml: 5 things have to be put right"


def test_files_of_filters_may_be_made_later(read):
    assert read(("sdss_g0", "later/g.txt")).catalog.bands["g"].filter == "later/g.txt"
    assert read(("sdss_g0", "{path: g.txt, unit: 0.1 nm}")).catalog.bands["g"].filter_name == "g.txt"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("faint_mag: 17.5", "faint_mag: 40"), "selection.faint_mag: has to be less than or equal to 33"),
        (("faint_mag: 17.5", "faint_mag: 34"), "selection.faint_mag: has to be less than or equal to 33"),
        (("faint_mag: 17.5", "faint_mag: 1.75"), "selection.faint_mag: has to be greater than or equal to 8"),
        (
            ("bright_mag: 14.0", "bright_mag: -5"),
            "selection.bright_mag: has to be greater than or equal to 0",
        ),
        (("error: er", "error: er, faint_mag: 40"), "bands.r.faint_mag: has to be less than or equal to 33"),
        (
            ("error: er", "error: er, bright_mag: 33"),
            "bands.r.bright_mag: has to be less than or equal to 32",
        ),
        (
            ("error: er", "error: er, detection_mag: 40"),
            "bands.r.detection_mag: has to be less than or equal",
        ),
        (("error: er", "error: er, detection_mag: 2"), "bands.r.detection_mag: has to be greater than or"),
        (
            ("error: er", "error: er, faint_mag: 13"),
            "catalog.selection: r = 14 to 17.5 excludes all galaxies",
        ),
        (("error: er", "error: er, bright_mag: 18"), "catalog.selection: r = 14 to 17.5 excludes all"),
        (
            (SELECTION, f"{SELECTION}\n  cuts: [{{kind: magnitude, band: g, faint_mag: 40}}]"),
            "catalog.cuts.0.faint_mag: has to be less than or equal to 33",
        ),
        (
            (SELECTION, f"{SELECTION}\n  cuts: [{{kind: magnitude, band: r, faint_mag: 12}}]"),
            "catalog.selection: r = 14 to 17.5 excludes all galaxies",
        ),
        (
            (
                SELECTION,
                f"{SELECTION}\n  cuts: [{{kind: linear, coefficients: {{g: 1, r: -1}}, threshold_mag: 40}}]",
            ),
            "catalog.cuts.0.threshold_mag: 40 divides no galaxies",
        ),
        (
            (
                SELECTION,
                f"{SELECTION}\n  cuts: [{{kind: linear, coefficients: {{g: 0, r: 0}}, threshold_mag: 0}}]",
            ),
            "catalog.cuts.0.threshold_mag: 0 divides no galaxies",
        ),
        (
            (
                SELECTION,
                f"{SELECTION}\n  cuts: [{{kind: linear, coefficients: {{g: 1.0e+9}}, threshold_mag: 1}}]",
            ),
            "catalog.cuts.0.coefficients.g: has to be less than or equal to 100",
        ),
        (
            (SELECTION, f"{SELECTION}\n  cuts: [{{kind: function, path: f.py, name: 'a b', bands: [r]}}]"),
            "catalog.cuts.0.name: is no name that a Python function can have",
        ),
        (("[g-r, r]", "[g-r, r-g]"), ":11: features: 'r-g' follows from those before it (g-r); leave it out"),
        (("[g-r, r]", "[g-r, g, r]"), ":11: features: 'r' follows from those before it (g-r, g)"),
        (("{kind: nuts}", "{kind: NUTS}"), "'nuts', 'nuts_exact', 'smc', 'own'; did you mean 'nuts'?"),
        ((Z, "redshift: zs\n  noise_correlation: {g-r: 1.0e+300}"), "noise_correlation.g-r: has to be less"),
        (
            ("error: er", "error: er, detection_mag: 13"),
            "detection limits need 'missing_bands: keep'",
        ),
    ],
)
def test_limits_that_no_survey_has(refused, change, says):
    assert says in "\n".join(refused(change))


def test_limits_that_surveys_have(read):
    config = read((SELECTION, "selection: {band: r, bright_mag: 0, faint_mag: 32}"))
    assert config.catalog.selection.faint_mag == 32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("error: er", "error: true"), "error: has to be a valid string or a valid number (given: true)"),
        (("error: er", "error: [0.03]"), "error: has to be a valid string or a valid number (given: a list)"),
        (("error: er", "error: {r: 0.03}"), "has to be a valid string or a valid number (given: a mapping)"),
        (("error: er", "error:"), "has to be a valid string or a valid number (given: None)"),
        (("error: er", "error: -1"), "catalog.bands.r.error: -1 has to be above 0"),
        (("error: er", "error: .inf"), "catalog.bands.r.error: has to be a finite number (given: inf)"),
        ((Z, "redshift: zs\n  missing: [[1]]"), "missing.0: has to be a valid number or a valid string"),
        ((Z, "redshift: zs\n  missing: [true]"), "missing.0: has to be a valid number or a valid string"),
        ((Z, "redshift: zs\n  missing: ['']"), "catalog.missing.0: is empty; a name is needed"),
        (
            (Z, "redshift: zs\n  missing: {a: 1}"),
            "catalog.missing: has to be a valid list (given: a mapping)",
        ),
        ((Z, "redshift: zs\n  table: [1]"), "catalog.table: has to be a valid"),
        ((Z, "redshift: zs\n  table: 1.5"), "catalog.table: has to be a valid"),
        (("sdss_g0", "3"), "filter: has to be a valid string"),
        (("sdss_g0", "[sdss_g0]"), "filter: has to be a valid string or a mapping of keys (given: a list)"),
        (("sdss_g0", "{path: 3}"), "catalog.bands.g.filter.path: has to be a valid string (given: 3)"),
        (("sdss_g0", "{path: g.txt, columns: [1]}"), "filter.columns: has to be a list of 2 values, not 1"),
        (("sdss_g0", "{path: g.txt, columns: [1.5, a]}"), "catalog.bands.g.filter.columns.0: has to be"),
        (("{n_per_slice: 1024}", "{lgm_min: a}"), "halos.lgm_min: has to be a valid number"),
        (("{n_per_slice: 1024}", "{lgm_min: {a: 1}}"), "halos.lgm_min: has to be a valid"),
        (("[[0.03, 0.06], ", "[[0.03], "), ":10: slices.0: has to be a list of 2 values, not 1"),
        (("[[0.03, 0.06], [0.06, 0.1]]", "[0.03, 0.06, 0.1]"), "slices: has to be a list of pairs, low and"),
        (("[[0.03, 0.06], ", "[[], "), ":10: slices.0: has to be a list of 2 values, not 0"),
        (
            ("[[0.03, 0.06], ", "[[0.08, 0.06], "),
            ":10: slices: [0.08, 0.06] must satisfy 0 < low < high; did you mean [0.06, 0.08]?",
        ),
        (("[[0.03, 0.06], ", "[[-1, 0.06], "), ":10: slices: [-1, 0.06] must satisfy 0 < low < high"),
        (("{kind: nuts}", "{kind: [nuts]}"), ":16: sample.kind: "),
        (("free:", "fit: {loss: soft_counts}\nfree:"), "fit.loss: has to be a mapping"),
    ],
)
def test_one_mistake_is_one_line(refused, change, says):
    (line,) = refused(change)
    assert says in line


def test_one_value_does_for_lists_of_conditions_and_of_missing_values(read):
    catalog = read((Z, f"{CLEAN}clean\n  missing: -77")).catalog
    assert (catalog.where, catalog.missing) == (["clean"], [-77])
