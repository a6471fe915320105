"""The likelihood study's table: one row a candidate and layout, from the trials' files."""

from typing import Any

import numpy as np
from scipy.stats import chi2

MIN_ESS, MAX_PARETO_K, FAILURE = 100.0, 0.7, 1e-3
WANTED_ESS = 400


def reliable(one: dict[str, Any]) -> bool:
    return one["ess"] >= MIN_ESS and one["pareto_k"] is not None and one["pareto_k"] <= MAX_PARETO_K


def summarise(trials: list[dict[str, Any]], reference: str, base: str) -> dict[str, Any]:
    """Rows of the table, and what blurring alone costs; widths also relative to the candidate `base`."""
    p = len(trials[0]["truth"])
    limit = np.array([one["log_volume_unbinned"][reference] for one in trials])
    blurs = {
        h: float(np.exp(np.mean([one["log_volume_unbinned"][h] for one in trials] - limit) / p))
        for h in trials[0]["log_volume_unbinned"]
    }
    found = {name: [one["posteriors"][name] for one in trials] for name in trials[0]["posteriors"]}
    rows = [_row(name, some, limit, p) | _ratio(some, found[base], p) for name, some in found.items()]
    return {
        "n_trials": len(trials),
        "n_parameters": p,
        "n_two_modes": sum(one["n_modes"] > 1 for one in trials),
        "n_proposals_median": float(np.median([one["n_proposals"] for one in trials])),
        "width_of_blur": blurs,
        "seconds_median": {
            name: float(np.median([one["seconds"][name] for one in trials])) for name in trials[0]["seconds"]
        },
        "rows": rows,
    }


def _ratio(found: list[dict[str, Any]], base: list[dict[str, Any]], p: int) -> dict[str, float]:
    """Width relative to the default's, in the surveys where both are reliable."""
    pairs = [(a, b) for a, b in zip(found, base, strict=True) if reliable(a) and reliable(b)]
    if not pairs:
        return {}
    return {"width_ratio": float(np.exp(np.mean([a["log_volume"] - b["log_volume"] for a, b in pairs]) / p))}


def _row(name: str, found: list[dict[str, Any]], limit: np.ndarray, p: int) -> dict[str, Any]:
    candidate, layout = name.split(" | ")
    keep = [i for i, one in enumerate(found) if reliable(one)]
    good = [found[i] for i in keep]
    row: dict[str, Any] = {"candidate": candidate, "layout": layout, "n_reliable": len(good)}
    row["ess_median"] = float(np.median([one["ess"] for one in found]))
    if not good:
        return row
    distance2 = np.array([one["distance2"] for one in good])
    rank = np.array([one["rank"] for one in good])
    width = (np.array([one["log_volume"] for one in good]) - limit[keep]) / p
    efficiency = np.median([one["efficiency"] for one in good])
    inside = {level: np.abs(rank - 0.5) < level / 2 for level in (0.68, 0.95)}
    return row | {
        "distance2_mean": float(distance2.mean() / p),
        "distance2_median": float(np.median(distance2) / p),
        "distance2_error": float(distance2.std() / p / np.sqrt(len(good))),
        "cover68": float(inside[0.68].mean()),
        "cover95": float(inside[0.95].mean()),
        "cover68_error": float(inside[0.68].mean(axis=1).std() / np.sqrt(len(good))),
        "cover95_error": float(inside[0.95].mean(axis=1).std() / np.sqrt(len(good))),
        "n_failures": int(np.sum(chi2.sf(distance2, p) < FAILURE)),
        "width": float(np.exp(width.mean())),
        "width_error": float(np.exp(width.mean()) * width.std() / np.sqrt(len(good))),
        "efficiency": float(efficiency),
        "evaluations": float(WANTED_ESS / efficiency),
        "distances2": [round(float(x) / p, 3) for x in distance2],
    }
