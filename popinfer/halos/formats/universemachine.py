"""UniverseMachine's tables of star formation histories (``sfh_catalog_*.txt``), with mass histories too.

The header names the columns, ``#ID(0) UPID(1) ...``; those of the histories are ranges,
``M_main_progenitor(16:193)``. Comments give the scale factors of all steps, Omega_M, h and the box. Masses
are Msun without h, positions comoving Mpc/h (UniverseMachine's convention, as its page of examples has it),
velocities physical km/s. UPID is -1 for distinct halos; ``A_first_infall`` is the scale factor of infall.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from popinfer.cosmology import PLANCK15, Cosmology, age
from popinfer.errors import InputError
from popinfer.halos.table import CHUNK, DISTINCT, Asked, Branches, HaloHeader, HaloReader, HaloTable

_NUMBER = r"([-+0-9.eE]+)"
_HEADER_LINES = 400
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
        self._places = self._named()
        self._steps = self._scale_factors()

    def _named(self) -> dict[str, tuple[int, int]]:
        """First and last column of each quantity, in lower case."""
        places: dict[str, tuple[int, int]] = {}
        first_line = self._comments[0] if self._comments else ""
        for name, first, last in re.findall(r"(\S+?)\((\d+)(?:[:-](\d+))?\)", first_line):
            places[name.strip("#").lower()] = (int(first), int(last or first))
        for name in ("id", "upid", "mpeak", "m_main_progenitor"):
            if name not in places:
                raise InputError(f"{self._path}: the header has no column {name}(...)")
        return places

    def _scale_factors(self) -> np.ndarray:
        line = next((line for line in self._comments if re.search(r"scale[s_ ]", line, re.IGNORECASE)), "")
        steps = np.array([float(x) for x in re.findall(r"(?<![\w.])[01]\.\d+(?![\w])", line)])
        first, last = self._places["m_main_progenitor"]
        if len(steps) != last - first + 1:
            raise InputError(
                f"{self._path}: the header lists {len(steps)} scale factors for {last - first + 1} masses"
            )
        return steps

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology, box and snapshot, from the comments."""
        text = "".join(self._comments)
        om0 = re.search(r"(?:Omega_M|Om|O_M) *= *" + _NUMBER, text, re.IGNORECASE)
        h = re.search(r"\bh0? *= *" + _NUMBER, text)
        box = re.search(r"box[ _]*size *= *" + _NUMBER, text, re.IGNORECASE)
        cosmology = Cosmology(om0=float(om0[1]), h=float(h[1])) if om0 and h else None
        cosmology = self._asked.agreed(cosmology, str(self._path))
        return HaloHeader(
            str(self._path),
            "universemachine",
            cosmology,
            float(box[1]) / cosmology.h if box else None,
            (1 / float(self._steps.max()) - 1,),
            units="Msun, comoving Mpc/h (the format's)",
            is_lightcone=False,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them."""
        cosmology = self.header.cosmology or PLANCK15
        try:
            with pd.read_csv(
                self._path, sep=r"\s+", comment="#", header=None, chunksize=size, dtype={0: np.int64}
            ) as parts:
                for part in parts:
                    yield self._table(part, cosmology)
        except (ValueError, pd.errors.ParserError) as error:
            raise InputError(f"{self._path}: a row can't be read ({error})") from None

    def _table(self, rows: pd.DataFrame, cosmology: Cosmology) -> HaloTable:
        def column(name: str) -> np.ndarray:
            if name not in self._places:
                return np.full(len(rows), np.nan)
            return rows[self._places[name][0]].to_numpy(float)

        first, last = self._places["m_main_progenitor"]
        order = np.argsort(self._steps)
        masses = rows.iloc[:, first : last + 1].to_numpy(float)[:, order]
        halo_id = rows[self._places["id"][0]].to_numpy(np.int64)
        upid = rows[self._places["upid"][0]].to_numpy(np.int64)
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
