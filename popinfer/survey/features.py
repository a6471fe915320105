"""What of a galaxy is compared, and with the galaxies of which slice."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from popinfer.errors import InputError
from popinfer.records import Arr


def feature_matrix(bands: Sequence[str], features: Sequence[str]) -> Float[np.ndarray, "band feature"]:
    """Features are linear in magnitudes: columns are differences of bands, or single bands."""
    matrix, order = np.zeros((len(bands), len(features))), list(bands)
    for column, feature in enumerate(features):
        first, _, second = feature.partition("-")
        for band, sign in ((first, 1), (second, -1)):
            if band and band not in order:
                raise InputError(f"feature {feature}: there is no band {band}; use {', '.join(order)}")
            if band:
                matrix[order.index(band), column] += sign
    return matrix


def slice_members(
    slices: Sequence[tuple[float, float]], z: Float[Arr, "gal"]
) -> list[Bool[np.ndarray, "gal"]]:
    """Which galaxies belong to each slice."""
    z = np.asarray(z)
    return [(z >= low) & (z < high) for low, high in slices]
