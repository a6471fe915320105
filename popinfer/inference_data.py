"""Named groups of datasets, in the container of the ArviZ that is installed.

ArviZ 0.23, the last for Python 3.11, has a container of its own, `arviz.InferenceData`; ArviZ 1 takes
`xarray.DataTree`. Both hold the same groups, are read from the same NetCDF file, and go into that ArviZ's
summaries and plots. What differs between them is here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import arviz as az
import numpy as np
import xarray as xr
from jaxtyping import Float

HAS_TREES = int(az.__version__.partition(".")[0]) >= 1

if TYPE_CHECKING:
    InferenceData = az.InferenceData
else:
    InferenceData = xr.DataTree if HAS_TREES else az.InferenceData


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


def smooth_tail(log_weight: Float[np.ndarray, "draw"]) -> tuple[Float[np.ndarray, "draw"], float]:
    """Log weights whose right tail is that of a generalized Pareto distribution, and its shape k-hat.

    Parameters
    ----------
    log_weight : Float[np.ndarray, "draw"]
        Natural logarithms of the weights, up to a constant; all finite.

    Returns
    -------
    smoothed : Float[np.ndarray, "draw"]
        The same for weights that add up to one.
    k_hat : float
        Shape of the tail; infinite where it couldn't be fitted.
    """
    if HAS_TREES:
        draws: Any = xr.DataArray(-log_weight, dims="draw")  # negative, as its leave-one-out has them
        try:
            smoothed, k_hat = (np.asarray(x) for x in draws.azstats.psislw(dim="draw"))
        except ValueError:  # a tail of one value, or of fewer than five, has no shape
            smoothed, k_hat = log_weight, np.inf
    else:
        smoothed, k_hat = az.psislw(log_weight)
    return smoothed - np.logaddexp.reduce(smoothed), float(k_hat)
