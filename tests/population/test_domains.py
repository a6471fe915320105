"""Declarations of parameters against the components that they are about."""

import numpy as np
import pytest
from diffstar.diffstarpop import DIFFSTARPOP_PBOUNDS, DiffstarPopParams
from popinfer.population.domains import CALIBRATIONS, DECLARED, check_values, declaration_of, outside_domain

from popinfer.errors import InputError
from popinfer.population.burstiness import BurstinessParams
from popinfer.population.dust import DustPopulationParams
from popinfer.population.metallicity import MassMetallicityParams
from popinfer.population.parameters import HaloParams, ParamNames, PhotozParams, fiducial_params
from popinfer.population.sfh import Families, calibration

GROUPS = {
    "metallicity": MassMetallicityParams,
    "dust": DustPopulationParams,
    "burstiness": BurstinessParams,
    "halos": HaloParams,
    "photoz": PhotozParams,
}


def test_every_parameter_is_declared_and_no_other():
    names = [f"sfh.{field}" for field in (*Families._fields, *DiffstarPopParams._fields)]
    names += [f"{group}.{field}" for group, params in GROUPS.items() for field in params._fields]
    assert sorted(names) == sorted(DECLARED)


def test_domains_hold_more_than_a_point_and_have_a_meaning():
    assert all(one.low < one.high and one.meaning for one in DECLARED.values())


def test_diffstarpops_ranges_are_those_of_diffstar():
    for field in DiffstarPopParams._fields:
        declared = DECLARED[f"sfh.{field}"]
        np.testing.assert_allclose((declared.low, declared.high), getattr(DIFFSTARPOP_PBOUNDS, field))


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_fiducial_values_lie_in_their_domains(name):
    params = fiducial_params(name, ParamNames(("g",), (4300.0,)))
    for field, value in zip(DiffstarPopParams._fields, params.sfh, strict=True):
        assert outside_domain(f"sfh.{field}", float(value)) == ""
    for group in ("families", "metallicity", "dust", "burstiness", "halos"):
        for field, value in getattr(params, group)._asdict().items():
            assert outside_domain(f"{'sfh' if group == 'families' else group}.{field}", float(value)) == ""


def test_all_calibrations_are_known():
    with pytest.raises(InputError) as refused:
        calibration("none")
    assert all(name in str(refused.value) for name in CALIBRATIONS)
    assert str(refused.value).count(",") == len(CALIBRATIONS) - 1


def test_nuisances_are_declared_by_band_and_knot():
    assert declaration_of("zero_point.g").unit == declaration_of("template.4300").unit == "mag"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"dust.lg_av": float("nan")}, "dust.lg_av is nan, outside its domain, -6 to 2 dex"),
        (
            {"dust.scatter": -0.1},
            "dust.scatter is -0.1, outside its domain, 0 to 2 dex: scatter is never",
        ),
        ({"zero_point.q": 0.0}, "unknown parameter 'zero_point.q': bands are g"),
        ({"dust.lg_avv": 0.0}, "did you mean 'dust.lg_av'?"),
    ],
)
def test_values_are_checked_one_by_one(values, says):
    with pytest.raises(InputError) as refused:
        check_values({"dust.delta": 0.0, **values}, ["g"], [4300.0])
    assert says in str(refused.value)
