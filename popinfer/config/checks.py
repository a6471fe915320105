"""Checks of a run file across its sections: bands, slices, names of parameters, priors.

Each gives all problems that it finds, from whatever sections are right in themselves: a mistake in one
section hides none in another.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from popinfer.components import ROLES, load_plug_in, plug_in_class
from popinfer.config.abundance import AbundanceConfig, MainSequenceConfig, MassFunctionConfig
from popinfer.config.cuts import CutConfig, OwnCutConfig
from popinfer.config.errors import Problem
from popinfer.config.survey import BandConfig, FilterConfig, SelectionConfig, is_pair
from popinfer.data.conditions import Condition, conflicts
from popinfer.data.filter_names import is_path, named_curve
from popinfer.errors import InputError
from popinfer.params import Declaration
from popinfer.population.parameters import declared_parameters, outside_domain, unknown_name

# nearer than 4 Mpc galaxies' own motions are as large as their redshifts; before z = 20 there are hardly any
Z_RANGE = (0.001, 20.0)
_MIN_WIDTH = 1e-5  # of a slice; 3 km/s
_MAX_SLICES = 200
_BAND_NAME = re.compile(r"[A-Za-z0-9_.+']+")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{x}{i}" for x in ("com", "lpt") for i in range(1, 10))}
_LONGEST_NAME = 100
_SURVIVAL = "satellites.survival"


class Described(NamedTuple):
    """What the catalog's section says, as far as it is right in itself.

    Attributes
    ----------
    bands : sections of bands by name.
    redshift, id : columns; None where there is none.
    where : conditions on rows.
    selection : the main limits; None where they are wrong.
    cuts : further ones by their place.
    pairs : bands whose errors are correlated, such as g-r.
    """

    bands: Mapping[str, BandConfig]
    redshift: str | None
    id: str | None
    where: tuple[str, ...]
    selection: SelectionConfig | None
    cuts: Mapping[int, CutConfig]
    pairs: tuple[str, ...]


class Given(NamedTuple):
    """What can be checked of a run file.

    Attributes
    ----------
    sections : validated sections by key.
    bands : names of bands; None when they can't be told.
    free : names of free parameters.
    fixed, pilot : values by parameter; None for one that is wrong in itself.
    described : what the catalog's section says.
    joint : published abundances by their place.
    """

    sections: Mapping[str, Any]
    bands: tuple[str, ...] | None
    free: tuple[str, ...]
    fixed: Mapping[str, float | None]
    pilot: Mapping[str, float | None]
    described: Described
    joint: Mapping[int, AbundanceConfig]


Check = Callable[[Given], Iterator[Problem]]


def problems_across(given: Given) -> list[Problem]:
    """All problems that sections have with each other."""
    return [problem for check in _CHECKS for problem in check(given)]


def _name(given: Given) -> Iterator[Problem]:
    name = given.sections.get("name")
    if name is None:
        return
    wrong = f"name: '{name}' can't be the name of a folder of results"
    if not name.strip("."):
        yield Problem(("name",), f"{wrong}: it is made of dots")
    elif name.split(".")[0].lower() in _RESERVED:
        yield Problem(("name",), f"{wrong}: some systems reserve it for a device")
    elif name.startswith("-") or name.endswith("."):
        yield Problem(("name",), f"{wrong}: begin with a letter or digit and don't end with a dot")
    elif len(name) > _LONGEST_NAME:
        yield Problem(("name",), f"name: has {len(name)} characters; at most {_LONGEST_NAME}")


def _bands(given: Given) -> Iterator[Problem]:
    if given.bands is None:
        return
    for band in given.bands:
        if not _BAND_NAME.fullmatch(band):
            yield Problem(
                ("catalog", "bands", band),
                f"catalog.bands: '{band}' can't name a band: features are written g-r and files hold it, so "
                "letters, digits and _ . + ' only",
            )
    for i, feature in enumerate(given.sections.get("features", [])):
        parts, path = feature.split("-"), ("features", i)
        unknown = [b for b in parts if b not in given.bands]
        if unknown:
            yield Problem(
                path,
                f"features: '{feature}' needs band '{unknown[0]}'; bands are {sorted(given.bands)}",
            )
        elif len(parts) > 2 or len(set(parts)) < len(parts):
            yield Problem(path, f"features: '{feature}' has to be a band, or two different ones: g-r")


def _named_bands(given: Given) -> Iterator[Problem]:
    """Bands that the catalog's section mentions, and doesn't describe."""
    said = given.described
    if given.bands is None:
        return
    known = sorted(given.bands)
    named: list[tuple[tuple[str | int, ...], set[str]]] = [
        (("cuts", i), cut.uses) for i, cut in said.cuts.items()
    ]
    if said.selection is not None:
        named.append((("selection", "band"), {said.selection.band}))
    for keys, bands in named:
        if bands - set(known):
            text = f"'{min(bands - set(known))}' is not one of {known}"
            yield Problem(("catalog", *keys), f"catalog.{'.'.join(map(str, keys))}: {text}")
    for pair in said.pairs:
        if not is_pair(pair, known):
            text = f"catalog.noise_correlation: '{pair}' has to be two of {known}, like 'g-r'"
            yield Problem(("catalog", "noise_correlation", pair), text)


def _filters(given: Given) -> Iterator[Problem]:
    """Names of filter curves; files may be written later."""
    for band, section in given.described.bands.items():
        name, curve = section.filter_name, section.filter
        described = isinstance(curve, FilterConfig) and bool(curve.columns or curve.unit)
        try:
            if Path(name).is_dir() or not is_path(name):
                named_curve(name, Path(name), described=described)
        except InputError as error:
            text = str(error).removeprefix("filter ")
            yield Problem(("catalog", "bands", band, "filter"), f"catalog.bands.{band}.filter: {text}")


def _columns(given: Given) -> Iterator[Problem]:
    """Conditions on rows, and columns that are named twice."""
    said, conditions = given.described, []
    for i, text in enumerate(said.where):
        try:
            conditions.append(Condition.parse(text))
        except ValueError as error:
            yield Problem(("catalog", "where", i), f"catalog.where: {error}")
    for problem in conflicts(said.bands, said.redshift, said.id, conditions):
        yield Problem(("catalog", *problem.keys), f"catalog: {problem.text}")


def _features(given: Given) -> Iterator[Problem]:
    features = given.sections.get("features", [])
    if len(set(features)) < len(features):
        yield Problem(("features",), f"features: {features} names one of them twice")
        return
    if given.bands is None or not all(set(f.split("-")) <= set(given.bands) for f in features):
        return
    rows = np.zeros((len(features), len(given.bands)))
    for i, feature in enumerate(features):
        first, *second = (given.bands.index(band) for band in feature.split("-"))
        rows[i, first] += 1
        rows[i, second[:1]] -= 1
        # NumPy 2.4.0 refuses to tell the rank of no rows
        before = np.linalg.matrix_rank(rows[:i]) if i else 0
        if rows[i].any() and np.linalg.matrix_rank(rows[: i + 1]) < before + 1:
            yield Problem(
                ("features", i),
                f"features: '{feature}' follows from those before it ({', '.join(features[:i])}); leave "
                "it out",
            )
            return


def _slices(given: Given) -> Iterator[Problem]:
    slices = given.sections.get("slices")
    if slices is None:
        return
    if len(slices) > _MAX_SLICES:
        yield Problem(("slices",), f"slices: {len(slices)} of them; at most {_MAX_SLICES}")
        return
    for i, limits in enumerate(slices):
        wrong = _wrong_slice(*limits)
        if wrong:
            yield Problem(("slices", i), f"slices: {wrong}")
    order = sorted(
        (i for i, limits in enumerate(slices) if not _wrong_slice(*limits)), key=slices.__getitem__
    )
    for i, j in itertools.pairwise(order):
        (low, high), (after, _) = slices[i], slices[j]
        if after < high:
            yield Problem(
                ("slices", i), f"slices: [{low}, {high}] overlaps the next, which begins at {after}"
            )
    halos = given.sections.get("halos")
    if halos is not None and isinstance(halos.lgm_min, list) and len(halos.lgm_min) != len(slices):
        yield Problem(("halos", "lgm_min"), "halos.lgm_min: one number, or as many as slices")


def _wrong_slice(low: float, high: float) -> str:
    """What is wrong with one slice in itself; "" when nothing is."""
    if not 0 < low < high:
        is_turned = 0 < high < low and not _wrong_slice(high, low)
        turned = f"; did you mean [{high:g}, {low:g}]?" if is_turned else ""
        return f"[{low:g}, {high:g}] must satisfy 0 < low < high{turned}"
    if Z_RANGE[0] <= low and high <= Z_RANGE[1] and high - low >= _MIN_WIDTH:
        return ""
    return (
        f"[{low:g}, {high:g}] has to lie between redshifts {Z_RANGE[0]:g} (nearer, galaxies' own motions "
        f"spoil distances) and {Z_RANGE[1]:g} (before, there are no surveys), and be {_MIN_WIDTH:g} wide at "
        "least"
    )


def _right_slices(given: Given) -> list[tuple[float, float]]:
    """The slices when each is right in itself, else none: what follows from a wrong one isn't told."""
    slices = given.sections.get("slices") or []
    return [] if any(_wrong_slice(*limits) for limits in slices) else slices


def _published(given: Given) -> Iterator[Problem]:
    slices = _right_slices(given)
    for i, table in given.joint.items():
        if not isinstance(table, MassFunctionConfig | MainSequenceConfig):
            continue
        if slices and not any(low <= table.redshift < high for low, high in slices):
            yield Problem(
                ("joint", i, "redshift"),
                f"joint.{i}: redshift {table.redshift:g} is in none of the slices",
            )


def _photoz(given: Given) -> Iterator[Problem]:
    catalog = given.sections.get("catalog")
    if catalog is None:
        return
    places = [("free", name) for name in given.free] + [("model", "fixed", name) for name in given.fixed]
    photoz = catalog.photoz
    for path in places:
        name = path[-1]
        if photoz is None and name.startswith("photoz."):
            yield Problem(path, f"'{name}' needs the section catalog.photoz")
        elif photoz is not None and photoz.outlier_range is None and name == "photoz.outlier_fraction":
            yield Problem(path, f"'{name}' needs catalog.photoz.outlier_range")
    if photoz is not None and photoz.outlier_range is not None:
        low, high = photoz.outlier_range
        if any(a < low or b > high for a, b in _right_slices(given)):
            yield Problem(
                ("catalog", "photoz", "outlier_range"),
                "catalog.photoz.outlier_range has to contain all slices",
            )
        if high > Z_RANGE[1]:
            yield Problem(
                ("catalog", "photoz", "outlier_range"),
                f"catalog.photoz.outlier_range: ends at {high:g}; redshifts are below {Z_RANGE[1]:g}",
            )


def _components(given: Given) -> Iterator[Problem]:
    """Components that don't exist, settings that they don't have."""
    model = given.sections.get("model")
    if model is None:
        return
    for role in ROLES:
        try:
            model.component(role, given.bands or ())
        except InputError as error:
            yield Problem(("model", role), f"model.{error}")


def _plug_ins(given: Given) -> Iterator[Problem]:
    """What of the user's own doesn't exist, or has no such settings."""
    fit, sample, catalog = (given.sections.get(name) for name in ("fit", "sample", "catalog"))
    tried: list[tuple[tuple[str | int, ...], Callable[[], Any]]] = []
    if fit is not None and fit.loss.kind == "own":
        tried.append((("fit", "loss"), lambda: plug_in_class("loss", fit.loss.component)))
    if sample is not None and sample.kind == "own":
        tried.append((("sample",), lambda: load_plug_in("sampler", sample.component, sample.settings)))
    if catalog is not None and catalog.errors.kind != "fitted":
        section = catalog.errors
        tried.append((("catalog", "errors"), lambda: load_plug_in("errors", section.kind, section.settings)))
    for i, cut in given.described.cuts.items():
        if isinstance(cut, OwnCutConfig):
            load = partial(load_plug_in, "cut", cut.component, cut.settings)
            tried.append((("catalog", "cuts", i), load))
    for path, load in tried:
        try:
            load()
        except InputError as error:
            yield Problem(path, f"{'.'.join(map(str, path))}: {error}")


def _declared(given: Given) -> dict[str, Declaration] | None:
    """All parameters that there are; None where the components can't be told."""
    model = given.sections.get("model")
    if model is None:
        return None
    try:
        return declared_parameters(model.components(given.bands or ()))
    except InputError:
        return None


def _parameters(given: Given) -> Iterator[Problem]:
    """Names of parameters, values that are held, the pilot's, and priors."""
    places: list[tuple[tuple[str, ...], float | None]] = [(("free", name), None) for name in given.free]
    places += [(("model", "fixed", name), value) for name, value in given.fixed.items()]
    places += [(("halos", "pilot", name), value) for name, value in given.pilot.items()]
    declared = _declared(given)
    for path, value in places:
        if declared is None:
            break
        if path[-1].startswith("zero_point.") and given.bands is None:
            continue
        wrong = unknown_name(path[-1], declared)
        section = ".".join(path[:-1])
        if not wrong and value is not None:
            wrong = outside_domain(path[-1], value, declared)
        if wrong:
            yield Problem(path, f"{section}: {wrong}")
    for name in given.free:
        if name in given.fixed:
            path = ("model", "fixed", name)
            yield Problem(path, f"parameter '{name}' is both free and fixed: keep one")
    for name, prior in (given.sections.get("free") or {}).items():
        wrong = prior.outside(declared[name]) if declared and name in declared else ""
        if wrong:
            yield Problem(("free", name), f"free.{name}: {wrong}")


def _survival(given: Given) -> Iterator[Problem]:
    """Simulations list the subhalos that are left: their survival is no parameter."""
    halos = given.sections.get("halos")
    if halos is None or halos.source.kind == "lightcone":
        return
    text = "a simulation lists the subhalos that are left, so that their survival is 1"
    if _SURVIVAL in given.free:
        yield Problem(("free", _SURVIVAL), f"free: {_SURVIVAL} can't be free with halos.source: {text}")
    if given.fixed.get(_SURVIVAL, 1.0) != 1.0:
        yield Problem(("model", "fixed", _SURVIVAL), f"model.fixed: {_SURVIVAL} has to be 1: {text}")


_CHECKS: tuple[Check, ...] = (
    *(_name, _bands, _named_bands, _filters, _columns, _features, _slices, _published, _photoz),
    *(_components, _plug_ins, _parameters, _survival),
)
