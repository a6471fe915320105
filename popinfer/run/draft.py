"""A first run file for a catalog, from the names and the values of its columns.

Nothing is asked. What can be told from the table is guessed and said in one line each: columns of bands with
filters and errors, the redshift, slices of equal numbers of galaxies, the magnitude down to which the catalog
is complete. What can't be told stays a comment in the file, for a person who knows the survey.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from popinfer.cosmology import PLANCK15, distance_modulus
from popinfer.data.catalog import catalog_path
from popinfer.data.catalog_io import table_columns
from popinfer.data.column_names import redshift_names, survey_in
from popinfer.errors import InputError, percent
from popinfer.run.draft_bands import PLAUSIBLE_MAG, DraftTable, Guesses, guess_bands, yaml_text

_BIN = 0.1  # mag
_SELECTED_BY = ("r", "i", "z", "g", "v")  # what surveys of galaxies are usually selected in, by preference
_GALAXIES_A_SLICE, _MOST_SLICES, _FEWEST_GALAXIES = 1500, 3, 300
_LOWEST_Z = 0.01  # nearer, galaxies' own motions matter
_NATIVE_SDSS = "u -0.036, g 0.012, r 0.010, i 0.028, z 0.040"
_FLAGS = ("clean", "good", "use", "primary")
# lowest halo mass of a slice, through those of configs/sdss.yaml: log10 Msun at absolute magnitude -19.3, and
# its change with each magnitude
_LGM_AT, _LGM_SLOPE, _LGM_RANGE = 10.3, -0.28, (10.0, 12.0)
_FREE = (
    *("sfh.efficiency", "sfh.quenching_mass", "metallicity.zero_point", "dust.lg_av", "dust.slope_ssfr"),
    *("template.4300", "template.8300"),
)


@dataclass
class Draft:
    """A run file in the making.

    Attributes
    ----------
    path : of the catalog.
    name : of the run.
    redshift : column.
    guessed : of the bands.
    where : column of the rows that count; "" where all do.
    selection : band, bright and faint limit.
    slices : in redshift.
    said : what was guessed, and what couldn't be, a line each.
    """

    path: str
    name: str
    redshift: str = ""
    guessed: Guesses = field(default_factory=Guesses)
    where: str = ""
    selection: tuple[str, float, float] = ("", 0.0, 0.0)
    slices: list[tuple[float, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        """Colors of neighboring bands, and the magnitude that the sample is selected by."""
        names = [band.name for band in self.guessed.bands]
        return [*(f"{a}-{b}" for a, b in itertools.pairwise(names)), self.selection[0]]

    @property
    def lowest_masses(self) -> list[float]:
        """Lowest halo mass of each slice [log10 Msun]: fainter limits in nearer slices need smaller halos."""
        faint = self.selection[2]
        absolute = [faint - float(distance_modulus(PLANCK15, low)) for low, _ in self.slices]
        lgm = [_LGM_AT + _LGM_SLOPE * (mag + 19.3) for mag in absolute]
        return [float(np.clip(np.floor(10 * x) / 10, *_LGM_RANGE)) for x in lgm]


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
    path = catalog_path(catalog)
    tables = table_columns(path)
    largest = max(tables, key=lambda name: len(tables[name]))
    table = DraftTable(path, tables[largest], largest)
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


def _redshift(made: Draft, table: DraftTable) -> NDArray[np.float64]:
    """Find the redshift."""
    for name in redshift_names(table.names):
        column = table(name)
        if column is None or not np.isfinite(column.values).any():
            continue
        middle = float(np.nanmedian(column.values))
        if 0 < middle < PLAUSIBLE_MAG[0]:
            photometric = "phot" in name.lower()
            made.redshift = name
            made.said.append(
                f"redshift: column {name}, median {middle:.3g}"
                + ("; it may be photometric: set catalog.photoz" if photometric else "")
            )
            return column.values
    raise InputError(f"{made.path}: no column is called like a redshift (z_spec, zbest, z, ...); rename one")


def _bands(made: Draft, table: DraftTable, survey: str) -> None:
    """Find the bands; colors need two of them."""
    made.guessed = guess_bands(table, made.redshift, survey)
    made.said += made.guessed.said
    names = [band.name for band in made.guessed.bands]
    if len(names) < 2:
        raise InputError(
            f"{made.path}: fewer than two bands have columns of magnitudes and errors whose names say so "
            f"(mag_g and magerr_g, g and eg, ...); found: {', '.join(names) or 'none'}"
        )


def _rows(made: Draft, table: DraftTable, z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that can be used; a column of true and false that is called so chooses them."""
    used = np.isfinite(z) & (z > _LOWEST_Z)
    for name in (name for name in table.names if name.lower() in _FLAGS):
        column = table(name, flag=True)
        if column is not None and set(np.unique(column.values[np.isfinite(column.values)])) == {0.0, 1.0}:
            made.where = name
            made.said.append(f"where: rows where {name} is true")
            used &= column.values == 1
            break
    for band in made.guessed.bands:
        used &= np.isfinite(band.mag)
    if used.sum() < _FEWEST_GALAXIES:
        raise InputError(
            f"{made.path}: {int(used.sum())} rows have a redshift and all of the bands "
            f"{', '.join(band.name for band in made.guessed.bands)}; {_FEWEST_GALAXIES} are needed"
        )
    return used


def _selection(made: Draft, used: NDArray[np.bool_]) -> None:
    """The band whose counts end most sharply, and the magnitude where they turn over."""
    limits = {}
    for band in made.guessed.bands:
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
    mag = next(band.mag for band in made.guessed.bands if band.name == name)
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
    yield f"  path: {yaml_text(made.path)}"
    yield f"  redshift: {yaml_text(made.redshift)}"
    if made.where:
        yield f"  where: {yaml_text(made.where)}"
    if made.guessed.missing:
        yield f"  missing: [{', '.join(f'{x:g}' for x in made.guessed.missing)}]"
    yield "  bands:  # zero_point_mag brings magnitudes to AB where they aren't"
    if any(band.curve.startswith("sdss_") for band in made.guessed.bands):
        yield f"    # SDSS' own magnitudes aren't quite AB; zero_point_mag for them: {_NATIVE_SDSS}"
    for band in made.guessed.bands:
        columns = {"filter": band.curve, "value": band.value, "error": band.error, **band.keys}
        columns |= {"extinction": band.extinction} if band.is_extinct else {}
        text = ", ".join(f"{key}: {yaml_text(value)}" for key, value in columns.items())
        doubt = band.extinction and band.is_extinct is None
        extinction = f"  # extinction: {band.extinction} subtracts it, if it is still in" if doubt else ""
        yield f"    {band.name}: {{{text}}}{extinction}"
    yield from (f"    {line}" for line in made.guessed.templates)
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
