"""The finalists' rule picks whom it says."""

import pytest
from likelihood_finalists import winner

MODES, FEW, MOPED = "modes, 100 kernels", "modes, 50 kernels", "MOPED, 100 kernels"


def row(distance: float, width: float, reliable: float = 1.0) -> dict[str, float]:
    return {
        "distance": distance,
        "distance_error": 0.05,
        "width": width,
        "reliable": reliable,
        "n_reliable": 40,
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({MODES: row(1.1, 1.0), FEW: row(1.0, 1.08)}, MODES),  # two errors of a right likelihood are 0.17
        ({MODES: row(1.2, 1.0), FEW: row(1.0, 1.08)}, FEW),
        ({MODES: row(1.0, 1.0, reliable=0.8), FEW: row(1.0, 1.08)}, FEW),
        ({MODES: row(1.0, 1.02), MOPED: row(1.0, 1.0)}, MODES),  # judges the goodness of fit
        ({MODES: row(1.0, 1.0), FEW: row(1.0, 1.03)}, FEW),  # cheaper
        ({MODES: row(1.3, 1.0), FEW: row(0.7, 1.0)}, None),
    ],
    ids=["narrowest", "uncovered", "unreliable", "as narrow", "cheaper", "nobody"],
)
def test_winner_is_the_narrowest_that_covers(rows, expected):
    assert winner(rows, 7) == expected
