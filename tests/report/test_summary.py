import dataclasses
import json
import math

import numpy as np
import pytest
import synthetic

from popinfer.errors import InputError
from popinfer.report import RunSummary


def test_round_trip_keeps_every_field():
    before = synthetic.summary()
    assert RunSummary.from_json(before.to_json()) == before


def test_round_trip_through_a_file(tmp_path):
    before = synthetic.summary()
    before.write(tmp_path / "summary.json")
    assert RunSummary.read(tmp_path / "summary.json") == before


def test_missing_numbers_become_null_and_come_back_as_nan():
    text = RunSummary(
        name="bare", best_fit={"a": math.nan}, goodness_per_slice=({"chi2": math.nan},)
    ).to_json()
    assert "NaN" not in text
    after = RunSummary.from_json(text)
    assert (
        math.isnan(after.chi2)
        and math.isnan(after.best_fit["a"])
        and math.isnan(after.goodness_per_slice[0]["chi2"])
    )


def test_numpy_numbers_are_stored():
    summary = dataclasses.replace(
        synthetic.summary(),
        sampler={"step size": np.float64(0.5), "gradients": np.int64(7), "sizes": np.arange(2)},
    )
    assert json.loads(summary.to_json())["sampler"] == {"step size": 0.5, "gradients": 7, "sizes": [0, 1]}


@pytest.mark.parametrize("text", ["{", "[]", '{"chi2": 3}', '{"name": "a", "colour": 1}'])
def test_bad_text_is_an_input_error(text: str):
    with pytest.raises(InputError):
        RunSummary.from_json(text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json"):
        RunSummary.read(tmp_path / "nothing.json")


def test_summary_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        synthetic.summary().name = "other"  # type: ignore[misc]
