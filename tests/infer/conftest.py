"""A small problem of the real chain, in double precision, for gradients and consistency."""

from pathlib import Path

import jax
import numpy as np
import pytest

from popinfer.config import load_config
from popinfer.halos.lightcone import draw_slices
from popinfer.model import HaloCounts, SurveyModel, survey_data
from popinfer.random import root_key
from popinfer.run.build import build_light, build_model, in_precision, lightcones
from popinfer.run.catalog import build_catalog
from popinfer.run.observed import build_survey

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "sdss.yaml"


@pytest.fixture(scope="session")
def small_problem():
    """Counts on four batches of 128 halos a slice, and data: the full run file, two slices, float64."""
    config = load_config(CONFIG)
    halos = config.halos.model_copy(
        update={"n_per_slice": 128, "lgm_min": [config.lgm_min_of(i) for i in range(2)]}
    )
    kernels = config.kernels.model_copy(update={"n_centers": 40})
    config = config.model_copy(
        update={"halos": halos, "slices": config.slices[:2], "precision": "double", "kernels": kernels}
    )
    model = build_model(config, *build_light(config))
    survey = build_survey(config, build_catalog(config))
    batches = [draw_slices(root_key(seed), lightcones(config)) for seed in range(100, 500, 100)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *batches)
    counts = HaloCounts.of(in_precision(config, stacked), SurveyModel.of(model, survey))
    return counts, survey_data(survey, config.kernels.model_error)
