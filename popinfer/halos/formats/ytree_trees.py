"""Merger trees of any format that ytree loads by the file's name alone (``pip install popinfer[ytree]``).

ytree has one set of names for all its formats, with units: ``uid`` and ``desc_uid`` link the nodes of a tree,
``mass``, ``redshift``, ``position_x`` and ``velocity_x`` describe them. Lengths are comoving there. Units
that it doesn't find in the file are the run file's, and are refused without. Main progenitors are those that
the file marks (``mmp?``), else the most massive. Hosts aren't among the common names: they are taken from
``upid`` or ``pid`` where the format has these, else all halos count as centrals, with a warning. The run
file's ``halos.source.columns`` can name other fields for ``mass`` and ``host``.

Formats of which ytree has to be told more than a name (box, cosmology, lists of redshifts) can be saved in
its own format once (``arbor.save_arbor()``), and are read from there.
"""

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError, first_line
from popinfer.halos.forests import NODES_PER_HALO, Nodes, halos_at
from popinfer.halos.formats.extras import optional_package
from popinfer.halos.formats.plain import whole_numbers
from popinfer.halos.table import CHUNK, DISTINCT, Asked, HaloHeader, HaloReader, HaloTable
from popinfer.halos.units import Unit, length_unit, mass_unit

_HOSTS, _MAIN = ("upid", "pid"), ("mmp?", "mmp")
_KEYS = {"Msun": "mass", "Mpc": "length"}  # of the run file's units; velocities are km/s in all formats
_NAMED = ("mass", "host")  # quantities whose fields the run file may name


class YtreeTrees(HaloReader):
    """Merger trees that ytree reads.

    Parameters
    ----------
    path : Path
        The file.
    asked : Asked
        What the run file says.

    Raises
    ------
    InputError
        ytree isn't installed.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._asked, self._columns = path, asked, dict(asked.columns)
        self._ytree = optional_package("ytree", "ytree", "ytree")
        _silence()
        for name in self._columns:
            if name not in _NAMED:
                raise InputError(
                    f"halos.source.columns.{name}: ytree knows which field that is; only "
                    f"{' and '.join(_NAMED)} can be named"
                )

    @cached_property
    def _arbor(self) -> Any:
        """The trees, as ytree has them."""
        try:
            arbor = self._ytree.load(str(self._path))
        except Exception as error:  # of any kind: each format has its own
            raise InputError(
                f"{self._path}: ytree can't load it ({first_line(error)}); save it in ytree's own format "
                "first, if it has to be told more than a name"
            ) from error
        return arbor

    def _field(self, quantity: str, usual: tuple[str, ...]) -> str:
        """Field of a quantity: the run file's, else the first of the usual ones; "" for none."""
        given = self._columns.get(quantity, "")
        if given and given not in self._arbor.field_info:
            raise InputError(f"halos.source.columns.{quantity}: {self._path} has no field {given}")
        there = {name.lower(): name for name in self._arbor.field_list}
        return given or next((there[name] for name in usual if name in there), "")

    @cached_property
    def header(self) -> HaloHeader:
        """Cosmology and box; snapshots are known when trees are read."""
        arbor, cosmology = self._arbor, None
        if arbor.omega_matter and arbor.hubble_constant:
            cosmology = Cosmology(om0=float(arbor.omega_matter), h=float(arbor.hubble_constant))
        box = getattr(arbor, "box_size", None)
        return HaloHeader(
            str(self._path),
            "ytree",
            self._asked.agreed(cosmology, str(self._path)),
            None if box is None else float(box.to("Mpc")),
            units="those that ytree knows of the format",
            claims_satellites=bool(self._field("host", _HOSTS)),
            is_lightcone=False,
        )

    def chunks(self, size: int = CHUNK) -> Iterator[HaloTable]:
        """Halos of some trees at once."""
        cosmology, held, n = self.header.cosmology or PLANCK15, [], 0
        for tree in self._arbor:
            held.append(self._nodes(tree))
            n += len(held[-1].node_id)
            self._arbor.reset_node(tree)
            if n >= NODES_PER_HALO * size:
                yield from halos_at(_joined(held), self._asked.redshifts, cosmology)
                held, n = [], 0
        if held:
            yield from halos_at(_joined(held), self._asked.redshifts, cosmology)

    def _nodes(self, tree: Any) -> Nodes:
        """All nodes of one tree."""

        def column(name: str) -> np.ndarray:
            return np.array(tree["tree", name])

        host, main = self._field("host", _HOSTS), self._field("main", _MAIN)
        names, place = column("uid").astype(np.int64), f"{self._path}: field '{host}'"
        mass = self._in_units(tree, self._columns.get("mass", "mass"), "Msun")
        with np.errstate(divide="ignore", invalid="ignore"):
            lg_mass = np.log10(mass)
        return Nodes(
            names,
            column("desc_uid").astype(np.int64),
            whole_numbers(column(host), place) if host else np.full(len(names), DISTINCT),
            np.where(np.isfinite(lg_mass), lg_mass, np.nan),
            1 / (1 + column("redshift").astype(float)),
            np.stack([self._in_units(tree, f"position_{axis}", "Mpc") for axis in "xyz"], axis=1),
            np.stack([self._in_units(tree, f"velocity_{axis}", "km/s") for axis in "xyz"], axis=1),
            column(main).astype(float) if main else np.zeros(len(names)),
        )

    def _in_units(self, tree: Any, name: str, unit: str) -> np.ndarray:
        """A field of a tree in a unit; NaN where there is none.

        Raises
        ------
        InputError
            There is no mass, or a unit is known neither to ytree nor to the run file, or to both.
        """
        if name not in self._arbor.field_info:
            if unit == "Msun":
                raise InputError(f"halos.source.columns.mass: {self._path} has no field {name}; name one")
            return np.full(len(tree["tree", "uid"]), np.nan)
        values, asked = tree["tree", name], self._asked_unit(unit)
        if not getattr(getattr(values, "units", None), "is_dimensionless", True):
            if asked is not None:
                raise InputError(
                    f"halos.source.units: ytree knows that {name} of {self._path} is in {values.units}; "
                    "leave the unit out"
                )
            return np.array(values.to(unit), float)
        if asked is None and unit in _KEYS:
            raise InputError(
                f"halos.source.units.{_KEYS[unit]}: is missing, and ytree doesn't know the unit of {name} in "
                f"{self._path}"
            )
        h = (self.header.cosmology or PLANCK15).h
        return np.array(values, float) * (1.0 if asked is None else asked.scale(h))

    def _asked_unit(self, unit: str) -> Unit | None:
        """The run file's unit of masses, or of lengths; None for none."""
        masses, lengths = self._asked.mass_unit, self._asked.length_unit
        if unit == "Msun" and masses:
            return mass_unit(masses, "halos.source.units.mass")
        return length_unit(lengths, "halos.source.units.length") if unit == "Mpc" and lengths else None


def _silence() -> None:
    """No lines and bars of ytree's beside popinfer's own."""
    optional_package("yt.config", "ytree", "ytree").ytcfg["yt", "suppress_stream_logging"] = True
    for name in ("yt", "ytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _joined(parts: list[Nodes]) -> Nodes:
    """Nodes of several trees."""
    return Nodes(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))
