"""Mutated run files: each is read, or refused with an `InputError`; what is read lies within bounds."""

import copy
import math
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popinfer.config import RunConfig, load_config
from popinfer.errors import InputError
from popinfer.population.parameters import declared_parameters

SHIPPED = sorted(Path(__file__).parents[2].glob("configs/*.yaml"))
# the slowest mutants take a second: hypothesis' own deadline would be a time assertion
FUZZ = settings(
    max_examples=260 * settings.default.max_examples // 100,  # a quarter of them without --all
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)

# libyaml's is several times as fast
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

NASTY = [
    *(math.nan, math.inf, -math.inf, 1e30, -1e30, 1e300, 1e-300, 0, -1, -0.0, 1e-9, 2**63, 10**30, True),
    *(False, None, "", " ", "nan", "1e3", "1:30", "010", "~", "~nobody/x", "\0", "a/b", "g-r", "../x", "no"),
    *("x" * 5000, "é", "\u202e", "'", "y", [], {}, [[]], [1, 2], ["a"], {"kind": "nuts"}, {"a": {"b": 1}}),
    *([[0.1, 0.2]] * 300, [0.06], "2024-02-30", "CON", ".", "sfh.efficiency", 17, 3.5),
]
RAW = [
    *("!!int foo", "!!bool foo", "!!python/object:os.system x", "!!binary aGk=", "!!timestamp 2024-02-30"),
    *(
        "[" * 3000,
        "[" * 30 + "]" * 30,
        "9" * 5000,
        "{<<: 3}",
        "*nothing",
        "&a [*a]",
        "2024-02-30",
        "0000-00-00",
    ),
    *(
        "0x_",
        "0b_",
        "1_000",
        ".inf",
        ".NAN",
        "=",
        "<<",
        "? [a]",
        "'",
        '"\\x00"',
        "\t",
        "010",
        "-.5e",
        "1e999",
    ),
    *("|\n  text", "!foo bar", "- x", "a: b: c", "%YAML 3.0", "---", "...", "@", "`", "{loc:0.1}", "0o17"),
]


@cache
def text_of(index: int) -> str:
    return SHIPPED[index].read_text(encoding="utf-8")


@cache
def content_of(index: int) -> dict:
    return yaml.safe_load(text_of(index))


def places(value, path=()):
    """Paths of everything inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def parent_of(content, path):
    for key in path[:-1]:
        content = content[key]
    return content


@st.composite
def changed_values(draw) -> bytes:
    """A run file with one to three values, keys or sections changed."""
    content = copy.deepcopy(content_of(draw(st.integers(0, len(SHIPPED) - 1))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(content)) or [()]))
        if not path:
            break
        parent, key = parent_of(content, path), path[-1]
        action = draw(
            st.sampled_from(["value", "value", "value", "delete", "rename", "nest", "list", "move"])
        )
        if action == "value":
            parent[key] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        elif action == "delete":
            del parent[key]
        elif action == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from([f"{key}s", str(key)[:-1], "", 1, None, True, f"x.{key}"]))] = (
                parent.pop(key)
            )
        elif action == "nest":
            parent[key] = {str(key): parent[key]}
        elif action == "list":
            parent[key] = [parent[key]] * draw(st.sampled_from([1, 2, 50]))
        else:
            content[str(key)] = copy.deepcopy(parent[key])
    return yaml.dump(content, Dumper=DUMPER, allow_unicode=True).encode()


@st.composite
def changed_text(draw) -> bytes:
    """A run file with scalars, lines or bytes of its text changed."""
    text = text_of(draw(st.integers(0, len(SHIPPED) - 1)))
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(": ")
        action = draw(st.sampled_from(["raw", "raw", "raw", "double", "drop", "indent", "swap", "tab"]))
        if action == "raw":
            lines[at] = f"{key}{colon or ': '}{draw(st.sampled_from(RAW))}\n"
        elif action == "double":
            lines[at] *= 2
        elif action == "drop":
            lines[at] = "\n"
        elif action == "indent":
            lines[at] = draw(st.sampled_from([" ", "    ", "\u00a0"])) + lines[at]
        elif action == "swap":
            lines[at], lines[-1] = lines[-1], lines[at]
        else:
            lines[at] = lines[at].replace(" ", "\t", 2)
    content = bytearray("".join(lines).encode())
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([None, None, None, len(content) // 2]))])


def numbers_in(value):
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def check(path: Path, content: bytes) -> None:
    """The outcome is a configuration within bounds, or a refusal of few and short lines."""
    path.write_bytes(content)
    try:
        config = load_config(path)
    except InputError as refused:
        assert all("\n" not in line and 0 < len(line) < 2500 and line.isprintable() for line in refused.lines)
        assert all(str(path) in line for line in refused.lines)
        return
    assert isinstance(config, RunConfig)
    assert all(math.isfinite(x) for x in numbers_in(config.model_dump()))
    assert all(abs(x) < 2**63 for x in numbers_in(config.model_dump(exclude={"catalog"})))
    assert all(0 < low < high <= 20 for low, high in config.slices)
    declared = declared_parameters(config.model.components(tuple(config.catalog.bands)))
    for name, value in {**config.model.fixed, **config.halos.pilot}.items():
        assert declared[name].contains(value)
    assert not set(config.free) & set(config.model.fixed)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "mutant.yaml"


@FUZZ
@given(content=changed_values())
def test_changed_values(path, content):
    check(path, content)


@FUZZ
@given(content=changed_text())
def test_changed_text(path, content):
    check(path, content)


def test_the_files_that_are_mutated_are_right(path):
    for index in range(len(SHIPPED)):
        check(path, text_of(index).encode())
        again = yaml.safe_dump(content_of(index)).encode()
        path.write_bytes(again)
        assert load_config(path) == load_config(SHIPPED[index])
