"""Can these numbers be stellar populations? Axes, units and amounts of light, each with the likely mistake.

Light is compared with that of Bruzual & Charlot (2003, MNRAS 344, 1000), the embedded grid, within the
wavelengths that both cover: populations of a solar mass emit some 1000 Lsun when they are younger than 10 Myr
and 0.3 Lsun at 10 Gyr. Initial mass functions, binaries and libraries change that by factors of a few
(Conroy 2013, ARA&A 51, 393); another unit changes it by 1e4 or more.
"""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from astropy import units
from numpy.typing import NDArray

from popinfer.data.units import LIGHT
from popinfer.errors import InputError

FloatArray = NDArray[np.float64]

_LSUN = 3.828e33  # erg/s, IAU 2015 nominal
_LYMAN_LIMIT = 911.75
_MOST_METALS = 0.1  # mass fraction: BC03's seventh metallicity, and no grid has more
_LGMET_MIN, _LG_AGE_MIN, _LG_AGE_MAX = -10.0, -8.0, 1.5
_AMOUNT, _GUESS = 30.0, 8.0  # factors between the light of grids; to recognise another unit by
_POSITION = 2.5  # factor between the wavelengths that halve the light of old stars
_ULTRAVIOLET = 2000.0  # Angstrom: below, models of old stars disagree by more than that
_YOUNG, _OLD = -2.0, 0.7  # lg Gyr
_LINES = 1e4  # Lsun/Msun in all lines: ten times what the youngest stars emit altogether
_ENOUGH = 0.5  # of the age of the universe: the oldest age of a grid
_ROUNDING = 1e-3

# What a flux has to be multiplied by to be in Lsun/Hz per Msun, by wavelength [Angstrom]
_FLUX_UNITS: dict[str, Any] = {
    "Lsun/Angstrom": lambda wave: wave**2 / LIGHT,
    "erg/s/Hz": lambda wave: 1 / _LSUN,
    "erg/s/Angstrom": lambda wave: wave**2 / LIGHT / _LSUN,
    "W/Hz": lambda wave: 1e7 / _LSUN,
    "Lsun (nu L_nu)": lambda wave: wave / LIGHT,
    "Lsun/Hz per 1e6 Msun": lambda wave: 1e-6,
}


class Grid(NamedTuple):
    """Axes and spectra of stellar populations: log10 Z, log10 Gyr, Angstrom, Lsun/Hz/Msun."""

    lgmet: FloatArray
    lg_age: FloatArray
    wave: FloatArray
    flux: FloatArray

    @classmethod
    def of(cls, data: Mapping[str, NDArray]) -> "Grid":
        """From the datasets of a file in the DSPS layout."""
        return cls(*(data[name] for name in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux")))


def check_grid(file: Path, grid: Grid) -> None:
    """Refuse axes and spectra that can't be what they are called.

    Raises
    ------
    InputError
        Names the dataset, the node or row, the value, and what it would be if it were another quantity.
    """
    _check_metallicities(file, "ssp_lgmet", grid.lgmet)
    _check_ages(file, grid.lg_age)
    if grid.wave[0] <= 0 or grid.wave[-1] < 2 * _LYMAN_LIMIT:
        unit = "micron" if grid.wave[-1] < 300 else "nm"
        _refuse(
            file,
            f"ssp_wave runs from {grid.wave[0]:g} to {grid.wave[-1]:g}; it has to be in Angstrom (is it "
            f"in {unit}?)",
        )
    for name, size in (("metallicities", grid.lgmet.size), ("ages", grid.lg_age.size)):
        if size < 2:
            _refuse(
                file, f"has {size} of {name}; two or more are needed, as the model interpolates between them"
            )
    if grid.flux.min() < 0:
        met, age, wave = np.unravel_index(int(np.argmin(grid.flux)), grid.flux.shape)
        _refuse(
            file,
            f"ssp_flux has to be positive (Lsun/Hz per Msun formed): it is {grid.flux.min():.3g} at "
            f"[{met} {age} {wave}], {grid.wave[wave]:.5g} Angstrom",
        )
    dark = np.argwhere(grid.flux.max(axis=-1) == 0)
    if dark.size:
        met, age = dark[0]
        _refuse(
            file,
            f"ssp_flux has to be positive: the spectrum of lgmet {grid.lgmet[met]:g}, lg age "
            f"{grid.lg_age[age]:g} ({len(dark)} of {grid.flux[..., 0].size} in all) is zero everywhere",
        )


def check_light(file: Path, grid: Grid, reference: Grid) -> None:
    """Refuse spectra whose light lies at other wavelengths, doesn't fade, or is too much or too little.

    Raises
    ------
    InputError
        Names the amounts and the unit in which the numbers would be right.
    """
    window = _window(file, grid, reference)
    theirs, ours = _cumulative(reference, window), _cumulative(grid, window)
    light = ours[..., -1]
    fading = np.median(light[:, 0] / np.maximum(light[:, -1], np.finfo(float).tiny))
    if grid.lg_age[-1] - grid.lg_age[0] > 1 and fading < 1:
        _refuse(
            file,
            f"ssp_flux doesn't fade with age: at {10 ** grid.lg_age[-1]:.3g} Gyr it holds "
            f"{1 / fading:.2g} times "
            f"the light of {10 ** grid.lg_age[0]:.3g} Gyr; its axes have to be [met age wave], ages "
            f"ascending",
        )
    _check_position(file, grid, reference)
    ratio = _excess(grid, light, reference, theirs[..., -1])
    if all(1 / _AMOUNT < factor < _AMOUNT for factor in ratio.values()):
        return
    age = max(ratio, key=lambda name: abs(np.log(max(ratio[name], np.finfo(float).tiny))))
    _refuse(
        file,
        f"ssp_flux has to be in Lsun/Hz per Msun formed: of its {age} populations it makes "
        f"{ratio[age]:.2g} times the "
        f"light of Bruzual & Charlot (2003) between {window[0]:.0f} and {window[1]:.0f} Angstrom"
        + _guess(grid, reference, window),
    )


def check_permutation(file: Path, data: Mapping[str, NDArray]) -> None:
    """Refuse spectra whose axes are there in another order, and say which."""
    sizes = {
        name: data[key].size
        for name, key in (("met", "ssp_lgmet"), ("age", "ssp_lg_age_gyr"), ("wave", "ssp_wave"))
    }
    shape, right = data["ssp_flux"].shape, tuple(sizes.values())
    orders = [order for order in permutations(sizes) if shape == tuple(sizes[name] for name in order)]
    if shape != right and orders:
        _refuse(
            file,
            f"ssp_flux has shape {shape}, that is [{' '.join(orders[0])}]; it has to be [met age wave] "
            f"{right}: transpose it",
        )


def check_oldest(name: str, lg_age: FloatArray, t_universe_gyr: float) -> None:
    """Refuse a grid that ends so early that most stars would be given too young an age.

    Raises
    ------
    InputError
        Names the oldest age and what would happen to older stars.
    """
    oldest = 10 ** float(lg_age[-1])
    if oldest < _ENOUGH * t_universe_gyr:
        _refuse(
            name,
            f"ssp_lg_age_gyr ends at {oldest:.3g} Gyr, while stars are up to {t_universe_gyr:.3g} Gyr old "
            f"where it is used; all older ones would shine like those. Is it log10 of the age in Gyr?",
        )


def oldest_note(lg_age: FloatArray, t_universe_gyr: float) -> str | None:
    """What happens to stars older than the grid, or None where there are none."""
    oldest = 10 ** float(lg_age[-1])
    if oldest >= 0.98 * t_universe_gyr:  # stars form some 0.2 Gyr after the Big Bang at the earliest
        return None
    return (
        f"the stellar populations end at {oldest:.3g} Gyr, the universe is {t_universe_gyr:.3g} Gyr old "
        f"at the lowest redshift: older stars shine like the oldest of the grid"
    )


def check_lines(file: Path, wave: FloatArray, luminosity: FloatArray, names: tuple[str, str]) -> None:
    """Refuse emission lines in another unit; ``names`` are the datasets' own.

    Raises
    ------
    InputError
        Names the line and the value.
    """
    for name, values in zip(names, (wave, luminosity), strict=True):
        if not np.isfinite(values).all() or values.min() < 0:
            where = np.argwhere(~(np.isfinite(values) & (values >= 0)))[0]
            value = values[tuple(where)]
            _refuse(file, f"{name} is {value:g} at {where.tolist()}; it has to be finite and not negative")
    if wave.size and (wave.min() < 100 or np.median(wave) < _LYMAN_LIMIT):
        _refuse(file, f"{names[0]} runs from {wave.min():g} to {wave.max():g}; it has to be in Angstrom")
    most = luminosity.sum(axis=-1).max(initial=0.0)
    if most > _LINES:
        looks = most / _LSUN
        unit = "erg/s" if 1e-3 < looks < _LINES else "another unit, or per another mass"
        _refuse(
            file,
            f"{names[1]}: the lines of one population add up to {most:.3g}, more than any stars emit; it "
            f"has to be in Lsun per Msun formed (is it in {unit}? Lsun is {_LSUN:g} erg/s)",
        )


def check_surviving(file: Path, fraction: FloatArray) -> None:
    """Refuse surviving masses that are no fractions of the mass formed."""
    bad = ~((fraction > 0) & (fraction <= 1 + _ROUNDING))
    if bad.any():
        met, age = np.argwhere(bad)[0]
        _refuse(
            file,
            f"ssp_surviving_mstar_frac is {fraction[met, age]:g} at [{met} {age}]; it has to be a "
            f"fraction of the mass formed, above 0 and at most 1",
        )


def check_nebular(file: Path, data: Mapping[str, NDArray]) -> None:
    """Refuse a nebular grid whose axes or amounts can't be what they are called.

    Raises
    ------
    InputError
        Names the dataset and the value.
    """
    _check_metallicities(file, "neb_lgmet", data["neb_lgmet"])
    logu, age = data["neb_logU"], data["neb_age_yr"]
    if logu.min() < -8 or logu.max() > 2:
        _refuse(
            file,
            f"neb_logU runs from {logu.min():g} to {logu.max():g}; it has to be log10 U, such as -4 to -1",
        )
    if age.min() <= 0 or age.max() < 1e5 or age.max() > 2e10:
        _refuse(file, f"neb_age_yr runs from {age.min():g} to {age.max():g}; it has to be the age in yr")
    check_lines(file, data["line_wave"], data["line_lum"], ("line_wave", "line_lum"))
    wave, flux = data["cont_wave"], data["cont_flux"]
    if wave[0] <= 0 or wave[-1] < 2 * _LYMAN_LIMIT:
        _refuse(file, f"cont_wave runs from {wave[0]:g} to {wave[-1]:g}; it has to be in Angstrom")
    if flux.min() < 0:
        where = np.unravel_index(int(np.argmin(flux)), flux.shape)
        _refuse(file, f"cont_flux is {flux.min():.3g} at {[int(i) for i in where]}; it can't be negative")
    most = float(np.max(np.trapezoid(flux, -LIGHT / wave, axis=-1)))
    if not 0.1 < most < _LINES:
        _refuse(
            file,
            f"cont_flux makes {most:.3g} Lsun per Msun at most, where the youngest stars ionise some 100 "
            f"to 1000; it has to be in Lsun/Hz per Msun formed",
        )


def check_units(file: Path, said: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Refuse a file that names another unit than expected; words that are no unit are ignored.

    Raises
    ------
    InputError
        Quotes both units.
    """
    for name, unit in expected.items():
        given = _unit(said.get(name, ""))
        if given is None or given.is_equivalent(units.dimensionless_unscaled):
            continue
        wanted = _unit(unit)
        # luminosities are per Msun formed, whether or not that is written
        ok = any(given == x for x in (wanted, wanted / units.Unit("solMass")))
        if not ok:
            _refuse(file, f"{name}: the file says that it is in '{said[name]}'; it has to be in {unit}")


def _unit(text: str) -> Any:
    """A unit, or None where the text is none."""
    text = text.strip()
    for short, name in (("Lsun", "solLum"), ("L_sun", "solLum"), ("Msun", "solMass"), ("M_sun", "solMass")):
        text = text.replace(short, name)
    text = {"AA": "Angstrom", "angstroms": "Angstrom", "microns": "micron"}.get(text, text)
    try:
        return units.Unit(text) if text else None
    except (ValueError, TypeError):
        return None


def _check_metallicities(file: Path, name: str, lgmet: FloatArray) -> None:
    low, high = float(lgmet.min()), float(lgmet.max())
    if low >= _LGMET_MIN and high <= np.log10(_MOST_METALS) + _ROUNDING:
        return
    guess = ""
    if low > 0 and high <= _MOST_METALS:
        guess = "; is it Z itself? Take its log10"
    elif low > -5 and high <= 1.5:
        guess = "; is it log10 of Z/Zsun? Add log10 of the Sun's Z that the grid uses, -1.85 for 0.0142"
    _refuse(
        file,
        f"{name} runs from {low:g} to {high:g}; it has to be log10 of the metal mass fraction Z, between "
        f"{_LGMET_MIN:g} and -1{guess}",
    )


def _check_ages(file: Path, lg_age: FloatArray) -> None:
    low, high = float(lg_age[0]), float(lg_age[-1])
    if low >= _LG_AGE_MIN and high <= _LG_AGE_MAX:
        return
    guess = ""
    if low >= 3 and high <= 9 + _LG_AGE_MAX:
        guess = "; is it log10 of the age in yr? Subtract 9"
    elif high <= 3 + _LG_AGE_MAX and low >= -3 and high > 3:
        guess = "; is it log10 of the age in Myr? Subtract 3"
    elif low >= 0:
        unit, scale = (
            ("Gyr", "") if high <= 30 else ("Myr", ", minus 3") if high <= 3e4 else ("yr", ", minus 9")
        )
        guess = f"; is it the age itself, in {unit}? Take its log10{scale}"
    _refuse(
        file,
        f"ssp_lg_age_gyr runs from {low:g} to {high:g}; it has to be log10 of the age in Gyr, between "
        f"{_LG_AGE_MIN:g} and {_LG_AGE_MAX:g}{guess}",
    )


def _window(file: Path, grid: Grid, reference: Grid) -> tuple[float, float]:
    """Wavelengths that both cover, without the ultraviolet where there is more."""
    low, high = max(grid.wave[0], reference.wave[0]), min(grid.wave[-1], reference.wave[-1])
    low = max(low, _ULTRAVIOLET) if high > 2 * _ULTRAVIOLET else low
    if low >= high:
        _refuse(
            file, f"ssp_wave starts at {grid.wave[0]:g}; it has to be in Angstrom, and to cover starlight"
        )
    return float(low), float(high)


def _cumulative(grid: Grid, window: tuple[float, float]) -> FloatArray:
    """Light [met age x] between the window's start and each of its nodes [Lsun/Msun]."""
    inside = (grid.wave > window[0]) & (grid.wave < window[1])
    wave = np.concatenate([window[:1], grid.wave[inside], window[1:]])
    left = np.clip(np.searchsorted(grid.wave, wave) - 1, 0, grid.wave.size - 2)
    share = (wave - grid.wave[left]) / np.diff(grid.wave)[left]
    flux = grid.flux[..., left] * (1 - share) + grid.flux[..., left + 1] * share
    steps = -0.5 * (flux[..., 1:] + flux[..., :-1]) * np.diff(LIGHT / wave)
    return np.concatenate([np.zeros((*steps.shape[:2], 1)), np.cumsum(steps, axis=-1)], axis=-1)


def _check_position(file: Path, grid: Grid, reference: Grid) -> None:
    """Refuse a grid whose old stars are blue or red as none are: wavelengths in another unit."""
    window = (float(max(grid.wave[0], reference.wave[0])), float(min(grid.wave[-1], reference.wave[-1])))
    oldest = int(np.argmin(np.abs(reference.lg_age - grid.lg_age[-1])))
    halves = []
    for of, age in ((grid, -1), (reference, oldest)):
        inside = (of.wave > window[0]) & (of.wave < window[1])
        wave = np.concatenate([window[:1], of.wave[inside], window[1:]])
        light = _cumulative(of._replace(flux=of.flux[:, [age]]), window)[:, 0]
        halves.append(float(np.median([np.interp(0.5 * row[-1], row, wave) for row in light])))
    if 1 / _POSITION < halves[0] / halves[1] < _POSITION:
        return
    _refuse(
        file,
        f"half of the light of the oldest stars lies below {halves[0]:.4g}, where {halves[1]:.4g} "
        f"Angstrom is "
        f"expected; ssp_wave has to be in Angstrom (it runs from {grid.wave[0]:g} to {grid.wave[-1]:g}"
        + ("; is it in nm?)" if halves[0] < halves[1] else ")")
        + " and ssp_flux in Lsun/Hz",
    )


def _excess(grid: Grid, light: FloatArray, reference: Grid, theirs: FloatArray) -> dict[str, float]:
    """How many times the reference's light young and old populations make, in the median."""
    met = np.argmin(np.abs(reference.lgmet[:, None] - grid.lgmet), axis=0)
    age = np.argmin(np.abs(reference.lg_age[:, None] - grid.lg_age), axis=0)
    ratio = light / np.maximum(theirs[np.ix_(met, age)], np.finfo(float).tiny)
    young, old = grid.lg_age <= _YOUNG, grid.lg_age >= _OLD
    parts = {"young (up to 10 Myr)": young, "old (5 Gyr and more)": old, "middle-aged": ~young & ~old}
    return {name: float(np.median(ratio[:, part])) for name, part in parts.items() if part.any()}


def _guess(grid: Grid, reference: Grid, window: tuple[float, float]) -> str:
    """The unit in which the light would be right."""
    theirs = _cumulative(reference, window)[..., -1]
    for unit, factor in _FLUX_UNITS.items():
        light = _cumulative(grid._replace(flux=grid.flux * factor(grid.wave)), window)[..., -1]
        if all(1 / _GUESS < x < _GUESS for x in _excess(grid, light, reference, theirs).values()):
            return f"; is it in {unit}?"
    return ""


def _refuse(file: Path | str, why: str) -> NoReturn:
    raise InputError(f"{file}: {why}")
