"""What a population looks like in other bands and redshift slices: galaxies as tables, draw by draw.

A posterior, or a finished run, holds draws of the population's parameters. For each of them the model makes
weighted galaxies as a survey would list them that need not exist: `PlannedSurvey` describes its bands,
slices, selection and errors. Zero points of the fitted survey are left out, redshift errors are the planned
survey's own. All draws see the same halos.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from popinfer.data.filters import load_filters
from popinfer.model.halo_sample import HaloSpec, draw_halo_batches, predict_seen
from popinfer.model.population import Light, PopulationModel
from popinfer.model.survey import AnySurvey
from popinfer.population.parameters import ModelParams
from popinfer.records import Galaxies, Halos

_ONE_SAMPLE = HaloSpec(n_batch=1, n_halo=4096)


@runtime_checkable
class Fitted(Protocol):
    """What predictions are made from: `Posterior` and `FinishedRun` are of this kind."""

    @property
    def model(self) -> PopulationModel:
        """The population's model in the fitted survey's bands."""
        ...

    @property
    def light(self) -> Light:
        """The stellar populations that it was made of."""
        ...

    def params_at(self, u: Float[Array | np.ndarray, "par"]) -> ModelParams:
        """All parameters, physical, where the free ones are at u."""
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """Galaxies of a survey for draws of a posterior.

    Attributes
    ----------
    model : the population's in the survey's bands and slices.
    survey : what is predicted.
    halos : arrays [slice, halo].
    params : parameters of each draw.
    """

    model: PopulationModel
    survey: AnySurvey
    halos: Halos
    params: tuple[ModelParams, ...]

    def __len__(self) -> int:
        return len(self.params)

    def galaxies(self, draw: int) -> Galaxies:
        """Weighted galaxies of one draw, arrays [slice, point]."""
        return predict_seen(self.model, self.survey, self.params[draw], self.halos)

    def table(self, draw: int) -> pd.DataFrame:
        """Galaxies of one draw, see `galaxies_table`."""
        return galaxies_table(self.galaxies(draw), self.halos, self.survey.bands)

    def tables(self) -> Iterator[pd.DataFrame]:
        """Galaxies of each draw; one table is in memory at a time."""
        return (self.table(draw) for draw in range(len(self)))


def predict(
    key: PRNGKeyArray,
    fitted: Fitted,
    draws: Float[Array | np.ndarray, "draw par"],
    survey: AnySurvey,
    halos: HaloSpec | None = None,
) -> Prediction:
    """Predict what a survey would list for draws of a posterior.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of the halos.
    fitted : Fitted
        A posterior or a finished run.
    draws : Float[Array | np.ndarray, "draw par"]
        Vectors of its free parameters, such as `draw_vectors` gives of an InferenceData.
    survey : AnySurvey
        What is predicted, in bands and slices of its own.
    halos : HaloSpec or None
        Size of the sample, whose batches are joined; 4,096 halos a slice above 10^11 Msun when absent.

    Returns
    -------
    Prediction
        Galaxies of each draw, computed when asked for.

    Raises
    ------
    InputError
        A filter or slice can't be used.
    """
    light = dataclasses.replace(fitted.light, filters=load_filters(survey.filters))
    model = fitted.model.in_bands(light, survey.bands, survey.slices, survey.photoz)
    params = tuple(
        model.for_survey(fitted.params_at(u), survey.bands, survey.photoz) for u in np.asarray(draws)
    )
    batches = draw_halo_batches(key, model, survey, halos or _ONE_SAMPLE, params[0])
    return Prediction(model, survey, joined_batches(batches), params)


def joined_batches(batches: Halos) -> Halos:
    """Halos [slice, halo] of all batches [batch, slice, halo] as one sample."""
    n_batch, n_slice, n_halo = batches.weight.shape

    def joined(x: Array | np.ndarray) -> Array | np.ndarray:
        return x.swapaxes(0, 1).reshape(n_slice, n_batch * n_halo, *x.shape[3:])

    halos = jax.tree.map(joined, batches)
    return eqx.tree_at(lambda h: h.weight, halos, halos.weight / n_batch)


def galaxies_table(galaxies: Galaxies, halos: Halos, bands: tuple[str, ...]) -> pd.DataFrame:
    """Model galaxies with their physical properties, a row a galaxy.

    Parameters
    ----------
    galaxies : Galaxies
        Weighted galaxies of every slice, arrays [slice, point].
    halos : Halos
        Theirs, arrays [slice, halo].
    bands : tuple[str, ...]
        Names of the bands.

    Returns
    -------
    DataFrame
        ``slice``; ``halo``, the number of its halo in the slice's sample; ``quenched``, which of the halo's
        two galaxies; ``central``; ``redshift``, the true one; ``lg_mhalo``, log10 of today's peak halo mass
        [Msun]; ``lg_mstar`` [log10 Msun]; ``lg_ssfr`` [log10 1/yr]; ``lgmet``, log10 of the mass fraction in
        metals; ``av`` [mag]; ``weight``, mean number per volume that the survey lists [1/Mpc^3], and
        ``weight_all``, all there are; ``mag_true_<band>`` and ``mag_<band>``, apparent magnitudes without and
        with the survey's errors [AB mag].
    """
    n_slice, n_halo = halos.weight.shape
    columns = {
        "slice": np.repeat(np.arange(n_slice), 2 * n_halo),
        "halo": np.tile(np.arange(n_halo), 2 * n_slice),
        "quenched": np.tile(np.repeat([False, True], n_halo), n_slice),
        "central": _of_halos(halos.is_central) > 0.5,
        "redshift": _of_halos(halos.z_obs),
        "lg_mhalo": _of_halos(halos.logmp0),
    }
    for name in ("lg_mstar", "lg_ssfr", "lgmet", "av", "weight", "weight_all"):
        columns[name] = np.asarray(getattr(galaxies, name)).ravel()
    for name in ("mag_true", "mag"):
        values = np.asarray(getattr(galaxies, name)).reshape(-1, len(bands))
        columns |= {f"{name}_{band}": column for band, column in zip(bands, values.T, strict=True)}
    return pd.DataFrame(columns)


def _of_halos(x: Float[Array | np.ndarray, "slice halo"]) -> Float[np.ndarray, "row"]:
    """A property of halos, for both galaxies of each."""
    return np.tile(np.asarray(x), (1, 2)).ravel()
