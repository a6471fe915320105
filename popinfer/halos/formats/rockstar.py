"""Rockstar and consistent-trees: ``hlist_*.list`` catalogs and ``tree_*.dat`` merger trees, both plain text.

The first line names the columns, ``#scale(0) id(1) ...``; indices and capitals change between versions, the
names without them hardly do. Masses are Msun/h, positions comoving Mpc/h, velocities physical km/s; comments
give Omega_M, h0 and the box. ``upid`` is the outermost host, -1 for none (some users write the own id).
Catalogs have no histories: ``Mpeak`` is the halo's mass, ``Halfmass_Scale`` tells old halos from young, and
``First_Acc_Scale`` with ``First_Acc_Mvir`` is the infall. Trees list the nodes of each tree after a line
``#tree <root>``; the trees of a forest may be apart, and ``forests.list`` with ``locations.dat`` beside the
file tell which belong together.
"""

import io
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from popinfer.cosmology import PLANCK15, Cosmology, age
from popinfer.errors import InputError
from popinfer.halos.forests import NODES_PER_HALO, Nodes, halos_at
from popinfer.halos.table import CHUNK, DISTINCT, Asked, HaloHeader, HaloReader, HaloTable

_NUMBER = r"([-+0-9.eE]+)"
_HEADER_LINES = 200
# names without index, in lower case, in the order in which they are looked for
_NAMES = {
    "scale": ("scale",),
    "id": ("id",),
    "descendant": ("desc_id", "descid"),
    "upid": ("upid",),
    "pid": ("pid",),
    "mass": ("mvir", "m200c", "m200b"),
    "peak": ("mpeak",),
    "is_main": ("mmp?", "mmp"),
    "half_mass": ("halfmass_scale",),
    "infall_scale": ("first_acc_scale", "acc_scale"),
    "infall_mass": ("first_acc_mvir", "macc"),
}


class RockstarText:
    """The header of a consistent-trees file, and rows by the names of its columns.

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
        self.comments = [line for line in lines if line.startswith("#")]
        if not self.comments:
            raise InputError(f"{path}: the first line doesn't name the columns (#scale(0) id(1) ...)")
        self.names = [
            re.sub(r"\(\d+\)$", "", name).lower() for name in self.comments[0].strip("#\n ").split()
        ]

    def column(self, quantity: str, *, needed: bool = True) -> int | None:
        """Number of a quantity's column.

        Raises
        ------
        InputError
            It is needed, and there is none.
        """
        for name in _NAMES.get(quantity, (quantity,)):
            if name in self.names:
                return self.names.index(name)
        if needed:
            raise InputError(f"{self._path}: has no column {_NAMES.get(quantity, (quantity,))[0]}")
        return None

    def header(self, format: str) -> HaloHeader:
        """Cosmology and box, from the comments."""
        text = "".join(self.comments)
        om0 = re.search(r"Omega_M *= *" + _NUMBER, text, re.IGNORECASE)
        h0 = re.search(r"\bh0? *= *" + _NUMBER, text, re.IGNORECASE)
        box = re.search(r"box size *= *" + _NUMBER + r" *Mpc/h", text, re.IGNORECASE)
        mass = re.search(r"particle mass *[:=] *" + _NUMBER + r" *Msun/h", text, re.IGNORECASE)
        cosmology = None
        if om0 and h0:
            cosmology = Cosmology(om0=float(om0[1]), h=float(h0[1]))
        cosmology = self._asked.agreed(cosmology, str(self._path))
        return HaloHeader(
            str(self._path),
            format,
            cosmology,
            float(box[1]) / cosmology.h if box else None,
            particle_mass=float(mass[1]) / cosmology.h if mass else None,
            units="Msun/h, comoving Mpc/h (the format's)",
            is_lightcone=False,
        )

    def rows(self, stream: io.TextIOBase, size: int) -> Iterator[pd.DataFrame]:
        """Chunks of rows, by column number; only the columns that are used."""
        used = [self.column(name, needed=False) for name in (*_NAMES, "x", "y", "z", "vx", "vy", "vz")]
        names = {column for column in used if column is not None}
        whole = {self.column(name, needed=False) for name in ("id", "descendant", "upid", "pid")}
        try:
            yield from pd.read_csv(
                stream,
                sep=r"\s+",
                comment="#",
                header=None,
                usecols=sorted(names),
                names=list(range(len(self.names))),
                dtype={column: np.int64 if column in whole else float for column in names},
                chunksize=size,
            )
        except (ValueError, pd.errors.ParserError) as error:
            raise InputError(f"{self._path}: a row can't be read ({error})") from None

    def vector(self, rows: pd.DataFrame, names: str) -> np.ndarray:
        """Three columns side by side."""
        columns = [self.column(prefix, needed=False) for prefix in names.split()]
        if None in columns:
            return np.full((len(rows), 3), np.nan)
        return rows[columns].to_numpy(float)

    def hosts(self, rows: pd.DataFrame) -> np.ndarray:
        """Outermost hosts, -1 for none."""
        upid = self.column("upid", needed=False)
        host = rows[self.column("pid") if upid is None else upid].to_numpy()
        return np.where((host == rows[self.column("id")].to_numpy()) | (host < 0), DISTINCT, host)


class RockstarCatalog(HaloReader):
    """An ``hlist_*.list`` file: halos of one snapshot, without histories.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._text, self._path = RockstarText(path, asked), path

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology, box and snapshot."""
        header = self._text.header("hlist")
        with self._path.open(encoding="utf-8") as stream:
            first = next(self._text.rows(stream, 1), None)
        if first is None:
            return header
        scale = float(first[self._text.column("scale")].iloc[0])
        return HaloHeader(**{**vars(header), "redshifts": (1 / scale - 1,)})

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos as the file lists them."""
        with self._path.open(encoding="utf-8") as stream:
            for rows in self._text.rows(stream, size):
                yield self._table(rows, self.header.cosmology or PLANCK15)

    def _table(self, rows: pd.DataFrame, cosmology: Cosmology) -> HaloTable:
        text, h, n = self._text, cosmology.h, len(rows)

        def column(quantity: str) -> np.ndarray:
            place = text.column(quantity, needed=False)
            return np.full(n, np.nan) if place is None else rows[place].to_numpy(float)

        mass, peak, infall = column("mass"), column("peak"), column("infall_scale")
        a, host = column("scale"), text.hosts(rows)
        infall = np.where((host != DISTINCT) & (infall > 0) & (infall <= a), infall, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            lg_mass = np.log10(np.fmax(mass, peak) / h)
            lg_infall = np.where(np.isfinite(infall), np.log10(column("infall_mass") / h), np.nan)
        t_infall = np.asarray(age(cosmology, 1 / np.where(np.isfinite(infall), infall, 1.0) - 1))
        return HaloTable.of(
            rows[text.column("id")].to_numpy(),
            host,
            lg_mass,
            z=1 / a - 1,
            position=text.vector(rows, "x y z") / h,
            velocity=text.vector(rows, "vx vy vz"),
            lgm_infall=lg_infall,
            t_infall=np.where(np.isfinite(infall), t_infall, np.nan),
            half_mass_scale=column("half_mass"),
        )


class ConsistentTrees(HaloReader):
    """A ``tree_*.dat`` file: main branches of the halos at some snapshots.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._text, self._path, self._asked = RockstarText(path, asked), path, asked

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology and box; snapshots are known when trees are read."""
        return self._text.header("consistent_trees")

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of some forests at once; of the whole file where it isn't told which those are."""
        cosmology = self.header.cosmology or PLANCK15
        for nodes in self._forests(NODES_PER_HALO * size, cosmology.h):
            yield from halos_at(nodes, self._asked.redshifts, cosmology)

    def _forests(self, most: int, h: float) -> Iterator[Nodes]:
        parts = self._parts()
        if parts is None:
            with self._path.open(encoding="utf-8") as stream:
                _skip_number_of_trees(stream)
                yield self._nodes(list(self._text.rows(stream, most)), h)
            return
        held: list[pd.DataFrame] = []
        with self._path.open("rb") as stream:
            for offsets in parts:
                held += [self._tree(stream, offset) for offset in offsets]
                if sum(map(len, held)) >= most:
                    yield self._nodes(held, h)
                    held = []
        if held:
            yield self._nodes(held, h)

    def _tree(self, stream: io.BufferedReader, offset: int) -> pd.DataFrame:
        """Rows of one tree, from where they begin to the next line that opens a tree."""
        stream.seek(offset)
        lines = []
        for line in stream:
            if line.startswith(b"#"):
                if lines:
                    break
                continue
            lines.append(line.decode())
        text = io.StringIO("".join(lines))
        return pd.concat(list(self._text.rows(text, len(lines) + 1)))

    def _parts(self) -> list[list[int]] | None:
        """Where the trees of each forest begin, from the files beside this one; None without them."""
        forests, places = self._path.parent / "forests.list", self._path.parent / "locations.dat"
        if not (forests.is_file() and places.is_file()):
            return None
        listed = pd.read_csv(forests, sep=r"\s+", comment="#", header=None, names=["root", "forest"])
        with_redshift = pd.read_csv(
            places, sep=r"\s+", comment="#", header=None, names=["root", "file", "offset", "name"]
        )
        here = with_redshift[with_redshift["name"] == self._path.name].merge(listed, on="root")
        return [sorted(group["offset"].tolist()) for _, group in here.groupby("forest", sort=False)]

    def _nodes(self, parts: list[pd.DataFrame], h: float) -> Nodes:
        text = self._text
        if not parts:
            raise InputError(f"{self._path}: has no tree")
        rows = pd.concat(parts)
        is_main = text.column("is_main", needed=False)
        return Nodes(
            rows[text.column("id")].to_numpy(),
            rows[text.column("descendant")].to_numpy(),
            text.hosts(rows),
            np.log10(np.maximum(rows[text.column("mass")].to_numpy() / h, 1.0)),
            rows[text.column("scale")].to_numpy(),
            text.vector(rows, "x y z") / h,
            text.vector(rows, "vx vy vz"),
            np.zeros(len(rows)) if is_main is None else rows[is_main].to_numpy(float),
        )


def _skip_number_of_trees(stream: io.TextIOBase) -> None:
    """Go to the first row: a number alone on its line, before the first tree, is how many there are."""
    place = stream.tell()
    while line := stream.readline():
        if not line.startswith("#"):
            if len(line.split()) > 1:
                stream.seek(place)
            return
        place = stream.tell()
