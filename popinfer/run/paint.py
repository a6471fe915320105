"""A galaxy on every halo of a simulation: ``popinfer mock FILE --on-halos``.

The file is read in chunks, its halos completed as for the run (`popinfer.halos.completed`), and each hosts
one galaxy for every set of parameters: the best fit's, some posterior draws', or given ones. All random
numbers of a galaxy are its halo's own, made of the seed and the halo's name: quenched or not, scatter, noise,
selection. Chunks, order, threads and devices don't change them.

A box's galaxies are seen at its snapshot's redshift, or at the nearest edge of the slice that takes it, along
the third axis; a lightcone's at their own, from the origin. Peculiar velocities change the observed redshift.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams
from jaxtyping import Array, Float

from popinfer.config import load_config
from popinfer.errors import InputError
from popinfer.halos.completed import CompletedHalos, Tally, complete_halos
from popinfer.halos.geometry import directions_of, velocity_along_sight
from popinfer.halos.per_halo import normals_of_halos, uniforms_of_halos
from popinfer.halos.sample import SimulatedHalos, checked_chunks, host_masses
from popinfer.halos.table import DISTINCT, Directory, HaloReader, HaloTable, with_hosts
from popinfer.halos.writing import FileNote, kind_of_output, open_writer
from popinfer.infer.draw_tables import draw_vectors
from popinfer.model import PopulationModel
from popinfer.model.population import light_tables, table_redshifts
from popinfer.model.survey import AnySurvey
from popinfer.population.parameters import ModelParams, values_of, with_values
from popinfer.population.sfh import DiffstarPop
from popinfer.random import root_key, stream
from popinfer.records import Halos
from popinfer.run.build import in_precision
from popinfer.run.finished import open_run
from popinfer.run.folder import RunFolder, check_writable
from popinfer.run.paint_notes import DIFFSTAR, notes_on
from popinfer.run.prepare import Run, prepare
from popinfer.run.progress import Reporter, Silent
from popinfer.run.provenance import code_hash
from popinfer.run.simulation import (
    as_cosmology,
    check_settings,
    reader_of,
    simulation_in,
    simulation_of,
)
from popinfer.sps.line_table import LineTable
from popinfer.storage import replacing

AT_ONCE = 1 << 14  # halos that are painted at once; a program is compiled for so many
_C_KM_S = 299792.458
_THIN = 0.002  # of a box's slice in redshift, for the table of light


@dataclass(frozen=True)
class PaintSpec:
    """What is painted.

    Attributes
    ----------
    draws : posterior draws, a galaxy each; 0 for the best fit.
    values : parameters by name in place of the fit's; others are at their priors' centers.
    seed : of the galaxies.
    results : folder of the run's results; results/<name> when absent.
    lines : nebular lines whose luminosities are wanted, see `popinfer.sps.line_table.line_label`; ("all",)
        for every one of the grid.
    """

    draws: int = 0
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 1
    results: Path | None = None
    lines: tuple[str, ...] = ()


class Painted(eqx.Module):
    """One galaxy of each halo.

    Attributes
    ----------
    is_quenched : which branch.
    mag, mag_obs, mag_err : true and measured AB magnitudes, and errors.
    lg_mstar, lg_ssfr, lgmet, av : see `popinfer.records.Galaxies`.
    kept : probability to be in the survey.
    sfh : diffstar parameters; empty without diffstarpop.
    lines : luminosities of nebular lines without dust [Lsun]; empty where none are wanted.
    """

    is_quenched: Float[Array, "halo"]
    mag: Float[Array, "halo band"]
    mag_obs: Float[Array, "halo band"]
    mag_err: Float[Array, "halo band"]
    lg_mstar: Float[Array, "halo"]
    lg_ssfr: Float[Array, "halo"]
    lgmet: Float[Array, "halo"]
    av: Float[Array, "halo"]
    kept: Float[Array, "halo"]
    sfh: Float[Array, "halo par"]
    lines: Float[Array, "halo line"]


@eqx.filter_jit
def paint_halos(
    model: PopulationModel,
    survey: AnySurvey,
    params: ModelParams,
    halos: Halos,
    uniform: Float[Array, "halo"],
    lines: LineTable | None = None,
) -> Painted:
    """The galaxy of each halo of one slice: of its two branches the one that a uniform number chooses.

    Parameters
    ----------
    model, survey, params : PopulationModel, AnySurvey, ModelParams
        The model with tables of one slice; the survey's errors and selection; physical parameters.
    halos, uniform : Halos, Float[Array, "halo"]
        The halos, whose normals are the galaxies' random numbers; uniform numbers choose between branches.
    lines : LineTable or None
        Nebular lines that are wanted.
    """
    slices = jax.tree.map(lambda x: x[None], halos)
    galaxies = jax.tree.map(lambda x: x[0], model.galaxies(params, slices, survey.observe))
    n = uniform.shape[0]
    branches = galaxies.weight_all.reshape(2, n)
    quenched = uniform * branches.sum(axis=0) < branches[1]
    row = jnp.arange(n) + n * quenched
    picked = jax.tree.map(lambda x: x[row], galaxies)
    kept = picked.weight / jnp.maximum(picked.weight_all, jnp.finfo(picked.weight.dtype).tiny)
    return Painted(
        quenched.astype(uniform.dtype),
        picked.mag_true,
        picked.mag,
        survey.noise.sigma(picked.mag).astype(picked.mag.dtype),
        picked.lg_mstar,
        picked.lg_ssfr,
        picked.lgmet,
        picked.av,
        kept,
        _diffstar(model, params, halos, quenched),
        _lines(model, params, halos, lines)[row],
    )


def _lines(
    model: PopulationModel, params: ModelParams, halos: Halos, lines: LineTable | None
) -> Float[Array, "point line"]:
    """Line luminosities of both branches of each halo, main-sequence ones first."""
    if lines is None:
        return jnp.zeros((2 * halos.weight.shape[0], 0), halos.weight.dtype)
    tables = jax.tree.map(lambda x: x[0], model.tables)
    return model.forward.line_luminosities(params, halos, tables, lines)


def _diffstar(
    model: PopulationModel, params: ModelParams, halos: Halos, quenched: Array
) -> Float[Array, "halo par"]:
    """Diffstar parameters of the galaxies; those of quenching say "never" for main-sequence ones."""
    if not isinstance(model.forward.sfh, DiffstarPop):
        return jnp.zeros((len(quenched), 0))
    from diffstar.defaults import DEFAULT_Q_PARAMS_UNQUENCHED

    from popinfer.population.diffstarpop import draw_galaxies, shift_families

    shifted = shift_families(params.sfh)
    normals = halos.normals[:, : model.forward.sfh.n_normal]
    drawn = jax.vmap(lambda halo, x: draw_galaxies(shifted, halo, x))(halos, normals)
    never = jnp.broadcast_to(jnp.stack(DEFAULT_Q_PARAMS_UNQUENCHED), (len(quenched), 4))
    ours = jnp.concatenate([drawn.main_sequence, never.astype(drawn.main_sequence.dtype)], axis=1)
    return jnp.where(quenched[:, None], drawn.quenched, ours)


@dataclass(frozen=True)
class _Plan:
    """What painting a run's simulation takes.

    Attributes
    ----------
    run, sample : the run and its halos.
    reader, spec, params : the files, what is painted, and the parameters of each draw.
    """

    run: Run
    sample: SimulatedHalos
    reader: HaloReader
    spec: PaintSpec
    params: tuple[ModelParams, ...]

    @property
    def is_box(self) -> bool:
        """Whether the halos are in a box."""
        return self.sample.spec.geometry.kind == "box"

    @cached_property
    def seen_at(self) -> dict[float, float]:
        """Redshift of each snapshot's galaxies."""
        seen: dict[float, float] = {}
        for limits, pool in zip(self.sample.spec.slices, self.sample.pools, strict=True):
            z = round(float(pool.halos.table.z[0]), 4)
            inside = float(np.clip(z, *limits))
            if z not in seen or abs(inside - z) < abs(seen[z] - z):
                seen[z] = inside
        return seen

    @cached_property
    def models(self) -> tuple[PopulationModel, ...]:
        """The model with light at each snapshot's redshift, or in each slice of a lightcone."""
        if not self.is_box:
            tables = self.run.model.tables
            return tuple(
                dataclasses.replace(self.run.model, tables=jax.tree.map(lambda x, i=i: x[i : i + 1], tables))
                for i in range(len(self.sample.spec.slices))
            )
        grids = [table_redshifts([(z, z + _THIN)]) for z in self.seen_at.values()]
        return tuple(
            dataclasses.replace(
                self.run.model, tables=light_tables(self.run.light, grid, self.run.model.forward)
            )
            for grid in grids
        )

    @cached_property
    def lines(self) -> tuple[LineTable | None, ...]:
        """Lines that are wanted, at each model's redshifts and nodes."""
        light, wanted = self.run.light, self.spec.lines
        if not wanted:
            return (None,) * len(self.models)
        if light.nebular is None or self.run.model.forward.nebular is None:
            raise InputError("--lines: model.nebular is none, and lines are those of the gas")
        labels = () if wanted == ("all",) else wanted
        return tuple(
            LineTable.build(
                light.ssp,
                light.nebular,
                labels,
                np.asarray(model.tables.light.outside.z_grid)[0],
                np.asarray(model.tables.light.outside.fractions)[0],
                model.forward.cosmology,
            )
            for model in self.models
        )

    def model_of(self, table: HaloTable) -> np.ndarray:
        """Which model paints each halo; -1 for halos outside all slices."""
        index = np.full(len(table), -1)
        if self.is_box:
            for i, z in enumerate(self.seen_at):
                index[np.abs(table.z - z) < 1e-3] = i
            return index
        for i, (low, high) in enumerate(self.sample.spec.slices):
            index[(table.z >= low) & (table.z < high)] = i
        return index


@dataclass(frozen=True)
class PaintedFile:
    """What painting left.

    Attributes
    ----------
    path : the file.
    n_halos, n_outside, n_selected : halos painted, halos outside all slices, galaxies in the survey.
    tally : where the halos' histories come from.
    """

    path: Path
    n_halos: int
    n_outside: int
    n_selected: int
    tally: Tally


def paint(file: str | Path, out: str | Path, spec: PaintSpec, say: Reporter | None = None) -> PaintedFile:
    """Write a galaxy for every halo of a run's simulation.

    Parameters
    ----------
    file : str or Path
        Run file.
    out : str or Path
        Table to write; its suffix chooses the format.
    spec : PaintSpec
        What is painted.
    say : Reporter or None
        Hears about progress.

    Raises
    ------
    InputError
        The run has no simulation or no results, or the output can't be written.
    """
    out, say = Path(out), say or Silent()
    kind = kind_of_output(out)
    check_writable(out.parent, f"--out {out}")
    plan = _plan_of(file, spec, say)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        return dataclasses.replace(_write(plan, temporary, kind, say), path=out)


def _plan_of(file: str | Path, spec: PaintSpec, say: Reporter) -> _Plan:
    config = load_config(file)
    source = simulation_of(config)
    if source is None:
        raise InputError(
            f"{file}: --on-halos needs halos.source of kind catalog or trees; this run draws its halos"
        )
    check_settings(spec.values, config)
    folder = RunFolder(spec.results or Path("results") / config.name)
    if not spec.values and not folder.summary.is_file():
        raise InputError(
            f"{folder.summary}: not there yet; run 'popinfer run {file}', or give values with --set"
        )
    run = prepare(config, spec.results, say)
    sample = simulation_in(run.source)
    if sample is None:
        raise InputError(f"{file}: its halos are no simulation's")
    reader = reader_of(source, as_cosmology(config.cosmology))
    return _Plan(run, sample, reader, spec, _parameters(run, folder, spec))


def _parameters(run: Run, folder: RunFolder, spec: PaintSpec) -> tuple[ModelParams, ...]:
    """Parameters of each draw: given ones, the best fit's, or posterior draws'."""
    space = run.model.space
    if spec.values:
        inside = {name: value for name, value in spec.values.items() if name in space.names}
        params = run.model.params_at(jnp.asarray(space.to_unconstrained(inside)))
        return (with_values(params, {k: v for k, v in spec.values.items() if k not in space.names}),)
    finished = open_run(folder.path)
    if spec.draws:
        u = draw_vectors(space, finished.idata)
        rows = np.linspace(0, len(u) - 1, min(spec.draws, len(u))).round().astype(int)
        return tuple(run.model.params_at(jnp.asarray(u[row])) for row in rows)
    best = space.to_unconstrained(dict(finished.summary.best_fit))
    return (run.model.params_at(jnp.asarray(best)),)


def _write(plan: _Plan, path: Path, kind: str, say: Reporter) -> PaintedFile:
    header, spec = plan.sample.header, plan.sample.spec
    note = FileNote(
        notes_on(plan.run.survey.bands, _line_labels(plan), not plan.is_box),
        plan.sample.cosmology,
        _attributes(plan),
        next(iter(plan.seen_at.values())) if plan.is_box else None,
        spec.geometry.side if plan.is_box else None,
        None if plan.is_box else (min(low for low, _ in spec.slices), max(high for _, high in spec.slices)),
    )
    hosts = _directory(plan)
    writer = open_writer(path, note, kind)
    n, outside, selected, tally = 0, 0, 0, Tally()
    try:
        with say.task("Galaxies on the simulation's halos", plan.sample.n_in_file) as update:
            for table in checked_chunks(plan.reader, header, spec):
                index = plan.model_of(table)
                outside += int((index < 0).sum())
                for i, model in enumerate(plan.models):
                    rows = with_hosts(table, hosts).take(index == i)
                    if not len(rows):
                        continue
                    halos = complete_halos(_completed_key(plan), rows, plan.sample.cosmology, spec.histories)
                    tally += halos.tally
                    for columns in _galaxies(plan, model, i, halos):
                        writer.write(columns)
                        selected += int(columns["selected"].sum())
                    n += len(rows)
                    update(n + outside, f"{n:,} halos in the run's slices")
    finally:
        writer.close()
    if not n:
        raise InputError(f"{header.source}: has no halo in the run's slices")
    return PaintedFile(path, n, outside, selected, tally)


def _completed_key(plan: _Plan) -> Array:
    """The key that the run's own halos were completed with: the same histories."""
    return stream(stream(root_key(plan.run.config.seed), "simulation"), "completed")


def _directory(plan: _Plan) -> Directory:
    """Names and masses of hosts that are in other chunks than their satellites."""
    spec, header = plan.sample.spec, plan.sample.header
    wanted = []
    if spec.satellites and header.claims_satellites:
        for table in checked_chunks(plan.reader, header, spec):
            lacking = ~table.is_central & ~np.isfinite(table.lg_host) & ~np.isfinite(table.lgmhost_infall)
            wanted.append(np.unique(table.host_id[lacking]))
    names = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, np.int64)
    if not len(names):
        return Directory.of([], plan.is_box)
    return host_masses(plan.reader, header, spec, names)


def _galaxies(
    plan: _Plan, model: PopulationModel, index: int, halos: CompletedHalos
) -> Iterator[dict[str, np.ndarray]]:
    """Columns of the galaxies of some halos, draw after draw."""
    survey, key = plan.run.survey, stream(root_key(plan.spec.seed), "on_halos")
    n_normal = model.forward.n_normals(len(survey.bands))
    table = halos.table
    z = np.full(len(table), list(plan.seen_at.values())[index]) if plan.is_box else table.z
    ids = table.halo_id
    normals = normals_of_halos(stream(key, "normals"), ids, n_normal)
    uniforms = uniforms_of_halos(stream(key, "choices"), ids, 3)
    records = dataclasses.replace(halos.records(np.ones(len(table)), normals), z_obs=z)
    copied = _halo_columns(plan, halos, z)
    for draw, params in enumerate(plan.params):
        painted = _in_pieces(plan, index, params, records, uniforms[:, 0])
        selected = (uniforms[:, 1] < painted.kept) & (uniforms[:, 2] >= table.p_merge)
        yield copied | _columns(plan, painted, selected) | {"draw": np.full(len(ids), draw, np.int32)}


def _in_pieces(plan: _Plan, index: int, params: ModelParams, halos: Halos, uniform: np.ndarray) -> Painted:
    """Galaxies of all halos of one of the models, in pieces of one size."""
    model = plan.models[index]
    pieces, n = [], len(uniform)
    for first in range(0, n, AT_ONCE):
        rows = np.arange(first, first + AT_ONCE) % n if n < AT_ONCE else np.arange(first, first + AT_ONCE)
        rows = np.minimum(rows, n - 1)
        some = in_precision(plan.run.config, jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], halos))
        chosen = jnp.asarray(uniform[rows], some.weight.dtype)
        made = paint_halos(model, _plain(plan.run.survey), params, some, chosen, plan.lines[index])
        keep = min(AT_ONCE, n - first)
        pieces.append(jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], made))
    return jax.tree.map(lambda *x: np.concatenate(x), *pieces)


def _plain(survey: AnySurvey) -> AnySurvey:
    """The survey without its catalog, whose size would make another program."""
    return dataclasses.replace(survey, features=[])  # type: ignore[call-arg]


def _observed_redshift(plan: _Plan, table: HaloTable, z: np.ndarray) -> np.ndarray:
    """Redshifts with peculiar velocities; without where these are unknown."""
    along = velocity_along_sight(table.position, table.velocity, is_box=plan.is_box)
    return np.where(np.isfinite(along), z + (1 + z) * along / _C_KM_S, z)


def _halo_columns(plan: _Plan, halos: CompletedHalos, z: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the halos."""
    table = halos.table
    columns = {"halo_id": table.halo_id, "upid": np.where(table.is_central, DISTINCT, table.host_id)}
    for i, axis in enumerate("xyz"):
        columns[axis] = table.position[:, i].astype(np.float32)
    for i, axis in enumerate("xyz"):
        columns[f"v{axis}"] = table.velocity[:, i].astype(np.float32)
    if not plan.is_box:
        columns |= directions_of(table.position)
    columns["redshift_true"] = z
    columns["redshift"] = _observed_redshift(plan, table, z)
    columns["logmp_obs"] = table.lg_mass.astype(np.float32)
    for name, values in zip(DiffmahParams._fields, table.mah_params, strict=True):
        columns[name] = values.astype(np.float32)
    columns["p_merge"] = table.p_merge.astype(np.float32)
    return columns


def _columns(plan: _Plan, painted: Painted, selected: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the galaxies."""
    survey = plan.run.survey
    sfh, mag = np.asarray(painted.sfh, np.float32), np.asarray(painted.mag, np.float32)
    mag_obs, mag_err = np.asarray(painted.mag_obs, np.float32), np.asarray(painted.mag_err, np.float32)
    columns = dict(zip(DIFFSTAR, sfh.T, strict=False))
    columns["is_quenched"] = np.asarray(painted.is_quenched, np.int8)
    for name in ("lg_mstar", "lg_ssfr", "lgmet", "av"):
        columns[name] = np.asarray(getattr(painted, name), np.float32)
    for i, band in enumerate(survey.bands):
        columns[f"mag_{band}"] = mag[:, i]
        columns[f"mag_{band}_obs"] = mag_obs[:, i]
        columns[f"mag_err_{band}"] = mag_err[:, i]
    for i, label in enumerate(_line_labels(plan)):
        columns[f"lum_{label}"] = np.asarray(painted.lines[:, i], np.float32)
    return columns | {"selected": selected.astype(np.int8)}


def _line_labels(plan: _Plan) -> tuple[str, ...]:
    """Names of the lines that are wanted."""
    table = plan.lines[0]
    return () if table is None else table.labels


def _attributes(plan: _Plan) -> dict[str, str | float | int]:
    """What is to be known of the mock to make it again."""
    return {
        "popinfer_version": version("popinfer"),
        "popinfer_code": code_hash(),
        "run": plan.run.config.name,
        "seed": plan.spec.seed,
        "n_draws": len(plan.params),
        "ssp_sha256": plan.run.light.ssp.sha256,
        "halos": Path(plan.sample.header.source).name,
    } | (values_of(plan.params[0]) if len(plan.params) == 1 else {})
