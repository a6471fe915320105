"""From the nodes of merger trees to halos at one snapshot, their main branches and their infall.

A node's main progenitor is the one that the file marks, else the most massive. Steps that a branch skips, as
a fifth to a third of the branches in Millennium-type trees do, stay empty. A satellite fell in after the last
step at which its main branch was a halo of its own; the host's mass is that of the step after, the first at
which both are together. Branches that never were halos of their own have no infall.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from popinfer.cosmology import Cosmology, age
from popinfer.errors import InputError
from popinfer.halos.table import DEEPEST_HOST, DISTINCT, Branches, HaloTable

NODES_PER_HALO = 32  # that are read at once, for every halo of a chunk
_STEP_DIGITS = 5  # of a scale factor; files write as many, and steps are farther apart


@dataclass(frozen=True)
class Nodes:
    """Nodes of whole merger trees, in any order.

    Attributes
    ----------
    node_id, descendant_id, host_id : names; -1 (or an unknown one) for none, the own name as host for none.
    lg_mass : log10 mass [Msun]; NaN where the file has none.
    scale_factor : of the node's snapshot.
    position : comoving [Mpc].
    velocity : [km/s].
    is_main : 1 for a main progenitor, 0 for others; zeros where the file doesn't say.
    """

    node_id: Int[np.ndarray, "node"]
    descendant_id: Int[np.ndarray, "node"]
    host_id: Int[np.ndarray, "node"]
    lg_mass: Float[np.ndarray, "node"]
    scale_factor: Float[np.ndarray, "node"]
    position: Float[np.ndarray, "node 3"]
    velocity: Float[np.ndarray, "node 3"]
    is_main: Float[np.ndarray, "node"]


def halos_at(nodes: Nodes, redshifts: tuple[float, ...], cosmology: Cosmology) -> list[HaloTable]:
    """Halos at the snapshots nearest to redshifts, with branches and infall.

    Parameters
    ----------
    nodes : Nodes
        Of whole trees.
    redshifts : tuple[float, ...]
        One table each; the last snapshot where there are none.
    cosmology : Cosmology
        Cosmology for the age of the universe at infall.
    """
    steps = snapshots(nodes.scale_factor)
    step = np.searchsorted(steps, np.round(nodes.scale_factor, _STEP_DIGITS))
    tree = _Links.of(nodes)
    wanted = redshifts or (float(1 / steps[-1] - 1),)
    last = [int(np.argmin(np.abs(1 / steps - 1 - z))) for z in wanted]
    return [_at_step(nodes, tree, (steps, step), index, cosmology) for index in dict.fromkeys(last)]


def snapshots(scale_factor: Float[np.ndarray, "node"]) -> Float[np.ndarray, "step"]:
    """Scale factors of the steps, ascending."""
    return np.unique(np.round(scale_factor, _STEP_DIGITS))


def whole_forests(ends: Int[np.ndarray, "forest"], most: int) -> Iterator[slice]:
    """Rows of as many whole forests as hold at most so many nodes; one forest at least.

    Parameters
    ----------
    ends : Int[np.ndarray, "forest"]
        Row after the last of each forest, ascending.
    most : int
        Nodes at once.
    """
    begin = 0
    for end, following in zip(ends, np.append(ends[1:], np.inf), strict=True):
        if following - begin > most or end == ends[-1]:
            yield slice(begin, int(end))
            begin = int(end)


def rows_of(sorted_ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> Int[np.ndarray, "wanted"]:
    """Row of each name, -1 where there is none.

    Parameters
    ----------
    sorted_ids : np.ndarray
        Names, ascending.
    order : np.ndarray
        Their rows.
    wanted : np.ndarray
        Names that are looked up.
    """
    if not len(sorted_ids):
        return np.full(len(wanted), -1)
    place = np.searchsorted(sorted_ids, wanted).clip(0, len(sorted_ids) - 1)
    return np.where(sorted_ids[place] == wanted, order[place], -1)


@dataclass(frozen=True)
class _Links:
    """Rows of each node's main progenitor and outermost host; -1 for none."""

    progenitor: Int[np.ndarray, "node"]
    host: Int[np.ndarray, "node"]

    @classmethod
    def of(cls, nodes: Nodes) -> "_Links":
        order = np.argsort(nodes.node_id, kind="stable")
        names = nodes.node_id[order]
        if len(names) > 1 and (names[1:] == names[:-1]).any():
            twice = names[1:][names[1:] == names[:-1]][0]
            raise InputError(f"merger trees: node {twice} is listed twice")
        descendant = rows_of(names, order, nodes.descendant_id)
        known = np.nan_to_num(nodes.lg_mass, nan=-np.inf)
        ranked = np.lexsort((known, nodes.is_main, descendant))
        ranked = ranked[descendant[ranked] >= 0]
        progenitor = np.full(len(names), -1)
        progenitor[descendant[ranked]] = ranked  # the last of each descendant stays
        host = rows_of(names, order, nodes.host_id)
        host = np.where(host == np.arange(len(host)), -1, host)
        for _ in range(DEEPEST_HOST):
            above = np.where(host >= 0, host[host], -1)
            if not (above >= 0).any():
                break
            host = np.where(above >= 0, above, host)
        return cls(progenitor, host)


def _at_step(
    nodes: Nodes, tree: _Links, stepping: tuple[np.ndarray, np.ndarray], last: int, cosmology: Cosmology
) -> HaloTable:
    steps, step = stepping
    roots = np.flatnonzero(step == last)
    branch = np.full((len(roots), last + 1), np.nan)
    infall = _Infall(len(roots))
    now, halo, later = roots, np.arange(len(roots)), roots
    while len(now):
        branch[halo, step[now]] = nodes.lg_mass[now]
        infall.visit(nodes, tree.host, halo, now, later)
        earlier = tree.progenitor[now]
        goes_on = earlier >= 0
        later, now, halo = now[goes_on], earlier[goes_on], halo[goes_on]
    host = tree.host[roots]
    t_step = np.asarray(age(cosmology, 1 / steps[: last + 1] - 1))
    satellite = nodes.host_id[roots]
    is_satellite = (satellite != DISTINCT) & (satellite != nodes.node_id[roots])
    host_id = np.where(host >= 0, nodes.node_id[host], np.where(is_satellite, satellite, DISTINCT))
    is_known = (infall.step >= 0) & (host_id != DISTINCT)
    return HaloTable.of(
        nodes.node_id[roots],
        host_id,
        np.fmax.reduce(branch, axis=1),
        z=np.full(len(roots), 1 / steps[last] - 1),
        position=nodes.position[roots],
        velocity=nodes.velocity[roots],
        lgm_infall=np.where(is_known, infall.lg_mass, np.nan),
        lgmhost_infall=np.where(is_known, infall.lg_host, np.nan),
        t_infall=np.where(is_known, t_step[step[infall.step]], np.nan),
        branches=Branches(steps[: last + 1], branch),
    )


class _Infall:
    """The last step at which each halo's main branch was a halo of its own, and the masses then."""

    def __init__(self, n: int) -> None:
        self.step = np.full(n, -1)  # a node's row
        self.lg_mass, self.lg_host = np.full(n, np.nan), np.full(n, np.nan)

    def visit(
        self, nodes: Nodes, host: np.ndarray, halo: np.ndarray, now: np.ndarray, later: np.ndarray
    ) -> None:
        """Look at one node of each branch, going back in time.

        Parameters
        ----------
        nodes, host : Nodes, np.ndarray
            The trees.
        halo : np.ndarray
            Which halos.
        now : np.ndarray
            Their nodes.
        later : np.ndarray
            The nodes before on the way.
        """
        itself = nodes.host_id[now]
        first = (
            (self.step[halo] < 0) & (host[now] < 0) & ((itself == DISTINCT) | (itself == nodes.node_id[now]))
        )
        row, after = halo[first], host[later[first]]
        self.step[row] = now[first]
        self.lg_mass[row] = nodes.lg_mass[now[first]]
        self.lg_host[row] = np.where(after >= 0, nodes.lg_mass[after], np.nan)
