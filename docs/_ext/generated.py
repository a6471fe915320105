"""Tables of the reference pages, made at build time from the code that they describe.

A line ``<!-- generated: NAME -->`` of a page is replaced by what the function of that name in `TABLES`
writes, in Markdown. Nothing that is made here is committed, so that a page can't tell something else than
the code.
"""

import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$~])")
_CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
_LONGEST_SIGNATURE, _LONGEST_DEFAULT = 80, 40  # characters
_UNDERLINED = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx' entry point of an extension."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(_app: Any, _docname: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def filled(text: str) -> str:
    """A page's text with its tables."""
    return _LINE.sub(lambda line: TABLES[line[1]](), text)


def run_file_keys() -> str:
    """Keys of a run file, a section of the page for each of the file's own sections."""
    from popinfer.config.keys import run_file_keys as all_keys

    sections: dict[str, list[str]] = {}
    for key in all_keys():
        top = re.split(r"[.\[ ]", key.path)[0]
        unit = f" [{key.unit}]" if key.unit else ""
        default = key.default if key.default == "required" else f"default {key.default}"
        sections.setdefault(top, []).append(_entry(key.path, f"{key.type}{unit}; {default}", key.meaning))
    return "\n\n".join(f"## `{top}`\n\n{_lines(entries)}" for top, entries in sections.items())


def parameters() -> str:
    """Parameters of all built-in components, by role and kind, without diffstarpop's own 88."""
    from popinfer.components import ROLES, declarations, load_component
    from popinfer.population.parameters import PhotozParams

    parts = []
    for role, place in ROLES.items():
        for kind in place.kinds:
            component = load_component(role, kind, _SETTINGS.get(role))
            entries = list(_declared(role, declarations(component.Params), component.fiducial))
            if entries:
                parts.append(f"## `{role}`: `{kind}`\n\n{_lines(entries)}")
    entries = _declared("photoz", declarations(PhotozParams), PhotozParams())
    return "\n\n".join([*parts, f"## `photoz`\n\n{_lines(entries)}"])


def posteriors() -> str:
    """Prior and posterior of each free parameter of the full SDSS run, and what it moves."""
    found = json.loads((_ROOT / "results/reference/sdss_description.json").read_text(encoding="utf-8"))
    moved = list(next(iter(found["parameters"].values()))["moves"])
    names = ("parameter", "prior", "posterior", *(_MOVED.get(name, name) for name in moved))
    rows = [
        (
            f"`{name}`",
            _plain(row["prior"]),
            f"{row['mean']:.2f} ± {row['sd']:.2f} {row['unit']}".strip(),
            *(f"{row['moves'][name]:+.3f}" for name in moved),
        )
        for name, row in found["parameters"].items()
    ]
    return _table(names, rows)


_MOVED = {"lg_number": "number [dex]"}
_SETTINGS = {"zero_point": {"bands": ("g",)}}  # parameters are called after the survey's bands


def _declared(role: str, declared: Any, values: Any) -> Iterator[str]:
    """Entries of parameters; those that only have a value and a domain are diffstarpop's own."""
    for label, field in declared.items():
        stated = field.declaration
        if role == "sfh" and stated.prior is None:
            continue
        prior = "none" if stated.prior is None else str(stated.prior)
        value = f"{float(getattr(values, field.name)):.4g}"
        details = f"default {value}; prior {prior}; domain {stated.domain}"
        source = f"{stated.meaning}. Source: {stated.source}" if stated.source else stated.meaning
        yield _entry(f"{role}.{label}", details, source)


def filters() -> str:
    """Filter curves that can be used by name, by source."""
    from popinfer.data.filters import list_filters

    names = ("name", "pivot [Angstrom]", "width [Angstrom]")
    sources: dict[str, list[tuple[str, ...]]] = {}
    for curve in list_filters():
        row = (f"`{curve.name}`", f"{curve.pivot:.0f}", f"{curve.width:.0f}")
        sources.setdefault(curve.source, []).append(row)
    return "\n\n".join(f"## From {source}\n\n{_table(names, rows)}" for source, rows in sources.items())


def commands() -> str:
    """Every command with its arguments and options, from the command line's own declarations."""
    return "\n\n".join(_command(name, command) for name, command in all_commands())


def all_commands() -> Iterator[tuple[str, Any]]:
    """Names and declarations of all commands; those of groups follow their group."""
    from typer.main import get_command

    from popinfer.cli import app

    def below(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(f"{prefix} {name}", command)
            else:
                yield f"{prefix} {name}", command

    return below("popinfer", get_command(app))


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    usage = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    rows = [(f"`{p.name.upper()}`", _plain(p.help or ""), "") for p in arguments]
    for option in command.params:
        if option not in arguments:
            flags = ", ".join(f"`{flag}`" for flag in option.opts)
            rows.append((flags, _plain(option.help or ""), _plain(_default(option))))
    text = _plain(" ".join((command.help or "").split()))
    listed = _table(("argument or option", "meaning", "default"), rows) if rows else ""
    usage += ["[OPTIONS]"] * (len(rows) > len(arguments))
    return f"## `{name}`\n\n```text\n{' '.join([name, *usage])}\n```\n\n{text}\n\n{listed}"


def _default(option: Any) -> str:
    """An option's default; those that depend on the machine, or that are absent, have none here."""
    if option.name == "processes":
        return "processors of the machine"
    return "" if option.default in (None, False, [], ()) else str(option.default)


def exit_codes() -> str:
    """What the command line says of exit codes."""
    from popinfer.cli import app

    text = " ".join(str(app.info.epilog).split()).removeprefix("Exit codes: ")
    return "\n".join(f"- {_plain(part.strip())}" for part in text.split(";"))


def posterior_groups() -> str:
    """Layout of ``posterior.nc``, from the package that reads it."""
    text = (inspect.getdoc(importlib.import_module("popinfer.report")) or "").partition("\n\n")[2]
    before, *groups = re.split(r"^(``\w.*``)$", text, flags=re.MULTILINE)
    body, _, after = groups[-1].strip().partition("\n\n")
    terms, bodies = groups[::2], [*groups[1:-1:2], body]
    listed = [f"{_prose(term)}\n: {_prose(body)}" for term, body in zip(terms, bodies, strict=True)]
    return "\n\n".join([_prose(before), *listed, _prose(after)])


def summary_keys() -> str:
    """Keys of ``summary.json``, from the record that is stored."""
    from popinfer.report import RunSummary

    attributes = (inspect.getdoc(RunSummary) or "").partition("----------\n")[2]
    entries = re.findall(r"^([\w, ]+?) : (.*(?:\n    .*)*)", attributes, flags=re.MULTILINE)
    rows = [
        f"| {', '.join(f'`{x}`' for x in names.split(', '))} | {_prose(text)} |" for names, text in entries
    ]
    return "\n".join(["| key | holds |", "|---|---|", *rows])


def schema() -> str:
    """Number of the format of stored results."""
    from popinfer.storage import SCHEMA

    return f"This version reads and writes format **{SCHEMA}**."


def public_names() -> str:
    """All public names, by the module that they are in, with signature and docstring."""
    import popinfer

    homes: dict[str, list[str]] = {}
    for name in popinfer.__all__:
        homes.setdefault(getattr(popinfer, "_HOMES")[name], []).append(name)  # noqa: B009
    parts = []
    for module in sorted(homes):
        first = (inspect.getdoc(importlib.import_module(module)) or "").partition("\n\n")[0]
        parts.append(f"## `{module}`\n\n{_prose(first)}")
        parts += [_documented(name, getattr(popinfer, name)) for name in sorted(homes[module])]
    return "\n\n".join(parts)


def _documented(name: str, found: Any) -> str:
    """A name's signature and docstring."""
    text = inspect.getdoc(found) or ""
    text = "" if _made_by_dataclass(found, text) else text
    head = f"### `{name}`\n\n```python\n{_signature(name, found)}\n```"
    return f"{head}\n\n{_docstring(text)}"


def _made_by_dataclass(found: Any, text: str) -> bool:
    """Whether a docstring is the one that Python gives to what has none."""
    return dataclasses.is_dataclass(found) and text.startswith(f"{getattr(found, '__name__', '')}(")


def _signature(name: str, found: Any) -> str:
    try:
        arguments = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return name
    words = [_argument(argument) for argument in arguments]
    if sum(map(len, words)) > _LONGEST_SIGNATURE:
        return "\n".join([f"{name}(", *(f"    {word}," for word in words), ")"])
    return f"{name}({', '.join(words)})"


def _argument(argument: inspect.Parameter) -> str:
    """An argument without its type; three dots for a default that is long, or that has no literal."""
    shown = str(argument.replace(annotation=inspect.Parameter.empty))
    default = repr(argument.default)
    if len(default) > _LONGEST_DEFAULT or " at 0x" in default:
        return f"{shown.partition('=')[0]}=..."
    return shown


def _docstring(text: str) -> str:
    """NumPy's sections as bold headings, examples as code, entries of parameters as lists."""
    parts = _UNDERLINED.split(text)
    done = [_paragraphs(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        shown = f"```python\n{body.strip()}\n```" if title == "Examples" else _entries(body.strip("\n"))
        done.append(f"**{title}**\n\n{shown}")
    return "\n\n".join(done)


def _entries(body: str) -> str:
    """Entries of a section: a line that isn't indented begins one; what is indented describes it."""
    entries: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line and not line.startswith(" "):
            entries.append((line.strip(), []))
        elif entries and line:
            entries[-1][1].append(line.strip())
    return "\n".join(f"- {_entry_of_section(head, ' '.join(lines))}" for head, lines in entries)


def _entry_of_section(head: str, description: str) -> str:
    """A name, its type in parentheses, and what it is."""
    name, colon, rest = head.partition(" : ")
    if not description:
        return _prose(f"{name}: {rest}" if colon else name)
    if rest.endswith((".", ";", ",")) or description[:1].islower():  # the same sentence goes on
        return _prose(f"{name}: {rest} {description}" if colon else f"{name} {description}")
    return (
        f"{_prose(name)} ({_plain(rest)}): {_prose(description)}"
        if colon
        else _prose(f"{name}: {description}")
    )


def _paragraphs(text: str) -> str:
    """Paragraphs of prose; those that are indented are equations or code."""
    shown = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("    "):
            shown.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
        else:
            shown.append(_prose(paragraph))
    return "\n\n".join(shown)


def _prose(text: str) -> str:
    """A docstring's text in Markdown: what is in backticks is code, all else is plain."""
    joined = " ".join(text.split())
    parts = _CODE.split(joined)
    return "".join(f"`{part.strip('`')}`" if i % 2 else _plain(part) for i, part in enumerate(parts))


def _plain(text: str) -> str:
    """Text without meaning to Markdown."""
    return _SPECIAL.sub(r"\\\1", text)


def _entry(name: str, details: str, meaning: str) -> str:
    """An entry of a list of names, for screens of any width: details in a line, the meaning in the next."""
    return f"`{name}`\n: {_plain(details)}\\\n  {_plain(meaning)}"


def _lines(entries: Iterable[str]) -> str:
    return "\n\n".join(entries)


def _table(names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; columns without any content are left out."""
    names, rows = tuple(names), list(rows)
    used = [i for i in range(len(names)) if any(row[i] for row in rows)]
    lines = [[names[i] for i in used], ["---"] * len(used), *([row[i] for i in used] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        run_file_keys,
        parameters,
        posteriors,
        filters,
        commands,
        exit_codes,
        posterior_groups,
        schema,
        summary_keys,
        public_names,
    )
}
