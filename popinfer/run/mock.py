"""Mock catalogs: what the survey would list if the model were true, as files that read like the real ones.

Errors follow the survey's own; zero points and units are undone. With the survey's solid angle, the number of
galaxies follows from the model too, unless it is asked for. Published tables are left out of the mock's run
file.
"""

import io
import math
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from jaxtyping import PRNGKeyArray

from popinfer.config import RunConfig, load_config
from popinfer.config.survey import BandConfig, CatalogConfig
from popinfer.data.catalog_io import SUFFIXES
from popinfer.data.filters import vega_to_ab
from popinfer.data.units import FLUX_UNITS
from popinfer.errors import InputError, shortened
from popinfer.params import ParamSpace
from popinfer.random import numpy_generator, root_key, stream
from popinfer.run.catalog import curve_of
from popinfer.run.folder import RunFolder, check_writable, write_json
from popinfer.run.prepare import Run, prepare
from popinfer.run.progress import Reporter, Silent
from popinfer.run.simulate import draw_survey
from popinfer.run.simulation import check_settings
from popinfer.run.truth import truth_path
from popinfer.storage import remove_leftovers, write_bytes

# of values and of inverse variances, where they aren't called as in the run file
_UNIT_WORDS = {
    "maggy": ("mgy", "mgy-2"),
    "cgs": ("erg s-1 cm-2 Hz-1", "erg-2 s2 cm4 Hz2"),
}


@dataclass(frozen=True)
class MockSpec:
    """What a mock is made with.

    Attributes
    ----------
    values : true values of parameters by dotted name, physical units.
    n_galaxies : galaxies in each slice; as many as the real catalog has when None.
    seed : of all random numbers.
    """

    values: dict[str, float]
    n_galaxies: int | None = None
    seed: int = 1


def parse_values(settings: list[str]) -> dict[str, float]:
    """Read ``name=value`` settings; InputError for anything else."""
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"--set {shortened(setting)}: has to be name=number, for example dust.lg_av=-0.3"
            )
        if not math.isfinite(values[name.strip()]):
            raise InputError(f"--set {shortened(setting)}: has to be a finite number")
    return values


def make_mock(
    file: str | Path | RunConfig, out: str | Path, spec: MockSpec, say: Reporter | None = None
) -> tuple[Path, Path, Path]:
    """Write a mock catalog, its truth, and a run file for it.

    Parameters
    ----------
    file : str or Path or RunConfig
        Run file, or configuration, whose survey and model are used.
    out : str or Path
        Catalog to write; its suffix chooses the format.
    spec : MockSpec
        True values and size. Free parameters that aren't named sit at their prior's centre.
    say : Reporter or None
        Hears about progress.

    Returns
    -------
    tuple of Path
        The catalog, its truth, and the run file.

    Raises
    ------
    InputError
        When the run file, a name or value, or the output can't be used.
    """
    out, say = Path(out), Silent() if say is None else say
    format_ = _format(out)
    config = file if isinstance(file, RunConfig) else load_config(file)
    check_writable(out.parent, f"--out {out}")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; a mock catalog is a file")
    check_settings(spec.values, config)
    truth_file, run_file = truth_path(out), out.with_suffix(".yaml")
    if not isinstance(file, RunConfig) and run_file.resolve() == Path(file).resolve():
        raise InputError(f"--out {out}: its run file would overwrite {file}; choose another name")
    if out.resolve() == Path(config.catalog.path).resolve():
        raise InputError(f"--out {out}: would overwrite the survey's own catalog; choose another name")
    config = _with_fixed(config, spec.values)
    run = prepare(config, None, say)
    space = run.model.space
    u = space.to_unconstrained({k: v for k, v in spec.values.items() if k in space.names})
    key = stream(root_key(spec.seed), "mock")
    z, mag = draw_survey(stream(key, "survey"), run, u, spec.n_galaxies, say)
    columns, config = _columns(stream(key, "order"), run, config, z, mag)
    if spec.n_galaxies is not None:  # numbers that were asked for say nothing of the density
        shape_only = config.catalog.model_copy(update={"number_density": None})
        config = config.model_copy(update={"catalog": shape_only})
    RunFolder(out.parent).create()
    remove_leftovers(out.parent, locked=False)
    # the run file last: where it is, catalog and truth are those that belong to it
    run_file.unlink(missing_ok=True)
    write_bytes(out, _table_file(columns, _units(config.catalog), format_))
    write_json(truth_file, _truth(space, u, spec), "truth", "-")
    catalog = config.catalog.model_copy(update={"path": str(out.resolve()), "format": "auto"})
    named = config.model_copy(update={"catalog": catalog, "name": f"{config.name}-{out.stem}"})
    write_bytes(run_file, named.to_yaml().encode())
    return out, truth_file, run_file


def _with_fixed(config: RunConfig, values: dict[str, float]) -> RunConfig:
    """Parameters that the run doesn't free are set as fixed ones."""
    fixed = {name: value for name, value in values.items() if name not in config.free}
    model = config.model.model_copy(update={"fixed": {**config.model.fixed, **fixed}})
    return config.model_copy(update={"model": model})


def _truth(space: ParamSpace, u: np.ndarray, spec: MockSpec) -> dict[str, float]:
    physical = {name: float(x) for name, x in space.to_physical(jnp.asarray(u)).items()}
    return {**spec.values, **physical}


def _columns(
    key: PRNGKeyArray, run: Run, config: RunConfig, z: np.ndarray, mag: np.ndarray
) -> tuple[dict[str, np.ndarray], RunConfig]:
    """Table columns in the run file's names and units, shuffled; and the configuration that reads them."""
    order = numpy_generator(key).permutation(len(z))
    z, mag = z[order], mag[order]
    sigma = np.asarray(run.survey.noise.sigma(jnp.asarray(mag)))
    columns, bands = {_plain(config.catalog.redshift): z}, {}
    for i, (name, band) in enumerate(config.catalog.bands.items()):
        bands[name] = _of_mock(band, tuple(columns))
        value, error = _as_measured(mag[:, i], sigma[:, i], bands[name])
        columns |= {bands[name].value: value, str(bands[name].error): error}
    # conditions, names and the choice of a table are the original's; a mock may list a galaxy twice
    changed = {
        "bands": bands,
        "redshift": _plain(config.catalog.redshift),
        "where": [],
        "id": None,
        "table": None,
        "missing": [],
        "duplicates": "allow",
    }
    catalog = config.catalog.model_copy(update=changed)
    return columns, config.model_copy(update={"catalog": catalog, "joint": []})


def _plain(column: str) -> str:
    return column.replace("[", "_").replace("]", "")


def _of_mock(band: BandConfig, taken: Container[str] = ()) -> BandConfig:
    """How the mock's table holds a band: vector columns become plain ones, asinh magnitudes AB magnitudes.

    Vega magnitudes stay those, as names of columns may say. Errors get a column of their own also where the
    original has one number for all of them, or one column for several bands (`taken` are those of others).
    """
    value = _plain(band.value)
    error = _plain(band.error) if isinstance(band.error, str) else ""
    return band.model_copy(
        update={
            "value": value,
            "error": f"{value}_error" if not error or error in taken else error,
            "extinction": None,
            "unit": band.unit if band.unit in FLUX_UNITS else "mag",
            "error_unit": None,
            "softening": None,
        }
    )


def _as_measured(mag: np.ndarray, sigma: np.ndarray, band: BandConfig) -> tuple[np.ndarray, np.ndarray]:
    """Undo zero point, magnitude system, error floor and unit."""
    sigma = np.sqrt(np.maximum(sigma**2 - band.error_floor_mag**2, (0.01 * sigma) ** 2))
    to_ab = vega_to_ab(curve_of(band)) if band.system == "vega" else 0.0
    value, error = mag - band.zero_point_mag - to_ab, sigma
    if band.unit in FLUX_UNITS:
        value = 10 ** (-0.4 * (value - FLUX_UNITS[band.unit]))
        error = sigma * value * np.log(10) / 2.5
    return value, error if band.error_kind == "sigma" else 1 / error**2


def _units(catalog: CatalogConfig) -> dict[str, str]:
    """Units of a mock's columns, in astropy's words."""
    units = {}
    for band in catalog.bands.values():
        unit = str(band.unit)
        value, inverse_variance = _UNIT_WORDS.get(unit, (unit, f"{unit}-2"))
        error = inverse_variance if band.error_kind == "ivar" else value
        units |= {band.value: value, str(band.error): error}
    return units


def _format(out: Path) -> str:
    found = SUFFIXES.get(out.suffix)
    if found is None:
        raise InputError(f"{out}: the suffix of a mock catalog has to be one of {', '.join(SUFFIXES)}")
    return found


def _table_file(columns: dict[str, np.ndarray], units: dict[str, str], format_: str) -> bytes:
    """A table as a file of some format, made in memory; columns have their units where the format has any."""
    binary, text, table = io.BytesIO(), io.StringIO(), Table(columns)
    if format_ in ("hdf5", "ecsv"):
        for name, unit in units.items():
            table[name].unit = Unit(unit)
    if format_ == "parquet":
        arrays = {name: pa.array(values) for name, values in columns.items()}
        said = {name: {"unit": units[name]} if name in units else None for name in columns}
        schema = pa.schema([pa.field(name, x.type, metadata=said[name]) for name, x in arrays.items()])
        pq.write_table(pa.table(arrays, schema=schema), binary)
    elif format_ == "hdf5":
        with h5py.File(binary, "w") as store:
            table.write(store, format="hdf5", path="catalog", serialize_meta=True)
    elif format_ == "fits":
        made = fits.table_to_hdu(table)
        for column in made.columns:
            column.unit = units.get(column.name)
        made.writeto(binary)
    else:
        table.write(text, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}[format_])
    return binary.getvalue() or text.getvalue().encode()
