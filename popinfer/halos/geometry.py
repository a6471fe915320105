"""Where a simulation's halos are: volumes, the snapshot that a slice takes, and pieces of equal volume.

A periodic box has one volume, and one redshift a snapshot: it stands for every slice whose edges differ in
cosmic time by no more than `MAX_AGE_GYR` from it. On a lightcone each halo has a redshift, and a slice the
volume of its solid angle. Pieces are boxes within the box, or patches of sky of equal solid angle where the
halos fill the rectangle around them in right ascension and sine of declination; elsewhere there are none.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from popinfer.cosmology import Cosmology, age, comoving_volume
from popinfer.errors import InputError
from popinfer.halos.table import HaloHeader, HaloTable

MAX_AGE_GYR = 0.3
_SAME_SIDE = 2e-3
_REDSHIFT_MATCH = 0.01  # by which file and run file may differ on a snapshot
_MOST_SNAPSHOTS = 500  # of one box
FULL_SKY_DEG2 = 129600 / np.pi
_FEWEST_PLACES, _FILLS = 1000, 0.8  # halos that reach so far through their box, whatever clusters there are
_FILLED = 0.1  # by which the rectangle's solid angle may differ from the lightcone's


@dataclass(frozen=True)
class Geometry:
    """The shape of a simulation's volume.

    Attributes
    ----------
    kind : "box" or "lightcone".
    side : of the periodic box, comoving [Mpc].
    area_deg2 : of the lightcone.
    redshifts : of the box's snapshots; empty where the file says them.
    """

    kind: Literal["box", "lightcone"] = "box"
    side: float | None = None
    area_deg2: float | None = None
    redshifts: tuple[float, ...] = ()

    def volume(self, limits: tuple[float, float], cosmology: Cosmology) -> float:
        """Comoving volume [Mpc^3] of the box, or of a lightcone's slice."""
        if self.kind == "box":
            return float(self.side or 0.0) ** 3
        return comoving_volume(limits, cosmology) * float(self.area_deg2 or 0.0) / FULL_SKY_DEG2


def with_volume(header: HaloHeader, geometry: Geometry) -> Geometry:
    """A geometry that has a volume.

    Parameters
    ----------
    header : HaloHeader
        Of the file.
    geometry : Geometry
        As the run file has it.

    Raises
    ------
    InputError
        The volume can't be told, or file and run file disagree.
    """
    if header.is_lightcone is not None and header.is_lightcone != (geometry.kind == "lightcone"):
        is_, isnt = ("lightcone", "box") if header.is_lightcone else ("box", "lightcone")
        raise InputError(
            f"halos.source.geometry.kind: is {isnt}, and {header.source} says that it is a {is_}"
        )
    if geometry.kind == "lightcone":
        if not geometry.area_deg2:
            raise InputError("halos.source.geometry.area_deg2: is missing; a lightcone has a solid angle")
        return geometry
    if geometry.side and header.side and abs(geometry.side / header.side - 1) > _SAME_SIDE:
        raise InputError(
            f"halos.source.geometry.side_mpc: is {geometry.side:g}, and {header.source} has a box of "
            f"{header.side:.6g} Mpc (comoving, without h); leave it out to take the file's"
        )
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
    return replace(geometry, side=side)


def with_redshift(table: HaloTable, geometry: Geometry, source: str) -> HaloTable:
    """The table with the redshift that the run file gives a box whose file gives none.

    Parameters
    ----------
    table : HaloTable
        Of one chunk.
    geometry : Geometry
        As the run file has it.
    source : str
        The file, for messages.

    Raises
    ------
    InputError
        The file gives redshifts that aren't those of the run file's snapshots, or of no snapshots at all.
    """
    given = np.asarray(geometry.redshifts)
    if geometry.kind != "box" or not len(table):
        return table
    if len(given) == 1 and np.isnan(table.z).all():
        return replace(table, z=np.full(len(table), given[0]))
    there = np.unique(table.z[np.isfinite(table.z)])
    if len(there) > _MOST_SNAPSHOTS:
        raise InputError(
            f"{source}: halos of the box have {len(there):,} different redshifts, from {there[0]:.4g} to "
            f"{there[-1]:.4g}; columns.redshift has to be that of the snapshot (leave it out for one), or "
            "geometry.kind to be lightcone"
        )
    apart = np.abs(there[:, None] - given).min(axis=1) if len(given) else np.zeros(len(there))
    if (apart > _REDSHIFT_MATCH).all() and len(there):
        raise InputError(
            f"halos.source.geometry.redshift: is {', '.join(f'{z:g}' for z in given)}, and halos of {source} "
            f"are at z = {there[np.argmin(apart)]:.4g}; write that"
        )
    return table


def snapshot_of(
    limits: tuple[float, float], snapshots: Float[np.ndarray, "snapshot"], cosmology: Cosmology, place: str
) -> int:
    """The snapshot nearest in time to a slice.

    Parameters
    ----------
    limits : tuple[float, float]
        Of the slice.
    snapshots : Float[np.ndarray, "snapshot"]
        Their redshifts.
    place : str
        Of the slice in the run file, for messages.

    Raises
    ------
    InputError
        An edge of the slice is more than `MAX_AGE_GYR` from it.
    """
    edges = np.asarray(age(cosmology, np.array(limits)), float)
    times = np.asarray(age(cosmology, np.asarray(snapshots, float)), float)
    away = np.abs(edges[:, None] - times).max(axis=0)
    nearest = int(np.argmin(away))
    if away[nearest] > MAX_AGE_GYR:
        low, high = limits
        raise InputError(
            f"{place}: z = {low:g} to {high:g} reaches {away[nearest]:.2f} Gyr from the nearest snapshot "
            f"(z = {snapshots[nearest]:.4g}); at most {MAX_AGE_GYR:g} Gyr: make the slice narrower, or "
            "add snapshots"
        )
    return nearest


def cells_of_box(position: Float[np.ndarray, "halo 3"], side: float, n: int) -> Int[np.ndarray, "halo"]:
    """Which of n equal pieces of a periodic box each halo is in.

    Parameters
    ----------
    position : Float[np.ndarray, "halo 3"]
        Comoving [Mpc].
    side : float
        Of the box [Mpc].
    """
    pieces = _factors(n, 3)
    fraction = np.mod(position / side, 1.0)
    index = np.minimum((fraction * pieces).astype(int), np.array(pieces) - 1)
    return np.asarray(np.ravel_multi_index(tuple(index.T), pieces))


def cells_of_sky(
    position: Float[np.ndarray, "halo 3"], area_deg2: float, n: int
) -> Int[np.ndarray, "halo"] | None:
    """Which of n patches of equal solid angle each halo is in; None where halos don't fill their rectangle.

    Parameters
    ----------
    position : Float[np.ndarray, "halo 3"]
        Comoving, from the observer [Mpc].
    area_deg2 : float
        Of the lightcone.
    """
    distance = np.linalg.norm(position, axis=1)
    if not (np.isfinite(distance).all() and (distance > 0).all()):
        return None
    height = position[:, 2] / distance
    longitude = np.mod(np.arctan2(position[:, 1], position[:, 0]), 2 * np.pi)
    ordered = np.sort(longitude)
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    start = ordered[(int(np.argmax(gaps)) + 1) % len(ordered)]  # after the widest gap
    turned = np.mod(longitude - start, 2 * np.pi)
    spans = turned.max(), height.max() - height.min()
    rectangle = spans[0] * spans[1] * (180 / np.pi) ** 2
    if abs(rectangle / area_deg2 - 1) > _FILLED:
        return None
    pieces = _factors(n, 2)
    fraction = np.stack([turned / spans[0], (height - height.min()) / spans[1]], axis=1)
    index = np.minimum((fraction * pieces).astype(int), np.array(pieces) - 1)
    return np.asarray(np.ravel_multi_index(tuple(index.T), pieces))


class Span:
    """Where the positions of a box's halos begin and end, chunk after chunk.

    Parameters
    ----------
    side : float
        Of the box [Mpc].
    source : str
        The file, for messages.
    """

    def __init__(self, side: float, source: str) -> None:
        self._side, self._source = side, source
        self._low, self._high, self._n = np.full(3, np.inf), np.full(3, -np.inf), 0

    def add(self, position: Float[np.ndarray, "halo 3"]) -> None:
        """Look at further halos.

        Parameters
        ----------
        position : Float[np.ndarray, "halo 3"]
            Comoving [Mpc]; NaN where unknown.

        Raises
        ------
        InputError
            Halos lie outside the box.
        """
        given = position[np.isfinite(position).all(axis=1)]
        if not len(given):
            return
        self._low = np.minimum(self._low, given.min(axis=0))
        self._high = np.maximum(self._high, given.max(axis=0))
        self._n += len(given)
        if (self._high - self._low).max() > 1.01 * self._side:
            raise InputError(f"{self._source}: {self._text()}")

    def trouble(self) -> str:
        """What positions say against the box's side; "" for nothing."""
        narrow = self._n >= _FEWEST_PLACES and (self._high - self._low).max() < _FILLS * self._side
        return self._text() if narrow else ""

    def _text(self) -> str:
        return (
            f"positions span {(self._high - self._low).max():.5g} Mpc, and the box has a side of "
            f"{self._side:.5g} Mpc: check halos.source.units.length and geometry.side_mpc (without h)"
        )


def _factors(n: int, parts: int) -> tuple[int, ...]:
    """A number as a product of so many numbers, as equal as can be."""
    if parts == 1:
        return (n,)
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    first = min(divisors, key=lambda d: abs(np.log(d) - np.log(n) / parts))
    return (first, *_factors(n // first, parts - 1))


def directions_of(position: Float[np.ndarray, "halo 3"]) -> dict[str, np.ndarray]:
    """Right ascension, ``ra``, and declination, ``dec`` [deg], of positions around the origin."""
    x, y, z = position.T
    return {"ra": np.degrees(np.arctan2(y, x)) % 360, "dec": np.degrees(np.arctan2(z, np.hypot(x, y)))}


def velocity_along_sight(
    position: Float[np.ndarray, "halo 3"], velocity: Float[np.ndarray, "halo 3"], *, is_box: bool
) -> Float[np.ndarray, "halo"]:
    """Velocity away from the observer: along a box's third axis, or from the origin of a lightcone."""
    if is_box:
        return velocity[:, 2]
    return np.sum(position * velocity, axis=1) / np.linalg.norm(position, axis=1)
