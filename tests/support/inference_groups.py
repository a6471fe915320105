"""Draws of tests in the container of the ArviZ that is installed."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from popinfer.inference_data import InferenceData, from_groups


def draws_of(**groups: Mapping[str, np.ndarray]) -> InferenceData:
    """Groups of arrays by name; the first axes are chain and draw, further ones are the variable's own."""
    datasets = {}
    for group, arrays in groups.items():
        variables = {}
        for name, values in arrays.items():
            axes = ("chain", "draw", *(f"{name}_{i}" for i in range(np.ndim(values) - 2)))
            variables[name] = (axes, np.array(values))
        datasets[group] = xr.Dataset(variables)
    return from_groups(datasets)
