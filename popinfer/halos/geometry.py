"""Where a simulation's halos are: volumes, the snapshot that a slice takes, and pieces of equal volume.

A periodic box has one volume, and one redshift a snapshot: it stands for every slice whose edges differ in
cosmic time by no more than `MAX_AGE_GYR` from it. On a lightcone each halo has a redshift, and a slice the
volume of its solid angle. Pieces are boxes within the box, or patches of sky of equal solid angle where the
halos fill the rectangle around them in right ascension and sine of declination; elsewhere there are none.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from popinfer.cosmology import Cosmology, age, comoving_volume
from popinfer.errors import InputError
from popinfer.halos.table import HaloTable

MAX_AGE_GYR = 0.3
FULL_SKY_DEG2 = 129600 / np.pi
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


def position_trouble(table: HaloTable, side: float, source: str) -> str:
    """What positions say against the side of a box; "" for nothing.

    Raises
    ------
    InputError
        Halos lie outside.
    """
    position = table.position
    if not np.isfinite(position).any() or not len(table):
        return ""
    low, high = float(np.nanmin(position)), float(np.nanmax(position))
    if high - low > 1.01 * side:
        raise InputError(
            f"{source}: positions span {high - low:.5g} Mpc, and the box has a side of {side:.5g} Mpc: check "
            "halos.source.units.length and geometry.side_mpc (without h)"
        )
    if len(table) >= 1000 and high - low < 0.8 * side:
        return (
            f"positions span {high - low:.5g} Mpc of a box with a side of {side:.5g} Mpc: check "
            "halos.source.units.length and geometry.side_mpc (without h)"
        )
    return ""


def _factors(n: int, parts: int) -> tuple[int, ...]:
    """A number as a product of so many numbers, as equal as can be."""
    if parts == 1:
        return (n,)
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    first = min(divisors, key=lambda d: abs(np.log(d) - np.log(n) / parts))
    return (first, *_factors(n // first, parts - 1))
