"""The names that users import."""

import dataclasses
import importlib.metadata
import inspect
import subprocess
import sys
import typing

import pytest
from packaging.version import Version

import popinfer

# what programs call; the types that these take and return follow from their annotations
CALLED = {
    "age_weights",
    "draw_halos",
    "draw_slices",
    "draw_vectors",
    "draws_table",
    "find_maxima",
    "free_space",
    "galaxies_table",
    "judge",
    "likelihood_at",
    "load_catalog",
    "load_config",
    "load_filters",
    "load_nebular",
    "load_population",
    "load_ssp",
    "make_mock",
    "open_run",
    "predict",
    "prepare",
    "root_key",
    "run_all",
    "start",
    "stream",
    "survey_data",
    "to_inference_data",
    "write_report",
}


def test_public_functions_are_exactly_these():
    assert set(popinfer.__all__) == set(popinfer._HOMES)
    functions = {name for name in popinfer.__all__ if not inspect.isclass(getattr(popinfer, name))}
    assert functions == CALLED
    assert set(dir(popinfer)) >= set(popinfer.__all__)


@pytest.mark.parametrize("name", popinfer.__all__)
def test_public_names_load_and_are_documented(name):
    thing = getattr(popinfer, name)
    assert thing.__name__ == name
    assert thing.__doc__


def signatures(thing):
    """Annotations of a function, or of a class's fields and of its public methods."""
    if not inspect.isclass(thing):
        yield typing.get_type_hints(inspect.unwrap(thing))
        return
    if dataclasses.is_dataclass(thing):
        yield {field.name: field.type for field in dataclasses.fields(thing) if field.init}
    for name, member in vars(thing).items():
        if name.startswith("_") and name != "__call__":
            continue
        attributes = ("__func__", "fget", "func")
        function = next((getattr(member, a) for a in attributes if hasattr(member, a)), member)
        if inspect.isfunction(inspect.unwrap(function)):
            yield typing.get_type_hints(inspect.unwrap(function))


def classes_in(annotation):
    """Classes of this package that an annotation is made of."""
    for part in typing.get_args(annotation):
        yield from classes_in(part)
    if inspect.isclass(annotation) and annotation.__module__.startswith("popinfer"):
        yield annotation


@pytest.mark.parametrize("name", popinfer.__all__)
def test_all_that_public_names_take_and_return_is_public(name):
    parts = [
        part
        for signature in signatures(getattr(popinfer, name))
        for annotation in signature.values()
        for part in classes_in(annotation)
    ]
    assert {part.__name__ for part in parts} <= set(popinfer.__all__)


def test_annotations_are_walked():
    (signature,) = signatures(popinfer.load_catalog)
    assert list(classes_in(signature["spec"])) == [popinfer.CatalogSpec]
    assert list(classes_in(tuple[popinfer.Halos, ...] | None)) == [popinfer.Halos]
    taken = [part for hints in signatures(popinfer.Posterior) for part in map(classes_in, hints.values())]
    assert {popinfer.Survey, popinfer.LogDensity} <= {cls for parts in taken for cls in parts}


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        popinfer.fit_everything  # noqa: B018


def test_version_is_the_packages():
    assert popinfer.__version__ == importlib.metadata.version("popinfer")
    assert Version(popinfer.__version__) >= Version("0.1.0.dev0")


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert popinfer.__version__ == "unknown"


def test_import_is_light():
    """``import popinfer`` alone loads no JAX: `popinfer --help` and tab completion stay fast."""
    code = "import sys, popinfer; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_is_a_command():
    ran = subprocess.run([sys.executable, "-m", "popinfer", "--help"], check=False, capture_output=True)
    assert ran.returncode == 0
    assert b"calibrate" in ran.stdout
