"""popinfer: gradient-based population inference of the galaxy-halo connection.

The public names load on first use; importing the package leaves JAX's settings as they were. Programs call
`start` first, which makes float64 available:

    import popinfer
    popinfer.start()
    ready = popinfer.prepare("configs/sdss.yaml")
    verdict = popinfer.run_all(ready)
"""

# pyright: reportUnsupportedDunderAll=false
import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "start": "popinfer.precision",
    "InputError": "popinfer.errors",
    "NotConvergedError": "popinfer.errors",
    "RunConfig": "popinfer.config",
    "load_config": "popinfer.config",
    "Prior": "popinfer.params",
    "ParamSpace": "popinfer.params",
    "load_catalog": "popinfer.data",
    "load_ssp": "popinfer.data",
    "load_filters": "popinfer.data",
    "ForwardModel": "popinfer.population.forward",
    "draw_halos": "popinfer.population.halos",
    "root_key": "popinfer.random",
    "stream": "popinfer.random",
    "KernelCounts": "popinfer.loss.kernel_counts",
    "Likelihood": "popinfer.infer.likelihood",
    "PopulationModel": "popinfer.model",
    "Survey": "popinfer.model",
    "SurveyModel": "popinfer.model",
    "Light": "popinfer.model",
    "Component": "popinfer.components",
    "Declaration": "popinfer.params",
    "GalaxyProperties": "popinfer.population.roles",
    "StellarMetallicity": "popinfer.population.roles",
    "DustAmount": "popinfer.population.roles",
    "Histories": "popinfer.population.roles",
    "SfhModel": "popinfer.population.roles",
    "MetallicityRelation": "popinfer.population.roles",
    "DustRelation": "popinfer.population.roles",
    "SfrFluctuation": "popinfer.population.roles",
    "GasRelation": "popinfer.population.roles",
    "SatelliteOccupation": "popinfer.population.roles",
    "TemplateOffset": "popinfer.population.roles",
    "ZeroPointModel": "popinfer.population.roles",
    "DustLaw": "popinfer.sps.dust",
    "BirthClouds": "popinfer.sps.dust",
    "Gas": "popinfer.sps.light_table",
    "Design": "popinfer.model",
    "HaloCounts": "popinfer.model",
    "free_space": "popinfer.model",
    "survey_data": "popinfer.model",
    "LogDensity": "popinfer.infer.likelihood",
    "likelihood_at": "popinfer.infer.search",
    "draw_slices": "popinfer.population.halos",
    "LightconeSpec": "popinfer.population.halos",
    "KernelSpec": "popinfer.loss.kernel_counts",
    "Selection": "popinfer.survey.selection",
    "MagnitudeLimit": "popinfer.survey.selection",
    "prepare": "popinfer.run.prepare",
    "load_population": "popinfer.run.prepare",
    "make_mock": "popinfer.run.mock",
    "run_all": "popinfer.run.stages",
    "RunSummary": "popinfer.report",
    "judge": "popinfer.report",
    "write_report": "popinfer.report",
}
__all__ = [
    "BirthClouds",
    "Component",
    "Declaration",
    "Design",
    "DustAmount",
    "DustLaw",
    "DustRelation",
    "ForwardModel",
    "GalaxyProperties",
    "Gas",
    "GasRelation",
    "HaloCounts",
    "Histories",
    "InputError",
    "KernelCounts",
    "KernelSpec",
    "Light",
    "LightconeSpec",
    "Likelihood",
    "LogDensity",
    "MagnitudeLimit",
    "MetallicityRelation",
    "NotConvergedError",
    "ParamSpace",
    "PopulationModel",
    "Prior",
    "RunConfig",
    "RunSummary",
    "SatelliteOccupation",
    "Selection",
    "SfhModel",
    "SfrFluctuation",
    "StellarMetallicity",
    "Survey",
    "SurveyModel",
    "TemplateOffset",
    "ZeroPointModel",
    "draw_halos",
    "draw_slices",
    "free_space",
    "judge",
    "likelihood_at",
    "load_catalog",
    "load_config",
    "load_filters",
    "load_population",
    "load_ssp",
    "make_mock",
    "prepare",
    "root_key",
    "run_all",
    "start",
    "stream",
    "survey_data",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'popinfer' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
