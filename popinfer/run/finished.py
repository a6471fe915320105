"""A finished run read back: what it was, what it found, and the model and posterior that it had."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from popinfer.config import RunConfig, load_config
from popinfer.infer.draw_tables import draw_vectors, draws_table
from popinfer.inference_data import InferenceData
from popinfer.model import (
    AnySurvey,
    HaloSpec,
    Light,
    PopulationModel,
    Posterior,
    Prediction,
    predict,
)
from popinfer.population.parameters import ModelParams
from popinfer.report import RunSummary, Verdict, judge
from popinfer.run.fitting import read_fit
from popinfer.run.folder import RunFolder
from popinfer.run.prepare import Run, load_population, made_ready
from popinfer.run.stages import read_results
from popinfer.storage import read_sealed


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a run's folder holds. Nothing is computed but what is asked for.

    Draws, summary and verdict are read from the folder alone. `run`, `model` and `posterior` need the data
    files that the run file names, and refuse others than those of the run.

    Attributes
    ----------
    folder : the run's.
    config : the run file, with every default.
    idata : draws, prior and predictions; see `popinfer.report` for its groups.
    summary : numbers of all stages.
    """

    folder: RunFolder
    config: RunConfig
    idata: InferenceData
    summary: RunSummary

    @cached_property
    def verdict(self) -> Verdict:
        """Whether the draws can be believed: the convergence gate's."""
        return judge(self.idata)

    @property
    def draws(self) -> pd.DataFrame:
        """Posterior draws: a column a parameter, physical units, indexed by chain and draw."""
        return draws_table(self.idata)

    @cached_property
    def run(self) -> Run:
        """The run file made ready: catalog, survey, model; takes as long as the start of the run did."""
        return made_ready(self.config, self.folder)

    @property
    def model(self) -> PopulationModel:
        """The population's model."""
        return self.run.model

    @property
    def light(self) -> Light:
        """Stellar populations that the model was made of, and the survey's bands."""
        return self.run.light

    @cached_property
    def posterior(self) -> Posterior:
        """The exact posterior density on the run's halos, with the covariance that the fit settled on.

        A sampler that refined its surrogate took the halos' noise from further points too; its densities
        differ by that.
        """
        population = load_population(self.run)
        likelihood = read_fit(self.run, population.data).surrogate.likelihood
        return Posterior(self.model.space, population.counts, likelihood, self.light)

    def vectors(self, n: int | None = None) -> Float[np.ndarray, "draw par"]:
        """Posterior draws as vectors of the free parameters: n of them, evenly spaced, or all."""
        u = draw_vectors(self.model.space, self.idata)
        return u if n is None else u[np.linspace(0, len(u) - 1, min(n, len(u))).round().astype(int)]

    def params_at(self, u: Float[Array | np.ndarray, "par"]) -> ModelParams:
        """All parameters, physical, where the free ones are at u."""
        return self.model.params_at(jnp.asarray(u))

    def predict(
        self, key: PRNGKeyArray, survey: AnySurvey, n_draws: int = 16, halos: HaloSpec | None = None
    ) -> Prediction:
        """Galaxies of another survey for some of the draws, see `popinfer.predict`."""
        return predict(key, self, self.vectors(n_draws), survey, halos)


def open_run(folder: str | Path) -> FinishedRun:
    """Read a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run's results, such as ``results/sdss_quick``.

    Returns
    -------
    FinishedRun
        Draws, numbers and verdicts; its model and its exact density are built when they are asked for.

    Raises
    ------
    InputError
        The run isn't finished, or its files are broken or of different runs.
    """
    paths = RunFolder(Path(folder))
    read_sealed(paths.config, "config", "run")
    return FinishedRun(paths, load_config(paths.config), *read_results(paths))
