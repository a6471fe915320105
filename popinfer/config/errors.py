"""What is wrong with a run file: every problem with its key, its line, and what would be right."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from popinfer.errors import InputError, shortened

Path = tuple[str | int, ...]
_LONGEST_KEY = 160  # characters
# a message that opens with the keys, below its section, that it speaks of
_KEYED = re.compile(r"([A-Za-z_][\w.+'-]*(?:\.[\w+'-]+)*): ")
_TEXT = "; a name or a text that looks like a number is written in quotes"
_WORDS = (
    ("a valid dictionary or object to extract fields from", "a mapping of keys"),
    (r"a valid dictionary or instance of \w+", "a mapping of keys"),
    ("a valid dictionary", "a mapping of keys"),
    (
        r"^\w+ should have at (least|most) 1 item after validation, not (\d+)",
        r"has to hold at \1 1 entry, not \2",
    ),
    (
        r"^\w+ should have at (least|most) (\d+) items after validation, not (\d+)",
        r"has to hold at \1 \2 entries, not \3",
    ),
    ("a valid tuple", "a list"),
)
_CHOICE = "no_alternative"  # our kind of error: a value is of none of the types that its key may have
_SEXAGESIMAL = re.compile(r"[-+]?\d+(:\d+)+(\.\d*)?")


class Problem(NamedTuple):
    """One thing that is wrong: keys and indices that lead to it, and a sentence that names it."""

    path: Path
    text: str


class ProblemsError(ValueError):
    """Several problems that one check found; paths start at the section that was checked."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = tuple(problems)


def problems_in(error: ValidationError, root: type[BaseModel], raw: Any) -> list[Problem]:
    """Everything that pydantic found in a run file, in words.

    Parameters
    ----------
    error : ValidationError
        What it raised.
    root : type[BaseModel]
        Section that was validated.
    raw : Any
        The content that was validated; it tells keys from the names of alternatives in locations.
    """
    errors = _merged(list(_without_failed_alternatives(error.errors(), raw)), raw)
    missing = {_path(e, raw) for e in errors if e["type"] == "missing"}
    problems, meant = [], set()
    for e in errors:
        path = _path(e, raw)
        if e["type"] == "missing":
            continue
        if e["type"] == "extra_forbidden":
            near = _nearest(root, e["loc"])
            if near and (*path[:-1], near) in missing:
                meant.add((*path[:-1], near))
                text = f"unknown key '{dotted(path)}'; did you mean '{near}' (which is missing)?"
            else:
                text = _unknown(root, e, path, near)
            problems.append(Problem(path, text))
        else:
            problems += _described(root, e, path)
    problems += [Problem(path, f"key '{dotted(path)}' is missing") for path in missing - meant]
    return problems


def as_error(file: str, problems: Sequence[Problem], lines: Mapping[Path, int]) -> InputError:
    """One error for all problems of a file: a line for each, in the file's order, and their number."""
    placed = sorted({(_line(path, lines), text) for path, text in problems})
    texts = [f"{file}:{line}: {shortened(text, 2000)}" for line, text in placed]
    if len(texts) == 1:
        return InputError(texts[0])
    return InputError.of_lines([*texts, f"{file}: {len(texts)} things have to be put right"])


def dotted(path: Path) -> str:
    """A path as messages spell it."""
    return shortened(".".join(str(part) for part in path), _LONGEST_KEY)


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    """Line of a path, or of the nearest section around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _path(error: Any, raw: Any) -> Path:
    """Keys and indices of a location, without pydantic's own names for alternatives."""
    path, last = [], len(error["loc"]) - 1
    for i, part in enumerate(error["loc"]):
        inside = part in raw if isinstance(raw, dict) else False
        inside |= isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        if inside:
            path.append(part)
            raw = raw[part]
        elif i == last and error["type"] == "missing":
            path.append(part)
    return tuple(path)


def _without_failed_alternatives(errors: Sequence[Any], raw: Any) -> Iterator[Any]:
    """Of a key that may be one thing or another, what speaks of the alternative that fits best."""
    paths = [_path(e, raw) for e in errors]
    for e, path in zip(errors, paths, strict=True):
        # an alternative's name in the location makes it longer than the path
        alternative = len(e["loc"]) > len(path)
        better = any(
            other[: len(path)] == path and (other != path or not _is_type(rival))
            for other, rival in zip(paths, errors, strict=True)
        )
        if not (alternative and better and _is_type(e)):
            yield e


def _merged(errors: Sequence[Any], raw: Any) -> list[Any]:
    """One error for a value that is of none of its alternatives' types, and one for a list that is short."""
    merged: dict[Any, Any] = {}
    for e in errors:
        path = _path(e, raw)
        last = path[-1] if path else None
        needed = last + 1 if e["type"] == "missing" and isinstance(last, int) else 0  # entries of a list
        place = (path[:-1], "short") if needed else (path, _is_type(e) or e["msg"])
        if e["type"] == "missing" and not needed:
            place = (path, "missing")
        first = merged.setdefault(place, e)
        if needed:
            given = len(e["input"])
            wanted = max(needed, first.get("wanted", 0))
            merged[place] = {
                **e,
                "loc": e["loc"][:-1],
                "type": _CHOICE,
                "wanted": wanted,
                "msg": f"has to be a list of {wanted} values, not {given}",
            }
        elif first is not e and _is_type(e):
            other = e["msg"].removeprefix("Input should be ")
            merged[place] = {**first, "type": _CHOICE, "msg": f"{first['msg']} or {other}"}
    return list(merged.values())


def _is_type(error: Any) -> bool:
    """Whether an error is about a value's type, and so may be of an alternative that wasn't meant."""
    return error["type"] == _CHOICE or error["type"].endswith(("_type", "_parsing"))


def _described(root: type[BaseModel], error: Any, path: Path) -> list[Problem]:
    """Problems of one pydantic error that is about a value."""
    key, message = dotted(path), error["msg"]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return [_alternative(error, path)]
    if error["type"] == "value_error":
        cause = error["ctx"]["error"]
        if isinstance(cause, ProblemsError):
            within = f"{key}." if key else ""
            return [Problem((*path, *problem.path), f"{within}{problem.text}") for problem in cause.problems]
        message = str(cause)
        opening = _KEYED.match(message)
        if opening:  # a finer place than the section's
            path = (*path, *(int(x) if x.isdigit() else x for x in opening.group(1).split(".")))
            return [Problem(path, f"{key + '.' if key else ''}{message}")]
    message = re.sub(r"^Input should be ", "has to be ", message)
    for pydantic, ours in _WORDS:
        message = re.sub(pydantic, ours, message)
    value = error.get("input")
    kind = {dict: "a mapping", list: "a list"}.get(type(value), "")
    told = key and "wanted" not in error and (not kind or _is_type(error))
    given = f" (given: {kind or shortened(repr(value))})" if told else ""
    hint = _hint(error["type"], value, has_default=_has_default(root, error["loc"]))
    return [Problem(path, f"{key + ': ' if key else ''}{message}{given}{hint}")]


def _alternative(error: Any, path: Path) -> Problem:
    """A section whose ``kind`` is missing or unknown."""
    kinds = error["ctx"].get("expected_tags", "")
    value = error.get("input")
    if not isinstance(value, dict):
        return Problem(path, f"{dotted(path)}: has to be a mapping with the key 'kind'")
    path = (*path, "kind")
    if "kind" not in value:
        return Problem(path, f"key '{dotted(path)}' is missing")
    tag = str(value["kind"])
    near = difflib.get_close_matches(tag.lower(), kinds.replace("'", "").split(", "), n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return Problem(path, f"{dotted(path)}: '{shortened(tag)}' is not one of {kinds}{hint}")


def _hint(kind: str, value: Any, *, has_default: bool) -> str:
    """A remedy for a scalar that YAML reads otherwise than was meant."""
    if kind == "string_type" and isinstance(value, int | float):
        return _TEXT
    if kind in ("float_parsing", "int_parsing") and isinstance(value, str):
        if _SEXAGESIMAL.fullmatch(value):
            return "; write the number without colons"
        if "," in value:
            return "; the decimal mark is a point"
    if value is None and kind.endswith("_type") and has_default:
        return "; leave the key out to have its default"
    return ""


def _unknown(root: type[BaseModel], error: Any, path: Path, near: str) -> str:
    loc = error["loc"]
    known = ", ".join(_known(root, loc))
    before, colon, _ = str(loc[-1]).partition(":")
    if str(loc[-1]).isdigit() and error["input"] is None:  # {faint_mag: 17,5}
        return f"unknown key '{dotted(path)}'; the decimal mark is a point"
    if colon and before in known.split(", "):
        return f"unknown key '{dotted(path)}'; a blank has to follow the colon"
    return f"unknown key '{dotted(path)}'" + (f"; did you mean '{near}'?" if near else f"; known: {known}")


def _nearest(root: type[BaseModel], loc: tuple[Any, ...]) -> str:
    near = difflib.get_close_matches(str(loc[-1]), _known(root, loc), n=1, cutoff=0.5)
    return near[0] if near else ""


def _known(root: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Fields of the section that holds a location's last key."""
    return list(_holders(root, loc)[0].model_fields)


def _has_default(root: type[BaseModel], loc: tuple[Any, ...]) -> bool:
    """Whether the key at a location may be left out."""
    last = loc[-1] if loc else None
    fields = [model.model_fields[last] for model in _holders(root, loc) if last in model.model_fields]
    return bool(fields) and not any(field.is_required() for field in fields)


def _holders(root: type[BaseModel], loc: tuple[Any, ...]) -> list[type[BaseModel]]:
    """Sections, one or its alternatives, that hold a location's last key.

    pydantic puts the ``kind`` of a chosen alternative into the location; the run file has no such key.
    """
    candidates, last = [root], len(loc) - 1
    for i, part in enumerate(loc):
        chosen = [model for model in candidates if part in (_kind(model), model.__name__)]
        if chosen:
            candidates = chosen
            continue
        if i == last:
            break
        fields = [model.model_fields[part] for model in candidates if part in model.model_fields]
        # the key of a mapping of sections is the user's own: the candidates stay
        candidates = [model for field in fields for model in _models(field.annotation)] or candidates
    return candidates


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
