"""UniverseMachine's tables of star formation histories (``sfh_catalog_*.txt``), with mass histories too.

The first line names the columns, ``#ID UPID X ...``; a history, ``M_main_progenitor(1..num_scales)``, is as
many of them as there are steps, whose number and scale factors further comments give (``#num_scales: 178``,
``#scale list: 0.0555 ...``). Neither cosmology nor the box's side is in the file. Masses are Msun without h,
as the header says, positions comoving Mpc/h, which it doesn't say (UniverseMachine's convention), velocities
physical km/s. UPID is -1 for distinct halos; ``A_first_infall`` is the scale factor of infall.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from popinfer.cosmology import PLANCK15, Cosmology, age
from popinfer.errors import InputError
from popinfer.halos.table import CHUNK, DISTINCT, Asked, Branches, HaloHeader, HaloReader, HaloTable

_HEADER_LINES = 100
_NEEDED = ("id", "upid", "mpeak", "m_main_progenitor")
_USED = (*_NEEDED, "a_first_infall", "x", "y", "z", "vx", "vy", "vz")
_NO_MASS = 1e4  # Msun; steps before the branch begins hold zeros


class UniverseMachine(HaloReader):
    """A table of star formation and mass histories.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._asked = path, asked
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = [line for _, line in zip(range(_HEADER_LINES), stream, strict=False)]
        self._comments = [line for line in lines if line.startswith("#")]
        self._steps = self._scale_factors()
        self._places = self._named()

    def _scale_factors(self) -> np.ndarray:
        number = self._comment("num_scales").strip()
        steps = [float(x) for x in re.findall(r"\d+(?:\.\d+)?", self._comment("scale list"))]
        if not steps or number != str(len(steps)):
            raise InputError(
                f"{self._path}: the header says {number or 'nothing'} of num_scales, and lists "
                f"{len(steps)} scale factors after '#scale list:'; it has to give both, equal in number"
            )
        return np.array(steps)

    def _comment(self, name: str) -> str:
        """What follows a name in the comments; empty where it is missing."""
        start = f"#{name}:"
        return next((line[len(start) :] for line in self._comments if line.startswith(start)), "")

    def _named(self) -> dict[str, int]:
        """First column of each quantity, names in lower case; of two of one name the first counts."""
        places: dict[str, int] = {}
        place = 0
        for word in self._comments[0].lstrip("#").split():
            places.setdefault(word.partition("(")[0].lower(), place)
            place += len(self._steps) if "num_scales" in word else 1
        missing = [name for name in _NEEDED if name not in places]
        if missing:
            raise InputError(f"{self._path}: the first line names no column {' and no '.join(missing)}")
        return places

    @cached_property
    def header(self) -> HaloHeader:
        """Snapshot, and the run file's cosmology."""
        return HaloHeader(
            str(self._path),
            "universemachine",
            self._asked.agreed(None, str(self._path)),
            None,
            (1 / float(self._steps.max()) - 1,),
            units="Msun, comoving Mpc/h (the format's)",
            is_lightcone=False,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them."""
        cosmology = self.header.cosmology or PLANCK15
        first = self._places["m_main_progenitor"]
        columns = {self._places[name] for name in _USED if name in self._places}
        columns |= set(range(first, first + len(self._steps)))
        names: dict[Any, Any] = {self._places[name]: np.int64 for name in ("id", "upid")}
        try:
            with pd.read_csv(
                self._path,
                sep=r"\s+",
                comment="#",
                header=None,
                chunksize=size,
                usecols=sorted(columns),
                dtype=names,
            ) as parts:
                for part in parts:
                    yield self._table(part, cosmology)
        except (ValueError, pd.errors.ParserError) as error:
            raise InputError(f"{self._path}: a row can't be read ({error})") from None

    def _table(self, rows: pd.DataFrame, cosmology: Cosmology) -> HaloTable:
        def column(name: str) -> np.ndarray:
            if name not in self._places:
                return np.full(len(rows), np.nan)
            return rows[self._places[name]].to_numpy(float)

        first = self._places["m_main_progenitor"]
        order = np.argsort(self._steps)
        masses = rows[list(first + order)].to_numpy(float)
        halo_id = rows[self._places["id"]].to_numpy(np.int64)
        upid = rows[self._places["upid"]].to_numpy(np.int64)
        host = np.where((upid < 0) | (upid == halo_id), DISTINCT, upid)
        infall = column("a_first_infall")
        infall = np.where((host != DISTINCT) & (infall > 0), infall, np.nan)
        t_infall = np.asarray(age(cosmology, 1 / np.where(np.isfinite(infall), infall, 1.0) - 1))
        lg_mass = np.where(masses > _NO_MASS, np.log10(np.maximum(masses, 1.0)), np.nan)
        step = np.searchsorted(self._steps[order], np.nan_to_num(infall, nan=1.0)).clip(0, len(order) - 1)
        return HaloTable.of(
            halo_id,
            host,
            np.log10(column("mpeak")),
            z=np.full(len(rows), 1 / self._steps.max() - 1),
            position=np.stack([column(axis) for axis in "xyz"], axis=1) / cosmology.h,
            velocity=np.stack([column(axis) for axis in ("vx", "vy", "vz")], axis=1),
            lgm_infall=np.where(np.isfinite(infall), lg_mass[np.arange(len(rows)), step], np.nan),
            t_infall=np.where(np.isfinite(infall), t_infall, np.nan),
            branches=Branches(self._steps[order], lg_mass),
        )
