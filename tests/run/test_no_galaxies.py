"""A model whose galaxies the survey can't see is told so, with magnitudes and limits."""

from types import SimpleNamespace

import numpy as np
import pytest

from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.run.build import check_listed


def config(cuts=()):
    selection = SimpleNamespace(band="r", bright_mag=13.0, faint_mag=17.5)
    catalog = SimpleNamespace(selection=selection, bands={"g": 0, "r": 1}, all_cuts=list(cuts))
    return RunConfig.model_construct(catalog=catalog, slices=[(0.05, 0.1), (0.1, 0.2)])


MAG = np.stack([np.full((2, 4), 99.0), [[15.0, 16, 17, 18], [45.1, 46, 50.2, np.inf]]], axis=-1)


@pytest.mark.parametrize("seen", [0.0, 1e-15, np.nan])
def test_slices_without_galaxies_are_named(seen):
    with pytest.raises(InputError) as caught:
        check_listed(config(), MAG, np.array([[1.0, 0.5], [seen, 0.0]]), np.ones((2, 2)))
    message = str(caught.value)
    assert "slices.1 (z = 0.1 to 0.2): the model makes no galaxy that the survey lists" in message
    assert "Its r magnitudes are 45.1 to 50.2; catalog.selection lists 13 to 17.5" in message
    assert "model.ssp" in message and "\n" not in message


def test_further_cuts_and_galaxies_without_light_are_said():
    with pytest.raises(InputError, match="and 2 further cuts"):
        check_listed(config([1, 2]), MAG, np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match="are not a number or infinitely faint"):
        check_listed(config(), MAG * np.inf, np.zeros((2, 2)), np.ones((2, 2)))


def test_few_galaxies_are_enough():
    check_listed(config(), MAG, np.full((2, 2), 1e-9), np.ones((2, 2)))
