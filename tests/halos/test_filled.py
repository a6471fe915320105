"""A simulation with drawn halos below its resolution: together they are the halos of a deeper one."""

import dataclasses

import numpy as np
import pytest
from halo_boxes import make_box, read_box

from popinfer.errors import InputError
from popinfer.halos.filled import FilledHalos
from popinfer.halos.lightcone import LightconeSpec, draw_halos
from popinfer.halos.source import HaloPart
from popinfer.random import root_key

SIDE, SLICE, LIMIT = 80.0, (0.06, 0.09), 11.7
SPEC = LightconeSpec(*SLICE, n_halo=1 << 13, lgm_min=11.2, n_normal=2)


@pytest.fixture(scope="module")
def box():
    return make_box(1, SIDE)


@pytest.fixture(scope="module")
def filled(box):
    """The box above a limit, with drawn halos below."""
    return FilledHalos(read_box(box, SLICE, LIMIT), survival=0.4)


def density(halos, inside):
    return float((np.asarray(halos.weight) * inside).sum()) * SIDE**3


@pytest.mark.parametrize("changed", [{}, {"flatten": 0.5}, {"detection": ((11.0, 13.0), (0.01, 1.0))}])
def test_halos_are_those_of_a_deeper_simulation(box, filled, changed):
    halos = filled.draw([root_key(1)], [dataclasses.replace(SPEC, **changed)])
    assert halos.weight.shape == (1, 1, SPEC.n_halo)
    assert halos.normals.shape == (1, 1, SPEC.n_halo, 2)
    for kind, centrals in (("centrals", box.columns["upid"] < 0), ("satellites", box.columns["upid"] >= 0)):
        here = (np.asarray(halos.is_central) > 0.5) == (kind == "centrals")
        n = float(centrals.sum())
        # those of the box itself scatter by Poisson noise, drawn ones hardly
        assert density(halos, here) == pytest.approx(n, rel=0.03 + 3 / np.sqrt(n)), kind
    massive = np.asarray(halos.mah_params.logm0) > 12.3
    assert density(halos, massive) == pytest.approx((box.columns["logm0"] > 12.3).sum(), rel=0.08)


def test_drawn_halos_end_where_the_simulation_begins():
    halos = draw_halos(root_key(1), dataclasses.replace(SPEC, lgm_max=LIMIT))
    # as many as the whole lightcone has there: 2 % of noise each
    whole = draw_halos(root_key(2), dataclasses.replace(SPEC, n_halo=1 << 15))
    from popinfer.cosmology import PLANCK15, age
    from popinfer.halos.completed import log_mah

    logt0 = float(np.log10(age(PLANCK15, 0.0)))
    assert log_mah(halos.mah_params, halos.t_obs, logt0).max() < LIMIT + 1e-3
    below = log_mah(whole.mah_params, whole.t_obs, logt0) < LIMIT
    for central in (True, False):
        here, there = ((np.asarray(h.is_central) > 0.5) == central for h in (halos, whole))
        expected = whole.weight[there & below].sum()
        assert halos.weight[here].sum() == pytest.approx(expected, rel=0.04)


def test_batches_of_pieces_have_drawn_halos_each(filled):
    spec = dataclasses.replace(SPEC, n_halo=256)
    keys = [root_key(i) for i in range(8)]
    halos = filled.draw(keys, [spec], [HaloPart(i, 8) for i in range(8)])
    whole = filled.draw([root_key(9)], [dataclasses.replace(spec, n_halo=1 << 13)])
    assert np.asarray(halos.weight).sum(axis=2).mean() == pytest.approx(
        np.asarray(whole.weight).sum(), rel=0.05
    )
    assert len({float(x) for x in np.asarray(halos.weight)[:, 0, -1]}) == 8  # no two batches alike


def test_nothing_is_drawn_where_the_simulation_suffices(filled):
    spec = dataclasses.replace(SPEC, n_halo=64, lgm_min=12.0)
    halos = filled.draw([root_key(1)], [spec])
    names = set(np.asarray(filled.simulation.pools[0].halos.logmp0).tolist())
    assert set(np.asarray(halos.logmp0).ravel().tolist()) <= names


def test_too_few_halos_of_two_kinds_are_refused(filled):
    with pytest.raises(InputError, match=r"n_per_slice: 24 halos .* at least 32"):
        filled.draw([root_key(1)], [dataclasses.replace(SPEC, n_halo=24)])
