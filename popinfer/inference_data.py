"""Named groups of datasets, in the container of the ArviZ that is installed.

ArviZ 0.23, the last for Python 3.11, has a container of its own, `arviz.InferenceData`; ArviZ 1 takes
`xarray.DataTree`. Both hold the same groups, are read from the same NetCDF file, and go into that ArviZ's
summaries and plots. What differs between them is here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import arviz as az
import xarray as xr

if TYPE_CHECKING:
    InferenceData = az.InferenceData
else:
    InferenceData = getattr(az, "InferenceData", xr.DataTree)


def from_groups(groups: Mapping[str, xr.Dataset]) -> InferenceData:
    """Datasets by the name of their group, as ArviZ takes them."""
    idata: Any = InferenceData()
    add_groups(idata, groups)
    return idata


def add_groups(idata: InferenceData, groups: Mapping[str, xr.Dataset]) -> None:
    """Put further groups in; those that are there by these names are replaced."""
    container: Any = idata
    for name, dataset in groups.items():
        container[name] = xr.DataTree(dataset) if isinstance(container, xr.DataTree) else dataset


def group_names(idata: InferenceData) -> list[str]:
    """Names of the groups, in their order."""
    container: Any = idata
    return list(container.children if isinstance(container, xr.DataTree) else container.groups())


def read_group(idata: InferenceData, name: str) -> xr.Dataset:
    """A group's variables and attributes; an empty dataset where there is no such group."""
    if name not in group_names(idata):
        return xr.Dataset()
    found = idata[name]
    return found.to_dataset() if isinstance(found, xr.DataTree) else found
