"""A small problem of the real chain, in double precision, for gradients and consistency."""

from pathlib import Path

import jax
import numpy as np
import pytest

from popinfer.config import load_config
from popinfer.random import root_key
from popinfer.run.build import (
    build_problem,
    build_setup,
    draw_slices,
    lightcones,
)
from popinfer.run.observed import build_catalog, build_survey

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "sdss.yaml"


@pytest.fixture(scope="session")
def small_config():
    """The full run file with two slices, 128 halos each, and float64."""
    config = load_config(CONFIG)
    halos = config.halos.model_copy(
        update={"n_per_slice": 128, "lgm_min": [config.lgm_min_of(i) for i in range(2)]}
    )
    kernels = config.kernels.model_copy(update={"n_centers": 40})
    return config.model_copy(
        update={"halos": halos, "slices": config.slices[:2], "precision": "double", "kernels": kernels}
    )


@pytest.fixture(scope="session")
def small_problem(small_config):
    """The inference problem of `small_config`, with four replicate halo samples."""
    setup = build_setup(small_config)
    survey = build_survey(small_config, build_catalog(small_config))
    specs = lightcones(small_config)
    halos = [draw_slices(root_key(seed), specs) for seed in range(100, 600, 100)]
    return build_problem(setup, survey, jax.tree.map(np.asarray, halos[0]), halos[1:])
