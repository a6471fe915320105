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
    cells_of_box,
    cells_of_sky,
    position_trouble,
    snapshot_of,
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
from popinfer.halos.table import CHUNK, HaloHeader, HaloReader, HaloTable, with_hosts
from popinfer.random import fixed_key, numpy_generator, stream
from popinfer.records import Halos
from popinfer.resampling import systematic

MAX_UNFIT, WARN_DRAWN = 0.05, 0.1
MAX_PEAK_GYR = 1.0
_REDSHIFT_MATCH = 0.01  # by which file and run file may differ on a snapshot
_NEXT_TO_NOTHING = 1e-6

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
    max_unfit: float = MAX_UNFIT


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
    """

    header: HaloHeader
    spec: SampleSpec
    pools: tuple[SlicePool, ...]
    pieces: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    n_read: int = 0

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
    header, spec = _with_volume(reader.header, spec)
    if header.cosmology is None:
        raise InputError(f"{header.source}: has no cosmology; give halos.source.cosmology")
    kept = _read(stream(key, "kept"), reader, header, spec, say)
    kept, orphans = _hosts_looked_up(kept, reader, header, spec)
    checks.check_kept(kept, header.source, header.claims_satellites and spec.satellites, header.cosmology)
    pools, warnings = _pools(stream(key, "completed"), kept, header, spec)
    pieces = _pieces(pools[0], spec)
    used = dict.fromkeys([*filter(None, [orphans]), *warnings])
    return SimulatedHalos(header, spec, tuple(pools), pieces, tuple(used), _notes(pools, kept), kept.n_read)


def _with_volume(header: HaloHeader, spec: SampleSpec) -> tuple[HaloHeader, SampleSpec]:
    """Header and spec with a volume.

    Raises
    ------
    InputError
        The volume can't be told, or file and run file disagree.
    """
    geometry = spec.geometry
    if header.is_lightcone is not None and header.is_lightcone != (geometry.kind == "lightcone"):
        is_, isnt = ("lightcone", "box") if header.is_lightcone else ("box", "lightcone")
        raise InputError(
            f"halos.source.geometry.kind: is {isnt}, and {header.source} says that it is a {is_}"
        )
    if geometry.kind == "lightcone":
        if not geometry.area_deg2:
            raise InputError("halos.source.geometry.area_deg2: is missing; a lightcone has a solid angle")
        return header, spec
    side = geometry.side or header.side
    if not side:
        raise InputError(
            f"halos.source.geometry.side_mpc: is missing, and {header.source} doesn't say it; give the side "
            "of the periodic box in comoving Mpc (without h)"
        )
    for z in geometry.redshifts:
        apart = [abs(z - is_known) for is_known in header.redshifts]
        if apart and min(apart) > _REDSHIFT_MATCH:
            listed = ", ".join(f"{is_known:.4g}" for is_known in header.redshifts[:20])
            raise InputError(
                f"halos.source.geometry.redshift: {z:g} is no snapshot of {header.source}; it has {listed}"
            )
    return header, replace(spec, geometry=replace(geometry, side=side))


def with_redshift(table: HaloTable, spec: SampleSpec) -> HaloTable:
    """The table with the redshift that the run file gives a box whose file gives none."""
    given = spec.geometry.redshifts
    if spec.geometry.kind == "box" and len(given) == 1 and np.isnan(table.z).all():
        return replace(table, z=np.full(len(table), given[0]))
    return table


def checked_chunks(
    reader: HaloReader, header: HaloHeader, spec: SampleSpec, size: int = CHUNK
) -> Iterator[HaloTable]:
    """Chunks of a file that were checked, with masses of hosts that are in the same chunk."""
    for chunk in reader.chunks(size):
        table = with_redshift(chunk, spec)
        checks.check_chunk(table, header.source)
        order = np.argsort(table.halo_id)
        table = with_hosts(table, table.halo_id[order], table.lg_mass[order])
        yield table if spec.satellites else table.take(table.is_central)


def _read(
    key: PRNGKeyArray, reader: HaloReader, header: HaloHeader, spec: SampleSpec, say: Say | None
) -> Kept:
    """What is kept of the file."""
    box = spec.geometry.kind == "box"
    reservoir = Reservoir(key, spec.capacity, None if box else spec.slices)
    lowest, seen, span, trouble = min(spec.lgm_min), 0, [np.inf, -np.inf], set()
    for table in checked_chunks(reader, header, spec):
        seen += len(table)
        if len(table):
            span = [min(span[0], float(table.z.min())), max(span[1], float(table.z.max()))]
        if box:
            trouble.add(position_trouble(table, float(spec.geometry.side or 0), header.source))
        reservoir.add(table.take(table.lg_mass >= lowest))
        if say is not None and seen > CHUNK:
            say(f"{header.source}: {seen:,} halos read")
    kept = reservoir.kept()
    if kept is not None:
        return kept
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
        ids, lg_mass = host_masses(reader, header, spec, table.host_id[unknown])
        table = with_hosts(table, ids, lg_mass)
    return replace(kept, table=table), checks.check_hosts(table, header.source)


def host_masses(
    reader: HaloReader, header: HaloHeader, spec: SampleSpec, wanted: Int[np.ndarray, "satellite"]
) -> tuple[Int[np.ndarray, "host"], Float[np.ndarray, "host"]]:
    """Names, ascending, and log10 masses of those hosts that the file has.

    Parameters
    ----------
    reader, header, spec : HaloReader, HaloHeader, SampleSpec
        The file.
    wanted : Int[np.ndarray, "satellite"]
        Names.
    """
    names = np.unique(wanted)
    found_ids, found_mass = [np.zeros(0, np.int64)], [np.zeros(0)]
    for table in checked_chunks(reader, header, spec):
        inside = np.isin(table.halo_id, names)
        found_ids.append(table.halo_id[inside])
        found_mass.append(table.lg_mass[inside])
    ids, first = np.unique(np.concatenate(found_ids), return_index=True)
    return ids, np.concatenate(found_mass)[first]


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
        ratio = checks.mass_function_ratio(kept, epoch, volume)
        if not spec.ignore_mass_function:
            warnings.append(checks.check_mass_function(ratio, cosmology.h, header.source))
        if epoch not in ready or geometry.kind == "lightcone":
            everything = np.flatnonzero(kept.epoch == epoch)
            ready[epoch] = complete_halos(key, kept.table.take(everything), cosmology, spec.histories)
            warnings.append(_check_fits(ready[epoch], header, spec))
        rows = np.searchsorted(np.flatnonzero(kept.epoch == epoch), inside)
        density = kept.stands_for[inside] / volume
        pools.append(_pool(_rows(ready[epoch], rows), density, index, spec, ratio, cosmology))
        warnings.append(_late_or_early(pools[-1]))
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
        if np.isfinite(position).all():
            if geometry.kind == "box":
                return cells_of_box(position, float(geometry.side or 1.0), n)
            patches = cells_of_sky(position, float(geometry.area_deg2 or 1.0), n)
            if patches is not None:
                return patches
        return _random_pieces(table, n)

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


def _late_or_early(pool: SlicePool) -> str:
    """A warning where halos peak at other times than the calibration's; "" for none."""
    here, usual = float(pool.t_peak[1]), float(pool.t_peak_calibration[1])
    if not abs(here - usual) > MAX_PEAK_GYR:
        return ""
    return (
        f"the median t_peak of centrals is {here:.1f} Gyr, and {usual:.1f} Gyr in diffhalos: quenched "
        "fractions are functions of it (1.0 at 8 Gyr, 0.23 at 13.5 Gyr for 10^12 Msun)"
    )


def _random_pieces(table: HaloTable, n: int) -> np.ndarray:
    """Random pieces of hosts with their satellites."""
    host = np.where(table.is_central, table.halo_id, table.host_id)
    order = order_of_halos(fixed_key("halos", "pieces"), host)
    return (order // np.uint64(2**64 // n + 1)).astype(int)


def _pieces(pool: SlicePool, spec: SampleSpec) -> str:
    """What batches are pieces of."""
    position = pool.halos.table.position
    if not np.isfinite(position).all():
        return "random pieces of hosts with their satellites (no positions): cosmic variance is left out"
    if spec.geometry.kind == "box":
        return "boxes within the box"
    if cells_of_sky(position, float(spec.geometry.area_deg2 or 1.0), 16) is None:
        return "random pieces of hosts with their satellites (an irregular sky): cosmic variance is left out"
    return "patches of equal solid angle"


def _check_fits(halos: CompletedHalos, header: HaloHeader, spec: SampleSpec) -> str:
    """Refuse too many branches without a fit; a warning where many histories are drawn, "" for none."""
    tally = halos.tally
    if spec.histories == "drawn" or not tally.n:
        return ""
    fraction = tally.drawn / tally.n
    if tally.fitted and fraction > spec.max_unfit:
        raise InputError(
            f"{header.source}: {percent(fraction)} of the branches have too few points for a fit; at most "
            f"{percent(spec.max_unfit)}: raise halos.lgm_min, or halos.source.max_unfit"
        )
    if tally.drawn == tally.n:
        return (
            "the file has no histories: all are drawn at their mass and time, so that how halos were "
            "assembled doesn't go with where they are (assembly bias is lost)"
        )
    if fraction > WARN_DRAWN:
        return f"{percent(fraction)} of the halos' histories are drawn: the file has none that can be used"
    return ""


def _notes(pools: list[SlicePool], kept: Kept) -> tuple[str, ...]:
    """Numbers for a person."""
    n = sum(len(pool) for pool in pools)
    return (f"{n:,} of {kept.n_read:,} halos are kept",) if n < kept.n_read else ()
