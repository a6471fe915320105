"""The table of a run file's keys: complete, and every key with a meaning."""

import importlib
import pkgutil

import pytest

import popinfer.config
from popinfer import cli
from popinfer.config.keys import key_table, keys_below, run_file_keys
from popinfer.config.run import RunConfig
from popinfer.config.section import Section
from popinfer.errors import InputError

KEYS = {key.path: key for key in run_file_keys()}
for module in pkgutil.iter_modules(popinfer.config.__path__):
    importlib.import_module(f"popinfer.config.{module.name}")


def sections(base=Section):
    """Every section that the package has."""
    for section in base.__subclasses__():
        if section.__module__.startswith("popinfer.config"):
            yield section
        yield from sections(section)


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_every_key_says_what_it_means(section):
    for name, field in section.model_fields.items():
        meaning = field.description or ""
        assert meaning[:1].isupper() and meaning.endswith("."), name


def test_every_key_of_every_section_is_in_the_table():
    meanings = {key.meaning for key in KEYS.values()}
    for section in sections():
        if section.__name__ == "ComponentConfig":  # its settings are those of a class
            continue
        for name, field in section.model_fields.items():
            assert field.description in meanings, (section.__name__, name)


@pytest.mark.parametrize(
    ("path", "type", "unit", "default"),
    [
        ("seed", "integer >= 0, < 9.22337e+18", "", "1"),
        ("catalog.selection.faint_mag", "number >= 8, <= 33", "mag", "required"),
        ("catalog.bands.<name>.softening", "number >= 1e-14, <= 0.001", "maggies", "none"),
        ("catalog.cuts[] (linear).threshold_mag", "number", "mag", "required"),
        ("joint[] (mass_function).lgm_range", "pair of number", "log10 Msun", "(9.5, 11.5)"),
        ("halos.lgm_min", "number >= 9, < 14.3 or list of number >= 9, < 14.3", "log10 Msun", "11"),
        ("halos.source", "section", "", "lightcone"),
        ("fit", "section", "", "its keys' own"),
        ("model.birth_cloud", "component: equal, proportional, none, or module:Class", "", "equal"),
        ("catalog.errors", "component: fitted, or module:Class", "", "fitted"),
        ("sample (smc).n_moves", "integer >= 1, <= 1000", "", "3"),
    ],
)
def test_keys_are_described(path, type, unit, default):
    assert KEYS[path][1:4] == (type, unit, default)


@pytest.mark.parametrize(
    ("section", "first", "last", "number"),
    [
        ("", "name", "predictive.n_draws", len(KEYS)),
        ("kernels", "kernels", "kernels.model_error", 8),
        ("predictive.n_draws", "predictive.n_draws", "predictive.n_draws", 1),
        ("number_density", "catalog.number_density", "catalog.number_density.bias", 4),
        ("bands.value", "catalog.bands.<name>.value", "catalog.bands.<name>.value", 1),
    ],
)
def test_keys_of_a_section(section, first, last, number):
    found = [key.path for key in keys_below(section)]
    assert (found[0], found[-1], len(found)) == (first, last, number)


def test_an_unknown_section_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="'kernles'; did you mean 'kernels'"):
        keys_below("kernles")
    with pytest.raises(InputError, match="sections: name, seed"):
        keys_below("qqqqqq")


def test_the_command_prints_the_table(capsys):
    assert cli.main(["keys", "predictive"]) == 0
    assert capsys.readouterr().out == key_table(keys_below("predictive")) + "\n"
    assert cli.main(["keys", "no_such_section"]) == 2


def test_sections_of_the_run_file_are_in_its_order():
    top = [path for path in KEYS if "." not in path and " " not in path and "[" not in path]
    assert top == list(RunConfig.model_fields)
