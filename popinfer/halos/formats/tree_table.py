"""Merger trees in a plain table with a row a node, as of the Millennium database, with a map of columns.

Beside the quantities of `popinfer.halos.formats.plain`, of which id, mass and redshift are needed:

    descendant          needed; the node that this one becomes, or a name that no node has
    tree                names trees whose rows are together: with it trees are read some at a time
    main                1 for the main progenitor of a descendant; without, it is the most massive one

Nodes without a mass (zero, as Millennium's virial masses of satellites are) leave a gap in their branch.
Halos whose branch has no mass at all are left out.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.halos.forests import NODES_PER_HALO, Nodes, halos_at
from popinfer.halos.formats.plain import Columns, PlainTable
from popinfer.halos.table import CHUNK, Asked, HaloHeader, HaloReader, HaloTable, join_tables

TREE_QUANTITIES = ("descendant", "tree", "main")
_NEEDED = ("descendant", "redshift")
_AT_ONCE = 1 << 20  # rows


class TreeTable(HaloReader):
    """A table of the nodes of merger trees.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        See `popinfer.halos.formats.plain.PlainTable`.
    asked : Asked
        What the run file says.

    Raises
    ------
    InputError
        A column that is needed isn't named, or the unit of masses isn't known.
    """

    def __init__(self, path: Path, kind: str, asked: Asked) -> None:
        named = dict(asked.columns)
        missing = [name for name in _NEEDED if name not in named]
        if missing:
            raise InputError(
                f"halos.source.columns: names no column for {' and '.join(missing)} of {path}; nodes of "
                "merger trees need id, mass, descendant and redshift"
            )
        self._path, self._asked, self._has_trees = path, asked, "tree" in named
        self._table = PlainTable(path, kind, asked)

    @cached_property
    def header(self) -> HaloHeader:
        """What the run file and the columns' units say."""
        return HaloHeader(**{**vars(self._table.header), "format": "tree_table", "is_lightcone": False})

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of some trees at once; of the whole file where it isn't told which those are."""
        cosmology = self.header.cosmology or PLANCK15
        for nodes in self._trees(NODES_PER_HALO * size):
            for table in halos_at(nodes, self._asked.redshifts, cosmology):
                yield table.take(np.isfinite(table.lg_mass))

    def _trees(self, most: int) -> Iterator[Nodes]:
        """Nodes of as many whole trees as are about so many; one tree at least."""
        tables: list[HaloTable] = []
        columns: list[dict[str, np.ndarray]] = []
        seen: set[int] = set()
        for table, values in self._table.rows(min(most, _AT_ONCE)):
            tables, columns = [*tables, table], [*columns, self._own(values)]
            if not self._has_trees or sum(map(len, tables)) < most:
                continue
            together = _joined(columns)
            others = np.flatnonzero(together["tree"] != together["tree"][-1])
            if not len(others):
                continue  # the tree goes on
            whole, end = join_tables(tables), int(others[-1]) + 1
            yield self._nodes(whole.take(np.arange(end)), {k: v[:end] for k, v in together.items()}, seen)
            tables = [whole.take(np.arange(end, len(whole)))]
            columns = [{k: v[end:] for k, v in together.items()}]
        if tables:
            yield self._nodes(join_tables(tables), _joined(columns), seen)

    def _own(self, values: Columns) -> dict[str, np.ndarray]:
        """Columns that other tables don't have."""
        own = {"descendant": values.values["descendant"], "main": values.get("main", 0.0)}
        return own | ({"tree": values.values["tree"]} if self._has_trees else {})

    def _nodes(self, table: HaloTable, own: dict[str, np.ndarray], seen: set[int]) -> Nodes:
        if self._has_trees:
            trees = set(np.unique(own["tree"]).tolist())
            if trees & seen:
                raise InputError(
                    f"{self._path}: rows of tree {min(trees & seen)} aren't together; sort the table by "
                    "tree, or leave halos.source.columns.tree out"
                )
            seen |= trees
        return Nodes(
            table.halo_id,
            own["descendant"],
            table.host_id,
            np.where(np.isfinite(table.lg_mass), table.lg_mass, np.nan),
            1 / (1 + table.z),
            table.position,
            table.velocity,
            own["main"],
        )


def _joined(columns: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
