import dataclasses
import functools

import numpy as np
import pytest
import synthetic

from popinfer.report import caveats, judge
from popinfer.report.goodness import judge_fit
from popinfer.report.parameters import ParameterRow, overlap, tabulate


@functools.cache
def _rows() -> dict[str, ParameterRow]:
    idata = synthetic.chains()
    return {row.name: row for row in tabulate(idata, synthetic.summary(), judge(idata))}


def test_rows_hold_the_known_posterior():
    row = _rows()["sfh.quenching_time"]  # normal(0.2, 0.15) against normal(0, 0.3)
    assert row.median == pytest.approx(0.2, abs=0.01)
    assert (row.low68, row.high68) == pytest.approx((0.05, 0.35), abs=0.02)
    assert (row.low95, row.high95) == pytest.approx((-0.094, 0.494), abs=0.03)
    assert row.shrinkage == pytest.approx(0.5, abs=0.03)
    assert row.prior_shift == pytest.approx(0.67, abs=0.1)
    assert row.unit == "dex" and row.prior == "normal(0, 0.3)" and "quenching" in row.meaning


def test_overlap_of_known_normals():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=4000), rng.normal(size=4000) + 2
    assert overlap(first, rng.normal(size=4000)) > 0.95
    assert overlap(first, second) == pytest.approx(0.317, abs=0.03)  # 2 Phi(-1)
    assert overlap(first, second + 50) < 0.01
    assert np.isnan(overlap(first, np.zeros(4000)))


def test_parameter_without_prior_has_no_shrinkage():
    idata = synthetic.chains()
    del idata["prior"]
    row = tabulate(idata, synthetic.summary(), judge(idata))[0]
    assert np.isnan(row.shrinkage) and np.isnan(row.overlap) and np.isfinite(row.median)


@pytest.mark.parametrize(
    ("p", "grade"), [(0.2, "good"), (0.01, "strained"), (1e-5, "poor"), (np.nan, "unknown")]
)
def test_goodness_in_words(p: float, grade: str):
    assert judge_fit(120.0, 100.0, p).grade == grade


def _caveats(**changed) -> str:
    quiet = {"warnings": (), "starts": (), "flat_directions": (), "halo_share_max": 0.05}
    summary = dataclasses.replace(synthetic.summary(), **{**quiet, **changed})
    return " ".join(caveats.caveats(summary, tuple(_rows().values()), None))


def test_halo_noise_is_flagged_above_ten_percent_only():
    assert "halo sample" not in _caveats(halo_share_max=0.09)
    assert "up to 12 %" in _caveats(halo_share_max=0.12)


def test_other_maxima_are_ranked_by_their_depth():
    best = synthetic.summary().log_density_best
    assert "maxim" not in _caveats(starts=({"start": 0, "log_density": best - 0.1, "distance": 0.4},))
    assert "began at one point only" in _caveats(
        starts=({"start": 0, "log_density": best}, {"start": "ridge"})
    )
    assert "began at" not in _caveats(
        starts=({"start": 0, "log_density": best}, {"start": 1, "log_density": best})
    )
    highest = {
        "start": 0,
        "log_density": best + 5,
        "distance": 0.0,
    }  # on the search's halos: not the best fit's
    assert "maxim" not in _caveats(starts=(highest, {"start": 1, "log_density": best - 40, "distance": 8.0}))
    assert "the best 3.0 nat below the highest: the posterior may have several maxima" in _caveats(
        starts=(highest, {"start": 1, "log_density": best + 2, "distance": 8.0})
    )


def test_maxima_without_numbers_do_not_break_the_report():
    assert "maxim" not in _caveats(starts=({"start": 0, "log_density": None, "distance": None},))


def test_flat_and_weak_parameters_are_named_once():
    assert "hardly constrain metallicity.zero_point" in _caveats()
    text = _caveats(flat_directions=("metallicity.zero_point",))
    assert text.count("metallicity.zero_point") == 1 and "long tails" in text


def test_warnings_of_the_run_are_passed_on():
    assert "Beware." in _caveats(warnings=("Beware.",))
