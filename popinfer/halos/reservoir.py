"""As many halos of a simulation as are wanted, at constant memory: what is kept of a file while it is read.

Halos fall into strata: tenths of a dex in mass, satellites and others, and snapshots or redshift slices.
Each stratum keeps the k halos whose random numbers (`popinfer.halos.per_halo.order_of_halos`) are least, and
counts all. A kept halo stands for N / k of its stratum. The numbers are the halos' own, so that chunks and
their order don't matter, and a halo that is listed twice is kept twice or not at all: repetitions among those
kept are as frequent as in the file.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from popinfer.halos.per_halo import order_of_halos
from popinfer.halos.table import EPOCH_DIGITS, HaloTable, join_tables

_BIN_DEX = 0.1
_LOWEST, _N_BINS = 8.0, 90


@dataclass(frozen=True)
class Kept:
    """Halos that were kept.

    Attributes
    ----------
    table : the halos.
    epoch : snapshot or slice of each.
    epochs : redshifts of the snapshots.
    stands_for : number of the file's halos that each stands for.
    n_read : halos of the file that weren't cut away.
    """

    table: HaloTable
    epoch: Int[np.ndarray, "halo"]
    epochs: tuple[float, ...]
    stands_for: Float[np.ndarray, "halo"]
    n_read: int


class Reservoir:
    """Halos that are kept of chunks.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the choice.
    capacity : int
        Halos that a stratum keeps.
    slices : tuple[tuple[float, float], ...] or None
        Redshift limits; None to tell snapshots apart by their redshifts.
    """

    def __init__(
        self, key: PRNGKeyArray, capacity: int, slices: tuple[tuple[float, float], ...] | None = None
    ) -> None:
        self._key, self._capacity, self._slices = key, capacity, slices
        self._snapshots: dict[float, int] = {}
        self._tables: list[HaloTable] = []
        self._stratum, self._order = np.zeros(0, int), np.zeros(0, np.uint64)
        self._counts = np.zeros(0, int)

    def add(self, table: HaloTable) -> None:
        """Look at further halos.

        Parameters
        ----------
        table : HaloTable
            Halos; those outside the slices are left out.
        """
        epoch = self._epochs_of(table)
        if (epoch < 0).any():
            table, epoch = table.take(epoch >= 0), epoch[epoch >= 0]
        if not len(table):
            return
        mass_bin = ((table.lg_mass - _LOWEST) / _BIN_DEX).astype(int).clip(0, _N_BINS - 1)
        stratum = (2 * epoch + ~table.is_central) * _N_BINS + mass_bin
        counts = np.bincount(stratum, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        order = order_of_halos(self._key, table.halo_id)
        self._keep(table, stratum, order)

    def _epochs_of(self, table: HaloTable) -> np.ndarray:
        if self._slices is None:
            rounded, place = np.unique(np.round(table.z, EPOCH_DIGITS), return_inverse=True)
            number = [self._snapshots.setdefault(float(z), len(self._snapshots)) for z in rounded]
            return np.array(number, int)[place]
        epoch = np.full(len(table), -1)
        for index, (low, high) in enumerate(self._slices):
            epoch[(table.z >= low) & (table.z < high)] = index
        return epoch

    def _keep(self, table: HaloTable, stratum: np.ndarray, order: np.ndarray) -> None:
        """Of those kept before and the new ones, those whose numbers are least in their strata."""
        stratum = np.concatenate([self._stratum, stratum])
        order = np.concatenate([self._order, order])
        ranked = np.lexsort((order, stratum))
        begin = np.searchsorted(stratum[ranked], np.arange(len(self._counts)))
        kept = np.sort(ranked[np.arange(len(ranked)) - begin[stratum[ranked]] < self._capacity])
        n_before = len(self._stratum)
        old, new = kept[kept < n_before], kept[kept >= n_before] - n_before
        tables = [self._tables[0].take(old)] if self._tables and len(old) else []
        if len(new):
            tables.append(table.take(new))
        self._tables = [join_tables(tables)]
        self._stratum, self._order = stratum[kept], order[kept]

    def kept(self) -> Kept | None:
        """What is kept so far; None when nothing is."""
        if not self._tables:
            return None
        present = np.bincount(self._stratum, minlength=len(self._counts))
        stands_for = (self._counts / np.maximum(present, 1))[self._stratum]
        epochs = tuple(self._snapshots) if self._slices is None else ()
        return Kept(
            self._tables[0], self._stratum // (2 * _N_BINS), epochs, stands_for, int(self._counts.sum())
        )
