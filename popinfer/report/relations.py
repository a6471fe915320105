"""Derived relations at a few points, beside what is published: the numbers of the figure.

For each relation and point x the posterior's median and 68 % interval at x, the published values there
(interpolated; none where x lies outside what was published), and their difference from the median.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report import literature
from popinfer.report.literature import Published

NAMES = {
    "smhm": "median log10 M* [Msun]",
    "quenched_fraction": "quenched fraction",
    "lg_ssfr": "log10 sSFR [1/yr]",
    "csfrd": "log10 SFR density [Msun/yr/Mpc^3]",
}
UNITS = {
    "smhm": "log10 Msun",
    "quenched_fraction": "fraction",
    "lg_ssfr": "log10 1/yr",
    "csfrd": "log10 Msun/yr/Mpc^3",
}
AXES = {"smhm": "log10 M_halo", "quenched_fraction": "log10 M*", "lg_ssfr": "log10 M*", "csfrd": "z"}
POINTS = {
    "smhm": (11.5, 12.0, 12.5, 13.0, 13.5, 14.0),
    "quenched_fraction": (9.5, 10.0, 10.5, 11.0, 11.3),
    "lg_ssfr": (9.5, 10.0, 10.5, 11.0),
    "csfrd": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
}


@dataclass(frozen=True)
class RelationRow:
    """One relation at one point.

    Attributes
    ----------
    name : of the relation, a key of `NAMES`.
    x : where.
    median, low, high : of the posterior, with its 68 % interval.
    published : label and value of each published relation that reaches to x.
    z : redshift at which the relation was evaluated, NaN where `x` is the redshift.
    of : which galaxies a specific star formation rate is of.
    """

    name: str
    x: float
    median: float
    low: float
    high: float
    published: tuple[tuple[str, float], ...]
    z: float = np.nan
    of: str = "Star-forming galaxies"

    @property
    def label(self) -> str:
        """What the relation is of, with its unit."""
        return NAMES[self.name]

    @property
    def axis(self) -> str:
        """What `x` is."""
        return AXES[self.name]

    @property
    def differences(self) -> tuple[tuple[str, float], ...]:
        """The posterior's median minus each published value."""
        return tuple((label, self.median - value) for label, value in self.published)


def _published(name: str, relation: xr.DataArray) -> tuple[Published, ...]:
    given: dict[str, Callable[[], tuple[Published, ...]]] = {
        "smhm": lambda: literature.stellar_mass_halo_mass(float(relation.attrs.get("z", 0.1))),
        "quenched_fraction": literature.quenched_fraction,
        "lg_ssfr": lambda: literature.lg_ssfr(str(relation.attrs.get("definition", "star_forming"))),
        "csfrd": literature.lg_csfrd,
    }
    return given[name]()


def tabulate_relations(idata: InferenceData) -> list[RelationRow]:
    """Rows of all relations that were stored; empty without any.

    Parameters
    ----------
    idata : InferenceData
        Draws and derived relations as described in `popinfer.report`.
    """
    if "derived" not in group_names(idata):
        return []
    stored = read_group(idata, "derived")
    return [
        _row(name, x, stored[name], _published(name, stored[name]))
        for name in NAMES
        if name in stored
        for x in POINTS[name]
    ]


def _row(name: str, x: float, relation: xr.DataArray, published: tuple[Published, ...]) -> RelationRow:
    axis = str(next(dim for dim in relation.dims if dim != "draw"))
    grid = np.asarray(relation[axis].values, float)
    draws = np.asarray(relation.transpose("draw", axis).values, float)
    at_x = np.array([np.interp(x, grid, draw, left=np.nan, right=np.nan) for draw in draws])
    # a relation has no value at masses of which a draw has no galaxies
    at_x = at_x[np.isfinite(at_x)]
    low, median, high = np.percentile(at_x, [16, 50, 84]) if at_x.size else np.full(3, np.nan)
    values = [(p.label.split(" (")[0], _interpolated(p, x)) for p in published]
    known = tuple((label, value) for label, value in values if np.isfinite(value))
    z, of_all = float(relation.attrs.get("z", np.nan)), relation.attrs.get("definition") == "all"
    of = "Galaxies" if of_all else "Star-forming galaxies"
    return RelationRow(name, x, float(median), float(low), float(high), known, z, of)


def _interpolated(relation: Published, x: float) -> float:
    """A published relation at x; NaN beyond its points."""
    order = np.argsort(relation.x)
    return float(np.interp(x, relation.x[order], relation.y[order], left=np.nan, right=np.nan))
