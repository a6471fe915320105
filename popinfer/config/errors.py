"""What is wrong with a run file, in one line: the key's dotted name, and the nearest right one."""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def one_line(error: ValidationError, root: type[BaseModel]) -> str:
    """Say the first problem, by its dotted key; for an unknown key, name the nearest right one."""
    first = error.errors()[0]
    known, where = _follow(root, first["loc"])
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
        return f"unknown key '{key}'{hint}"
    if first["type"] == "missing":
        return f"key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = (
        "" if isinstance(first.get("input"), dict | list) or not key else f" (given: {first.get('input')!r})"
    )
    return f"{key + ': ' if key else ''}{message}{given}"


def _follow(root: type[BaseModel], loc: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """Fields of the section that holds a location's last key, and the location as the run file spells it.

    pydantic puts the ``kind`` of a chosen alternative into the location; the run file has no such key.
    """
    candidates, spelled, last = [root], [], len(loc) - 1
    known = list(root.model_fields)
    for i, part in enumerate(loc):
        chosen = [model for model in candidates if _kind(model) == part]
        if chosen:
            candidates, known = chosen, list(chosen[0].model_fields)
            continue
        spelled.append(str(part))
        if i == last:
            break
        fields = [model.model_fields[part] for model in candidates if part in model.model_fields]
        # the key of a mapping of sections is the user's own: the candidates stay
        candidates = [model for field in fields for model in _models(field.annotation)] or candidates
        known = list(candidates[0].model_fields)
    return known, spelled


def _kind(model: type[BaseModel]) -> str | None:
    """Name under which an alternative is chosen; None for a section that has no alternatives."""
    field = model.model_fields.get("kind")
    names = get_args(field.annotation) if field is not None else ()
    return names[0] if len(names) == 1 else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All sections that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
