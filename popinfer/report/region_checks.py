"""Criteria for the region that a fit found: did it settle, and did the draws visit every mode in it?"""

import xarray as xr

from popinfer.report.criteria import Check

MAX_MISSED = 0.05


def region_checks(stats: xr.Dataset) -> list[Check]:
    """Checks of what a run stored beside its draws: ``region_settled`` and ``missed_mass``."""
    checks = []
    if "region_settled" in stats.attrs:
        settled = bool(stats.attrs["region_settled"])
        checks.append(
            Check(
                "Settled fit",
                "settled" if settled else "still moving",
                "settled",
                settled,
                "The fit didn't settle: its counts are corrected for noise where the posterior isn't.",
            )
        )
    if "missed_mass" in stats.attrs:
        missed = float(stats.attrs["missed_mass"])
        checks.append(
            Check(
                "Modes visited",
                f"{100 * missed:.0f} % of the mass missed",
                f"<= {100 * MAX_MISSED:.0f} %",
                missed <= MAX_MISSED,
                f"No draw is near modes that hold about {100 * missed:.0f} % of the posterior's mass.",
            )
        )
    return checks
