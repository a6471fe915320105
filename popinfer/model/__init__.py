"""The model of a survey, without run files: what it saw, and what a population makes of halos for it."""

from .counts import (
    HaloCounts,
    SurveyModel,
    model_error_cov,
    predict_galaxies,
    survey_data,
)
from .population import Light, PopulationModel, free_space
from .survey import Design, Survey

__all__ = [
    "Design",
    "HaloCounts",
    "Light",
    "PopulationModel",
    "Survey",
    "SurveyModel",
    "free_space",
    "model_error_cov",
    "predict_galaxies",
    "survey_data",
]
