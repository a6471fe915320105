"""SubLink merger trees of Illustris and TNG, and tables of Millennium's database in the same spirit.

A tree file has one dataset a column, a row a subhalo, depth first: the main branch of row i are the rows from
its ``SubhaloID`` to its ``MainLeafProgenitorID``. Masses are 1e10 Msun/h, positions comoving kpc/h,
velocities km/s. ``FirstSubhaloInFOFGroupID`` names the central of the group; while a subhalo is central, its
mass is the group's M200 (``Group_M_Crit200``), else its own. Snapshots' redshifts aren't in the file: a text
file ``snapshots.txt`` beside it lists number and redshift or scale factor, or a dataset ``Redshift`` does.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.forests import NODES_PER_HALO, Nodes, halos_at, whole_forests
from popinfer.halos.table import CHUNK, DISTINCT, Asked, HaloHeader, HaloReader, HaloTable

_MASS, _LENGTH = 1e10, 1e-3  # Msun/h, and Mpc/h


class SubLink(HaloReader):
    """A file ``tree_extended.*.hdf5`` of SubLink trees.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._asked = path, asked

    @cached_property
    def header(self) -> HaloHeader:
        """What the run file says, and attributes of the file's header where there is one."""
        with h5py.File(self._path, "r") as file:
            said: dict[str, Any] = dict(file["Header"].attrs) if "Header" in file else {}
        cosmology = None
        if "Omega0" in said and "HubbleParam" in said:
            cosmology = Cosmology(om0=float(said["Omega0"]), h=float(said["HubbleParam"]))
        cosmology = self._asked.agreed(cosmology, str(self._path))
        side = float(said["BoxSize"]) * _LENGTH / cosmology.h if "BoxSize" in said else None
        return HaloHeader(
            str(self._path),
            "sublink",
            cosmology,
            side,
            units="1e10 Msun/h, ckpc/h (the format's)",
            is_lightcone=False,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of some trees at once."""
        cosmology = self.header.cosmology or PLANCK15
        with h5py.File(self._path, "r") as file:
            for rows in self._trees(file, NODES_PER_HALO * size):
                yield from halos_at(self._nodes(file, rows, cosmology.h), self._asked.redshifts, cosmology)

    def _column(self, file: h5py.File, name: str) -> Any:
        if name not in file:
            raise InputError(f"{self._path}: has no dataset {name}; it isn't a SubLink tree file")
        return file[name]

    def _trees(self, file: h5py.File, most: int) -> Iterator[slice]:
        """Rows of as many whole trees as hold at most so many nodes; one tree at least."""
        n = len(self._column(file, "SubhaloID"))
        if "TreeID" not in file:
            yield slice(0, n)
            return
        tree: Any = file["TreeID"]
        ends = np.append(np.flatnonzero(np.diff(tree[:])) + 1, n)
        yield from whole_forests(ends, most)

    def _nodes(self, file: h5py.File, rows: slice, h: float) -> Nodes:
        def column(name: str) -> np.ndarray:
            return self._column(file, name)[rows]

        node, central = column("SubhaloID"), column("FirstSubhaloInFOFGroupID")
        is_central = central == node
        mass = column("SubhaloMass").astype(float)
        if "Group_M_Crit200" in file:
            group = column("Group_M_Crit200").astype(float)
            mass = np.where(is_central & (group > 0), group, mass)
        n = len(node)
        vectors = {
            name: column(name).astype(float) if name in file else np.full((n, 3), np.nan)
            for name in ("SubhaloPos", "SubhaloVel")
        }
        first = column("FirstProgenitorID") if "FirstProgenitorID" in file else np.zeros(0, int)
        return Nodes(
            node,
            column("DescendantID"),
            np.where(is_central, DISTINCT, central),
            np.log10(np.maximum(mass * _MASS / h, 1.0)),
            self._scale_factors(file, column("SnapNum"), rows),
            vectors["SubhaloPos"] * _LENGTH / h,
            vectors["SubhaloVel"],
            np.isin(node, first).astype(float),
        )

    def _scale_factors(self, file: h5py.File, snapshot: np.ndarray, rows: slice) -> np.ndarray:
        """Scale factors of snapshots by their number."""
        if "Redshift" in file:
            redshift: Any = file["Redshift"]
            return 1 / (1 + redshift[rows].astype(float))
        listed = self._path.parent / "snapshots.txt"
        if not listed.is_file():
            raise InputError(
                f"{self._path}: doesn't say the redshifts of its snapshots; list number and redshift of each "
                f"in {listed}"
            )
        number, redshift = np.loadtxt(listed, unpack=True, usecols=(0, 1), encoding="utf-8")
        by_number = dict(zip(number.astype(int).tolist(), redshift.tolist(), strict=True))
        lacking = set(np.unique(snapshot).tolist()) - set(by_number)
        if lacking:
            raise InputError(f"{listed}: doesn't list snapshot {min(lacking)}")
        return 1 / (1 + np.array([by_number[int(s)] for s in snapshot]))
