"""Identifiability: known matrices give known rankings and directions."""

import numpy as np
import pytest

from popinfer.infer.fisher import identifiability

NAMES = ("a", "b", "c")


def test_independent_parameters_are_ranked_by_what_the_data_say():
    found = identifiability(NAMES, np.diag([3.0, 99.0, 0.0]))
    assert [row.name for row in found.parameters] == ["b", "a", "c"]
    assert [row.together for row in found.parameters] == pytest.approx([0.1, 0.5, 1.0])
    assert all(row.degeneracy == pytest.approx(1.0) for row in found.parameters)
    assert [one.components for one in found.weak] == [{"c": 1.0}]
    assert found.weak[0].sd == pytest.approx(1.0)


def test_degenerate_pair_is_named_with_its_sign():
    sum_, difference = np.array([1, 1, 0]) / np.sqrt(2), np.array([1, -1, 0]) / np.sqrt(2)
    found = identifiability(NAMES, 1e4 * np.outer(sum_, sum_) + 0.1 * np.outer(difference, difference))
    a, b = (next(row for row in found.parameters if row.name == name) for name in "ab")
    assert (a.partner, b.partner) == ("b", "a")
    assert a.correlation == pytest.approx(-1.0, abs=1e-3)
    assert a.alone == pytest.approx((1 + 5000.05) ** -0.5)
    assert a.together == pytest.approx(np.sqrt(0.5 / 1.1 + 0.5 / 10_001))
    assert a.degeneracy > 40
    pair = next(one for one in found.weak if "a" in one.components)
    assert pair.sd == pytest.approx(1.1**-0.5)
    assert pair.components["a"] * pair.components["b"] == pytest.approx(-0.5)


def test_covariance_is_the_inverse_of_information_and_prior():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    found = identifiability(NAMES, root @ root.T)
    expected = dict(zip(NAMES, np.sqrt(np.diag(np.linalg.inv(root @ root.T + np.eye(3)))), strict=True))
    assert {row.name: row.together for row in found.parameters} == pytest.approx(expected)


def test_as_plain_numbers():
    content = identifiability(("a", "b"), np.eye(2)).to_dict()
    assert content["parameters"][0]["together"] == pytest.approx(2**-0.5)
    assert isinstance(content["weak"], list)
