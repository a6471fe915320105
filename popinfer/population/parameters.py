"""Every parameter of the population model in one place, with dotted names.

``sfh.critical_mass`` is a family shift, ``sfh.mean_uqt_ytp`` one of diffstarpop's own 88 hyper-parameters,
``dust.lg_av`` a field of the dust population, ``zero_point.u`` an offset of one band, ``template.4300`` the
template error at that rest-frame wavelength [Angstrom].
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from diffstar.diffstarpop import DiffstarPopParams
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.population.burstiness import Burstiness, BurstinessParams
from popinfer.population.domains import declaration_of, knot_name, unknown_name
from popinfer.population.dust import DustPopulation, DustPopulationParams
from popinfer.population.metallicity import MassMetallicity, MassMetallicityParams
from popinfer.population.sfh import Families, calibration


class HaloParams(NamedTuple):
    """Occupation of halos.

    Attributes
    ----------
    satellite_survival : share of all subhalos ever accreted (diffhalos counts them by peak mass, merged ones
        included) that still host a galaxy. 0.4 gives a quarter of all galaxies above 10^11 Msun in subhalos,
        as N-body catalogs find.
    """

    satellite_survival: float | Array = 0.4


class PhotozParams(NamedTuple):
    """Errors of photometric redshifts; see `popinfer.survey.redshift`.

    Attributes
    ----------
    scatter, bias : of the core in z_p - z, in units of (1 + z).
    outlier_fraction : share of galaxies with a redshift from anywhere.
    """

    scatter: float | Array = 0.03
    bias: float | Array = 0.0
    outlier_fraction: float | Array = 0.0


class ModelParams(NamedTuple):
    """All parameters of the forward model."""

    sfh: DiffstarPopParams
    families: Families
    metallicity: MassMetallicityParams
    dust: DustPopulationParams
    burstiness: BurstinessParams
    halos: HaloParams
    photoz: PhotozParams
    zero_point: Float[Array | np.ndarray, "band"]
    template: Float[Array | np.ndarray, "knot"]


class ParamNames(NamedTuple):
    """What the array-valued parameters' components are called."""

    bands: tuple[str, ...]
    knots: tuple[float, ...]


def meaning(name: str) -> tuple[str, str]:
    """Unit and one line of explanation of a dotted parameter name; see `popinfer.population.domains`."""
    declaration = declaration_of(name)
    return declaration.unit, declaration.meaning


def fiducial_params(calibration_name: str, names: ParamNames) -> ModelParams:
    """Published calibration for the SFHs, literature values for the rest, no nuisances."""
    return ModelParams(
        calibration(calibration_name),
        Families(),
        MassMetallicity.fiducial,
        DustPopulation.fiducial,
        Burstiness.fiducial,
        HaloParams(),
        PhotozParams(),
        np.zeros(len(names.bands)),
        np.zeros(len(names.knots)),
    )


def check_names(wanted: Mapping[str, Any], names: ParamNames) -> None:
    """InputError with the nearest right name for a parameter that doesn't exist."""
    for name in wanted:
        wrong = unknown_name(name, names.bands, names.knots)
        if wrong:
            raise InputError(wrong)


def with_values(params: ModelParams, values: Mapping[str, Any], names: ParamNames) -> ModelParams:
    """Replace parameters by dotted name; the values may be traced."""
    check_names(values, names)
    changed: dict[str, dict[str, Any]] = {}
    zero_point, template = jnp.asarray(params.zero_point), jnp.asarray(params.template)
    knots = [knot_name(k) for k in names.knots]
    for name, value in values.items():
        group, _, field = name.partition(".")
        if group == "zero_point":
            zero_point = zero_point.at[names.bands.index(field)].set(value)
        elif group == "template":
            template = template.at[knots.index(field)].set(value)
        else:
            group = "families" if group == "sfh" and field in Families._fields else group
            changed.setdefault(group, {})[field] = value
    parts = {group: getattr(params, group)._replace(**fields) for group, fields in changed.items()}
    return params._replace(zero_point=zero_point, template=template, **parts)
