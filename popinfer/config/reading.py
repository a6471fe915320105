"""Read a run file's text: YAML with the surprises taken out, and the line of every key.

Scalars follow YAML 1.2's core schema and not YAML 1.1: ``y``, ``no`` and ``on`` are text (bands may be called
so), ``1e3`` is a number, ``1:30`` and ``2024-02-30`` are text. Numbers that programs disagree about are
refused: ``010`` is 8 to some and 10 to others, ``1_000`` and ``0x10`` are texts to others. Keys are always
text. Sizes are bounded: no run file can take memory or time.
"""

import io
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from popinfer.config.errors import Path as Keys
from popinfer.config.errors import Problem, as_error
from popinfer.config.section import expanded
from popinfer.errors import InputError, shortened

# run files have some kB and hundreds of entries; aliases count as often as they are used
_MAX_BYTES, _MAX_EVENTS, _MAX_ENTRIES, _MAX_DEPTH = 256_000, 40_000, 20_000, 20
_MAX_TEXT, _MAX_DIGITS = 5_000, 40  # characters of a scalar, digits of a number

_PLAIN = "plain"  # our tag for scalars without quotes and tag
_STANDARD = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUTH = {x: x.lower() == "true" for x in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9]+")
# of YAML 1.1 or other languages; without underscores and prefixes they are numbers to all
_FOREIGN = re.compile(
    r"[-+]?(0x[0-9a-fA-F]|0o[0-7]|0b[01])[0-9a-fA-F_]*"
    r"|[-+]?(?=[0-9.]*_)[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Loader(yaml.SafeLoader):
    """Composes nodes; plain scalars keep a tag of their own, to be read by `_Content`."""

    yaml_implicit_resolvers: dict[Any, Any] = {None: [(_PLAIN, re.compile("", re.DOTALL))]}  # noqa: RUF012


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Content of a run file, and the line (from 1) of every key and list item by its path.

    Raises
    ------
    InputError
        The file can't be read, isn't text or YAML, or holds what no run file can: one line a problem.
    """
    file, text = str(path), _text(path)
    try:
        _check_size(text)
        root = yaml.compose(io.StringIO(text), _Loader)
    except yaml.MarkedYAMLError as error:
        _not_yaml(file, error)
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        raise InputError(f"{file}: is empty; a run file is a mapping of sections, for example 'catalog:'")
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{file}: a run file is a mapping of sections, for example 'catalog:'")
    content = _Content()
    value = content.value(root, (), 0)
    if content.problems:
        raise as_error(file, content.problems, content.lines)
    return value, content.lines


def _text(path: str | Path) -> str:
    """Text of a file: UTF-8, or UTF-16 with its mark."""
    shown = shortened(str(path), 200)
    try:
        file = Path(expanded(str(path)))
        if stat.S_ISDIR(file.stat().st_mode):
            raise InputError(f"{shown}: can't be read (it is a folder)")
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such run file") from None
    except OSError as error:
        raise InputError(f"{shown}: can't be read ({error.strerror or type(error).__name__})") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{shown}: no such run file ({error})") from None
    if len(content) > _MAX_BYTES:
        raise InputError(f"{shown}: has more than {_MAX_BYTES // 1000} kB, too much for a run file")
    return _decoded(shown, content)


def _decoded(file: str, content: bytes) -> str:
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = "isn't text" if b"\0" in content else "isn't UTF-8; save the file in this encoding"
        raise InputError(f"{file}:{line}: {what} (byte 0x{content[error.start]:02x})") from None
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text[: bad.start()].count("\n") + 1
        raise InputError(f"{file}:{line}: isn't text (character U+{ord(bad.group()):04X})")
    return text


def _check_size(text: str) -> None:
    """Refuse what is nested or long beyond reason, before anything recursive meets it."""
    depth = 0
    for i, event in enumerate(yaml.parse(io.StringIO(text), _Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        mark = event.start_mark
        if depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels", problem_mark=mark)
        if i > _MAX_EVENTS:
            raise yaml.MarkedYAMLError(problem="too many entries for a run file", problem_mark=mark)


def _not_yaml(file: str, error: yaml.MarkedYAMLError) -> NoReturn:
    """Say in one line where the text stops to be YAML."""
    mark = error.problem_mark or error.context_mark
    reason, context = error.problem or "can't be parsed", str(error.context)
    if r"'\t'" in reason:
        reason = "a tab where only blanks may be; indent with blanks"
    elif "single document" in context:
        reason = "a second document begins; a run file is one"
    elif "simple key" in context and error.context_mark is not None:
        mark, reason = error.context_mark, "a key has to end in a colon, and a blank to follow it"
    elif "escape character" in reason:
        reason += "; a text with backslashes stands between single quotation marks"
    elif "quoted scalar" in context and error.context_mark is not None:
        mark, reason = error.context_mark, "a quotation mark opens a text here that is never closed"
    elif reason.startswith("mapping values are not allowed"):
        reason += "; look at the indentation, and for a line before that lacks its colon"
    elif "block mapping" in context and "block mapping start" in reason:
        reason = "the indentation is that of no key before; keys of one section begin below each other"
    where = f":{mark.line + 1}" if mark is not None else ""
    raise InputError(f"{file}{where}: not valid YAML: {shortened(reason, 200)}") from None


class _Content:
    """Nodes -> Python values, and the lines and problems met on the way.

    Attributes
    ----------
    lines : path -> line.
    problems : what can't be used, its line stored as that of its path.
    """

    def __init__(self) -> None:
        self.lines: dict[Keys, int] = {}
        self.problems: list[Problem] = []
        self._entries = 0
        self._open: set[int] = set()  # nodes that are being read: an alias to one of them never ends

    def value(self, node: yaml.Node, path: Keys, line: int) -> Any:
        """What a node stands for; None with a problem noted when it can't be used."""
        self._entries += 1
        self.lines.setdefault(path, line or node.start_mark.line + 1)
        if id(node) in self._open or len(path) > _MAX_DEPTH:
            return self._refuse(path, "an alias that contains itself")
        if self._entries > _MAX_ENTRIES:
            if self._entries == _MAX_ENTRIES + 1:
                self._refuse((), f"its aliases stand for more than {_MAX_ENTRIES} entries")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, path)
            if node.tag not in (f"{_STANDARD}map", f"{_STANDARD}seq"):
                return self._refuse(path, f"the tag {shortened(node.tag)} has no meaning here; leave it out")
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, i), _line(item)) for i, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _refuse(self, path: Keys, why: str) -> None:
        key = ".".join(str(part) for part in path)
        self.problems.append(Problem(path, f"{key}: {why}" if key else why))

    def _mapping(self, node: yaml.Node, path: Keys) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        stated: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse_at(line, "a key has to be a name, not a list or a mapping")
                continue
            key = key_node.value
            if key == "<<" and key_node.tag == _PLAIN:
                for part in self._merged(value_node, path, line):
                    merged = {**part, **merged}  # of several, the first counts
                continue
            if key in stated:
                first = self.lines[(*path, key)]
                self._refuse_at(line, f"key '{shortened(key)}' is given twice, first on line {first}")
                continue
            if not key.strip():
                self._refuse_at(line, "a key is empty")
                continue
            self.lines[(*path, key)] = line
            stated[key] = self.value(value_node, (*path, key), line)
        return {**merged, **stated}

    def _refuse_at(self, line: int, why: str) -> None:
        """Note a problem that has no key, or whose line is not that of its key."""
        self.lines[(f"line {line}",)] = line
        self.problems.append(Problem((f"line {line}",), why))

    def _merged(self, node: yaml.Node, path: Keys, line: int) -> Iterator[dict[str, Any]]:
        """Mappings that ``<<`` brings in."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            if isinstance(part, yaml.MappingNode):
                yield self.value(part, path, line)
            else:
                self._refuse_at(line, "<< takes a mapping, or a list of them")

    def _scalar(self, node: yaml.Node, path: Keys) -> Any:
        text, tag = node.value, node.tag
        if len(text) > _MAX_TEXT or _UNPRINTABLE.search(text):
            return self._refuse(path, "has a text that is too long or holds characters of no meaning")
        if tag == _PLAIN:
            return self._plain(text, path)
        kind = tag.removeprefix(_STANDARD)
        if kind == "str":
            return text
        value = self._plain(text, path)
        wanted = {"int": int, "float": int | float, "bool": bool, "null": type(None)}.get(kind)
        if wanted is None or tag == kind:
            return self._refuse(path, f"the tag {shortened(tag)} has no meaning here; leave it out")
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "bool"):
            return self._refuse(path, f"'{shortened(text)}' is no !!{kind}; leave the tag out")
        return value

    def _plain(self, text: str, path: Keys) -> Any:
        """A scalar without quotes, by the core schema of YAML 1.2."""
        if _NULL.fullmatch(text) or text in _TRUTH:
            return _TRUTH.get(text)
        if _AMBIGUOUS.fullmatch(text):
            why = "programs disagree whether it is octal; write it without, or a text in quotes"
            return self._refuse(path, f"{shortened(text)} starts with a zero: {why}")
        if _FOREIGN.fullmatch(text):
            why = "is a number to some programs and a text to others; write its decimal digits alone"
            return self._refuse(path, f"{shortened(text)} {why}, or a text in quotes")
        whole = _INTEGER.fullmatch(text)
        if whole or _FLOAT.fullmatch(text):
            if len(text) > _MAX_DIGITS:
                return self._refuse(path, f"a number of {len(text):,} digits")
            return int(text) if whole else float(text)
        return float(text.replace(".", "").lower()) if _INFINITE.fullmatch(text) else text


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
