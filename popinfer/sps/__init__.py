"""The light of stellar populations: star formation history, metallicity, dust and gas to magnitudes."""

from .age_weights import age_weights, lookback_fractions, lookback_matrix
from .band_nodes import redshift_grid
from .band_refinement import refined_table
from .band_table import BandTable, SmoothSfhTable, smooth_sfh_fluxes
from .burst import BurstParams, add_burst
from .dust import (
    BirthClouds,
    Calzetti00,
    Cardelli89,
    CharlotFall00,
    DustLaw,
    EqualClouds,
    KriekConroy13,
    Noll09,
    PowerLaw,
    ProportionalClouds,
    Salim18,
    frac_trans,
)
from .equivalent_width import equivalent_widths
from .galaxies import population_magnitudes, population_seds, sampling_error
from .igm import igm_transmission
from .metallicity import lgmet_from_slope, lgmet_from_table, lgmet_weights, lgmet_weights_by_age
from .nebular import add_nebular, line_luminosities
from .photometry import band_fluxes, band_matrix, magnitudes
from .sed import attenuated_sed, rest_sed, rest_sed_from_weights
from .stars import Attenuation, Stars, tabulate_sfh
from .surviving_mass import remnant_mass, surviving_mass

__all__ = [
    "Attenuation",
    "BandTable",
    "BirthClouds",
    "BurstParams",
    "Calzetti00",
    "Cardelli89",
    "CharlotFall00",
    "DustLaw",
    "EqualClouds",
    "KriekConroy13",
    "Noll09",
    "PowerLaw",
    "ProportionalClouds",
    "Salim18",
    "SmoothSfhTable",
    "Stars",
    "add_burst",
    "add_nebular",
    "age_weights",
    "attenuated_sed",
    "band_fluxes",
    "band_matrix",
    "equivalent_widths",
    "frac_trans",
    "igm_transmission",
    "lgmet_from_slope",
    "lgmet_from_table",
    "lgmet_weights",
    "lgmet_weights_by_age",
    "line_luminosities",
    "lookback_fractions",
    "lookback_matrix",
    "magnitudes",
    "population_magnitudes",
    "population_seds",
    "redshift_grid",
    "refined_table",
    "remnant_mass",
    "rest_sed",
    "rest_sed_from_weights",
    "sampling_error",
    "smooth_sfh_fluxes",
    "surviving_mass",
    "tabulate_sfh",
]
