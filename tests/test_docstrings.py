"""Docstrings of the names that users import say all of their parameters and results."""

import dataclasses
import inspect

import pytest
from numpydoc.validate import validate

import popinfer

FUNCTIONS = [name for name in popinfer.__all__ if not inspect.isclass(getattr(popinfer, name))]
CLASSES = [name for name in popinfer.__all__ if inspect.isclass(getattr(popinfer, name))]
# the run file's own, whose fields carry their descriptions; `popinfer keys` lists them
DESCRIBED_BY_FIELD = {"RunConfig"}


def missing_in(dotted: str) -> dict[str, str]:
    """What numpydoc misses of a name, by its code."""
    return dict(validate(dotted)["errors"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_document_every_parameter_and_the_result(name):
    function = getattr(popinfer, name)
    found = missing_in(f"{function.__module__}.{name}")
    wanted = {"PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "RT03"}
    if inspect.signature(function).return_annotation in (None, "None"):
        wanted -= {"RT01"}
    assert not {code: text for code, text in found.items() if code in wanted}


def fields_of(cls: type) -> set[str]:
    """Names that a class's instances hold and its maker takes; none of classes that are no records."""
    if dataclasses.is_dataclass(cls):
        return {field.name for field in dataclasses.fields(cls) if field.init}
    return set(getattr(cls, "_fields", ()))


@pytest.mark.parametrize("name", sorted(set(CLASSES) - DESCRIBED_BY_FIELD))
def test_public_records_document_every_field(name):
    from numpydoc.docscrape import NumpyDocString

    cls = getattr(popinfer, name)
    parsed = NumpyDocString(inspect.getdoc(cls) or "")
    listed = [p.name for section in ("Attributes", "Parameters") for p in parsed[section]]
    documented = {part.strip() for entry in listed for part in entry.split(",")}
    assert fields_of(cls) - documented == set()


def test_what_is_missing_is_seen():
    assert "PR01" in missing_in("popinfer.resampling.shuffled_systematic")
    assert "RT01" in missing_in("popinfer.resampling.shuffled_systematic")
