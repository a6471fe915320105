"""Every built-in component, and wrong ones, against the conformance test that users call."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.components import ROLES, component_class, declarations, load_component
from popinfer.errors import InputError
from popinfer.params import Declaration
from popinfer.population.roles import MetallicityRelation, StellarMetallicity
from popinfer.sps.dust import DustLaw
from popinfer.testing import check_component

BUILT_IN = [(role, kind) for role, place in ROLES.items() for kind in place.kinds]


@pytest.mark.parametrize(("role", "kind"), BUILT_IN, ids=lambda x: x)
def test_every_built_in_component(role, kind):
    chosen = component_class(role, kind)
    check_component(chosen(("g", "r")) if role == "zero_point" else chosen(), role)


LEVEL = Declaration("dex", "log10 Z of all galaxies", -4, -1)


class Level(NamedTuple):
    level: Annotated[float, LEVEL] = -1.8


class Flat(MetallicityRelation):
    Params = Level

    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(params.level + 0 * galaxy.z, 0.2 + 0 * galaxy.z)


class Slope(NamedTuple):
    slope: Annotated[float, Declaration("", "slope of the law", -3, 0)] = -0.7


class Powers(DustLaw):
    """(wave / scale)^slope, times a factor; one at 5500 Angstrom when all is well."""

    Params = Slope
    scale: float = 5500.0
    factor: float = 1.0

    def __call__(self, wave, params):
        return self.factor * (wave / self.scale) ** params.slope


class Swapped(Powers):
    def __call__(self, params, wave):
        return (wave / 5500.0) ** params.slope


class WithNumpy(Powers):
    def __call__(self, wave, params):
        return np.power(wave / 5500.0, np.asarray(params.slope))


def test_a_dust_law_is_one_in_v():
    check_component(Powers())
    for wrong, value in ((Powers(factor=2.0), "is 2 at 5500"), (Powers(scale=0.55), "is 0.0015")):
        with pytest.raises(AssertionError, match=value):
            check_component(wrong)


def test_what_cannot_be_called_is_told_how_it_has_to_be():
    for wrong, reason in ((Swapped(), "TypeError"), (WithNumpy(), "TracerArrayConversionError")):
        with pytest.raises(AssertionError, match=rf"called with \(wave, params\) it fails: {reason}"):
            check_component(wrong)
    with pytest.raises(AssertionError, match=r"Powers: give an instance, Powers\(\)"):
        check_component(Powers)


class Kinked(Flat):
    """Its gradient isn't that of its values."""

    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(jax.lax.stop_gradient(params.level) + 0 * galaxy.z, 0.2 + 0 * galaxy.z)


class Negative(Flat):
    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(params.level + 0 * galaxy.z, -0.2 + 0 * galaxy.z)


class Double(Flat):
    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(params.level + 0 * galaxy.z, jnp.asarray(np.full((), 0.2)))


class Edge(Flat):
    """It breaks down at one end of its domain."""

    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(jnp.log10(-1 - params.level) + 0 * galaxy.z, 0.2 + 0 * galaxy.z)


class Unused(Flat):
    """It declares a parameter and forgets it."""

    def __call__(self, params, galaxy, normals):
        return StellarMetallicity(-0.3 + 0 * galaxy.z, 0.2 + 0 * galaxy.z)


def test_a_component_of_the_users_own_passes():
    check_component(Flat())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Kinked, "Kinked.level: its gradient is 0, finite differences say"),
        (Negative, "Negative: at its default parameters it gives -0.2"),
        (Double, "Double: float32 arguments give float64"),
        (Edge, "Edge: with level = -1 it gives -inf"),
        (Unused, "Unused.level: changes nothing that comes out between"),
    ],
)
def test_what_is_wrong_is_named(wrong, says):
    with pytest.raises(AssertionError, match=says):
        check_component(wrong())


class Undeclared(NamedTuple):
    slope: float = 1.0


class Unset(NamedTuple):
    slope: Annotated[float, LEVEL]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (Undeclared, r"Undeclared.slope: declare it, slope: Annotated\[Scalar, Declaration\(...\)\]"),
        (Unset, "Unset.slope: has no default value"),
        (dict, "dict: parameters of a component are a NamedTuple"),
    ],
)
def test_parameters_that_arent_declared_are_refused(params, says):
    with pytest.raises(InputError, match=says):
        declarations(params)


LAW = """
from typing import Annotated, NamedTuple
import popinfer
from popinfer import Declaration, DustLaw

class Steep(DustLaw):
    exponent: float = -1.0

    def __call__(self, wave, params):
        return (wave / 5500) ** self.exponent

class Unfinished(DustLaw):
    pass
"""


def test_components_come_from_files_and_modules(tmp_path):
    file = tmp_path / "laws.py"
    file.write_text(LAW, encoding="utf-8")
    law = load_component("dust_law", f"{file}:Steep", {"exponent": -1.3})
    assert isinstance(law, DustLaw) and law.exponent == -1.3
    check_component(law)
    assert type(load_component("dust_law", "popinfer.sps:Salim18")).__name__ == "Salim18"
    for kind, settings, says in (
        (f"{file}:Steap", {}, "no class 'Steap' there; did you mean 'Steep'"),
        (f"{file}:Steep", {"exponent": "much"}, "dust_law.exponent: Input should be a valid number"),
        (f"{file}:Unfinished", {}, "Unfinished can't be made: Can't instantiate abstract class"),
    ):
        with pytest.raises(InputError, match=says):
            load_component("dust_law", kind, settings)
