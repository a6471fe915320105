"""What each parameter of the population is: unit, meaning, and the domain outside which it means nothing.

This is the one place that declares them: refusals of run files, captions and reports are made from it. The
module imports no JAX, so that a run file is checked within a second. Default values are those of the
components' own ``Params``.
"""

import difflib
import math
from collections.abc import Sequence
from typing import NamedTuple

from popinfer.errors import InputError


class Declaration(NamedTuple):
    """One parameter.

    Attributes
    ----------
    unit : of its values, "" when it has none.
    meaning : a few words for reports.
    low, high : ends of its domain, which are part of it.
    why : what is wrong with values outside, as the end of a sentence.
    """

    unit: str
    meaning: str
    low: float
    high: float
    why: str = ""

    @property
    def domain(self) -> str:
        """The domain as text, ``0 to 1``, with its unit."""
        return f"{self.low:g} to {self.high:g}{f' {self.unit}' if self.unit else ''}"

    def contains(self, value: float) -> bool:
        """Whether a value is finite and inside the domain."""
        return math.isfinite(value) and self.low <= value <= self.high


# 4 dex lead from 10^12 Msun to halos too small for galaxies, or to none at all
_MASS = (-4.0, 4.0, "no halo between 10^8 and 10^16 Msun would be left")
_SLOPE = (-10.0, 10.0, "the relation would be a step")
_FRACTION = (0.0, 1.0, "it is a fraction")

_FAMILIES = {
    "critical_mass": Declaration("dex", "halo mass of peak star formation efficiency, shift", *_MASS),
    "efficiency": Declaration("dex", "peak star formation efficiency, shift", -4, 4),
    "low_mass_slope": Declaration(
        "dex/dex", "slope of star formation efficiency below 10^12 Msun, shift", *_SLOPE
    ),
    "high_mass_slope": Declaration(
        "dex/dex", "slope of star formation efficiency above 10^12 Msun, shift", *_SLOPE
    ),
    # published calibrations span 1.0 to 1.2, diffstarpop's fits allow 0 to 2
    "quenching_time": Declaration("", "time of quenching, shift of the unbounded log10 time", -2, 2),
    # diffstarpop's fits allow -3 to 2
    "quenching_depth": Declaration(
        "", "depth of quenching, shift of the unbounded log10 drop in SFR", -10, 10
    ),
    "quenching_mass": Declaration("dex", "halo mass where galaxies quench, shift", *_MASS),
    "quenching_floor": Declaration("", "quenched fraction at low mass, logit shift", -20, 20),
    "lg_scatter": Declaration("dex", "log10 factor on the scatter of SFH parameters", -3, 3),
}
_METALLICITY = {
    # stellar populations are tabulated over 3 dex in Z
    "zero_point": Declaration("dex", "mass-metallicity relation, shift", -3, 3),
    "quenched_offset": Declaration("dex", "metallicity of quenched relative to star-forming galaxies", -3, 3),
    "slope": Declaration("dex/dex", "extra slope of the mass-metallicity relation", -5, 5),
    "evolution": Declaration("dex", "change of metallicity per unit redshift", -3, 3),
    "scatter": Declaration(
        "dex", "scatter of metallicity between galaxies", 0, 2, "scatter is never negative"
    ),
    # a delta function falls between the nodes of the SSP grid
    "mdf_scatter": Declaration(
        "dex", "width of the metallicity distribution in a galaxy", 0.01, 2, "a width is positive"
    ),
}
_DUST = {
    # galaxies are softly held at A_V < 5 mag
    "lg_av": Declaration("dex", "log10 A_V [mag] at 10^10.5 Msun and sSFR 10^-10 / yr", -6, 2),
    "slope_mass": Declaration("dex/dex", "A_V against stellar mass", -5, 5),
    "slope_ssfr": Declaration("dex/dex", "A_V against specific SFR", -5, 5),
    "scatter": Declaration("dex", "scatter of A_V between galaxies", 0, 2, "scatter is never negative"),
    # measured ones lie between -1.2 and 0.4 (Salim et al. 2018, ApJ 859, 11)
    "delta": Declaration("", "slope of the attenuation curve relative to Calzetti", -2, 1),
    "f_unobscured": Declaration("", "fraction of light that meets no dust", *_FRACTION),
}
_BURSTINESS = {
    "scatter": Declaration(
        "dex", "scatter of recent star formation about the smooth history", 0, 2, "scatter is never negative"
    ),
    # from 100,000 years to the age of the universe
    "lg_timescale_gyr": Declaration("dex", "log10 of how long such fluctuations last [Gyr]", -4, 1.2),
}
_HALOS = {
    "satellite_survival": Declaration("", "share of accreted subhalos that still host a galaxy", *_FRACTION),
}
_PHOTOZ = {
    "scatter": Declaration(
        "", "scatter of photometric redshifts, in units of 1 + z", 1e-5, 0.3, "beyond, redshifts tell nothing"
    ),
    "bias": Declaration(
        "", "bias of photometric redshifts, in units of 1 + z", -0.3, 0.3, "beyond, redshifts tell nothing"
    ),
    "outlier_fraction": Declaration(
        "", "share of galaxies with a catastrophically wrong redshift", *_FRACTION
    ),
}

# The ranges in which diffstarpop's 88 parameters were fitted, as diffstar gives them. Its lines are clipped
# there, its fractions and scatters mean nothing beyond.
_FITTED: dict[tuple[float, float], str] = {
    (1, 14): "frac_quench_cen_x0_tpeak frac_quench_sat_x0_tpeak delta_uqt_x0",
    (0.01, 10): "frac_quench_cen_k_tpeak frac_quench_sat_k_tpeak",
    (11, 14): (
        "frac_quench_cen_x0_ylotpeak frac_quench_cen_x0_yhitpeak frac_quench_sat_x0_ylotpeak "
        "frac_quench_sat_x0_yhitpeak mean_ulgm_mseq_xtp mean_ulgm_mseq_ytp mean_ulgy_mseq_xtp "
        "mean_ulgm_qseq_xtp mean_ulgm_qseq_ytp mean_ulgy_qseq_xtp mean_uqt_xtp"
    ),
    (0, 1): (
        "frac_quench_cen_ylo_ylotpeak frac_quench_cen_ylo_yhitpeak frac_quench_cen_yhi "
        "frac_quench_sat_ylo_ylotpeak frac_quench_sat_ylo_yhitpeak frac_quench_sat_yhi lgmu_lo_mh_lo "
        "lgmu_hi_mh_lo lgmu_lo_mh_hi lgmu_hi_mh_hi"
    ),
    (0.01, 5): "frac_quench_cen_k frac_quench_sat_k delta_uqt_k",
    (-1, 5): "mean_ulgm_mseq_lo mean_ulgy_mseq_lo mean_ulgm_qseq_lo mean_ulgy_qseq_lo",
    (-5, 1): "mean_ulgm_mseq_hi mean_ulgy_mseq_hi mean_ulgm_qseq_hi mean_ulgy_qseq_hi",
    (-13, -8): "mean_ulgy_mseq_ytp mean_ulgy_qseq_ytp",
    (-3, 5): "mean_ul_mseq_int mean_ul_qseq_int",
    (-20, 20): (
        "mean_ul_mseq_slp mean_uh_mseq_slp mean_ul_qseq_slp mean_uh_qseq_slp mean_uqs_slp "
        "mean_udrop_slp mean_urej_slp"
    ),
    (-5, 3): "mean_uh_mseq_int mean_uh_qseq_int",
    (0, 2): "mean_uqt_ytp",
    (-1, 0): "mean_uqt_lo mean_uqt_hi",
    (-5, 2): "mean_uqs_int",
    (-3, 2): "mean_udrop_int",
    (-10, 2): "mean_urej_int",
    (0.01, 1): "std_ulgm_mseq_int std_ulgy_mseq_int std_ulgm_qseq_int std_ulgy_qseq_int std_uqs_int",
    (-1, 1): (
        "std_ulgm_mseq_slp std_ulgy_mseq_slp std_ul_mseq_slp std_uh_mseq_slp std_ulgm_qseq_slp "
        "std_ulgy_qseq_slp std_ul_qseq_slp std_uh_qseq_slp std_uqt_slp std_uqs_slp std_udrop_slp "
        "std_urej_slp delta_uqt_ylo delta_uqt_yhi"
    ),
    (0.01, 3): "std_ul_mseq_int std_uh_mseq_int std_ul_qseq_int std_uh_qseq_int",
    (0.01, 0.5): "std_uqt_int",
    (0.01, 2): "std_udrop_int std_urej_int",
    (-0.1, 0.1): "delta_uqt_slope",
    (11, 15): "qp_lgmh_crit td_lgmhc",
    (-5, 10): "td_mlo td_mhi",
    (-4, -0.1): "qphi_lgmu_crit",
}
_DIFFSTARPOP = {
    name: Declaration("", f"diffstarpop's {name}", *bounds, "diffstarpop was fitted inside")
    for bounds, names in _FITTED.items()
    for name in names.split()
}

DECLARED: dict[str, Declaration] = {
    f"{group}.{field}": declaration
    for group, fields in {
        "sfh": {**_FAMILIES, **_DIFFSTARPOP},
        "metallicity": _METALLICITY,
        "dust": _DUST,
        "burstiness": _BURSTINESS,
        "halos": _HALOS,
        "photoz": _PHOTOZ,
    }.items()
    for field, declaration in fields.items()
}

# SFH calibrations that diffstar ships
CALIBRATIONS = (
    "smdpl_dr1_nomerging",
    "smdpl_dr1",
    "tng",
    "galacticus_in_situ",
    "galacticus_in_plus_ex_situ",
)


def knot_name(angstrom: float) -> str:
    """How a template's knot is spelled in a parameter's name."""
    return f"{angstrom:g}"


def declaration_of(name: str) -> Declaration:
    """What a dotted name of a parameter stands for; the name has to exist."""
    group, _, field = name.partition(".")
    if group == "zero_point":  # survey zero points are known to a few hundredths of a magnitude
        return Declaration("mag", f"zero-point offset of band {field} (model minus data)", -1, 1)
    if group == "template":  # templates to some tenths
        return Declaration("mag", f"template error at rest-frame {field} Angstrom", -1, 1)
    return DECLARED[name]


def unknown_name(name: str, bands: Sequence[str], knots: Sequence[float]) -> str:
    """What is wrong with the name of a parameter, and the nearest right ones; "" for one that exists.

    Parameters
    ----------
    name : dotted name.
    bands : names of the survey's bands, which may have a zero point each.
    knots : the template's knots [Angstrom].
    """
    group, _, field = name.partition(".")
    knots_named = [knot_name(x) for x in knots]
    if group == "zero_point":
        return "" if field in bands else f"unknown parameter '{name}': bands are {', '.join(bands)}"
    if group == "template":
        if field in knots_named:
            return ""
        return f"unknown parameter '{name}': template_knots_angstrom are {', '.join(knots_named)}"
    if name in DECLARED:
        return ""
    families = {f"sfh.{field}" for field in _FAMILIES}
    # of equally near names an interpretable one comes first
    known = sorted(DECLARED, key=lambda x: x.startswith("sfh.") and x not in families)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"unknown parameter '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")


def outside_domain(name: str, value: float) -> str:
    """What is wrong with a parameter's value; "" for one inside its domain."""
    declaration = declaration_of(name)
    if declaration.contains(value):
        return ""
    why = f": {declaration.why}" if declaration.why else ""
    return f"{name} is {value:g}, outside its domain, {declaration.domain}{why}"


def check_values(values: dict[str, float], bands: Sequence[str], knots: Sequence[float]) -> None:
    """InputError for the first name that doesn't exist or value that lies outside its domain."""
    for name, value in values.items():
        wrong = unknown_name(name, bands, knots) or outside_domain(name, value)
        if wrong:
            raise InputError(wrong)
