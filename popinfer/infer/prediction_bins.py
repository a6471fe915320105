"""Posterior predictions: what the model expects to see, draw by draw, in the bins that people look at.

Histograms and color-color counts are sums of the model galaxies' weights, scaled to the observed number of
galaxies of each slice. They are expectations: the survey's own counting noise is not in them. The halo
sample's noise in the histograms is stored beside them (`popinfer.infer.goodness.HaloNoise`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from popinfer.infer.goodness import HaloNoise

N_BINS, N_PAIR_BINS = 30, 24
_EDGE_PERCENT = 0.3  # of the observed galaxies beyond each end of the bins
# features [slice, point, feature], weights [slice, point], soft counts [slice, kernel]
Predicted = tuple[np.ndarray, np.ndarray, np.ndarray]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Bins:
    """Bins of every feature and of pairs of neighbouring colors.

    Attributes
    ----------
    features : names; "u-g" is a color, "r" a magnitude.
    edges : (feature, N_BINS + 1) [mag].
    pairs : (x, y) indices of the features of each color-color plane.
    """

    features: tuple[str, ...]
    edges: Float[np.ndarray, "feature edge"]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def around(cls, features: tuple[str, ...], observed: list[np.ndarray]) -> "Bins":
        """Lay bins around the observed galaxies, one array [galaxy, feature] a slice, NaN where missing."""
        everything = np.concatenate(observed)
        low, high = np.nanpercentile(everything, [_EDGE_PERCENT, 100 - _EDGE_PERCENT], axis=0)
        margin = 0.08 * (high - low) + 1e-3
        edges = np.linspace(low - margin, high + margin, N_BINS + 1).T
        colors = [i for i, name in enumerate(features) if "-" in name]
        return cls(features, edges, tuple((b, a) for a, b in pairwise(colors)))

    @property
    def pair_names(self) -> list[str]:
        """Names "x|y" of the color-color planes."""
        return [f"{self.features[x]}|{self.features[y]}" for x, y in self.pairs]

    def pair_edges(self, axis: int) -> np.ndarray:
        """Bin edges of the planes' x (0) or y (1) axis, (pair, edge)."""
        chosen = [self.edges[pair[axis]] for pair in self.pairs]
        lines = [np.linspace(e[0], e[-1], N_PAIR_BINS + 1) for e in chosen]
        return np.array(lines).reshape(len(self.pairs), N_PAIR_BINS + 1)

    def histograms(self, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Counts [feature, bin] of galaxies [point, feature]."""
        return np.array(
            [np.histogram(x[:, i], self.edges[i], weights=weight)[0] for i in range(len(self.features))],
            float,
        )

    def expected_histograms(
        self, features: np.ndarray, weights: np.ndarray, n_observed: Sequence[int]
    ) -> Float[np.ndarray, "slice feature bin"]:
        """Counts of model galaxies [slice, point, feature], scaled to the observed number of each slice."""
        slices = zip(features, weights, n_observed, strict=True)
        return np.stack([self.histograms(np.asarray(x, float), _scale_to(w, n)) for x, w, n in slices])

    def planes(self, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Counts [pair, x, y] of galaxies [point, feature]."""
        x_edges, y_edges = self.pair_edges(0), self.pair_edges(1)
        counts = [
            np.histogram2d(x[:, i], x[:, j], (x_edges[p], y_edges[p]), weights=weight)[0]
            for p, (i, j) in enumerate(self.pairs)
        ]
        return np.array(counts, float).reshape(len(self.pairs), N_PAIR_BINS, N_PAIR_BINS)


def predict_bins(
    n_draws: int,
    model: Callable[[int], Predicted],
    bins: Bins,
    n_observed: Sequence[int],
    noise: HaloNoise,
    progress: Progress,
) -> xr.Dataset:
    """Predict every draw: the ``posterior_predictive`` group of `popinfer.report`.

    Parameters
    ----------
    n_draws : int
        How many draws of the posterior there are.
    model : callable
        Number of a draw -> features and weights of its model galaxies, and expected soft counts.
    bins : Bins
        Where to count.
    n_observed : Sequence[int]
        Galaxies of each slice, which the predictions are scaled to.
    noise : HaloNoise
        Of the halo sample in the histograms [slice, feature, bin].
    progress : Progress
        Called with (done, total).
    """
    n_slice, n_pair = len(n_observed), len(bins.pairs)
    hist = np.empty((n_draws, n_slice, len(bins.features), N_BINS))
    planes = np.zeros((n_slice, n_pair, N_PAIR_BINS, N_PAIR_BINS))
    soft = []
    for d in range(n_draws):
        features, weights, counts = model(d)
        hist[d] = bins.expected_histograms(features, weights, n_observed)
        for s, n in enumerate(n_observed):
            planes[s] += bins.planes(np.asarray(features[s], float), _scale_to(weights[s], n)) / n_draws
        soft.append(counts)
        progress(d + 1, n_draws)
    return _dataset(
        bins,
        {
            "hist": (("chain", "draw", "slice", "feature", "bin"), hist[None]),
            "hist_halo_sd": (("slice", "feature", "bin"), noise.sd),
            "soft_counts": (("chain", "draw", "slice", "kernel"), np.stack(soft)[None]),
            "pair": (("slice", "pair", "x", "y"), planes),
        },
    )


def observed_bins(
    bins: Bins, features: list[np.ndarray], slice_z: np.ndarray, soft: np.ndarray, soft_sd: np.ndarray
) -> xr.Dataset:
    """Count the observed galaxies in the same bins: the ``observed_data`` group of `popinfer.report`.

    Parameters
    ----------
    bins : Bins
        Where to count.
    features : list[np.ndarray]
        Observed galaxies [galaxy, feature], one array a slice.
    slice_z : np.ndarray
        Redshift limits [slice, 2].
    soft, soft_sd : np.ndarray
        Observed soft counts and their errors [slice, kernel]; error 0 for unused kernels.
    """
    return _dataset(
        bins,
        {
            "hist": (("slice", "feature", "bin"), np.stack([bins.histograms(x) for x in features])),
            "pair": (("slice", "pair", "x", "y"), np.stack([bins.planes(x) for x in features])),
            "soft_counts": (("slice", "kernel"), soft),
            "soft_counts_sd": (("slice", "kernel"), soft_sd),
            "bin_edges": (("feature", "edge"), bins.edges),
            "pair_x_edges": (("pair", "x_edge"), bins.pair_edges(0)),
            "pair_y_edges": (("pair", "y_edge"), bins.pair_edges(1)),
            "pair_name": (("pair",), bins.pair_names),
            "slice_z": (("slice", "bound"), slice_z),
        },
    )


def _scale_to(weight: np.ndarray, n: int) -> np.ndarray:
    """Weights whose sum is n."""
    weight = np.asarray(weight, float)
    return weight * (n / weight.sum())


def _dataset(bins: Bins, variables: dict[str, Any]) -> xr.Dataset:
    """Without color-color planes where there is but one color."""
    kept = {name: v for name, v in variables.items() if bins.pairs or not name.startswith("pair")}
    return xr.Dataset(kept, coords={"feature": list(bins.features)})
