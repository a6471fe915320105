"""A first run file for a catalog, from the names and the values of its columns.

Nothing is asked. What can be told from the table is guessed and said in one line each: columns of bands with
filters and errors, the redshift, slices of equal numbers of galaxies, the magnitude down to which the catalog
is complete. What can't be told stays a comment in the file, for a person who knows the survey.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from popinfer.cosmology import PLANCK15, distance_modulus
from popinfer.data.catalog import EMBEDDED_SAMPLE, MISSING
from popinfer.data.catalog_io import read_columns, table_columns, user_path
from popinfer.data.column_names import BandName, band_name, filter_of, has_curve, redshift_names, survey_in
from popinfer.data.embedded import asset_path
from popinfer.data.filters import known_pivot
from popinfer.data.tables.request import Column
from popinfer.data.units import parse_unit
from popinfer.errors import InputError, percent

_LEAST_MEASURED = 0.9  # of the rows, in a band that is used: others are left out with the band
_MAGNITUDES = (8.0, 33.0)  # of a band's median, as a catalog is read
_BIN = 0.1  # mag
_SELECTED_BY = (
    "r",
    "i",
    "z",
    "g",
    "v",
)  # bands that surveys of galaxies are usually selected in, by preference
_GALAXIES_A_SLICE, _MOST_SLICES, _FEWEST_GALAXIES = 1500, 3, 300
_LOWEST_Z = 0.01  # nearer, galaxies' own motions matter
_SAME = 0.03  # mag: two columns of a band mean the same magnitudes
_NO_UNIT = "the unit of its flux isn't stated: set unit"
_NATIVE_SDSS = "u -0.036, g 0.012, r 0.010, i 0.028, z 0.040"
_IN_VEGA = ("twomass", "vista", "ukirt", "wise")
_FLAGS = ("clean", "good", "use", "primary")
# lowest halo mass of a slice, through those of configs/sdss.yaml: log10 Msun at absolute magnitude -19.3, and
# its change with each magnitude
_LGM_AT, _LGM_SLOPE, _LGM_RANGE = 10.3, -0.28, (10.0, 12.0)
_FREE = (
    *("sfh.efficiency", "sfh.quenching_mass", "metallicity.zero_point", "dust.lg_av", "dust.slope_ssfr"),
    *("template.4300", "template.8300"),
)


@dataclass(frozen=True)
class BandGuess:
    """Columns and filter of one band, with magnitudes for choosing slices and limits.

    Attributes
    ----------
    name : of the band.
    value, error : columns.
    curve : name of the filter curve.
    keys : further keys of the band's section.
    mag : magnitudes, NaN where there is none.
    extinction : column of extinctions that the values hold, or may hold; "" where there is none.
    is_extinct : whether they hold it; None where other columns don't tell.
    """

    name: str
    value: str
    error: str
    curve: str
    keys: Mapping[str, str]
    mag: NDArray[np.float64]
    extinction: str = ""
    is_extinct: bool | None = None


@dataclass
class Draft:
    """A run file in the making.

    Attributes
    ----------
    path : of the catalog.
    name : of the run.
    templates : lines for bands that lack the unit of their fluxes.
    said : what was guessed, and what couldn't be, a line each.
    """

    path: str
    name: str
    redshift: str = ""
    bands: list[BandGuess] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    where: str = ""
    missing: list[float] = field(default_factory=list)
    selection: tuple[str, float, float] = ("", 0.0, 0.0)
    slices: list[tuple[float, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        """Colors of neighboring bands, and the magnitude that the sample is selected by."""
        names = [band.name for band in self.bands]
        return [*(f"{a}-{b}" for a, b in itertools.pairwise(names)), self.selection[0]]

    @property
    def lowest_masses(self) -> list[float]:
        """Lowest halo mass of each slice [log10 Msun]: fainter limits in nearer slices need smaller halos."""
        faint = self.selection[2]
        absolute = [faint - float(distance_modulus(PLANCK15, low)) for low, _ in self.slices]
        lgm = [_LGM_AT + _LGM_SLOPE * (mag + 19.3) for mag in absolute]
        return [float(np.clip(np.floor(10 * x) / 10, *_LGM_RANGE)) for x in lgm]


class _Table:
    """Columns of a file that are read when they are asked for, "not measured" as NaN."""

    def __init__(self, path: Path, columns: tuple[str, ...], table: str) -> None:
        self.names, self._path = columns, path
        self._table = table.strip("'").split(" ")[0] or None

    def __call__(self, name: str, *, flag: bool = False) -> Column | None:
        """A column of numbers, or of true and false; None for any other."""
        try:
            flags = (name,) if flag else ()
            column = read_columns(self._path, [name], table=self._table, flags=flags)[name]
        except InputError:
            return None
        values = np.where(np.isin(column.values, MISSING), np.nan, column.values)
        return Column(values, column.unit, column.description)


def draft(catalog: str) -> Draft:
    """A run file for a catalog, see the module's text.

    Parameters
    ----------
    catalog : str
        File, or the name of the embedded sample.

    Raises
    ------
    InputError
        The file can't be read, or has no column of redshifts, or fewer than two bands with errors.
    """
    path = asset_path(EMBEDDED_SAMPLE) if catalog == EMBEDDED_SAMPLE else user_path(catalog)
    tables = table_columns(path)
    largest = max(tables, key=lambda name: len(tables[name]))
    table = _Table(path, tables[largest], largest)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(catalog).name.partition(".")[0]).strip("._-") or "survey"
    made = Draft(catalog, stem)
    if len(tables) > 1:
        made.said.append(f"table: {largest}, of {len(tables)} the one with most columns; check catalog.table")
    z = _redshift(made, table)
    _bands(made, table, survey_in(f"{path.stem} {catalog}"))
    used = _rows(made, table, z)
    _selection(made, used)
    _slices(made, z, used)
    return made


def _redshift(made: Draft, table: _Table) -> NDArray[np.float64]:
    """Find the redshift."""
    for name in redshift_names(table.names):
        column = table(name)
        if column is None or not np.isfinite(column.values).any():
            continue
        middle = float(np.nanmedian(column.values))
        if 0 < middle < _MAGNITUDES[0]:
            photometric = "phot" in name.lower()
            made.redshift = name
            made.said.append(
                f"redshift: column {name}, median {middle:.3g}"
                + ("; it may be photometric: set catalog.photoz" if photometric else "")
            )
            return column.values
    raise InputError(f"{made.path}: no column is called like a redshift (z_spec, zbest, z, ...); rename one")


def _bands(made: Draft, table: _Table, survey: str) -> None:
    """Find each band's columns, its filter, and what is known of its values."""
    named = [name for name in map(band_name, table.names) if name is not None]
    named = [name for name in named if name.column != made.redshift]
    for band in dict.fromkeys(name.band for name in named):
        guess = _band(made, table, [name for name in named if name.band == band], survey)
        if guess is not None:
            made.bands.append(guess)
    made.bands.sort(key=lambda band: known_pivot(band.curve))
    if len(made.bands) < 2:
        raise InputError(
            f"{made.path}: fewer than two bands have columns of magnitudes and errors whose names say so "
            f"(mag_g and magerr_g, g and eg, ...); found: {', '.join(b.name for b in made.bands) or 'none'}"
        )
    if not survey:
        made.said.append("filters: no name speaks of a survey; check each, 'popinfer filters' lists all")


def _band(made: Draft, table: _Table, names: list[BandName], survey: str) -> BandGuess | None:
    """One band's guess; None, with a line that says why, where it can't be used."""
    band, why = names[0].band, "no column of its errors"
    values = sorted((name for name in names if name.kind == "value"), key=lambda x: (x.is_flux, x.rank))
    for value in values:
        error = _error_of(value, names)
        column = table(value.column) if error is not None else None
        if error is None or column is None:
            continue
        mag, why = _magnitudes(value, column)
        share = float(np.isfinite(mag).mean()) if mag.size else 0.0
        if not why and share < _LEAST_MEASURED:
            why = f"measured in {percent(share)} of the rows only"
        curve = filter_of(band, value.survey or survey)
        why = why or ("" if curve else "no filter is known by this name")
        if why:
            continue
        keys = {"error_kind": "ivar"} if error.is_inverse else {}
        keys |= {"system": "vega"} if value.is_vega else {}
        extinction = next((name.column for name in names if name.kind == "extinction"), "")
        _note_missing_errors(made, table(error.column))
        named = value.survey or survey
        foreign = f"; {named} has no curve of this name" if named and not has_curve(band, named) else ""
        made.said.append(f"band {band}: columns {value.column} and {error.column}, filter {curve}{foreign}")
        if curve.startswith(_IN_VEGA) and not value.is_vega and not value.is_flux:
            made.said.append(
                f"band {band}: 2MASS and its successors publish Vega magnitudes; set system: vega unless the "
                "catalog's are AB"
            )
        others = [x for x in values if x is not value]
        lines, is_extinct = _compared(band, table, (value, mag), others, extinction)
        made.said += lines
        return BandGuess(band, value.column, error.column, curve, keys, mag, extinction, is_extinct)
    if values:
        made.said.append(f"band {band}: left out, {why}")
        if why == _NO_UNIT:
            made.templates.append(_template(values[0], names, survey))
    return None


def _template(value: BandName, names: list[BandName], survey: str) -> str:
    """A band's line without the unit of its flux, which a person has to fill in."""
    error = _error_of(value, names)
    keys = {"filter": filter_of(value.band, value.survey or survey), "value": value.column}
    if error is not None:
        keys |= {"error": error.column} | ({"error_kind": "ivar"} if error.is_inverse else {})
    text = ", ".join(f"{key}: {quoted_text(said)}" for key, said in keys.items())
    return f"# {value.band}: {{{text}, unit: }}  # nmgy, uJy, nJy, Jy, maggies, ..."


def _compared(
    band: str,
    table: _Table,
    chosen: tuple[BandName, NDArray[np.float64]],
    others: list[BandName],
    extinction: str,
) -> tuple[list[str], bool | None]:
    """What other columns of a band say of extinction, a line each; whether the chosen one holds it."""
    value, mag = chosen
    taken, is_extinct, lines = table(extinction) if extinction else None, None, []
    for other in others:
        column = table(other.column)
        other_mag, why = (mag, "no numbers") if column is None else _magnitudes(other, column)
        if column is not None and why == _NO_UNIT:  # up to a constant, which spreads don't see
            other_mag = _magnitudes_of_flux(column.values, 0.0)
        both = np.isfinite(mag) & np.isfinite(other_mag)
        if (why and why != _NO_UNIT) or not both.any():
            continue
        difference = (other_mag - mag)[both]
        expected = np.zeros(difference.size) if taken is None else taken.values[both]
        side, apart = _side(difference, expected, knows_zero=not why), float(np.median(difference))
        pair = f"band {band}: {other.column} is {apart:+.2f} mag from {value.column} in the median"
        if why:
            pair = f"band {band}: {other.column} and {value.column} differ from galaxy to galaxy"
        if side:
            without, with_it = (value, other) if side > 0 else (other, value)
            is_extinct = side < 0
            lines.append(
                f"{pair}, as {extinction} says ({float(np.nanmedian(expected)):.2f}): it is taken out of "
                f"{without.column}, and still in {with_it.column}"
            )
        elif not why and abs(apart) > _SAME:
            lines.append(f"{pair}: another aperture, system or extinction")
    if extinction and is_extinct is None:
        lines.append(
            f"band {band}: whether {value.column} still holds {extinction} the file can't say; it isn't "
            "subtracted"
        )
    return lines, is_extinct


def _side(difference: NDArray[np.float64], extinction: NDArray[np.float64], *, knows_zero: bool) -> int:
    """Whether magnitudes are fainter than others by the extinction (1), brighter (-1), or neither (0).

    Differences that follow the extinction from galaxy to galaxy tell, or their median where the zero point of
    both is known and both are of the same light.
    """

    def spread(values: NDArray[np.float64]) -> float:
        return float(np.diff(np.nanpercentile(values, [16, 84]))[0])

    width = spread(extinction)
    left = {side: spread(difference - side * extinction) for side in (1, -1)}
    best = min(left, key=lambda side: left[side])
    if width > _SAME / 3 and left[best] < 0.3 * min(width, spread(difference)):
        return best
    apart, expected = float(np.median(difference)), float(np.nanmedian(extinction))
    same_light = knows_zero and left[best] < _SAME
    if same_light and expected > 0 and abs(abs(apart) - expected) < max(_SAME, 0.1 * expected):
        return 1 if apart > 0 else -1
    return 0


def _error_of(value: BandName, names: list[BandName]) -> BandName | None:
    """The error column that goes with a value: of the same light, or of no light that the name tells."""
    errors = [x for x in names if x.kind == "error" and x.is_flux == value.is_flux]
    same = [x for x in errors if x.variant == value.variant]
    return next(iter(same or [x for x in errors if not x.variant]), None)


def _magnitudes(value: BandName, column: Column) -> tuple[NDArray[np.float64], str]:
    """Magnitudes of a column, and why they can't be had."""
    unit, values = parse_unit(column.unit), column.values
    flux = value.is_flux if unit is None else unit.kind == "flux"
    if flux and unit is None:
        return values, _NO_UNIT
    if flux and unit is not None:
        values = _magnitudes_of_flux(values, unit.ab)
    middle = float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan
    plausible = _MAGNITUDES[0] < middle < _MAGNITUDES[1]
    return values, "" if plausible else f"its median is {middle:.3g}, no magnitude's"


def _magnitudes_of_flux(flux: NDArray[np.float64], zero: float) -> NDArray[np.float64]:
    """Magnitudes; NaN of what isn't positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, zero - 2.5 * np.log10(flux), np.nan)


def _note_missing_errors(made: Draft, error: Column | None) -> None:
    """Negative errors that repeat stand for "not measured"."""
    if error is None:
        return
    for value in np.unique(error.values[error.values < 0])[:3]:
        if float(value) not in made.missing:
            made.missing.append(float(value))
            made.said.append(f'missing: {value:g} stands for "not measured" among the errors')


def _rows(made: Draft, table: _Table, z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that can be used; a column of true and false that is called so chooses them."""
    used = np.isfinite(z) & (z > _LOWEST_Z)
    for name in (name for name in table.names if name.lower() in _FLAGS):
        column = table(name, flag=True)
        if column is not None and set(np.unique(column.values[np.isfinite(column.values)])) == {0.0, 1.0}:
            made.where = name
            made.said.append(f"where: rows where {name} is true")
            used &= column.values == 1
            break
    for band in made.bands:
        used &= np.isfinite(band.mag)
    if used.sum() < _FEWEST_GALAXIES:
        raise InputError(
            f"{made.path}: {int(used.sum())} rows have a redshift and all of the bands "
            f"{', '.join(band.name for band in made.bands)}; {_FEWEST_GALAXIES} are needed"
        )
    return used


def _selection(made: Draft, used: NDArray[np.bool_]) -> None:
    """The band whose counts end most sharply, and the magnitude where they turn over."""
    limits = {}
    for band in made.bands:
        mag = band.mag[used]
        edges = np.arange(np.floor(mag.min()), np.ceil(mag.max()) + _BIN, _BIN)
        number, _ = np.histogram(mag, edges)
        smooth = np.convolve(number, np.ones(3) / 3, "same")
        faint = round(float(edges[smooth.argmax() + 1]), 1)
        bright = float(np.floor(2 * np.percentile(mag, 0.2)) / 2)
        limits[band.name] = (bright, faint, float((mag > faint).mean()))
    usual = [name for name in _SELECTED_BY if name in limits] or list(limits)
    name = min(usual, key=lambda band: round(limits[band][2], 1))
    bright, faint, beyond = limits[name]
    made.selection = (name, bright, faint)
    made.said.append(
        f"selection: {name} from {bright:g} to {faint:g}, where counts turn over; {percent(beyond)} of the "
        "galaxies are fainter"
    )


def _slices(made: Draft, z: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
    """Slices of equal numbers of galaxies, without the nearest and the farthest few."""
    name, bright, faint = made.selection
    mag = next(band.mag for band in made.bands if band.name == name)
    sample = np.sort(z[used & (mag >= bright) & (mag <= faint)])
    if sample.size < _FEWEST_GALAXIES:
        raise InputError(f"{made.path}: {sample.size} galaxies lie within {name} = {bright:g} to {faint:g}")
    n_slices = int(np.clip(sample.size // _GALAXIES_A_SLICE, 1, _MOST_SLICES))
    edges = np.quantile(sample, np.linspace(0.05, 0.9, n_slices + 1))
    rounded = [float(f"{edge:.2g}") for edge in edges]
    rounded = rounded if len(set(rounded)) == len(rounded) else [float(f"{edge:.4g}") for edge in edges]
    made.slices = list(itertools.pairwise(rounded))
    numbers = [int(((sample >= low) & (sample < high)).sum()) for low, high in made.slices]
    shown = ", ".join(
        f"{low:g} to {high:g} ({number:,})" for (low, high), number in zip(made.slices, numbers, strict=True)
    )
    made.said.append(f"slices: redshifts {shown} galaxies")


def run_file(made: Draft) -> str:
    """The text of the run file."""
    return "\n".join([*_catalog_lines(made), *_model_lines(made)]) + "\n"


def _catalog_lines(made: Draft) -> Iterator[str]:
    name, bright, faint = made.selection
    yield f"# Drafted by 'popinfer init {made.path}': guesses, to be checked by who knows the survey."
    yield "# 'popinfer keys' tells what each key means; 'popinfer check' this file, before it is run."
    yield f"name: {made.name}"
    yield "seed: 1"
    yield "catalog:"
    yield f"  path: {quoted_text(made.path)}"
    yield f"  redshift: {quoted_text(made.redshift)}"
    if made.where:
        yield f"  where: {quoted_text(made.where)}"
    if made.missing:
        yield f"  missing: [{', '.join(f'{x:g}' for x in made.missing)}]"
    yield "  bands:  # zero_point_mag brings magnitudes to AB where they aren't"
    if any(band.curve.startswith("sdss_") for band in made.bands):
        yield f"    # SDSS' own magnitudes aren't quite AB; zero_point_mag for them: {_NATIVE_SDSS}"
    for band in made.bands:
        columns = {"filter": band.curve, "value": band.value, "error": band.error, **band.keys}
        columns |= {"extinction": band.extinction} if band.is_extinct else {}
        text = ", ".join(f"{key}: {quoted_text(value)}" for key, value in columns.items())
        doubt = band.extinction and band.is_extinct is None
        extinction = f"  # extinction: {band.extinction} subtracts it, if it is still in" if doubt else ""
        yield f"    {band.name}: {{{text}}}{extinction}"
    yield from (f"    {line}" for line in made.templates)
    yield "  # where the counts turn over; a survey that states its limit knows better"
    yield f"  selection: {{band: {name}, bright_mag: {bright:g}, faint_mag: {faint:g}, width_mag: 0.03}}"
    yield "  # number_density: {area_deg2: }  # compares the number of galaxies too, where the area is known"
    yield f"slices: [{', '.join(f'[{low:g}, {high:g}]' for low, high in made.slices)}]"
    yield f"features: [{', '.join(made.features)}]"


def _model_lines(made: Draft) -> Iterator[str]:
    masses = ", ".join(f"{x:g}" for x in made.lowest_masses)
    yield "halos:"
    yield "  n_per_slice: 4096    # for a first look; 16384 for a result"
    yield f"  lgm_min: [{masses}]  # a guess from the limits; the fit warns where smaller halos matter"
    yield "free:                  # {} is the prior that 'popinfer params' lists, with what else may be free"
    for name in _FREE:
        yield f"  {name}: {{}}"
    yield "kernels:"
    yield "  marginal_bandwidth: 0.3  # narrow kernels in single features see medians, widths and shares"
    yield "  floor_mag: 0.08      # kernels are no finer: stellar population synthesis isn't exact"
    yield "  model_error: 0.2     # of each count, for the same reason"


def quoted_text(text: str) -> str:
    """A text as YAML, in quotes where it isn't a plain word."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text)
    words = {"true", "false", "null", "yes", "no", "on", "off"}
    return text if plain and text.lower() not in words else "'" + text.replace("'", "''") + "'"


def write_draft(made: Draft, path: Path) -> None:
    """Write the run file.

    Raises
    ------
    InputError
        There is such a file already, or it can't be written.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(run_file(made))
    except FileExistsError:
        raise InputError(f"{path}: is there already; name another file with --out") from None
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror})") from None
