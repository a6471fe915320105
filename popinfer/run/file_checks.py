"""Checks of the files that a run file names: each gives all problems that it finds, with the key it is at.

They need of the run file only what they look at: a mistake elsewhere hides none here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from popinfer.config import ReadRunFile
from popinfer.config.abundance import MassFunctionConfig
from popinfer.config.cuts import CompletenessConfig
from popinfer.config.errors import Path as Keys
from popinfer.config.errors import Problem, dotted
from popinfer.config.keys import key_names
from popinfer.data.catalog import catalog_path
from popinfer.data.catalog_io import table_columns
from popinfer.data.conditions import Condition
from popinfer.data.filter_names import is_path
from popinfer.data.tables.request import Request, nearest, quoted
from popinfer.errors import InputError


def file_problems(read: ReadRunFile) -> list[Problem]:
    """All problems of the files that a run file names."""
    return [problem for check in _CHECKS for problem in check(read)]


def problems_of(error: InputError, place: Keys) -> Iterator[Problem]:
    """What an error says, a problem a line, each opened by the key it is at."""
    for line in error.lines:
        key, colon, _ = line.partition(": ")
        named = bool(colon) and key in key_names()  # and no name of a file, such as ssp.h5
        yield Problem(tuple(key.split(".")), line) if named else Problem(place, f"{dotted(place)}: {line}")


def _tried(place: Keys, action: Callable[[], Any]) -> Iterator[Problem]:
    """Problems that an action has with what is at a key."""
    try:
        action()
    except InputError as error:
        yield from problems_of(error, place)


def _stated(read: ReadRunFile, section: str) -> Mapping[str, Any]:
    """A section as it stands in the file."""
    content = read.content.get(section)
    return content if isinstance(content, dict) else {}


def _is_wrong(read: ReadRunFile, place: Keys) -> bool:
    """Whether the run file alone tells that what is at a key can't be used."""
    return any(problem.path == place for problem in read.problems)


def _catalog(read: ReadRunFile) -> Iterator[Problem]:
    """A catalog that can't be opened, and columns that it doesn't have."""
    stated = _stated(read, "catalog")
    path, table, format = (stated.get(key) for key in ("path", "table", "format"))
    if not isinstance(path, str) or not path.strip() or isinstance(table, float | list | dict | bool):
        return
    if _is_wrong(read, ("catalog", "path")):
        return
    try:
        file = catalog_path(path)
        tables = table_columns(file, format if isinstance(format, str) else "auto", table)
    except InputError as error:
        key = "table" if table is not None and "table" in str(error) else "path"
        yield from problems_of(error, ("catalog", key))
        return
    wanted = named_columns(read)
    lacking = {name: _lacking(columns, list(wanted.values())) for name, columns in tables.items()}
    best = min(tables, key=lambda name: len(lacking[name]))
    for keys, column in wanted.items():
        if column in lacking[best]:
            near = nearest(column, tables[best])
            yield Problem(keys, f"{dotted(keys)}: {path} has no column {quoted(column)}; {near}")


def _lacking(columns: Sequence[str], wanted: list[str]) -> set[str]:
    return set(Request(Path(), tuple(wanted)).lacking(columns))


def named_columns(read: ReadRunFile) -> dict[Keys, str]:
    """Columns that the catalog's section names, by the key that does."""
    said = read.given.described
    named: dict[Keys, str | float | None] = {
        ("catalog", "redshift"): said.redshift,
        ("catalog", "id"): said.id,
    }
    for band, section in said.bands.items():
        for key in ("value", "error", "extinction"):
            named["catalog", "bands", band, key] = getattr(section, key)
    for i, text in enumerate(said.where):
        try:
            named["catalog", "where", i] = Condition.parse(text).column
        except ValueError:  # told where the run file is read
            continue
    return {keys: column for keys, column in named.items() if isinstance(column, str)}


def _filters(read: ReadRunFile) -> Iterator[Problem]:
    """Files of filter curves."""
    from popinfer.data.filters import load_filters
    from popinfer.run.catalog import curve_of

    for band, section in read.given.described.bands.items():
        name = section.filter_name
        if is_path(name) or Path(name).is_file():
            place = ("catalog", "bands", band, "filter")
            yield from _tried(place, lambda section=section: load_filters([curve_of(section)]))


def _stellar_populations(read: ReadRunFile) -> Iterator[Problem]:
    """The grid of stellar populations; that inside the package serves every slice."""
    path, config = _stated(read, "model").get("ssp"), read.config
    if isinstance(path, str) and path.strip() and not _is_wrong(read, ("model", "ssp")):
        from popinfer.data.ssp import load_ssp
        from popinfer.run.build import universe_age

        ages = () if config is None else (universe_age(config),)
        yield from _tried(("model", "ssp"), lambda: load_ssp(path, *ages))


def _tables(read: ReadRunFile) -> Iterator[Problem]:
    """Published mass functions and tables of completeness."""
    from popinfer.data.completeness import read_completeness
    from popinfer.data.mass_function import read_mass_function

    for i, section in read.given.joint.items():
        if isinstance(section, MassFunctionConfig) and section.path is not None:
            args = (section.path, section.covariance, section.redshift)
            yield from _tried(("joint", i), lambda args=args: read_mass_function(*args))
    for i, cut in read.given.described.cuts.items():
        if isinstance(cut, CompletenessConfig):
            yield from _tried(("catalog", "cuts", i), lambda cut=cut: read_completeness(cut.path))


def _own_code(read: ReadRunFile) -> Iterator[Problem]:
    """Selections and errors of the user's own, tried on magnitudes."""
    bands = read.given.bands or ()
    for i, cut in read.given.described.cuts.items():
        if cut.kind in ("function", "own") and cut.uses <= set(bands):
            from popinfer.run.cuts import CUTS

            yield from _tried(("catalog", "cuts", i), lambda cut=cut: CUTS[cut.kind](cut, bands))
    config = read.config
    if config is not None and config.catalog.errors.kind != "fitted":
        from popinfer.run.observed import build_errors

        yield from _tried(("catalog", "errors"), lambda: build_errors(config))


def _simulation(read: ReadRunFile) -> Iterator[Problem]:
    """Files of a simulation's halos, as far as their headers tell."""
    halos = read.given.sections.get("halos")
    if halos is None or halos.source.kind == "lightcone":
        return
    from popinfer.run.simulation import as_cosmology, reader_of

    given = as_cosmology(read.given.sections.get("cosmology"))
    yield from _tried(("halos", "source"), lambda: reader_of(halos.source, given).header)


_CHECKS = (_catalog, _filters, _stellar_populations, _tables, _own_code, _simulation)
