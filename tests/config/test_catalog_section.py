"""The catalog section: what is refused, with the key and what would be right, and what it means."""

import pytest

from popinfer.config.survey import BandConfig, CatalogConfig
from popinfer.data.photometric_units import AB_OF_UNIT

BAND = "    g: {filter: sdss_g0, value: g, error: eg}"
LIMITS = "{band: r, bright_mag: 14.0, faint_mag: 17.5}"


def band(**settings):
    """The line of a changed band g."""
    content = {"filter": "sdss_g0", "value": "g", "error": "eg", **settings}
    return f"    g: {{{', '.join(f'{key}: {value}' for key, value in content.items())}}}"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"error": "g"}, "column 'g' is the value too"),
        ({"error": 0}, "bands.g.error"),
        ({"error": -0.1}, "bands.g.error"),
        ({"error": ".nan"}, "bands.g.error"),
        ({"error": "true"}, "bands.g.error"),
        ({"error": 0.1, "error_kind": "ivar"}, "a standard deviation"),
        ({"error_floor_mag": 50}, "error_floor_mag: has to be less than or equal to 1 (given: 50)"),
        ({"zero_point_mag": 5}, "zero_point_mag: 5 is beyond +-2 mag"),
        ({"zero_point_mag": -48.6}, "said with unit or ab_of_unit_mag, Vega magnitudes with system: vega"),
        ({"zero_point_mag": ".inf"}, "zero_point_mag: has to be a finite number"),
        ({"unit": "mJY"}, "bands.g.unit"),
        ({"unit": "nmgy", "ab_of_unit_mag": 25}, "leave it out where ab_of_unit_mag says"),
        ({"system": "st"}, "bands.g.system"),
        ({"softening": 0}, "bands.g.softening"),
        ({"softening": 24.6}, "bands.g.softening"),
        ({"bright_mag": 18, "faint_mag": 17}, "bright_mag: 18 has to be below faint_mag 17"),
        ({"faint_mag": 40}, "bands.g.faint_mag: has to be less than or equal to 35"),
        ({"faint_mag": ".nan"}, "bands.g.faint_mag: has to be a finite number"),
        ({"detection_mag": 99}, "bands.g.detection_mag"),
        ({"detection_width_mag": 1e-300}, "bands.g.detection_width_mag"),
        ({"value": "zs"}, "column 'zs' is redshift already"),
        ({"value": "r"}, "column 'r' is bands.g.value already"),
        ({"error": "r"}, "bands.g.error: column 'r' is bands.r.value already"),
        ({"extinction": "r"}, "column 'r' is bands.g.extinction already"),
        ({"value": "''"}, "bands.g.value"),
    ],
)
def test_bands(refused, settings, says):
    assert says in refused((BAND, band(**settings)))[0]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            "{band: r, bright_mag: 14.0, faint_mag: 40}",
            "faint_mag: has to be less than or equal to 35 (given: 40)",
        ),
        ("{band: r, bright_mag: -99, faint_mag: 17}", "bright_mag: has to be greater than or equal to -5"),
        ("{band: r, bright_mag: 17.5, faint_mag: 14}", "bright_mag: 17.5 has to be below faint_mag 14"),
        ("{band: r, bright_mag: 17.5, faint_mag: 17.5}", "bright_mag: 17.5 has to be below faint_mag 17.5"),
        ("{band: r, bright_mag: 14, faint_mag: 17, width_mag: .inf}", "width_mag: has to be a finite number"),
        (
            "{band: r, bright_mag: 14, faint_mag: 17, width_mag: 1.0e-300}",
            "width_mag: has to be greater than",
        ),
        ("{band: r, bright_mag: 14, faint_mag: 17, width_mag: 10}", "width_mag: has to be less than"),
        ("{band: y, bright_mag: 14, faint_mag: 17}", "'y' is not one of"),
    ],
)
def test_the_main_limit(refused, limits, says):
    assert says in refused((LIMITS, limits))[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("  duplicates: maybe", "catalog.duplicates"),
        ("  plausibility: none", "catalog.plausibility"),
        ("  file_units: trust", "catalog.file_units"),
        ("  missing: INDEF", "catalog.missing"),
        ("  missing: [true]", "catalog.missing"),
        ("  id: ''", "catalog.id"),
        ("  where: 3", "catalog.where"),
        ("  table: [1]", "catalog.table"),
        ("  wher: clean", "did you mean 'where'?"),
    ],
)
def test_further_keys(refused, line, says):
    assert says in refused(("  redshift: zs", f"  redshift: zs\n{line}"))[0]


def test_limits_in_the_selections_band_have_their_place(refused):
    old = "    r: {filter: sdss_r0, value: r, error: er}"
    message = refused((old, old.replace("er}", "er, faint_mag: 17}")))[0]
    assert "bands.r" in message and "selection.faint_mag" in message


def test_what_the_keys_mean(read):
    config = read(
        (BAND, band(error=0.03, faint_mag=18.5, system="vega")),
        ("  redshift: zs", "  redshift: zs\n  where: clean\n  missing: [-77, INDEF]\n  table: 2\n  id: name"),
    ).catalog
    assert config.bands["g"].error == 0.03 and config.bands["g"].unit is None
    assert config.conditions == ("clean",) and config.missing == [-77, "INDEF"]
    assert config.table == 2 and config.id == "name"
    (cut,) = config.all_cuts
    assert (cut.kind, cut.band, cut.bright_mag, cut.faint_mag) == ("magnitude", "g", None, 18.5)
    assert config.cuts == []


def test_units_of_run_files_are_those_of_the_reader():
    from typing import get_args

    from popinfer.config.survey import UnitName
    from popinfer.data.photometric_units import Unit

    assert get_args(UnitName) == get_args(Unit)
    assert set(get_args(Unit)) - set(AB_OF_UNIT) == {"mag", "luptitude"}


def test_keys_are_described():
    text = " ".join(f"{BandConfig.__doc__} {CatalogConfig.__doc__}".split())
    assert "after zero point and extinction" in text and "besides -9999, -999, -99, 99 and 999" in text
