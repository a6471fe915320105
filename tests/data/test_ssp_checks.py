"""Stellar population and nebular grids in other units, orders and conventions are told from right ones."""

import glob
from pathlib import Path

import h5py
import numpy as np
import pytest

from popinfer.data import load_nebular, load_ssp
from popinfer.data.embedded import asset_path
from popinfer.data.ssp_checks import oldest_note
from popinfer.errors import InputError

LIGHT, LSUN = 2.99792458e18, 3.828e33
REAL = sorted(glob.glob(str(Path(__file__).parents[2] / "../shared/data/ssp_*.h5")))


@pytest.fixture(scope="module")
def base():
    """Every third age and tenth wavelength of the embedded grid: a grid as others have them."""
    ssp = load_ssp()
    ages = np.arange(0, 94, 3)
    return {
        "ssp_lgmet": np.array(ssp.ssp_lgmet),
        "ssp_lg_age_gyr": np.array(ssp.ssp_lg_age_gyr)[ages],
        "ssp_wave": np.array(ssp.ssp_wave)[::5],
        "ssp_flux": np.array(ssp.ssp_flux)[:, ages, ::5],
    }


@pytest.fixture(scope="module")
def nebular_base():
    with h5py.File(asset_path("nebular")) as store:
        return {name: store[name][()] for name in store}


def put(path, data, units=None):
    with h5py.File(path, "w") as store:
        for name, values in data.items():
            store[name] = values
        for name, unit in (units or {}).items():
            store[name].attrs["unit"] = unit
    return path


def refusal(tmp_path, data, units=None, load=load_ssp, **more):
    with pytest.raises(InputError) as caught:
        load(put(tmp_path / "grid.h5", data, units), **more)
    message = str(caught.value)
    assert "grid.h5" in message and "\n" not in message
    return message


def test_the_grid_itself_loads(tmp_path, base):
    np.testing.assert_array_equal(load_ssp(put(tmp_path / "grid.h5", base)).ssp_flux, base["ssp_flux"])


@pytest.mark.parametrize("path", REAL)
def test_real_grids_load(path):
    with h5py.File(path) as store:
        np.testing.assert_array_equal(load_ssp(path).ssp_flux, store["ssp_flux"][()])


# -- axes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lgmet", "says"),
    [
        (np.linspace(-2.3, 0.4, 6), "is it log10 of Z/Zsun?"),
        (np.linspace(-1.98, 0.2, 6), "runs from -1.98 to 0.2"),
        (np.linspace(-2.5, 0.0, 6), "is it log10 of Z/Zsun?"),
        (10 ** np.linspace(-4, -1.3, 6), "is it Z itself? Take its log10"),
        (np.linspace(-4, -0.9, 6), "between -10 and -1"),
        (np.linspace(-12, -2, 6), "runs from -12 to -2"),
    ],
)
def test_metallicities(tmp_path, base, lgmet, says):
    message = refusal(tmp_path, {**base, "ssp_lgmet": lgmet})
    assert says in message and "ssp_lgmet" in message and "metal mass fraction" in message


def test_the_most_metal_rich_grids_load(tmp_path, base):
    data = {**base, "ssp_lgmet": np.array([-4, -3.4, -2.4, -2.1, -1.7, -1.0])}
    assert load_ssp(put(tmp_path / "grid.h5", data)).ssp_lgmet[-1] == -1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lg: lg + 9, "age in yr? Subtract 9"),
        (lambda lg: lg + 3, "age in Myr? Subtract 3"),
        (lambda lg: 10**lg, "the age itself, in Gyr? Take its log10"),
        (lambda lg: 10 ** (lg + 3), "the age itself, in Myr? Take its log10, minus 3"),
        (lambda lg: 10 ** (lg + 9), "the age itself, in yr? Take its log10, minus 9"),
        (lambda lg: lg - lg[-1], "ends at 1 Gyr, while stars are up to 13.8 Gyr old"),
        (lambda lg: lg - 1, "ends at 1.43 Gyr"),
    ],
)
def test_ages(tmp_path, base, change, says):
    message = refusal(tmp_path, {**base, "ssp_lg_age_gyr": change(base["ssp_lg_age_gyr"])})
    assert says in message and "ssp_lg_age_gyr" in message


def test_a_grid_that_ends_early_may_be_used_where_the_universe_is_young(tmp_path, base):
    kept = base["ssp_lg_age_gyr"] <= 0.05
    data = {**base, "ssp_lg_age_gyr": base["ssp_lg_age_gyr"][kept], "ssp_flux": base["ssp_flux"][:, kept]}
    assert "Gyr, while stars are up to 12 Gyr old" in refusal(tmp_path, data, t_universe_gyr=12.0)
    ssp = load_ssp(tmp_path / "grid.h5", t_universe_gyr=1.5)
    assert "universe is 1.5 Gyr old" in oldest_note(ssp.ssp_lg_age_gyr, 1.5)
    assert oldest_note(ssp.ssp_lg_age_gyr, 0.9) is None


@pytest.mark.parametrize(
    ("factor", "says"),
    [(0.1, "is it in nm?"), (1e-4, "is it in micron?"), (1e4, "to cover starlight"), (10, "in Angstrom")],
)
def test_wavelengths(tmp_path, base, factor, says):
    message = refusal(tmp_path, {**base, "ssp_wave": base["ssp_wave"] * factor})
    assert says in message and "ssp_wave" in message and "has to be in Angstrom" in message


@pytest.mark.parametrize("name", ["ssp_wave", "ssp_lg_age_gyr", "ssp_lgmet"])
def test_axes_that_do_not_ascend_name_the_row(tmp_path, base, name):
    values = base[name].copy()
    values[3] = values[2]
    message = refusal(tmp_path, {**base, name: values})
    assert f"{name} has to ascend strictly; row 3 holds {values[2]:g}, row 4 {values[2]:g}" in message


@pytest.mark.parametrize(
    ("axes", "says"),
    [((1, 0, 2), "[age met wave]"), ((2, 1, 0), "[wave age met]"), ((0, 2, 1), "[met wave age]")],
)
def test_axes_in_another_order_are_named(tmp_path, base, axes, says):
    message = refusal(tmp_path, {**base, "ssp_flux": base["ssp_flux"].transpose(axes)})
    assert f"that is {says}" in message and "transpose" in message


def test_swapped_axes_of_equal_length(tmp_path, base):
    ages = np.array([0, 6, 12, 18, 24, 31])
    flux = base["ssp_flux"][:, ages]
    data = {**base, "ssp_lg_age_gyr": base["ssp_lg_age_gyr"][ages], "ssp_flux": flux}
    load_ssp(put(tmp_path / "grid.h5", data))
    message = refusal(tmp_path, {**data, "ssp_flux": flux.swapaxes(0, 1)})
    assert "[met age wave]" in message or "Lsun/Hz per Msun formed" in message
    assert "doesn't fade with age" in refusal(tmp_path, {**data, "ssp_flux": flux[:, ::-1]})


def test_one_metallicity_or_age_is_too_few(tmp_path, base):
    data = {**base, "ssp_lgmet": base["ssp_lgmet"][4:5], "ssp_flux": base["ssp_flux"][4:5]}
    assert "has 1 of metallicities; two or more" in refusal(tmp_path, data)
    data = {**base, "ssp_lg_age_gyr": base["ssp_lg_age_gyr"][-1:], "ssp_flux": base["ssp_flux"][:, -1:]}
    assert "has 1 of ages" in refusal(tmp_path, data)


# -- amounts of light ----------------------------------------------------------------------------------------

UNITS = {
    "Lsun/Angstrom": lambda wave: LIGHT / wave**2,
    "erg/s/Hz": lambda wave: LSUN,
    "erg/s/Angstrom": lambda wave: LSUN * LIGHT / wave**2,
    "W/Hz": lambda wave: LSUN / 1e7,
    "Lsun (nu L_nu)": lambda wave: LIGHT / wave,
    "Lsun/Hz per 1e6 Msun": lambda wave: 1e6,
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("window", [(0, 1e9), (3540, 7410), (1680, 50_000)])
def test_other_units_of_light_are_named(tmp_path, base, unit, window):
    """Also where a library covers the optical alone."""
    kept = (base["ssp_wave"] > window[0]) & (base["ssp_wave"] < window[1])
    wave, flux = base["ssp_wave"][kept], base["ssp_flux"][..., kept]
    load_ssp(put(tmp_path / "grid.h5", {**base, "ssp_wave": wave, "ssp_flux": flux}))
    message = refusal(tmp_path, {**base, "ssp_wave": wave, "ssp_flux": flux * UNITS[unit](wave)})
    assert "Lsun/Hz" in message
    assert f"is it in {unit}?" in message or "half of the light of the oldest stars" in message


def test_normalised_spectra_and_surviving_masses(tmp_path, base):
    at = int(np.argmin(np.abs(base["ssp_wave"] - 5500)))
    flux = base["ssp_flux"] / base["ssp_flux"][..., at : at + 1]
    assert "ssp_flux" in refusal(tmp_path, {**base, "ssp_flux": flux})
    heavy = base["ssp_flux"] * 3  # a top-heavy initial mass function, or light per surviving mass
    load_ssp(put(tmp_path / "grid.h5", {**base, "ssp_flux": heavy}))


def test_spectra_of_a_node_that_are_zero_negative_or_nan(tmp_path, base):
    for value, says in (
        (0.0, "the spectrum of lgmet -2.09691, lg age"),
        (-1e-16, "it is -1e-16 at [3 4 "),
        (np.nan, "ssp_flux holds NaN or infinite values, first at [3, 4, 0]"),
        (np.inf, "first at [3, 4, 0]"),
    ):
        flux = base["ssp_flux"].copy()
        flux[3, 4] = value
        assert says in refusal(tmp_path, {**base, "ssp_flux": flux})


@pytest.mark.parametrize("name", ["ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave"])
def test_axes_with_nan(tmp_path, base, name):
    values = base[name].copy()
    values[1] = np.nan
    assert f"{name} holds NaN or infinite values, first at [1]" in refusal(tmp_path, {**base, name: values})


def test_text_for_numbers(tmp_path, base):
    message = refusal(tmp_path, {**base, "ssp_lgmet": np.array([b"m%d" % i for i in range(6)])})
    assert "ssp_lgmet has to hold numbers" in message


@pytest.mark.parametrize(
    ("name", "unit", "refused"),
    [
        ("ssp_wave", "nm", True),
        ("ssp_wave", "micron", True),
        ("ssp_wave", "Angstrom", False),
        ("ssp_wave", "AA", False),
        ("ssp_flux", "Lsun/Angstrom", True),
        ("ssp_flux", "erg/s/Hz", True),
        ("ssp_flux", "Lsun/Hz", False),
        ("ssp_flux", "Lsun/Hz/Msun", False),
        ("ssp_flux", "solLum / (Hz solMass)", False),
        ("ssp_flux", "as usual", False),
        ("ssp_flux", "", False),
    ],
)
def test_units_that_the_file_names(tmp_path, base, name, unit, refused):
    if refused:
        assert f"{name}: the file says that it is in '{unit}'" in refusal(tmp_path, base, {name: unit})
    else:
        load_ssp(put(tmp_path / "grid.h5", base, {name: unit}))


# -- further datasets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [46.0, 1.2, -0.1, 0.0, np.nan])
def test_surviving_masses_are_fractions(tmp_path, base, value):
    fraction = np.full(base["ssp_flux"].shape[:2], 0.6)
    load_ssp(put(tmp_path / "grid.h5", {**base, "ssp_surviving_mstar_frac": fraction}))
    fraction[2, 5] = value
    message = refusal(tmp_path, {**base, "ssp_surviving_mstar_frac": fraction})
    assert f"ssp_surviving_mstar_frac is {value:g} at [2 5]" in message


def lines(base, luminosity, wave=(4861.3, 6562.8)):
    lum = np.zeros((*base["ssp_flux"].shape[:2], 2))
    lum[:, :4] = luminosity
    names = np.array([b"Hbeta", b"Halpha"])
    return {**base, "ssp_emline_name": names, "ssp_emline_wave": np.array(wave), "ssp_emline_luminosity": lum}


def test_emission_lines(tmp_path, base):
    """One code that writes this layout gives lines in erg/s per solar mass since a late version."""
    load_ssp(put(tmp_path / "grid.h5", lines(base, 50.0)))
    assert "is it in erg/s? Lsun is 3.828e+33 erg/s" in refusal(tmp_path, lines(base, 50 * LSUN))
    assert "more than any stars emit" in refusal(tmp_path, lines(base, 5e7))
    assert "ssp_emline_luminosity is -1 at [0, 0, 0]" in refusal(tmp_path, lines(base, -1.0))
    assert "ssp_emline_luminosity is nan" in refusal(tmp_path, lines(base, np.nan))
    assert "ssp_emline_wave runs from 0.48613" in refusal(tmp_path, lines(base, 1.0, (0.48613, 0.65628)))
    assert "it has to be in Angstrom" in refusal(tmp_path, lines(base, 1.0, (486.13, 656.28)))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("neb_lgmet", lambda x: x + 1.85, "is it log10 of Z/Zsun?"),
        ("neb_lgmet", lambda x: 10**x, "is it Z itself?"),
        ("neb_logU", lambda x: 10**x + 5 * x, "neb_logU runs from"),
        ("neb_age_yr", lambda x: x / 1e6, "has to be the age in yr"),
        ("neb_age_yr", np.log10, "has to be the age in yr"),
        ("line_wave", lambda x: x / 10, "line_wave runs from 92.315"),
        ("line_wave", lambda x: x / 1e4, "line_wave runs from 0.092315"),
        ("line_lum", lambda x: x * LSUN, "line_lum: the lines of one population add up to"),
        ("line_lum", lambda x: -x, "line_lum is"),
        ("cont_wave", lambda x: x / 1e2, "cont_wave runs from 0.91 to 500"),
        ("cont_flux", lambda x: x * LSUN, "has to be in Lsun/Hz per Msun formed"),
        ("cont_flux", lambda x: x * 0, "cont_flux makes 0 Lsun"),
        ("cont_flux", lambda x: -x, "cont_flux is -"),
    ],
)
def test_nebular_grids(tmp_path, nebular_base, name, change, says):
    data = {**nebular_base, name: change(nebular_base[name])}
    assert says in refusal(tmp_path, data, load=load_nebular)


def test_nebular_grids_in_their_own_words(tmp_path, nebular_base):
    np.testing.assert_array_equal(
        load_nebular(put(tmp_path / "grid.h5", nebular_base)).line_lum, load_nebular().line_lum
    )
    assert "line_lum: the file says that it is in 'erg/s'" in refusal(
        tmp_path, nebular_base, {"line_lum": "erg/s"}, load=load_nebular
    )
