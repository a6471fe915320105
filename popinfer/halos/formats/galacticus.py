"""Galacticus' merger tree files: nodes of forests, with units and cosmology that a program can read.

``/forestHalos`` holds the nodes (in older files ``/haloTrees``, and ``descendentIndex`` for
``descendantIndex``), ``/units`` factors to SI with exponents of h and of the scale factor, ``/cosmology`` the
parameters, ``/forestIndex`` where each forest begins. A node is its own host where it is in no other.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.forests import NODES_PER_HALO, Nodes, halos_at, snapshots, whole_forests
from popinfer.halos.table import CHUNK, Asked, HaloHeader, HaloReader, HaloTable

MSUN_KG = 1.98841e30
MPC_M = 3.0856775814913673e22


class GalacticusTrees(HaloReader):
    """A file of Galacticus' merger tree format.

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
        """Cosmology, snapshots and box of the file."""
        with h5py.File(self._path, "r") as file:
            group, said = _nodes_of(file, self._path), _attributes(file, "cosmology")
            cosmology = None
            if "HubbleParam" in said:
                cosmology = Cosmology(
                    om0=float(said["OmegaMatter"]),
                    h=float(said["HubbleParam"]),
                    fb=float(said.get("OmegaBaryon", PLANCK15.fb * said["OmegaMatter"]))
                    / said["OmegaMatter"],
                )
            cosmology = self._asked.agreed(cosmology, str(self._path))
            box = _attributes(file, "simulation").get("boxSize")
            steps = snapshots(_scale_factor(group))
            scale = _scale(file, "length", self._path, cosmology.h) / MPC_M
            side = None if box is None else float(box) * scale
        return HaloHeader(
            str(self._path),
            "galacticus_trees",
            cosmology,
            side,
            tuple((1 / steps - 1).tolist()),
            units="in the file (/units)",
            is_lightcone=False,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of some forests at once."""
        cosmology = self.header.cosmology or PLANCK15
        wanted = self._asked.redshifts
        with h5py.File(self._path, "r") as file:
            group = _nodes_of(file, self._path)
            for rows in _forests(file, len(group["nodeIndex"]), NODES_PER_HALO * size):  # type: ignore[arg-type]
                yield from halos_at(self._nodes(file, group, rows, cosmology.h), wanted, cosmology)

    def _nodes(self, file: h5py.File, group: Any, rows: slice, h: float) -> Nodes:
        mass = group["nodeMass"][rows] * (_scale(file, "mass", self._path, h) / MSUN_KG)
        spelled = _descendants(group)
        a = _scale_factor(group, rows)
        length = _scale(file, "length", self._path, h) / MPC_M
        exponent = _attributes(file, "units").get("lengthScaleFactorExponent", 1)
        comoving = a[:, None] ** (exponent - 1.0)  # physical lengths grow with the scale factor
        n = len(mass)
        vectors = {
            name: group[name][rows] if name in group else np.full((n, 3), np.nan)
            for name in ("position", "velocity")
        }
        return Nodes(
            group["nodeIndex"][rows],
            group[spelled][rows],
            group["hostIndex"][rows],
            np.log10(np.maximum(mass, 1.0)),
            a,
            vectors["position"] * length * comoving,
            vectors["velocity"] * (_scale(file, "velocity", self._path, h) / 1000),
            np.zeros(n),
        )


def _nodes_of(file: h5py.File, path: Path) -> Any:
    """The group with the nodes."""
    for name in ("forestHalos", "haloTrees"):
        if name in file:
            return file[name]
    raise InputError(f"{path}: has no group forestHalos; it isn't a tree file of Galacticus")


def _descendants(group: Any) -> str:
    """Name of the column of descendants; the newer spelling may be but a reference to the older."""
    newer = "descendantIndex"
    return newer if newer in group and group[newer].shape else "descendentIndex"


def _attributes(file: h5py.File, group: str) -> dict[str, Any]:
    return dict(file[group].attrs) if group in file else {}


def _scale(file: h5py.File, kind: str, path: Path, h: float) -> float:
    """What a column is multiplied by to have SI units."""
    said = _attributes(file, "units")
    if f"{kind}UnitsInSI" not in said:
        raise InputError(f"{path}: /units doesn't say the unit of {kind} ({kind}UnitsInSI)")
    return float(said[f"{kind}UnitsInSI"]) * h ** float(said.get(f"{kind}HubbleExponent", 0))


def _scale_factor(group: Any, rows: slice = slice(None)) -> np.ndarray:
    if "expansionFactor" in group:
        return group["expansionFactor"][rows].astype(float)
    return 1 / (1 + group["redshift"][rows].astype(float))


def _forests(file: h5py.File, n_node: int, most: int) -> Iterator[slice]:
    """Rows of as many whole forests as hold at most so many nodes; one forest at least."""
    index: Any = file.get("forestIndex")
    if index is None or "firstNode" not in index:
        yield slice(0, n_node)
        return
    ends = np.append(np.sort(index["firstNode"][:])[1:], n_node)
    yield from whole_forests(ends, most)
