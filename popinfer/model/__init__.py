"""The model of a survey, without run files: what it saw, and what a population makes of halos for it."""

from .counts import (
    HaloCounts,
    SurveyModel,
    model_error_cov,
    predict_galaxies,
    survey_data,
)
from .halo_sample import HaloSpec, aimed, draw_halo_batches, lightcones, weights_of_halos
from .population import Light, PopulationModel, free_space
from .posterior import ModelSpec, Posterior
from .prediction import Fitted, Prediction, galaxies_table, joined_batches, predict
from .survey import AnySurvey, Design, PlannedSurvey, Survey

__all__ = [
    "AnySurvey",
    "Design",
    "Fitted",
    "HaloCounts",
    "HaloSpec",
    "Light",
    "ModelSpec",
    "PlannedSurvey",
    "PopulationModel",
    "Posterior",
    "Prediction",
    "Survey",
    "SurveyModel",
    "aimed",
    "draw_halo_batches",
    "free_space",
    "galaxies_table",
    "joined_batches",
    "lightcones",
    "model_error_cov",
    "predict",
    "predict_galaxies",
    "survey_data",
    "weights_of_halos",
]
