"""The run file's selections as functions of measured magnitudes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from popinfer.config import RunConfig
from popinfer.config_survey import CompletenessConfig, LinearCutConfig, MagnitudeCutConfig
from popinfer.data import read_completeness
from popinfer.survey.selection import Completeness, Cut, LinearCut, MagnitudeLimit, Selection


def _magnitude(cut: MagnitudeCutConfig, bands: tuple[str, ...]) -> MagnitudeLimit:
    bright, faint = cut.bright_mag, cut.faint_mag
    return MagnitudeLimit(
        bands.index(cut.band),
        -np.inf if bright is None else bright,
        np.inf if faint is None else faint,
        cut.width_mag,
    )


def _linear(cut: LinearCutConfig, bands: tuple[str, ...]) -> LinearCut:
    coefficients = tuple(cut.coefficients.get(band, 0.0) for band in bands)
    return LinearCut(coefficients, cut.threshold_mag, cut.width_mag)


def _completeness(cut: CompletenessConfig, bands: tuple[str, ...]) -> Completeness:
    return Completeness.interpolate(bands.index(cut.band), *read_completeness(cut.path))


CUTS: dict[str, Callable[[Any, tuple[str, ...]], Cut]] = {
    "magnitude": _magnitude,
    "linear": _linear,
    "completeness": _completeness,
}


def build_selection(config: RunConfig) -> Selection:
    """The main magnitude limit, and then all further cuts."""
    bands, main = tuple(config.catalog.bands), config.catalog.selection
    limit = MagnitudeLimit(bands.index(main.band), main.bright_mag, main.faint_mag, main.width_mag)
    return Selection((limit, *(CUTS[cut.kind](cut, bands) for cut in config.catalog.cuts)))
