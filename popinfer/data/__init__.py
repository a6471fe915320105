"""What the outside world supplies: stellar populations, nebular grids, filter curves, survey catalogs."""

from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_nebular, load_ssp

__all__ = ["load_filters", "load_nebular", "load_ssp"]
