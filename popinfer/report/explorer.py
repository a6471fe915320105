"""Data of the page's interactive figures: draws of pairs of parameters, and histograms of every slice.

The page holds them as JSON, and ``explorer.js`` beside this file draws them. They repeat what the printed
figures show: without JavaScript, and on paper, nothing is missing.
"""

import base64
import hashlib
import json
import math
from importlib import resources
from typing import Any

import numpy as np

from popinfer.inference_data import InferenceData, read_group
from popinfer.report.comparison import Histograms, read_histograms
from popinfer.report.numbers import measured
from popinfer.report.parameters import ParameterRow
from popinfer.report.style import slice_label

_MOST_DRAWS = 800  # dots that a phone draws at once
_MOST_NUMBERS = 40_000  # of draws: some 300 kB
_FIGURES = 4
_LEVELS = (2.5, 16, 50, 84, 97.5)


def explorer_data(idata: InferenceData, rows: tuple[ParameterRow, ...]) -> dict[str, Any]:
    """What the interactive figures show, of plain lists; numbers that aren't finite are None.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    rows : tuple[ParameterRow, ...]
        Of the parameters.
    """
    content: dict[str, Any] = {}
    draws = _joint_draws(idata, "posterior", rows)
    if len(rows) > 1 and len(draws) > 1:
        content["pairs"] = {
            "names": [row.name for row in rows],
            "words": [row.meaning for row in rows],
            "units": [row.unit for row in rows],
            "values": [measured(row) for row in rows],
            "correlation": _numbers(_correlation(idata, rows)),
            "draws": _numbers(draws.T),
            "prior": _numbers(_joint_draws(idata, "prior", rows).T),
            "best": _numbers(np.array([row.best_fit for row in rows])),
            "truth": _numbers(np.array([row.truth for row in rows])),
        }
    histograms = read_histograms(idata)
    if histograms is not None:
        content["slices"] = _histograms(histograms)
    return content


def _joint_draws(idata: InferenceData, group: str, rows: tuple[ParameterRow, ...]) -> np.ndarray:
    """Evenly spaced draws of all parameters together, (draw, par)."""
    draws = _finite_draws(idata, group, rows)
    n = min(_MOST_DRAWS, _MOST_NUMBERS // max(len(rows), 1), len(draws))
    return draws[np.linspace(0, max(len(draws) - 1, 0), n).round().astype(int)]


def _finite_draws(idata: InferenceData, group: str, rows: tuple[ParameterRow, ...]) -> np.ndarray:
    """All draws of all parameters together, (draw, par); none where the group lacks one."""
    stored = read_group(idata, group)
    if any(row.name not in stored for row in rows):
        return np.empty((0, len(rows)))
    draws = np.stack([np.asarray(stored[row.name].values, float).ravel() for row in rows], axis=-1)
    return draws[np.isfinite(draws).all(axis=-1)]


def _correlation(idata: InferenceData, rows: tuple[ParameterRow, ...]) -> np.ndarray:
    """Correlation matrix of all draws, (par, par); NaN with a parameter that doesn't vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(_finite_draws(idata, "posterior", rows), rowvar=False)


def _histograms(histograms: Histograms) -> dict[str, Any]:
    return {
        "features": list(histograms.features),
        "slices": [slice_label(limits) for limits in histograms.slice_z],
        "edges": _numbers(histograms.edges),
        "data": _numbers(histograms.data),
        "model": _numbers(np.percentile(histograms.model, _LEVELS, axis=0)),
        "residual": _numbers(histograms.residuals()),
    }


def _numbers(values: np.ndarray) -> Any:
    """Nested lists of numbers of a few figures."""
    return _rounded(values.tolist())


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{_FIGURES}g}") if math.isfinite(value) else None


def as_script_data(content: dict[str, Any]) -> str:
    """JSON that may stand inside a script element: whatever it holds, it can't end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def script() -> str:
    """The program that draws, as it stands in the page."""
    return (resources.files("popinfer.report") / "explorer.js").read_text(encoding="utf-8")


def content_policy(program: str = "") -> str:
    """What a browser may load and run for the page: what is inside it, and of programs this one alone."""
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if program else "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
