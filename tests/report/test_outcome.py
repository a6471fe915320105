import dataclasses
from pathlib import Path

import numpy as np
import pytest
import synthetic

from popinfer.cli import _finish
from popinfer.errors import MisfitError
from popinfer.report import outcome_of
from popinfer.report.caveats import caveats, starts_left
from popinfer.report.goodness import FeatureChecks, judge_fit, missed_checks
from popinfer.report.outcome import closing_lines


def _outcome(**changed):
    return outcome_of(synthetic.chains(), dataclasses.replace(synthetic.summary(), **changed))


@pytest.mark.parametrize(
    ("p", "describes"), [(0.5, True), (0.0011, True), (0.0009, False), (float("nan"), True)]
)
def test_a_misfit_is_a_verdict_of_its_own(p, describes):
    outcome = _outcome(p_value=p)
    assert outcome.converged and outcome.describes is describes
    assert ("NOT DESCRIBE" in str(outcome)) is not describes
    assert ("unknown" in str(outcome)) == np.isnan(p)


def test_pulled_parameters_are_told_once_with_how_far():
    idata, summary = synthetic.chains(), synthetic.summary()
    idata["posterior"]["sfh.quenching_time"] += 0.7  # the prior is normal(0, 0.3)
    outcome = outcome_of(idata, summary)
    assert outcome.pulled == {"sfh.quenching_time": pytest.approx(3.0, abs=0.15)}
    assert outcome.lines[1].endswith(f"sfh.quenching_time ({outcome.pulled['sfh.quenching_time']:+.1f})")
    assert not any("sfh.quenching_time" in text for text in outcome.cautions)


def test_a_terminal_hears_three_things():
    fit = judge_fit(120.0, 100.0, 0.08)
    lines = closing_lines(fit, {}, ())
    assert lines == [
        "Goodness of fit: χ² = 120.0 for 100 effective statistics, p = 0.08",
        "Parameters over 2 prior standard deviations from the prior: none",
        "Caution: none",
    ]
    assert closing_lines(fit, {}, ("Beware.", "And this."))[2:] == ["Caution: Beware.", "Caution: And this."]


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("p", [0.5, 1e-5])
def test_commands_end_with_these_lines_and_with_an_error_at_a_misfit(p, allowed, quiet, capsys):
    outcome = _outcome(p_value=p)
    if p < 1e-3 and not allowed:
        with pytest.raises(MisfitError, match="--allow-misfit exits with 0"):
            _finish(outcome, Path("results/a"), quiet, (False, allowed))
    else:
        _finish(outcome, Path("results/a"), quiet, (False, allowed))
    said = capsys.readouterr().out.splitlines()
    assert said == ([] if quiet else [*outcome.lines, str(outcome), "results/a"])
    assert len(outcome.lines) >= 3


def test_starts_that_led_nowhere_are_told_in_words():
    arrived = {"start": 0, "log_density": -10.0, "distance": 0.0, "converged": True}
    lost = {"start": 2, "log_density": None, "distance": None, "converged": False}
    assert starts_left([arrived]) == []
    assert starts_left([arrived, lost])[0].startswith(
        "Start 2 of the search (2 in all) arrived at no maximum"
    )
    assert "Starts 2, 3 of" in starts_left([arrived, lost, lost | {"start": 3}])[0]
    summary = dataclasses.replace(synthetic.summary(), starts=(arrived, lost))
    assert any("Start 2 of the search" in text for text in caveats(summary, (), None))


def checks_with(p_value, observed, predicted):
    """Checks of two slices' u-g and g-r, all predicted but for what is given: (slice, statistic, feature)."""
    return FeatureChecks(
        ("u-g", "g-r"),
        ("median", "width", "blue_fraction"),
        np.array([[0.05, 0.08], [0.08, 0.11]]),
        observed,
        predicted,
        np.full((2, 3, 2), 0.02),
        p_value,
        600,
    )


def test_colors_that_are_missed_are_told_though_chi_square_allows_them():
    p_value, observed, predicted = np.full((2, 3, 2), 0.4), np.full((2, 3, 2), 1.7), np.full((2, 3, 2), 1.7)
    assert missed_checks(checks_with(p_value, observed, predicted)) == ""
    p_value[0], predicted[0, 0] = 0.002, [1.55, 1.65]
    told = missed_checks(checks_with(p_value, observed, predicted))
    assert told.startswith("6 of 12 medians, widths and shares of colors lie where under 1 % of the model's")
    assert "the worst median is that of u-g at 0.05 < z < 0.08, where galaxies have 1.700 mag" in told
    assert "and the model 1.550" in told and "kernels.model_error" in told
    summary, checks = synthetic.summary(), checks_with(p_value, observed, predicted)
    assert told in caveats(summary, (), None, checks) and told not in caveats(summary, (), None)


def test_missed_widths_alone_name_no_median_and_missing_numbers_count_for_nothing():
    p_value, values = np.full((2, 3, 2), 0.4), np.full((2, 3, 2), 1.7)
    p_value[:, 1] = 0.001
    p_value[0, 2] = np.nan
    told = missed_checks(checks_with(p_value, values, values))
    assert told.startswith("4 of 10 medians") and "worst" not in told
    assert missed_checks(None) == ""
