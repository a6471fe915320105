"""The model of a survey, without run files: what it saw, and what a population makes of halos for it."""

from .counts import (
    HaloCounts,
    PopulationModel,
    SurveyModel,
    model_error_cov,
    predict_galaxies,
    survey_data,
)
from .survey import Design, Survey

__all__ = [
    "Design",
    "HaloCounts",
    "PopulationModel",
    "Survey",
    "SurveyModel",
    "model_error_cov",
    "predict_galaxies",
    "survey_data",
]
