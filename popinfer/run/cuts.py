"""The run file's selections as functions of measured magnitudes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popinfer.components import load_plug_in
from popinfer.config import RunConfig
from popinfer.config.cuts import (
    CompletenessConfig,
    FunctionCutConfig,
    LinearCutConfig,
    MagnitudeCutConfig,
    OwnCutConfig,
)
from popinfer.data import read_completeness
from popinfer.errors import InputError, first_line
from popinfer.random import fixed_key, numpy_generator
from popinfer.survey.selection import (
    Completeness,
    Cut,
    CutOnBands,
    FunctionCut,
    LinearCut,
    MagnitudeLimit,
    Selection,
)
from popinfer.user_code import read_function

_TRIED = np.linspace(10.0, 30.0, 41)  # magnitudes
# probabilities on a surface; share of magnitudes there
_BETWEEN, _MAX_BETWEEN = (0.05, 0.95), 0.2


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


def _function(cut: FunctionCutConfig, bands: tuple[str, ...]) -> FunctionCut:
    columns = tuple(bands.index(band) for band in cut.bands)
    function = read_function(cut.path, cut.name)
    _try(lambda mag: function(*jnp.moveaxis(mag, -1, 0)), f"{cut.path}: {cut.name}", cut.bands)
    return FunctionCut(columns, function)


def _own(cut: OwnCutConfig, bands: tuple[str, ...]) -> CutOnBands:
    columns = tuple(bands.index(band) for band in cut.bands)
    chosen = load_plug_in("cut", cut.component, cut.settings)
    file, _, name = cut.component.rpartition(":")
    _try(chosen, f"{file}: {name}", cut.bands)
    return CutOnBands(columns, chosen)


def _try(cut: Callable[[jax.Array], Any], name: str, bands: Sequence[str]) -> None:
    """Try what the user wrote on magnitudes [galaxy, band] of any color; InputError says what is wrong."""
    mag = numpy_generator(fixed_key("cut")).choice(_TRIED, (len(bands), 1000)).T
    try:
        probability = np.asarray(jax.jit(cut)(jnp.asarray(mag)), np.float64)
    except (Exception, SystemExit) as error:
        raise InputError(f"{name}({', '.join(bands)}) fails on JAX arrays: {first_line(error)}") from None
    if probability.shape != mag.shape[:1]:
        raise InputError(
            f"{name} has to give one probability for each galaxy: of {len(mag)} "
            f"galaxies it gives {probability.shape}"
        )
    if not np.all((probability >= 0) & (probability <= 1)):
        bad = int(np.flatnonzero(~((probability >= 0) & (probability <= 1)))[0])
        at = ", ".join(f"{band} = {x:g}" for band, x in zip(bands, mag[bad], strict=True))
        raise InputError(f"{name} gives {probability[bad]:g} at {at}; a probability lies within 0..1")
    gradual = np.mean((probability > _BETWEEN[0]) & (probability < _BETWEEN[1]))
    if gradual > _MAX_BETWEEN:
        raise InputError(
            f"{name} has to fall from 1 to 0 at a surface; of magnitudes of any color "
            f"{100 * gradual:.0f} % have a probability in between. For gradual losses use kind: completeness"
        )


def _completeness(cut: CompletenessConfig, bands: tuple[str, ...]) -> Completeness:
    return Completeness.interpolate(bands.index(cut.band), *read_completeness(cut.path))


CUTS: dict[str, Callable[[Any, tuple[str, ...]], Cut]] = {
    "magnitude": _magnitude,
    "linear": _linear,
    "function": _function,
    "completeness": _completeness,
    "own": _own,
}


def build_selection(config: RunConfig) -> Selection:
    """The main magnitude limit, and then all further cuts."""
    bands, main = tuple(config.catalog.bands), config.catalog.selection
    limit = MagnitudeLimit(bands.index(main.band), main.bright_mag, main.faint_mag, main.width_mag)
    return Selection((limit, *(CUTS[cut.kind](cut, bands) for cut in config.catalog.all_cuts)))
