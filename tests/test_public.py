"""The names that users import."""

import importlib.metadata
import subprocess
import sys

import pytest

import popinfer

EXPECTED = {
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
}


def test_public_names_are_exactly_these():
    assert set(popinfer.__all__) == EXPECTED
    assert set(dir(popinfer)) >= EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_public_names_load_and_are_documented(name):
    thing = getattr(popinfer, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        popinfer.fit_everything  # noqa: B018


def test_version_is_the_packages():
    assert popinfer.__version__ == importlib.metadata.version("popinfer")


def test_import_is_light():
    """``import popinfer`` alone loads no JAX: `popinfer --help` and tab completion stay fast."""
    code = "import sys, popinfer; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
