"""Model against data: histograms, color-color counts and soft counts, with their residuals.

A histogram bin with observed count n and model expectation mu (median over draws, spread s over draws, noise
h of the halo sample) has the residual (n - mu) / sqrt(max(mu, 1) + s^2 + h^2); the floor keeps one galaxy in
an all but empty bin from looking like a misfit, while many still do. Averages leave out bins with fewer than
five galaxies, both expected and observed.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from popinfer.inference_data import InferenceData, group_names, read_group

MIN_COUNT = 5.0  # below this the Gaussian reading of a Poisson residual is wrong


@dataclass(frozen=True)
class Histograms:
    """Observed and predicted histograms of each color and magnitude.

    Attributes
    ----------
    features : names, "u-g" (a color) or "r" (a magnitude).
    edges : bin edges [mag], (feature, bin + 1).
    slice_z : redshift limits, (slice, 2).
    data : observed counts, (slice, feature, bin).
    model : expected counts, (draw, slice, feature, bin).
    halo_sd : noise of the halo sample in them, (slice, feature, bin); 0 where it wasn't measured.
    """

    features: tuple[str, ...]
    edges: np.ndarray
    slice_z: np.ndarray
    data: np.ndarray
    model: np.ndarray
    halo_sd: np.ndarray | float = 0.0

    @property
    def median(self) -> np.ndarray:
        """Median expected counts, (slice, feature, bin)."""
        return np.median(self.model, axis=0)

    def residuals(self) -> np.ndarray:
        """Return residuals in standard deviations, (slice, feature, bin); NaN where both sides are empty."""
        expected, variance = self.median, self.model.var(axis=0) + self.halo_sd**2
        empty = (self.data == 0) & (expected < 0.5)
        sigma = np.sqrt(np.maximum(expected, 1.0) + variance)
        return np.where(empty, np.nan, (self.data - expected) / sigma)

    def rms_residuals(self) -> np.ndarray:
        """Root mean square residual over well-filled bins, (slice, feature); NaN when there is none."""
        filled = np.maximum(self.median, self.data) >= MIN_COUNT
        total = np.where(filled, self.residuals() ** 2, 0.0).sum(axis=-1)
        n = filled.sum(axis=-1)
        return np.where(n > 0, np.sqrt(total / np.maximum(n, 1)), np.nan)

    def median_offsets(self) -> np.ndarray:
        """Median of the data minus median of the model [mag], (slice, feature)."""
        offset = np.full(self.data.shape[:2], np.nan)
        for s, f in np.ndindex(*offset.shape):
            offset[s, f] = _binned_median(self.data[s, f], self.edges[f]) - _binned_median(
                self.median[s, f], self.edges[f]
            )
        return offset


@dataclass(frozen=True)
class ColorPairs:
    """Observed and mean predicted counts on color-color grids.

    Attributes
    ----------
    names : (x, y) feature names of each pair.
    x_edges, y_edges : bin edges [mag], (pair, bin + 1).
    slice_z : redshift limits, (slice, 2).
    data, model : counts, (slice, pair, x, y).
    """

    names: tuple[tuple[str, str], ...]
    x_edges: np.ndarray
    y_edges: np.ndarray
    slice_z: np.ndarray
    data: np.ndarray
    model: np.ndarray


@dataclass(frozen=True)
class SoftCounts:
    """Residuals of the kernel soft counts that the likelihood uses [sd], (slice, kernel).

    ``centers`` of the kernels, (slice, kernel, feature) [mag]; no features where they weren't stored.
    """

    slice_z: np.ndarray
    residuals: np.ndarray
    features: tuple[str, ...]
    centers: np.ndarray


def read_histograms(idata: InferenceData) -> Histograms | None:
    """Return the histograms, or None when data or predictions are missing."""
    groups = _both(idata, "hist")
    if groups is None:
        return None
    observed, predicted = groups
    tail = ("slice", "feature", "bin")
    return Histograms(
        tuple(str(name) for name in observed["feature"].values),
        np.asarray(observed["bin_edges"].transpose("feature", "edge").values, dtype=float),
        _slice_z(observed),
        np.asarray(observed["hist"].transpose(*tail).values, dtype=float),
        _draws(predicted["hist"], tail),
        np.asarray(predicted["hist_halo_sd"].transpose(*tail)) if "hist_halo_sd" in predicted else 0.0,
    )


def read_pairs(idata: InferenceData) -> ColorPairs | None:
    """Return the color-color counts, or None when data or predictions are missing."""
    groups = _both(idata, "pair")
    if groups is None:
        return None
    observed, predicted = groups
    tail = ("slice", "pair", "x", "y")
    names = (str(name).split("|") for name in observed["pair_name"].values)
    return ColorPairs(
        tuple((x, y) for x, y in names),
        np.asarray(observed["pair_x_edges"].values, dtype=float),
        np.asarray(observed["pair_y_edges"].values, dtype=float),
        _slice_z(observed),
        np.asarray(observed["pair"].transpose(*tail).values, dtype=float),
        _draws(predicted["pair"], tail).mean(axis=0),
    )


def read_soft_counts(idata: InferenceData) -> SoftCounts | None:
    """Return soft-count residuals, or None when data, errors or predictions are missing."""
    groups = _both(idata, "soft_counts")
    if groups is None or "soft_counts_sd" not in groups[0]:
        return None
    observed, predicted = groups
    tail = ("slice", "kernel")
    data, sd = (np.asarray(observed[k].transpose(*tail).values) for k in ("soft_counts", "soft_counts_sd"))
    model = np.median(_draws(predicted["soft_counts"], tail), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = np.where(sd > 0, (data - model) / sd, np.nan)
    features: tuple[str, ...] = ()
    centers = np.zeros((*residuals.shape, 0))
    if "kernel_center" in observed:
        features = tuple(str(name) for name in observed["feature"].values)
        centers = np.asarray(observed["kernel_center"].transpose(*tail, "feature").values, dtype=float)
    return SoftCounts(_slice_z(observed), residuals, features, centers)


@dataclass(frozen=True)
class AbundanceRow:
    """A number or density: observed with its error (cosmic variance included), and as predicted."""

    name: str
    observed: float
    sd: float
    median: float
    low: float
    high: float

    @property
    def pull(self) -> float:
        """Observed minus predicted, in units of both errors together."""
        return (self.observed - self.median) / np.hypot(self.sd, 0.5 * (self.high - self.low))


def read_abundances(idata: InferenceData) -> list[AbundanceRow]:
    """Absolute abundances that took part in the fit; empty when only shapes did."""
    groups = _both(idata, "abundance")
    if groups is None:
        return []
    observed, predicted = groups
    draws = predicted["abundance"].values.reshape(-1, observed.sizes["number"])
    low, median, high = np.percentile(draws, [16, 50, 84], axis=0)
    names = [str(name) for name in observed["abundance_name"].values]
    columns = (observed["abundance"].values, observed["abundance_sd"].values, median, low, high)
    return [
        AbundanceRow(name, *(float(x) for x in numbers))
        for name, *numbers in zip(names, *columns, strict=True)
    ]


def _both(idata: InferenceData, variable: str) -> tuple[xr.Dataset, xr.Dataset] | None:
    """Observed and predicted groups when both hold the variable."""
    groups = group_names(idata)
    if "observed_data" not in groups or "posterior_predictive" not in groups:
        return None
    observed, predicted = read_group(idata, "observed_data"), read_group(idata, "posterior_predictive")
    return (observed, predicted) if variable in observed and variable in predicted else None


def _draws(values: xr.DataArray, tail: tuple[str, ...]) -> np.ndarray:
    """Stack chains and draws in front, (draw, *tail); one draw when they were averaged away."""
    head = [dim for dim in ("chain", "draw") if dim in values.dims]
    array = np.asarray(values.transpose(*head, *tail).values, dtype=float)
    return array.reshape(-1, *array.shape[len(head) :])


def _slice_z(observed: xr.Dataset) -> np.ndarray:
    """Redshift limits (slice, 2), whatever the second dimension is called."""
    values = observed["slice_z"]
    bound = next(dim for dim in values.dims if dim != "slice")
    return np.asarray(values.transpose("slice", bound).values, dtype=float)


def _binned_median(counts: np.ndarray, edges: np.ndarray) -> float:
    """Median of binned counts (bin,), linear inside its bin; NaN when they are empty."""
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    if cumulative[-1] <= 0:
        return np.nan
    return float(np.interp(0.5 * cumulative[-1], cumulative, edges))
