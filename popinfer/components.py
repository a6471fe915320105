"""Components: the exchangeable parts of the model, each of which declares its own parameters once.

A component is one class. Its ``Params`` is a NamedTuple that declares each parameter in the annotation of a
field: unit, meaning, domain and default prior, beside the default value. Names of parameters, the checks of
run files, captions of reports and ``popinfer params`` are all made from that declaration.

    class Flat(popinfer.MetallicityRelation):
        class Params(NamedTuple):
            level: Annotated[Scalar, Declaration("dex", "log10 Z of all galaxies", -5, 0)] = -1.8

        def __call__(self, params, galaxy, normals):
            return StellarMetallicity(params.level, 0.2)

A run file picks a component for a *role* by the name of a built-in one, or as ``module:Class`` or
``file.py:Class``: one of the user's own. Fields of the class are settings that the run file may give.
"""

import dataclasses
import difflib
import importlib
from collections import namedtuple
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, NamedTuple, get_type_hints

import equinox as eqx
from pydantic import ConfigDict, TypeAdapter, ValidationError

from popinfer.errors import InputError, first_line
from popinfer.params import Declaration
from popinfer.user_code import read_class


class NoParams(NamedTuple):
    """A component without parameters."""


class Component(eqx.Module):
    """A part of the model with parameters of its own.

    Attributes
    ----------
    Params : type of the parameters, see the module's text.
    n_normal : standard normal numbers that one galaxy needs for it.
    """

    Params: ClassVar[Any] = NoParams
    n_normal: ClassVar[int] = 0

    @property
    def fiducial(self) -> Any:
        """Default values of the parameters."""
        return self.Params()


class Role(NamedTuple):
    """A place in the model that a component fills.

    Attributes
    ----------
    base : what a component of the role is derived from, as ``module:Class``.
    kinds : built-in components by name, as ``module:Class``; the first is the default.
    optional : whether ``none`` may stand there.
    """

    base: str
    kinds: Mapping[str, str]
    optional: bool = False


_ROLES = "popinfer.population.roles"
ROLES = {
    "sfh": Role(f"{_ROLES}:SfhModel", {"diffstarpop": "popinfer.population.sfh:DiffstarPop"}),
    "metallicity": Role(
        f"{_ROLES}:MetallicityRelation",
        {"mass_metallicity": "popinfer.population.metallicity:MassMetallicity"},
    ),
    "dust": Role(f"{_ROLES}:DustRelation", {"mass_ssfr": "popinfer.population.dust:DustPopulation"}),
    "dust_law": Role(
        "popinfer.sps.dust:DustLaw",
        {
            "kriek_conroy13": "popinfer.sps.dust:KriekConroy13",
            "salim18": "popinfer.sps.dust:Salim18",
            "noll09": "popinfer.sps.dust:Noll09",
            "calzetti00": "popinfer.sps.dust:Calzetti00",
            "cardelli89": "popinfer.sps.dust:Cardelli89",
            "power_law": "popinfer.sps.dust:PowerLaw",
        },
    ),
    "birth_cloud": Role(
        "popinfer.sps.dust:BirthClouds",
        {
            "equal": "popinfer.sps.dust:EqualClouds",
            "proportional": "popinfer.sps.dust:ProportionalClouds",
        },
        optional=True,
    ),
    "nebular": Role(
        f"{_ROLES}:GasRelation", {"uniform": "popinfer.population.gas:UniformGas"}, optional=True
    ),
    "burstiness": Role(
        f"{_ROLES}:SfrFluctuation", {"flicker": "popinfer.population.burstiness:Burstiness"}, optional=True
    ),
    "satellites": Role(
        f"{_ROLES}:SatelliteOccupation", {"survival": "popinfer.population.satellites:SatelliteSurvival"}
    ),
    "template": Role(
        f"{_ROLES}:TemplateOffset", {"knots": "popinfer.population.template:TemplateKnots"}, optional=True
    ),
    "zero_point": Role(
        f"{_ROLES}:ZeroPointModel", {"offsets": "popinfer.population.zero_points:ZeroPoints"}, optional=True
    ),
}


# what else may be of the user's own; these have no parameters of the model
PLUG_INS = {
    "loss": Role("popinfer.loss.base:Loss", {"energy": "popinfer.loss.energy:EnergyDistance"}),
    "sampler": Role("popinfer.infer.draws:Sampler", {}),
    "errors": Role("popinfer.survey.noise:MagnitudeErrors", {}),
    "cut": Role("popinfer.survey.selection:Cut", {}),
}


def load_component(role: str, kind: str, settings: Mapping[str, Any] | None = None) -> Component | None:
    """The component that a run file names for a role; None for ``none``.

    Parameters
    ----------
    role : str
        One of `ROLES`.
    kind : str
        Name of a built-in component, ``module:Class`` or ``file.py:Class``.
    settings : Mapping[str, Any] or None
        Values of the class' fields.

    Raises
    ------
    InputError
        There is no such component, it isn't one of the role, its parameters are not declared, or a setting
        can't be used.
    """
    place = ROLES[role]
    if kind == "none" and place.optional:
        if settings:
            raise InputError(f"{role}: kind none takes no settings ({', '.join(settings)})")
        return None
    chosen = component_class(role, kind)
    values = _settings(role, chosen, settings or {})
    try:
        component = chosen(**values)
        declarations(component.Params)
        return component
    except InputError as error:
        raise InputError(f"{role}: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{role}: {chosen.__name__} can't be made: {first_line(error)}") from None


def plug_in_class(role: str, kind: str) -> type[Any]:
    """The class of a plug-in.

    Parameters
    ----------
    role : str
        One of `PLUG_INS`.
    kind : str
        Name of a built-in one, ``module:Class`` or ``file.py:Class``.

    Raises
    ------
    InputError
        There is no such class, it isn't one of the role, or lacks what the role asks for.
    """
    chosen = component_class(role, kind)
    missing = sorted(getattr(chosen, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{role}: {chosen.__name__} has no {missing[0]}, which every {role} has")
    return chosen


def load_plug_in(role: str, kind: str, settings: Mapping[str, Any]) -> Any:
    """A plug-in of the user's own with its settings; see `plug_in_class`, also for errors."""
    chosen = plug_in_class(role, kind)
    return chosen(**_settings(role, chosen, settings))


def component_class(role: str, kind: str) -> type[Any]:
    """The class that a kind of component names; see `load_component`."""
    place = (ROLES | PLUG_INS)[role]
    if ":" not in kind:
        if kind not in place.kinds:
            names = [*place.kinds, *(["none"] if place.optional else [])]
            near = difflib.get_close_matches(kind, names, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f": one of {', '.join(names)}"
            raise InputError(f"{role}: unknown kind '{kind}'{hint}, or module:Class of your own")
        return _imported(place.kinds[kind])
    module, _, name = kind.rpartition(":")
    chosen, base = read_class(module, name), role_base(role)
    if not issubclass(chosen, base):
        raise InputError(
            f"{role}: {name} of {module} is no {base.__name__}; derive it from popinfer.{base.__name__}"
        )
    return chosen


def kinds_with(name: str) -> list[str]:
    """Built-in kinds of a role that have a parameter, by its dotted name; none for a name of no role."""
    role, _, label = name.partition(".")
    kinds = ROLES[role].kinds if role in ROLES else {}
    params = {kind: _imported(address).Params for kind, address in kinds.items()}
    # where they follow from settings, as of the knots of a template, a class alone says nothing
    return [kind for kind, one in params.items() if isinstance(one, type) and label in declarations(one)]


def role_base(role: str) -> type[Any]:
    """The class that components of a role are derived from."""
    return _imported((ROLES | PLUG_INS)[role].base)


def _imported(address: str) -> type[Any]:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _settings(role: str, chosen: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a class' fields, checked against their annotations."""
    fields, types = {field.name: field for field in dataclasses.fields(chosen)}, get_type_hints(chosen)
    values = {}
    for name, value in settings.items():
        if name not in fields:
            there = ", ".join(fields) or "none"
            raise InputError(f"{role}: {chosen.__name__} has no setting '{name}'; its settings: {there}")
        try:
            adapter = TypeAdapter(types[name], config=ConfigDict(arbitrary_types_allowed=True))
            values[name] = adapter.validate_python(value)
        except ValidationError as error:
            raise InputError(f"{role}.{name}: {error.errors()[0]['msg']}") from None
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{role}: {chosen.__name__} needs the setting '{missing[0]}'")
    return values


class _Field(NamedTuple):
    """A field of ``Params``: its name, and what it declares."""

    name: str
    declaration: Declaration


@lru_cache(maxsize=256)
def declarations(params: type) -> Mapping[str, _Field]:
    """What a ``Params`` type declares: field and declaration by the parameter's label.

    Raises
    ------
    InputError
        It is no NamedTuple, or a field has no declaration or no default value.
    """
    where = params.__qualname__
    if not (issubclass(params, tuple) and hasattr(params, "_fields")):
        raise InputError(f"{where}: parameters of a component are a NamedTuple")
    hints, declared = get_type_hints(params, include_extras=True), {}
    for field in params._fields:
        stated = [x for x in getattr(hints[field], "__metadata__", ()) if isinstance(x, Declaration)]
        if not stated:
            raise InputError(f"{where}.{field}: declare it, {field}: Annotated[Scalar, Declaration(...)]")
        if field not in params._field_defaults:
            raise InputError(f"{where}.{field}: has no default value")
        declared[stated[0].label or field] = _Field(field, stated[0])
    return declared


def declared_params(name: str, fields: Mapping[str, tuple[Declaration, float]]) -> type:
    """A ``Params`` type for parameters that only settings of a component tell.

    Parameters
    ----------
    name : str
        Of the type.
    fields : Mapping[str, tuple[Declaration, float]]
        Declaration and default value by field.
    """
    params = namedtuple(name, fields, defaults=[default for _, default in fields.values()])
    params.__annotations__ = {
        field: Annotated[float, declaration] for field, (declaration, _) in fields.items()
    }
    return params
