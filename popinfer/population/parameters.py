"""Every parameter of the population model in one place, with dotted names.

``sfh.critical_mass`` is a family shift, ``sfh.mean_uqt_ytp`` one of diffstarpop's own 88 hyper-parameters,
``dust.lg_av`` a field of the dust population, ``zero_point.u`` an offset of one band, ``template.4300`` the
template error at that rest-frame wavelength [Angstrom].
"""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from diffstar.diffstarpop import DiffstarPopParams
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.population.burstiness import Burstiness, BurstinessParams
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


MEANINGS = {
    "sfh.critical_mass": ("dex", "halo mass of peak star formation efficiency, shift"),
    "sfh.efficiency": ("dex", "peak star formation efficiency, shift"),
    "sfh.low_mass_slope": ("dex/dex", "slope of star formation efficiency below 10^12 Msun, shift"),
    "sfh.high_mass_slope": ("dex/dex", "slope of star formation efficiency above 10^12 Msun, shift"),
    "sfh.quenching_time": ("", "time of quenching, shift of the unbounded log10 time"),
    "sfh.quenching_depth": ("", "depth of quenching, shift of the unbounded log10 drop in SFR"),
    "sfh.quenching_mass": ("dex", "halo mass where galaxies quench, shift"),
    "sfh.quenching_floor": ("", "quenched fraction at low mass, logit shift"),
    "sfh.lg_scatter": ("dex", "log10 factor on the scatter of SFH parameters"),
    "metallicity.zero_point": ("dex", "mass-metallicity relation, shift"),
    "metallicity.quenched_offset": ("dex", "metallicity of quenched relative to star-forming galaxies"),
    "metallicity.slope": ("dex/dex", "extra slope of the mass-metallicity relation"),
    "metallicity.scatter": ("dex", "scatter of metallicity between galaxies"),
    "metallicity.evolution": ("dex", "change of metallicity per unit redshift"),
    "metallicity.mdf_scatter": ("dex", "width of the metallicity distribution in a galaxy"),
    "dust.lg_av": ("dex", "log10 A_V [mag] at 10^10.5 Msun and sSFR 10^-10 / yr"),
    "dust.slope_mass": ("dex/dex", "A_V against stellar mass"),
    "dust.slope_ssfr": ("dex/dex", "A_V against specific SFR"),
    "dust.scatter": ("dex", "scatter of A_V between galaxies"),
    "dust.delta": ("", "slope of the attenuation curve relative to Calzetti"),
    "dust.f_unobscured": ("", "fraction of light that meets no dust"),
    "burstiness.scatter": ("dex", "scatter of recent star formation about the smooth history"),
    "burstiness.lg_timescale_gyr": ("dex", "log10 of how long such fluctuations last [Gyr]"),
    "halos.satellite_survival": ("", "share of accreted subhalos that still host a galaxy"),
    "photoz.scatter": ("", "scatter of photometric redshifts, in units of 1 + z"),
    "photoz.bias": ("", "bias of photometric redshifts, in units of 1 + z"),
    "photoz.outlier_fraction": ("", "share of galaxies with a catastrophically wrong redshift"),
}


def meaning(name: str) -> tuple[str, str]:
    """Unit and one line of explanation of a dotted parameter name."""
    group, _, field = name.partition(".")
    if group == "zero_point":
        return "mag", f"zero-point offset of band {field} (model minus data)"
    if group == "template":
        return "mag", f"template error at rest-frame {field} Angstrom"
    return MEANINGS.get(name, ("", f"diffstarpop's {field}"))


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


def all_names(names: ParamNames) -> tuple[str, ...]:
    """Every dotted name that a run file may free or fix."""
    groups = {
        "sfh": (*Families._fields, *DiffstarPopParams._fields),
        "metallicity": MassMetallicityParams._fields,
        "dust": DustPopulationParams._fields,
        "burstiness": BurstinessParams._fields,
        "halos": HaloParams._fields,
        "photoz": PhotozParams._fields,
        "zero_point": names.bands,
        "template": tuple(f"{k:g}" for k in names.knots),
    }
    return tuple(f"{group}.{field}" for group, fields in groups.items() for field in fields)


def check_names(wanted: Mapping[str, Any], names: ParamNames) -> None:
    """InputError with the nearest right name for a parameter that doesn't exist."""
    known = all_names(names)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"unknown parameter '{name}'{hint}")


def with_values(params: ModelParams, values: Mapping[str, Any], names: ParamNames) -> ModelParams:
    """Replace parameters by dotted name; the values may be traced."""
    check_names(values, names)
    changed: dict[str, dict[str, Any]] = {}
    zero_point, template = jnp.asarray(params.zero_point), jnp.asarray(params.template)
    knots = [f"{k:g}" for k in names.knots]
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
