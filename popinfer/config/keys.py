"""The table of a run file's keys, made from the models that check it: name, type, unit, default, meaning.

Names are written as paths. ``catalog.bands.<name>.value`` is a key of every band, ``catalog.cuts[]`` an entry
of a list, and ``sample (nuts).n_draws`` a key that a section has when its ``kind`` is ``nuts``.
"""

import difflib
import functools
import types
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from popinfer.components import ROLES
from popinfer.config.run import RunConfig
from popinfer.config.section import ComponentConfig
from popinfer.errors import InputError

# units by the ending or the beginning of a key: keys carry them by name
_ENDINGS = {"_mag": "mag", "_dex": "dex", "_mpc": "Mpc", "_deg2": "deg2", "_msun": "Msun"}
_LOGARITHMS = ("lgm_",)  # of masses in log10 Msun
_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}
_CONTAINERS = {list: "list of", tuple: "pair of", dict: "mapping of names to"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


class Key(NamedTuple):
    """One key of a run file.

    Attributes
    ----------
    path : the key with its sections, see the module's text.
    type : what values it takes, with their bounds.
    unit : of the value; empty for numbers without one and for what is no number.
    default : as the run file would have it; "required" where there is none.
    meaning : a sentence.
    """

    path: str
    type: str
    unit: str
    default: str
    meaning: str


def run_file_keys() -> list[Key]:
    """All keys of a run file, sections before what they hold, in the order of the models."""
    return list(_keys_of(RunConfig, ""))


def keys_below(section: str) -> list[Key]:
    """Keys of a section and of those below it; all of them for an empty name.

    Parameters
    ----------
    section : str
        Path of a section or key, or its last part: ``bands`` for ``catalog.bands``.

    Raises
    ------
    InputError
        There is no such section or key; names the nearest.
    """
    keys = run_file_keys()
    wanted = section.strip(".")
    plain = [_plain(key.path) for key in keys]
    for match in (str.startswith, _has_part):
        found = [key for key, path in zip(keys, plain, strict=True) if match(f"{path}.", f"{wanted}.")]
        if found or not wanted:
            return found or keys
    names = sorted({part for path in plain for part in path.split(".")} | set(plain))
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"sections: {', '.join(RunConfig.model_fields)}"
    raise InputError(f"a run file has no section or key '{wanted}'; {hint}")


@functools.cache
def key_names() -> frozenset[str]:
    """Names of all keys, without those of alternatives and of what the user names."""
    return frozenset(_plain(key.path) for key in run_file_keys())


def key_table(keys: list[Key]) -> str:
    """Lines for a person, a key a line, and its meaning below."""
    lines = []
    for key in keys:
        unit = f" [{key.unit}]" if key.unit else ""
        lines += [f"{key.path}: {key.type}{unit}; {_stated(key.default)}", f"    {key.meaning}"]
    return "\n".join(lines)


def _stated(default: str) -> str:
    return default if default == "required" else f"default {default}"


def _plain(path: str) -> str:
    """A path without names of alternatives, entries and placeholders."""
    parts = [part.partition(" (")[0].removesuffix("[]") for part in _parts(path)]
    return ".".join(part for part in parts if part != "<name>")


def _parts(path: str) -> list[str]:
    return path.split(".")


def _has_part(path: str, wanted: str) -> bool:
    """Whether a path has a part, or several in a row, of this name."""
    return f".{wanted}" in f".{path}"


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    """Keys of a section, each followed by those below it."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield Key(path, _type_of(name, field), _unit_of(name, field), _default_of(field), _meaning_of(field))
        for place, section in _sections_in(field.annotation, path):
            yield from _keys_of(section, f"{place}.")


def _meaning_of(field: FieldInfo) -> str:
    """What the model says of a key."""
    return field.description or ""


def _unit_of(name: str, field: FieldInfo) -> str:
    """The unit that a key states, or that its name carries."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "unit" in extra:
        return str(extra["unit"])
    if name.startswith(_LOGARITHMS):
        return "log10 Msun"
    return next((unit for ending, unit in _ENDINGS.items() if name.endswith(ending)), "")


def _default_of(field: FieldInfo) -> str:
    """A default as the run file would have it."""
    if field.is_required():
        return "required"
    value = field.get_default()
    if isinstance(value, ComponentConfig):
        return value.kind
    if isinstance(value, BaseModel):
        return _kind_of(type(value)) or "its keys' own"
    if value is None or value in ([], {}, ""):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type_of(name: str, field: FieldInfo) -> str:
    """Values that a key takes."""
    if field.annotation is ComponentConfig:
        role = ROLES.get(name)
        kinds = ["fitted"] if role is None else [*role.kinds, *(["none"] if role.optional else [])]
        return f"component: {', '.join(kinds)}, or module:Class"
    return f"{_type_words(field.annotation)}{_bounds(field.metadata)}"


def _type_words(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        words = ", ".join(map(str, arguments))
        return words if len(arguments) == 1 else f"one of {words}"
    if origin in (Union, types.UnionType):
        alternatives = (_type_words(argument) for argument in arguments if argument is not type(None))
        return " or ".join(dict.fromkeys(alternatives))
    if hasattr(annotation, "__metadata__"):  # Annotated
        return f"{_type_words(arguments[0])}{_bounds(annotation.__metadata__)}"
    if origin in _CONTAINERS:
        return f"{_CONTAINERS[origin]} {_type_words(arguments[-1])}"
    return _WORDS.get(annotation, "section")


def _bounds(metadata: Any) -> str:
    """Bounds of a number in words; "" where there are none."""
    found = []
    for item in metadata:
        for constraint in item.metadata if isinstance(item, FieldInfo) else [item]:
            bounds = ((sign, getattr(constraint, name, None)) for name, sign in _SIGNS.items())
            found += [f"{sign} {bound:g}" for sign, bound in bounds if isinstance(bound, int | float)]
    return f" {', '.join(found)}" if found else ""


def _sections_in(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Sections that a key holds, with their paths."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not ComponentConfig:
            yield path, annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        yield from _sections_in(arguments[1], f"{path}.<name>")
    elif origin is list:
        yield from _sections_in(arguments[0], f"{path}[]")
    elif hasattr(annotation, "__metadata__"):
        yield from _sections_in(arguments[0], path)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            for place, section in _sections_in(argument, path):
                kind = _kind_of(section)
                yield (f"{place} ({kind})" if kind else place), section


def _kind_of(section: type[BaseModel]) -> str:
    """The ``kind`` that a section has among alternatives; "" for one that has none."""
    field = section.model_fields.get("kind")
    names = get_args(field.annotation) if field is not None else ()
    return names[0] if len(names) == 1 else ""
