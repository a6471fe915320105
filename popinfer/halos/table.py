"""Halos as files give them, in one form whatever the format: masses in Msun, lengths in comoving Mpc, no h.

Readers give a `HaloHeader` and chunks of a `HaloTable`. What a file doesn't have is NaN; which halo a
satellite belongs to is ``host_id``, and -1 marks halos that belong to none, whatever the file's convention.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from diffmah.diffmah_kernels import DiffmahParams
from jaxtyping import Bool, Float, Int

from popinfer.cosmology import NAMES, PLANCK15, Cosmology, in_named_units
from popinfer.errors import InputError

DISTINCT = -1  # host of a halo that is in none
CHUNK = 1 << 17  # halos that are read at once
EPOCH_DIGITS = 4  # of a snapshot's redshift
DEEPEST_HOST = 8  # satellites of satellites of ...
_SAME_SHARE = 1e-3  # of baryons: files round it


@dataclass(frozen=True)
class Branches:
    """Main-branch mass histories on the steps of a simulation.

    Attributes
    ----------
    scale_factor : of each step, ascending; the last is not later than the halos' own.
    lg_mass : log10 mass [Msun] of the main progenitor; NaN where it wasn't found, as in skipped steps.
    """

    scale_factor: Float[np.ndarray, "step"]
    lg_mass: Float[np.ndarray, "halo step"]


@dataclass(frozen=True)
class HaloTable:
    """Halos of a simulation.

    Attributes
    ----------
    halo_id : whole numbers, no two alike.
    host_id : of the outermost halo that a satellite is in, else -1.
    lg_mass : log10 of the largest mass that the halo had until it is observed [Msun].
    z : redshift of the snapshot, or on a lightcone of the halo.
    position : comoving [Mpc].
    velocity : peculiar, physical [km/s].
    mah_params : diffmah parameters, NaN where there is no fit.
    lgm_infall, lgmhost_infall, t_infall : log10 masses of a satellite and of its host when it fell in [Msun],
        and when [Gyr]; NaN where unknown.
    p_merge : probability that a satellite has been disrupted.
    branches : mass histories; None where the file has none.
    half_mass_scale : scale factor when half of the peak mass was there; NaN where unknown.
    lg_host : log10 mass of the halo that a satellite is in [Msun], NaN until it was looked up.
    """

    halo_id: Int[np.ndarray, "halo"]
    host_id: Int[np.ndarray, "halo"]
    lg_mass: Float[np.ndarray, "halo"]
    z: Float[np.ndarray, "halo"]
    position: Float[np.ndarray, "halo 3"]
    velocity: Float[np.ndarray, "halo 3"]
    mah_params: DiffmahParams
    lgm_infall: Float[np.ndarray, "halo"]
    lgmhost_infall: Float[np.ndarray, "halo"]
    t_infall: Float[np.ndarray, "halo"]
    p_merge: Float[np.ndarray, "halo"]
    half_mass_scale: Float[np.ndarray, "halo"]
    lg_host: Float[np.ndarray, "halo"]
    branches: Branches | None = None

    @classmethod
    def of(
        cls, halo_id: np.ndarray, host_id: np.ndarray, lg_mass: np.ndarray, **given: object
    ) -> "HaloTable":
        """A table in which what isn't given is NaN, and nothing merges.

        Parameters
        ----------
        halo_id, host_id, lg_mass : np.ndarray
            See the attributes.
        **given : object
            Further ones by name.
        """
        n = len(halo_id)
        nan, nan3 = np.full(n, np.nan), np.full((n, 3), np.nan)
        columns = {
            "z": nan,
            "position": nan3,
            "velocity": nan3,
            "mah_params": DiffmahParams(*(nan,) * 5),
            **dict.fromkeys(("lgm_infall", "lgmhost_infall", "t_infall", "half_mass_scale", "lg_host"), nan),
            "p_merge": np.zeros(n),
        } | given
        return cls(np.asarray(halo_id, np.int64), np.asarray(host_id, np.int64), lg_mass, **columns)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Number of halos."""
        return len(self.halo_id)

    @property
    def is_central(self) -> Bool[np.ndarray, "halo"]:
        """Halos that are in no other."""
        return self.host_id == DISTINCT

    @property
    def has_fit(self) -> Bool[np.ndarray, "halo"]:
        """Halos whose diffmah parameters are known."""
        return np.asarray(np.isfinite(np.stack(self.mah_params)).all(axis=0))

    def without_marks(self) -> "HaloTable":
        """The table with NaN where files mark what they don't have by numbers that can't be.

        Marks are zero, -1 or -99 of logarithmic masses and times, and of a halo's whole fit where its mass or
        its time of peak is such a number.
        """
        no_fit = ~((self.mah_params.logm0 > 0) & (self.mah_params.t_peak > 0))
        positive = {
            name: np.where(getattr(self, name) > 0, getattr(self, name), np.nan)
            for name in ("lgm_infall", "lgmhost_infall", "t_infall", "half_mass_scale")
        }
        mah = DiffmahParams(*(np.where(no_fit, np.nan, column) for column in self.mah_params))
        return replace(self, mah_params=mah, **positive)

    def take(self, index: np.ndarray) -> "HaloTable":
        """Some of the halos.

        Parameters
        ----------
        index : np.ndarray
            Row numbers, or a mask.
        """
        columns = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "mah_params":
                columns[field.name] = DiffmahParams(*(column[index] for column in value))
            elif isinstance(value, Branches):
                columns[field.name] = Branches(value.scale_factor, value.lg_mass[index])
            else:
                columns[field.name] = None if value is None else value[index]
        return HaloTable(**columns)


def join_tables(tables: list[HaloTable]) -> HaloTable:
    """All halos of several tables of one file, one after the other; their branches have the same steps."""
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, object] = {}
    for field in fields(HaloTable):
        values = [getattr(table, field.name) for table in tables]
        if field.name == "mah_params":
            columns[field.name] = DiffmahParams(*(np.concatenate(x) for x in zip(*values, strict=True)))
        elif field.name == "branches":
            columns[field.name] = _join_branches(values)
        else:
            columns[field.name] = np.concatenate(values)
    return HaloTable(**columns)  # type: ignore[arg-type]


def _join_branches(parts: list[Branches | None]) -> Branches | None:
    """Branches on the union of the parts' steps."""
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    steps = np.unique(np.concatenate([part.scale_factor for part in given]))
    rows = []
    for part in given:
        lg_mass = np.full((len(part.lg_mass), len(steps)), np.nan)
        lg_mass[:, np.searchsorted(steps, part.scale_factor)] = part.lg_mass
        rows.append(lg_mass)
    return Branches(steps, np.concatenate(rows))


def snapshot_keys(table: HaloTable, by_snapshot: bool) -> Float[np.ndarray, "halo"]:
    """What tells the snapshots of halos apart: their redshifts, rounded; zero on lightcones.

    Parameters
    ----------
    table : HaloTable
        Whose satellites look for their hosts.
    by_snapshot : bool
        Whether they are those of a box.
    """
    return np.round(table.z, EPOCH_DIGITS) if by_snapshot else np.zeros(len(table))


class Listed(NamedTuple):
    """Halos of one snapshot by name.

    Attributes
    ----------
    halo_id : ascending. host_id, lg_mass : as in `HaloTable`.
    """

    halo_id: Int[np.ndarray, "halo"]
    host_id: Int[np.ndarray, "halo"]
    lg_mass: Float[np.ndarray, "halo"]

    def rows_of(self, names: Int[np.ndarray, "name"]) -> Int[np.ndarray, "name"]:
        """Row of each name, -1 where there is none."""
        if not len(self.halo_id):
            return np.full(len(names), -1)
        place = np.searchsorted(self.halo_id, names).clip(0, len(self.halo_id) - 1)
        return np.where(self.halo_id[place] == names, place, -1)


@dataclass(frozen=True)
class Directory:
    """Halos by their names. A box's halos may have one name in several snapshots.

    Attributes
    ----------
    by_snapshot : whether halos are told apart by their snapshots, too.
    parts : halos of each snapshot (`snapshot_keys`).
    """

    by_snapshot: bool
    parts: Mapping[float, Listed]

    @classmethod
    def of(cls, tables: Iterable[HaloTable], by_snapshot: bool) -> "Directory":
        """All halos of some tables.

        Parameters
        ----------
        tables : Iterable[HaloTable]
            Halos.
        by_snapshot : bool
            See the attributes.
        """
        found: dict[float, list[Listed]] = {}
        for table in tables:
            keys = snapshot_keys(table, by_snapshot)
            for key in np.unique(keys).tolist():
                rows = np.flatnonzero(keys == key)
                some = Listed(table.halo_id[rows], table.host_id[rows], table.lg_mass[rows])
                found.setdefault(key, []).append(some)
        parts = {}
        for key, pieces in found.items():
            together = Listed(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
            first = np.unique(together.halo_id, return_index=True)[1]
            parts[key] = Listed(*(column[first] for column in together))
        return cls(by_snapshot, parts)

    @property
    def unlisted_hosts(self) -> Int[np.ndarray, "host"]:
        """Names of hosts that aren't listed themselves, of halos that are."""
        names = [
            part.host_id[(part.host_id >= 0) & (part.rows_of(part.host_id) < 0)]
            for part in self.parts.values()
        ]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *names]))


def with_hosts(table: HaloTable, directory: Directory) -> HaloTable:
    """The table with the outermost hosts that are among some halos, and their masses.

    Parameters
    ----------
    table : HaloTable
        Whose satellites look for their hosts.
    directory : Directory
        Where they look.
    """
    if table.is_central.all():
        return table
    keys = snapshot_keys(table, directory.by_snapshot)
    host_id, lg_host = np.array(table.host_id), np.array(table.lg_host)
    for key, part in directory.parts.items():
        rows = np.flatnonzero((keys == key) & ~table.is_central)
        host = host_id[rows]
        for _ in range(DEEPEST_HOST):
            place = part.rows_of(host)
            above = np.where(place >= 0, part.host_id[place], DISTINCT)
            if (above == DISTINCT).all():
                break
            host = np.where(above == DISTINCT, host, above)
        place = part.rows_of(host)
        outermost = (place >= 0) & (part.host_id[place] == DISTINCT)
        host_id[rows] = host
        lg_host[rows[outermost]] = part.lg_mass[place[outermost]]
    return replace(table, host_id=host_id, lg_host=lg_host)


@dataclass(frozen=True)
class HaloHeader:
    """What a halo file says of itself as a whole.

    Attributes
    ----------
    source : the file.
    format : its kind.
    cosmology : None where the file has none.
    side : of a periodic box, comoving [Mpc]; None where unknown.
    redshifts : of the snapshots; empty on lightcones and where unknown.
    particle_mass : [Msun]; None where unknown.
    units : a few words on where units come from.
    claims_satellites : whether the format tells satellites from other halos.
    is_lightcone : True or False where the file says which; None where it doesn't.
    """

    source: str
    format: str
    cosmology: Cosmology | None = None
    side: float | None = None
    redshifts: tuple[float, ...] = ()
    particle_mass: float | None = None
    units: str = "those of the format"
    claims_satellites: bool = True
    is_lightcone: bool | None = None


@dataclass(frozen=True)
class Asked:
    """What a run file says of a halo file, for the readers.

    Attributes
    ----------
    columns : column of a plain table for each quantity, see `popinfer.halos.formats.plain`.
    mass_unit, length_unit : such as ``Msun/h`` and ``Mpc/h``; "" where the file has to say them.
    redshifts : of the snapshots that are wanted of a tree or of several; empty for the last.
    cosmology : as the run file gives it; None to take the file's.
    """

    columns: tuple[tuple[str, str], ...] = ()
    mass_unit: str = ""
    length_unit: str = ""
    redshifts: tuple[float, ...] = ()
    cosmology: Cosmology | None = None

    def agreed(self, cosmology: Cosmology | None, source: str) -> Cosmology:
        """The cosmology of file and run file.

        Parameters
        ----------
        cosmology : Cosmology or None
            Of the file; None where it has none.
        source : str
            The file, for messages.

        Raises
        ------
        InputError
            Neither has any, or they disagree.
        """
        said = self.cosmology
        if cosmology is None and said is None:
            raise InputError(
                f"{source}: has no cosmology; give the run file one, cosmology: {{H0: 67.74, Om0: 0.3089}}, "
                "or fit-trees --h0 and --om0"
            )
        if cosmology is None:
            return said  # type: ignore[return-value]
        cosmology = Cosmology(*map(float, cosmology))  # NumPy's numbers would be traced as arrays
        if said is None:
            return cosmology
        for name, here, there in zip(NAMES, in_named_units(said), in_named_units(cosmology), strict=True):
            if abs(here - there) > max(1e-3 * abs(there), 1e-6):
                raise InputError(
                    f"cosmology.{name}: is {here:g} in the run file and {there:g} in {source}; leave the "
                    "section out to take the file's"
                )
        return cosmology._replace(fb=self._agreed_fb(said.fb, cosmology.fb, source))

    @staticmethod
    def _agreed_fb(said: float, there: float, source: str) -> float:
        """Share of baryons: that of whichever gives one; the other has Planck's."""
        if abs(said - there) > _SAME_SHARE and PLANCK15.fb not in (said, there):
            raise InputError(
                f"cosmology.Ob0: makes baryons {said:.4g} of the matter, and {source} has {there:.4g}; "
                "leave it out to take the file's"
            )
        return said if there == PLANCK15.fb else there


class HaloReader(ABC):
    """A halo file that is open for reading, chunk after chunk."""

    @property
    @abstractmethod
    def header(self) -> HaloHeader:
        """What the file says of itself."""

    @abstractmethod
    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """The halos, at most about `size` at once."""
