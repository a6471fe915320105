"""Parameters of the star formation histories, and the component that makes them: `DiffstarPop`.

The histories themselves are in `popinfer.population.diffstarpop`, which takes seconds to import: it is, when
the first of them is wanted. diffstarpop has 88 parameters; interpretable shifts move related ones together.
"""

import difflib
from functools import lru_cache
from typing import Any, ClassVar

from jaxtyping import Array, Float

from popinfer.components import declared_params
from popinfer.cosmology import Cosmology
from popinfer.errors import InputError
from popinfer.params import Declaration, Prior
from popinfer.population.roles import Histories, SfhModel
from popinfer.records import Halos

# that diffstar ships
CALIBRATIONS = (
    "smdpl_dr1_nomerging",
    "smdpl_dr1",
    "tng",
    "galacticus_in_situ",
    "galacticus_in_plus_ex_situ",
)

LG_MHALO_PIVOT = 12.3  # log10 Msun: where centrals of the published calibrations begin to quench
# 4 dex lead from 10^12 Msun to halos too small for galaxies, or to none at all
_MASS = (-4.0, 4.0, "no halo between 10^8 and 10^16 Msun would be left")
_SLOPE = (-10.0, 10.0, "the relation would be a step")

# Shifts of groups of diffstarpop parameters; all zero is the calibration.
FAMILIES = {
    # all mean_ulgm_*_ytp
    "critical_mass": Declaration(
        "dex",
        "halo mass of peak star formation efficiency, shift",
        *_MASS,
        Prior("normal", 0.0, 0.3),
        source="half of the scatter among diffstarpop's published calibrations, 0.5 to 0.7 dex",
    ),
    # all mean_ulgy_*_ytp
    "efficiency": Declaration(
        "dex",
        "peak star formation efficiency, shift",
        -4,
        4,
        prior=Prior("normal", 0.0, 0.4),
        source="diffstarpop's published calibrations scatter by 0.2 (quenched galaxies) to 0.9 dex",
    ),
    # mean_ulgy_*_lo and mean_ulgy_*_hi
    "low_mass_slope": Declaration(
        "dex/dex",
        "slope of star formation efficiency below 10^12 Msun, shift",
        *_SLOPE,
        Prior("normal", 0.0, 0.5),
        source="diffstarpop's published calibrations scatter by 0.2 to 0.5",
    ),
    "high_mass_slope": Declaration(
        "dex/dex",
        "slope of star formation efficiency above 10^12 Msun, shift",
        *_SLOPE,
        Prior("normal", 0.0, 0.5),
        source="diffstarpop's published calibrations on SMDPL and TNG scatter by 0.2 to 0.3; twice that",
    ),
    # mean_uqt_ytp; diffstarpop's fits allow 0 to 2
    "quenching_time": Declaration(
        "",
        "time of quenching, shift of the unbounded log10 time",
        -2,
        2,
        prior=Prior("normal", 0.0, 0.1),
        source="twice the scatter among diffstarpop's published calibrations",
    ),
    # delta_uqt_slope; diffstarpop's fits allow -0.1 to 0.1
    "quenching_time_slope": Declaration(
        "1/dex",
        "time of quenching against halo mass, slope of the unbounded log10 time, shift",
        -2,
        2,
        prior=Prior("normal", 0.0, 0.06),
        source="diffstarpop's published calibrations scatter by 0.06",
    ),
    # mean_udrop_int; diffstarpop's fits allow -3 to 2
    "quenching_depth": Declaration(
        "",
        "depth of quenching, shift of the unbounded log10 drop in SFR",
        -10,
        10,
        prior=Prior("normal", 0.0, 0.5),
        source="diffstarpop's published calibrations scatter by 0.4",
    ),
    # all frac_quench_*_x0_*, the halo mass where half the galaxies quench
    "quenching_mass": Declaration(
        "dex",
        "halo mass where galaxies quench, shift",
        *_MASS,
        Prior("normal", 0.0, 0.5),
        source="diffstarpop's published calibrations scatter by 0.5 to 1.1 dex",
    ),
    "quenching_floor": Declaration(
        "",
        "quenched fraction at low mass, logit shift",
        -20,
        20,
        prior=Prior("normal", 0.0, 1.0),
        source="a choice; diffstarpop's published calibrations have 0.001 or, in one case, 0.3",
    ),
    # added to the logit of the quenched fraction, about LG_MHALO_PIVOT; the logits of published calibrations
    # differ by 1 to 2 a dex there
    "quenching_slope": Declaration(
        "1/dex",
        "quenched fraction against halo mass, slope of the logit about 10^12.3 Msun, shift",
        -20,
        20,
        prior=Prior("normal", 0.0, 1.0),
        source="logits of diffstarpop's published calibrations differ by 1 to 2 a dex",
    ),
    "quenching_curvature": Declaration(
        "1/dex^2",
        "quenched fraction against halo mass, curvature of the logit about 10^12.3 Msun, shift",
        -10,
        10,
        prior=Prior("normal", 0.0, 0.5),
        source="a choice: half of the slope's width",
    ),
    "efficiency_tilt": Declaration(
        "dex/dex",
        "star formation efficiency against cosmic time, slope about 10 Gyr",
        -5,
        5,
        prior=Prior("normal", 0.0, 0.3),
        source="published calibrations' SFR densities tilt by 0.1 to 0.3 dex from z = 0 to 2",
    ),
    # a factor on every std_*_int's excess over its lowest value, 0.01
    "lg_scatter": Declaration(
        "dex",
        "log10 factor on the scatter of SFH parameters",
        -3,
        3,
        prior=Prior("normal", 0.0, 0.2),
        source="a choice; single scatters of diffstarpop's published calibrations differ by 0.3 to 1 dex",
    ),
}

# A factor on the share of satellites that infall quenches of those that would form stars. It isn't part of
# the published calibrations, which took no satellite as fallen in. By default 1, diffstarpop's own;
# docs/simulations.md has quenched fractions with and without it beside published ones.
SATELLITE_QUENCHING = Declaration(
    "",
    "quenching of satellites by infall, 0 for none, 1 for diffstarpop's own",
    0,
    1,
    "it is a share of diffstarpop's",
    Prior("uniform", low=0.0, high=1.0),
    source="all that lies between none and diffstarpop's own",
)

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
DIFFSTARPOP = {
    name: Declaration("", f"diffstarpop's {name}", *bounds, "diffstarpop was fitted inside")
    for bounds, names in _FITTED.items()
    for name in names.split()
}


class DiffstarPop(SfhModel):
    """Histories of diffstarpop (Alarcon et al. 2023, MNRAS 518, 562, and after), with shifts of parameters.

    Attributes
    ----------
    calibration : published calibration by its name in diffstar.
    """

    n_normal: ClassVar[int] = 12  # 4 parameters of the main-sequence branch, 8 of the quenched one

    calibration: str = "smdpl_dr1"

    def __check_init__(self) -> None:
        """Refuse calibrations that diffstar doesn't ship."""
        if self.calibration not in CALIBRATIONS:
            near = difflib.get_close_matches(self.calibration, CALIBRATIONS, n=1, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else f": one of {', '.join(CALIBRATIONS)}"
            raise InputError(f"unknown SFH calibration '{self.calibration}'{hint}")

    @property
    def Params(self) -> type:  # noqa: N802 (a class)
        """Type of the parameters: shifts of `FAMILIES`, quenching by infall, then diffstarpop's own."""
        return _params()

    @property
    def fiducial(self) -> Any:
        """No shifts, diffstarpop's quenching by infall, and the values of the calibration."""
        from popinfer.population.diffstarpop import calibrated

        return _params()(**calibrated(self.calibration)._asdict())

    def __call__(
        self,
        params: Any,
        halo: Halos,
        t: Float[Array, "time"],
        cosmology: Cosmology,
        normals: Float[Array, "12"],
    ) -> Histories:
        """Histories of both branches; see `SfhModel`."""
        from popinfer.population.diffstarpop import histories

        return histories(params, halo, t, cosmology, normals)


@lru_cache
def _params() -> type:
    own = {
        name: (declaration, float("nan")) for name, declaration in DIFFSTARPOP.items()
    }  # the calibration's
    shifts = {name: (declaration, 0.0) for name, declaration in FAMILIES.items()}
    share = {"satellite_quenching": (SATELLITE_QUENCHING, 1.0)}
    return declared_params("DiffstarPopulationParams", shifts | share | own)
