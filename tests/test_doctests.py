"""Examples in docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "popinfer.infer.draw_tables",
    "popinfer.model.posterior",
    "popinfer.model.survey",
    "popinfer.params",
    "popinfer.random",
    "popinfer.sps.age_weights",
    "popinfer.survey.noise",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
