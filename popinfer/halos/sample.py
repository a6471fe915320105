"""A user's simulation as a source of halos: read once, kept as a bounded sample, drawn from in batches.

`read_sample` keeps some halos of the file (`reservoir`), checks them (`checks`) and completes them
(`completed`). A batch is drawn from these, or from one piece of the volume: halo j, which stands for a
density n_j of halos, is drawn with probability q_j in proportion to n_j and to how visible its galaxies are,
and has the weight n_j / (N q_j), so that sums over halos estimate means over the volume whatever q is. Where
a piece holds fewer halos than are drawn, each is drawn several times, and hosts another galaxy each time.

Batches are pieces of equal volume where halos have positions (boxes within the box, patches of the sky), else
random pieces of hosts with their satellites. The mean over batches is that of the whole volume, and their
scatter its sampling noise: that of a jackknife over the pieces.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.special import ndtri

from popinfer.cosmology import Cosmology
from popinfer.errors import InputError, percent
from popinfer.halos import checks
from popinfer.halos.checks import MassFunctionRatio
from popinfer.halos.completed import CompletedHalos, complete_halos
from popinfer.halos.geometry import (
    Geometry,
    Span,
    cells_of_box,
    cells_of_sky,
    snapshot_of,
    with_redshift,
    with_volume,
)
from popinfer.halos.lightcone import (
    LightconeSpec,
    central_abundance,
    draw_halos,
    draw_redshift,
    unit_cube,
    visibility,
)
from popinfer.halos.per_halo import order_of_halos
from popinfer.halos.reservoir import Kept, Reservoir
from popinfer.halos.source import HaloPart
from popinfer.halos.table import (
    CHUNK,
    DEEPEST_HOST,
    Directory,
    HaloHeader,
    HaloReader,
    HaloTable,
    with_hosts,
)
from popinfer.random import fixed_key, numpy_generator, stream
from popinfer.records import Halos
from popinfer.resampling import systematic

_NEXT_TO_NOTHING = 1e-6
_FEWEST_FILLED, _FEWEST_PIECES = 0.25, 16  # share of the pieces that have halos, of so many

Say = Callable[[str], None]


@dataclass(frozen=True)
class SampleSpec:
    """What is wanted of a simulation.

    Attributes
    ----------
    slices : redshift limits that halos are wanted in.
    geometry : of the volume.
    lgm_min : log10 of the lowest halo mass [Msun], one a slice.
    histories : see `popinfer.halos.completed`.
    satellites : whether halos in other halos are kept.
    capacity : halos that are kept of every tenth of a dex in mass and every slice, of centrals and satellites
        each.
    ignore_mass_function : don't compare abundances with diffhalos'.
    max_unfit : largest share of branches with too few points for a fit.
    """

    slices: tuple[tuple[float, float], ...]
    geometry: Geometry
    lgm_min: tuple[float, ...]
    histories: str = "auto"
    satellites: bool = True
    capacity: int = 2048
    ignore_mass_function: bool = False
    max_unfit: float = checks.MAX_UNFIT


@dataclass(frozen=True)
class SlicePool:
    """The halos that one slice draws from.

    Attributes
    ----------
    halos : completed ones, in the order of kind and mass.
    density : of halos that each stands for [1/Mpc^3].
    cells : functions of the number of pieces that tell each halo's piece.
    ratio : of the mass function to diffhalos'.
    t_peak : of centrals, 16th, 50th and 84th percentile [Gyr].
    t_peak_calibration : of diffhalos' own.
    """

    halos: CompletedHalos
    density: Float[np.ndarray, "halo"]
    cells: Callable[[int], Int[np.ndarray, "halo"]]
    ratio: MassFunctionRatio
    t_peak: Float[np.ndarray, "3"]
    t_peak_calibration: Float[np.ndarray, "3"]

    def __len__(self) -> int:
        """Number of halos."""
        return len(self.density)


@dataclass(frozen=True)
class SimulatedHalos:
    """Halos of a user's simulation.

    Attributes
    ----------
    header : of the file.
    spec : what was asked for.
    pools : halos of each slice.
    pieces : what batches are pieces of, in words.
    warnings, notes : sentences for a person.
    n_read : halos of the file above the lowest mass.
    n_in_file : all of them, without satellites where those aren't used.
    """

    header: HaloHeader
    spec: SampleSpec
    pools: tuple[SlicePool, ...]
    pieces: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    n_read: int = 0
    n_in_file: int = 0

    @property
    def cosmology(self) -> Cosmology:
        """The simulation's."""
        if self.header.cosmology is None:
            raise InputError(f"{self.header.source}: has no cosmology")
        return self.header.cosmology

    def draw(
        self,
        keys: Sequence[PRNGKeyArray],
        specs: Sequence[LightconeSpec],
        parts: Sequence[HaloPart] | None = None,
    ) -> Halos:
        """Halos of the simulation; see `popinfer.halos.source.HaloSource`."""
        pieces = [None] * len(keys) if parts is None else parts
        batches = []
        for key, part in zip(keys, pieces, strict=True):
            slices = [
                self.draw_slice(stream(key, "slice", i), i, spec, part)
                for i, (_, spec) in enumerate(zip(self.pools, specs, strict=True))
            ]
            batches.append(jax.tree.map(lambda *x: np.stack(x), *slices))
        return jax.tree.map(lambda *x: np.stack(x), *batches)

    def draw_slice(self, key: PRNGKeyArray, index: int, spec: LightconeSpec, part: HaloPart | None) -> Halos:
        """Halos of one slice, from one piece of the volume or all of it.

        Parameters
        ----------
        key : PRNGKeyArray
            Random key of the choice and of galaxies' numbers.
        index : int
            Of the slice.
        spec : LightconeSpec
            How many, and where in mass.
        part : HaloPart or None
            The piece; None for all.
        """
        pool = self.pools[index]
        lgm = pool.halos.table.lg_mass
        size = pool.density * visibility(spec, lgm) * (lgm >= spec.lgm_min)
        if spec.flatten != 1.0:
            abundance = central_abundance(lgm, np.full_like(lgm, np.median(pool.halos.table.z)))
            size = size * np.maximum(abundance, 1e-12) ** (spec.flatten - 1)
        pieces = 1
        if part is not None:
            pieces, size = part.n, size * (pool.cells(part.n) == part.index)
        if (
            not size.sum() > 0
        ):  # an empty piece: any halos, which count for next to nothing; zero has no logarithm
            picked = np.linspace(0, len(pool) - 1, spec.n_halo).astype(int)
            weight = np.full(spec.n_halo, _NEXT_TO_NOTHING * pool.density.sum() / spec.n_halo)
        else:
            picked = _pick_rows(stream(key, "pick"), size / size.sum(), spec)
            weight = pieces * pool.density[picked] * size.sum() / (spec.n_halo * size[picked])
        uniforms = unit_cube(stream(key, "numbers"), spec.n_halo, 1 + spec.n_normal, spec.independent)
        halos = _rows(pool.halos, picked).records(weight, ndtri(uniforms[:, 1:]))
        if self.spec.geometry.kind == "lightcone":
            return halos
        z, thinned = draw_redshift(uniforms[:, 0], spec, self.cosmology)
        return replace(halos, z_obs=z, weight=weight * thinned)


def _pick_rows(key: PRNGKeyArray, probability: np.ndarray, spec: LightconeSpec) -> np.ndarray:
    rng = numpy_generator(key)
    if spec.independent:
        return rng.choice(len(probability), spec.n_halo, p=probability)
    return rng.permutation(systematic(probability, spec.n_halo, float(rng.random())))


def _rows(halos: CompletedHalos, index: np.ndarray) -> CompletedHalos:
    """Some of the halos."""
    columns = ("t_obs", "logmp0", "lgmu_infall", "logmhost_infall", "gyr_since_infall", "rms")
    picked = {name: getattr(halos, name)[index] for name in columns}
    return replace(halos, table=replace(halos.table, branches=None).take(index), **picked)


def read_sample(
    key: PRNGKeyArray, reader: HaloReader, spec: SampleSpec, say: Say | None = None
) -> SimulatedHalos:
    """Read a simulation's halos, refuse what can't be right, and complete what the file leaves out.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the choice of halos and of everything that is drawn for them; a halo's numbers are its
        own.
    reader : HaloReader
        The file.
    spec, say : SampleSpec, Say or None
        What is wanted, and what hears about progress.

    Raises
    ------
    InputError
        One line that says what in the file, or in the run file, can't be used.
    """
    header = reader.header
    spec = replace(spec, geometry=with_volume(header, spec.geometry))
    if header.cosmology is None:
        raise InputError(f"{header.source}: has no cosmology; give halos.source.cosmology")
    kept, places, n_in_file = _read(stream(key, "kept"), reader, header, spec, say)
    kept, orphans = _hosts_looked_up(kept, reader, header, spec)
    claims = header.claims_satellites and spec.satellites
    checks.check_kept(kept, header.source, claims, header.cosmology, spec.histories)
    pools, warnings = _pools(stream(key, "completed"), kept, header, spec)
    pieces = _pieces(pools[0], spec)
    used = dict.fromkeys(filter(None, [places, checks.check_claims(header), orphans, *warnings]))
    notes = _notes(pools, kept)
    return SimulatedHalos(header, spec, tuple(pools), pieces, tuple(used), notes, kept.n_read, n_in_file)


def checked_chunks(
    reader: HaloReader, header: HaloHeader, spec: SampleSpec, size: int = CHUNK
) -> Iterator[HaloTable]:
    """Chunks of a file that were checked, with masses of hosts that are in the same chunk."""
    for chunk in reader.chunks(size):
        table = with_redshift(chunk.without_marks(), spec.geometry, header.source)
        checks.check_chunk(table, header.source)
        table = with_hosts(table, Directory.of([table], spec.geometry.kind == "box"))
        yield table if spec.satellites else table.take(table.is_central)


def _read(
    key: PRNGKeyArray, reader: HaloReader, header: HaloHeader, spec: SampleSpec, say: Say | None
) -> tuple[Kept, str, int]:
    """What is kept of the file, what positions say against the geometry, and how many halos there were."""
    box = spec.geometry.kind == "box"
    reservoir = Reservoir(key, spec.capacity, None if box else spec.slices)
    lowest, seen, span = min(spec.lgm_min), 0, [np.inf, -np.inf]
    places = Span(float(spec.geometry.side or 0), header.source)
    for table in checked_chunks(reader, header, spec):
        seen += len(table)
        if len(table):
            span = [min(span[0], float(table.z.min())), max(span[1], float(table.z.max()))]
        if box:
            places.add(table.position)
        reservoir.add(table.take(table.lg_mass >= lowest))
        if say is not None and seen > CHUNK:
            say(f"{header.source}: {seen:,} halos read")
    kept = reservoir.kept()
    if kept is not None and box:
        return kept, places.trouble(), seen
    if kept is not None:
        return kept, checks.check_distances(kept.table, header.cosmology or Cosmology()), seen
    if not box and (span[1] < min(a for a, _ in spec.slices) or span[0] >= max(b for _, b in spec.slices)):
        raise InputError(
            f"{header.source}: its halos are at z = {span[0]:.4g} to {span[1]:.4g}, outside all slices"
        )
    raise InputError(
        f"{header.source}: none of its {seen:,} halos has 10^{lowest:g} Msun or more; lower halos.lgm_min "
        "(or resolution), or check halos.source.units.mass"
    )


def _hosts_looked_up(
    kept: Kept, reader: HaloReader, header: HaloHeader, spec: SampleSpec
) -> tuple[Kept, str]:
    """Kept halos with the masses of their hosts, for which the file is read once more if need be."""
    table = kept.table
    if table.is_central.all():
        return kept, ""
    unknown = ~table.is_central & ~np.isfinite(table.lg_host)
    if unknown.any():
        table = with_hosts(table, host_masses(reader, header, spec, table.host_id[unknown]))
    return replace(kept, table=table), checks.check_hosts(table, header.source)


def host_masses(
    reader: HaloReader, header: HaloHeader, spec: SampleSpec, wanted: Int[np.ndarray, "satellite"]
) -> Directory:
    """Those hosts that the file has, and the hosts that these are in.

    Parameters
    ----------
    reader, header, spec : HaloReader, HaloHeader, SampleSpec
        The file.
    wanted : Int[np.ndarray, "satellite"]
        Names.
    """
    names, box = np.unique(wanted), spec.geometry.kind == "box"
    for _ in range(DEEPEST_HOST):
        tables = checked_chunks(reader, header, spec)
        directory = Directory.of((table.take(np.isin(table.halo_id, names)) for table in tables), box)
        more = directory.unlisted_hosts
        if not len(np.setdiff1d(more, names)):
            break
        names = np.union1d(names, more)
    return directory


def _pools(
    key: PRNGKeyArray, kept: Kept, header: HaloHeader, spec: SampleSpec
) -> tuple[list[SlicePool], list[str]]:
    """Halos of each slice, and warnings."""
    cosmology, geometry = header.cosmology or Cosmology(), spec.geometry
    pools, warnings = [], []
    ready: dict[int, CompletedHalos] = {}
    for index, limits in enumerate(spec.slices):
        place = f"slices.{index}"
        epoch = index
        if geometry.kind == "box":
            epoch = snapshot_of(limits, np.array(kept.epochs), cosmology, place)
        inside = np.flatnonzero((kept.epoch == epoch) & (kept.table.lg_mass >= spec.lgm_min[index]))
        if len(inside) < checks.FEWEST_HALOS:
            raise InputError(
                f"{header.source}: {len(inside)} halos of 10^{spec.lgm_min[index]:g} Msun or more for "
                f"{place} (z = {limits[0]:g} to {limits[1]:g}); at least {checks.FEWEST_HALOS}"
            )
        volume = geometry.volume(limits, cosmology)
        ratio = checks.mass_function_ratio(kept, epoch, volume, min(spec.lgm_min))
        if not spec.ignore_mass_function:
            warnings.append(checks.check_mass_function(ratio, cosmology.h, header.source))
        if epoch not in ready or geometry.kind == "lightcone":
            everything = kept.table.take(kept.epoch == epoch)
            if spec.histories != "drawn":
                checks.check_histories(everything, header.source, cosmology)
            ready[epoch] = complete_halos(key, everything, cosmology, spec.histories)
            warnings.append(checks.check_fits(ready[epoch], header, spec.histories, spec.max_unfit))
        rows = np.searchsorted(np.flatnonzero(kept.epoch == epoch), inside)
        density = kept.stands_for[inside] / volume
        pools.append(_pool(_rows(ready[epoch], rows), density, index, spec, ratio, cosmology))
        warnings.append(checks.check_peak_times(pools[-1].t_peak, pools[-1].t_peak_calibration))
    return pools, [text for text in warnings if text]


def _pool(
    halos: CompletedHalos,
    density: np.ndarray,
    index: int,
    spec: SampleSpec,
    ratio: MassFunctionRatio,
    cosmology: Cosmology,
) -> SlicePool:
    """A slice's halos in the order in which they are drawn, with their pieces."""
    table = halos.table
    order = np.lexsort((table.lg_mass, table.is_central))
    halos, table = _rows(halos, order), table.take(order)
    geometry = spec.geometry
    position = table.position

    def cells(n: int) -> np.ndarray:
        places = _cells_by_place(position, geometry, n) if np.isfinite(position).all() else None
        return _random_pieces(table, n) if places is None else places

    density = density[order] * (1 - table.p_merge)
    central = table.is_central
    t_peak = _percentiles(table.mah_params.t_peak[central], density[central])
    usual = _usual_peak_times(
        spec.slices[index], max(spec.lgm_min[index], float(table.lg_mass.min())), cosmology
    )
    return SlicePool(halos, density, cells, ratio, t_peak, usual)


def _percentiles(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted 16th, 50th and 84th percentile."""
    if not len(values):
        return np.full(3, np.nan)
    order = np.argsort(values)
    cumulated = np.cumsum(weight[order])
    places = np.searchsorted(cumulated, np.array([0.16, 0.5, 0.84]) * cumulated[-1])
    return values[order][places.clip(0, len(values) - 1)]


def _usual_peak_times(limits: tuple[float, float], lgm_min: float, cosmology: Cosmology) -> np.ndarray:
    """The same of centrals that diffhalos draws: those that the calibrations of galaxies were made for."""
    lowest = float(np.clip(lgm_min, 9.0, 14.0))
    drawn = draw_halos(fixed_key("halos", "peak times"), LightconeSpec(*limits, 2048, lowest, 1), cosmology)
    central = np.asarray(drawn.is_central) > 0.5
    return _percentiles(np.asarray(drawn.mah_params.t_peak)[central], np.asarray(drawn.weight)[central])


def _cells_by_place(
    position: Float[np.ndarray, "halo 3"], geometry: Geometry, n: int
) -> Int[np.ndarray, "halo"] | None:
    """Pieces of the volume; None where halos fill too little of it, as those of some forests do."""
    if geometry.kind == "lightcone":
        return cells_of_sky(position, float(geometry.area_deg2 or 1.0), n)
    cells = cells_of_box(position, float(geometry.side or 1.0), n)
    return cells if len(np.unique(cells)) >= _FEWEST_FILLED * n else None


def _random_pieces(table: HaloTable, n: int) -> np.ndarray:
    """Random pieces of hosts with their satellites."""
    host = np.where(table.is_central, table.halo_id, table.host_id)
    order = order_of_halos(fixed_key("halos", "pieces"), host)
    return (order // np.uint64(2**64 // n + 1)).astype(int)


def _pieces(pool: SlicePool, spec: SampleSpec) -> str:
    """What batches are pieces of."""
    position, geometry = pool.halos.table.position, spec.geometry
    why = "no positions"
    if np.isfinite(position).all():
        if _cells_by_place(position, geometry, _FEWEST_PIECES) is not None:
            return "boxes within the box" if geometry.kind == "box" else "patches of equal solid angle"
        why = "a small part of the box" if geometry.kind == "box" else "an irregular sky"
    return f"random pieces of hosts with their satellites ({why}): cosmic variance is left out"


def _notes(pools: list[SlicePool], kept: Kept) -> tuple[str, ...]:
    """Numbers for a person."""
    n, notes = sum(len(pool) for pool in pools), []
    if n < kept.n_read:
        notes.append(f"{n:,} of {kept.n_read:,} halos are kept")
    satellite = ~kept.table.is_central
    weight = kept.stands_for[satellite]
    merged = float((weight * kept.table.p_merge[satellite]).sum() / max(weight.sum(), 1e-300))
    if merged > 0:
        notes.append(f"{percent(merged)} of the satellites count as merged (p_merge), the rest as galaxies")
    return tuple(notes)
