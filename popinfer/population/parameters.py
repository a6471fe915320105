"""Every parameter of the population model by its dotted name.

``sfh.critical_mass`` is a parameter of the component that makes star formation histories, ``dust.lg_av`` one
of the amount of dust, ``zero_point.u`` an offset of one band, ``template.4300`` the template error at that
rest-frame wavelength [Angstrom]. What there is follows from the components (`popinfer.components`).
"""

from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Annotated, Any, NamedTuple

from popinfer.components import Component, NoParams, declarations, kinds_with
from popinfer.errors import InputError
from popinfer.params import Declaration, Prior
from popinfer.sps.units import Scalar

_NEAR = 0.4  # likeness of a name that is worth proposing


class PhotozParams(NamedTuple):
    """Errors of photometric redshifts; see `popinfer.survey.redshift`.

    Attributes
    ----------
    scatter, bias : of the core in z_p - z, in units of (1 + z).
    outlier_fraction : share of galaxies with a redshift from anywhere.
    """

    scatter: Annotated[
        Scalar,
        Declaration(
            "",
            "scatter of photometric redshifts, in units of 1 + z",
            1e-5,
            0.3,
            "beyond, redshifts tell nothing",
            Prior("lognormal", 0.03, 0.3),
            source="a choice: optical surveys reach 0.02 to 0.05",
        ),
    ] = 0.03
    bias: Annotated[
        Scalar,
        Declaration(
            "",
            "bias of photometric redshifts, in units of 1 + z",
            -0.3,
            0.3,
            "beyond, redshifts tell nothing",
            Prior("normal", 0.0, 0.01),
            source="a choice: a third of the scatter",
        ),
    ] = 0.0
    outlier_fraction: Annotated[
        Scalar,
        Declaration(
            "",
            "share of galaxies with a catastrophically wrong redshift",
            0,
            1,
            "it is a fraction",
            Prior("truncnormal", 0.05, 0.05, 0.0, 0.5),
            source="a choice: optical surveys have some percent",
        ),
    ] = 0.0


class ModelParams(NamedTuple):
    """All parameters of the forward model: the ``Params`` of the component of each role.

    Attributes
    ----------
    sfh, metallicity, dust, dust_law, birth_cloud, nebular : those of the component of this role, see
        `popinfer.population.roles`; `NoParams` where there is none.
    burstiness, satellites, template, zero_point : likewise.
    photoz : errors of photometric redshifts.
    """

    sfh: Any
    metallicity: Any
    dust: Any
    dust_law: Any
    birth_cloud: Any
    nebular: Any
    burstiness: Any
    satellites: Any
    template: Any
    zero_point: Any
    photoz: PhotozParams


def declared_parameters(components: Mapping[str, Component | None]) -> dict[str, Declaration]:
    """What components declare, by dotted name.

    Parameters
    ----------
    components : Mapping[str, Component | None]
        By role, None where there is none; see `popinfer.components.ROLES`.
    """
    types = {role: NoParams if part is None else part.Params for role, part in components.items()}
    return {
        f"{group}.{label}": field.declaration
        for group, params in (types | {"photoz": PhotozParams}).items()
        for label, field in declarations(params).items()
    }


def fiducial_params(components: Mapping[str, Component | None]) -> ModelParams:
    """Default values of all parameters."""
    values = {role: NoParams() if part is None else part.fiducial for role, part in components.items()}
    return ModelParams(photoz=PhotozParams(), **values)


def with_values(params: ModelParams, values: Mapping[str, Any]) -> ModelParams:
    """Replace parameters by dotted name; the values may be traced.

    Raises
    ------
    InputError
        There is no parameter of such a name.
    """
    changed: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, _, label = name.partition(".")
        declared = declarations(type(getattr(params, group))) if group in params._fields else {}
        if label not in declared:
            raise InputError(unknown_name(name, _declared_by(params)))
        changed.setdefault(group, {})[declared[label].name] = value
    return params._replace(
        **{group: getattr(params, group)._replace(**fields) for group, fields in changed.items()}
    )


def values_of(params: ModelParams) -> dict[str, float]:
    """Values by dotted name of all parameters that have a default prior: all but diffstarpop's own.

    Parameters
    ----------
    params : ModelParams
        Of the model.
    """
    return {
        name: float(value)
        for name, (declaration, value) in _declared_and_given(params).items()
        if declaration.prior is not None
    }


def _declared_by(params: ModelParams) -> dict[str, Declaration]:
    return {name: declaration for name, (declaration, _) in _declared_and_given(params).items()}


def _declared_and_given(params: ModelParams) -> dict[str, tuple[Declaration, Any]]:
    """Declaration and value of every parameter, by dotted name."""
    return {
        f"{group}.{label}": (field.declaration, getattr(part, field.name))
        for group, part in zip(params._fields, params, strict=True)
        for label, field in declarations(type(part)).items()
    }


def unknown_name(name: str, declared: Mapping[str, Declaration]) -> str:
    """What is wrong with the name of a parameter, and the nearest right ones; "" for one that exists.

    Parameters
    ----------
    name : str
        Dotted name.
    declared : Mapping[str, Declaration]
        All parameters that there are.
    """
    if name in declared:
        return ""
    group = name.partition(".")[0]
    if group in ("zero_point", "template"):
        labels = [label for g, _, label in (x.partition(".") for x in declared) if g == group]
        what = {"zero_point": "bands", "template": "knots"}[group]
        return f"unknown parameter '{name}': {what} are {', '.join(labels) or 'none'}"
    kinds = kinds_with(name)
    if kinds:
        return f"unknown parameter '{name}': it belongs to model.{group}: {' or '.join(kinds)}"

    def likeness(other: str) -> float:
        return SequenceMatcher(None, other, name).ratio()

    # of equally near names the first is proposed: interpretable ones come before diffstarpop's own
    near = max(declared, key=likeness, default="")
    hint = f"; did you mean '{near}'?" if near and likeness(near) >= _NEAR else ""
    return f"unknown parameter '{name}'{hint}"


def outside_domain(name: str, value: float, declared: Mapping[str, Declaration]) -> str:
    """What is wrong with the value of a parameter that exists; "" for one inside its domain."""
    declaration = declared[name]
    if declaration.contains(value):
        return ""
    why = f": {declaration.why}" if declaration.why else ""
    return f"{name} is {value:g}, outside its domain, {declaration.domain}{why}"


def check_values(values: Mapping[str, float], declared: Mapping[str, Declaration]) -> None:
    """InputError for the first name that doesn't exist or value that lies outside its domain."""
    for name, value in values.items():
        wrong = unknown_name(name, declared) or outside_domain(name, value, declared)
        if wrong:
            raise InputError(wrong)
