"""Declarations of parameters, and the names and values that they let through."""

import numpy as np
import pytest
from diffstar.diffstarpop import DIFFSTARPOP_PBOUNDS, DiffstarPopParams
from diffstar.diffstarpop.kernels.params.params_diffstarpopfits_mgash import (
    DiffstarPop_Params_Diffstarpopfits_mgash as SHIPPED,
)

from popinfer.components import ROLES, declarations, load_component
from popinfer.errors import InputError
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import (
    check_values,
    declared_parameters,
    fiducial_params,
    outside_domain,
    with_values,
)
from popinfer.population.sfh import CALIBRATIONS, DIFFSTARPOP, DiffstarPop

MODEL = ForwardModel().in_bands(("g", "r"))
DECLARED = declared_parameters(MODEL.components)


def test_domains_hold_more_than_a_point_and_have_a_meaning():
    assert all(one.low < one.high and one.meaning for one in DECLARED.values())


def test_every_parameter_but_diffstarpops_own_has_a_default_prior():
    without = {name for name, declared in DECLARED.items() if declared.prior is None}
    assert without == {f"sfh.{name}" for name in DIFFSTARPOP}


@pytest.mark.parametrize("role", ROLES)
def test_every_default_prior_says_where_it_comes_from(role):
    """A paper with its year, another measurement, or that it is a choice."""
    for kind in ROLES[role].kinds:
        component = load_component(role, kind, {"bands": ("g",)} if role == "zero_point" else None)
        for name, field in declarations(component.Params).items():
            if field.declaration.prior is not None:
                assert field.declaration.source, f"{role}.{name} of {kind}"


def test_diffstarpops_ranges_and_names_are_those_of_diffstar():
    assert set(DIFFSTARPOP) == set(DiffstarPopParams._fields)
    for name, declared in DIFFSTARPOP.items():
        np.testing.assert_allclose((declared.low, declared.high), getattr(DIFFSTARPOP_PBOUNDS, name))


def test_calibrations_are_those_of_diffstar():
    assert set(CALIBRATIONS) == set(SHIPPED)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_fiducial_values_lie_in_their_domains(name):
    params = fiducial_params({**MODEL.components, "sfh": DiffstarPop(name)})
    for group, part in zip(params._fields, params, strict=True):
        for label, field in declarations(type(part)).items():
            value = float(getattr(part, field.name))
            assert outside_domain(f"{group}.{label}", value, DECLARED) == ""


def test_an_unknown_calibration_is_answered_with_all_of_them():
    with pytest.raises(InputError) as refused:
        DiffstarPop("none")
    assert all(name in str(refused.value) for name in CALIBRATIONS)


def test_nuisances_are_declared_by_band_and_knot():
    assert DECLARED["zero_point.g"].unit == DECLARED["template.4300"].unit == "mag"
    params = with_values(fiducial_params(MODEL.components), {"zero_point.r": 0.1, "template.4300": -0.2})
    assert params.zero_point == (0.0, 0.1) and params.template[:5] == (0.0, -0.2, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"dust.lg_av": float("nan")}, "dust.lg_av is nan, outside its domain, -6 to 2 dex"),
        (
            {"dust.scatter": -0.1},
            "dust.scatter is -0.1, outside its domain, 0 to 2 dex: scatter is never",
        ),
        ({"zero_point.q": 0.0}, "unknown parameter 'zero_point.q': bands are g, r"),
        ({"template.5000": 0.0}, "unknown parameter 'template.5000': knots are 3200, 4300"),
        ({"dust.lg_avv": 0.0}, "did you mean 'dust.lg_av'?"),
        ({"dust.delta": 0.0}, "did you mean 'dust_law.delta'?"),
        ({"halos.satellite_survival": 0.3}, "did you mean 'satellites.survival'?"),
        ({"sfh.efficency": 0.3}, "did you mean 'sfh.efficiency'?"),
        (
            {"dust_law.slope": -0.7},
            "unknown parameter 'dust_law.slope': it belongs to model.dust_law: power_law",
        ),
    ],
)
def test_values_are_checked_one_by_one(values, says):
    with pytest.raises(InputError) as refused:
        check_values({"dust_law.delta": 0.0, **values}, DECLARED)
    assert says in str(refused.value)
    with pytest.raises(InputError, match="unknown parameter"):
        with_values(fiducial_params(MODEL.components), {"nonsense": 1.0})
