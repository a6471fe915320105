"""Figures of the survey as observed and as the model predicts it: colors, magnitudes, color-color planes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from popinfer.report.comparison import ColorPairs, Histograms
from popinfer.report.figures_posterior import enclosing_levels
from popinfer.report.style import (
    BEST_FIT,
    DATA,
    MODEL,
    PAGE_WIDTH,
    Plot,
    chunks,
    feature_label,
    poisson_errors,
    slice_label,
    stairs_band,
)

_PER_PAGE = 4  # slices down, colors across
_NARROW, _WIDE = 5.0, 12.0  # range of the residual panels [sigma]; wide when many lie outside
_CONTOUR_FRACTIONS = (0.3, 0.68, 0.95)


def color_plots(histograms: Histograms) -> list[Plot]:
    """Color histograms with residuals, rows are slices and columns colors; four by four a figure."""
    colors = [i for i, name in enumerate(histograms.features) if "-" in name]
    caption = (
        "Distributions of each color (columns) in each redshift slice (rows). Black: observed galaxies per "
        "bin with Poisson errors. Blue: the model's expected counts, median with 68 and 95 % posterior "
        "bands. Lower panels: (data − model)/σ with σ from Poisson noise, posterior spread and the halo "
        "sample; grey marks ±1 and ±2, vermilion triangles lie outside the range."
    )
    return _pages(histograms, colors, ("color_histograms", "Colors, data against model", caption), log=False)


def magnitude_plots(histograms: Histograms) -> list[Plot]:
    """Magnitude counts with residuals on a logarithmic axis."""
    magnitudes = [i for i, name in enumerate(histograms.features) if "-" not in name]
    caption = (
        "Galaxies per magnitude bin in each redshift slice. Black: observed, with Poisson errors. Blue: the "
        "model's expected counts after noise and selection, median with 68 and 95 % posterior bands. Lower "
        "panels: (data − model)/σ as for the colors."
    )
    return _pages(histograms, magnitudes, ("magnitude_counts", "Magnitude counts", caption), log=True)


def _pages(
    histograms: Histograms, features: list[int], text: tuple[str, str, str], *, log: bool
) -> list[Plot]:
    """One figure a block of at most four slices and four features; slices of a lone feature sit in a row."""
    name, title, caption = text
    plots = []
    for across in chunks(len(features), _PER_PAGE):
        for down in chunks(len(histograms.slice_z), _PER_PAGE):
            cells = [[(s, features[f]) for f in across] for s in down]
            if len(across) == 1:
                cells = [[row[0] for row in cells]]
            if not cells or not cells[0]:
                continue
            suffix = f"_{len(plots) + 1}" if plots else ""
            alt = _alt(histograms, [features[f] for f in across], down)
            plots.append(Plot(name + suffix, title, caption, _grid(histograms, cells, log=log), alt))
    return plots


def _alt(histograms: Histograms, features: list[int], slices: range) -> str:
    """What histograms of some features and slices show: where the model is farthest from the data."""
    names = [histograms.features[f].replace("-", " − ") for f in features]
    shown = f"Histograms of {', '.join(names)} in {len(slices)} slice{'' if len(slices) == 1 else 's'}."
    rms = histograms.rms_residuals()[np.ix_(list(slices), features)]
    if not np.isfinite(rms).any():
        return shown
    s, f = np.unravel_index(int(np.nanargmax(rms)), rms.shape)
    where = slice_label(histograms.slice_z[slices[int(s)]])
    return f"{shown} The model misses {names[int(f)]} at {where} most: rms residual {rms[s, f]:.1f} σ."


def _grid(histograms: Histograms, cells: list[list[tuple[int, int]]], *, log: bool) -> Figure:
    """Draw cells of (slice, feature), each a histogram over its residuals."""
    n_row, n_col = len(cells), len(cells[0])
    width = PAGE_WIDTH if n_col > 1 else 0.5 * PAGE_WIDTH
    figure = Figure(figsize=(width, 0.75 + 1.75 * n_row))
    ratios = [ratio for _ in range(n_row) for ratio in (3.0, 1.15, 0.35)][:-1]
    grid = figure.add_gridspec(3 * n_row - 1, n_col, height_ratios=ratios, hspace=0, wspace=0.28)
    residuals = histograms.residuals()
    reach = _NARROW if np.nanmean(np.abs(residuals) > _NARROW) < 0.02 else _WIDE
    for i, row in enumerate(cells):
        for j, (s, f) in enumerate(row):
            upper = figure.add_subplot(grid[3 * i, j])
            lower = figure.add_subplot(grid[3 * i + 1, j], sharex=upper)
            _histogram(upper, histograms, (s, f), log=log)
            _residual(lower, histograms.edges[f], residuals[s, f], reach)
            if n_row == 1:
                upper.set_title(slice_label(histograms.slice_z[s]))
            elif j == n_col - 1:
                place = {"transform": upper.transAxes, "rotation": 270, "ha": "left", "va": "center"}
                upper.text(1.03, 0.35, slice_label(histograms.slice_z[s]), **place)
            if j == 0:
                upper.set_ylabel("galaxies per bin")
                lower.set_ylabel("resid. [σ]")
            if i == n_row - 1:
                lower.set_xlabel(feature_label(histograms.features[f]))
            else:
                lower.tick_params(labelbottom=False)
    handles = [
        Line2D([], [], color=DATA, marker="o", ms=3, ls="", label="data"),
        Patch(facecolor=MODEL, alpha=0.5, label="model, 68 and 95 %"),
    ]
    top = 1 - 0.42 / figure.get_figheight()
    bottom = 0.42 / figure.get_figheight()
    figure.subplots_adjust(
        left=0.085 * PAGE_WIDTH / width, right=0.99 if n_row == 1 else 0.97, top=top, bottom=bottom
    )
    figure.legend(handles=handles, loc="upper center", ncols=2)
    return figure


def _histogram(ax: Axes, histograms: Histograms, which: tuple[int, int], *, log: bool) -> None:
    """Draw observed points over the model's band for one (slice, feature)."""
    s, f = which
    edges, data, model = histograms.edges[f], histograms.data[s, f], histograms.model[:, s, f]
    stairs_band(ax, edges, model)
    shown = (data > 0) | (histograms.median[s, f] > 1)
    if log:
        shown &= data > 0
        ax.set_yscale("log")
        ax.set_ylim(0.5, 2.5 * max(data.max(), model.max(), 1.0))
    else:
        ax.set_ylim(0, 1.2 * max((data + np.sqrt(data)).max(), model.max(), 1.0))
        # the label at zero would stand in that of the residuals' panel below
        ax.yaxis.set_major_locator(MaxNLocator(3, prune="lower"))
    centers = 0.5 * (edges[1:] + edges[:-1])
    errors = poisson_errors(data[shown])
    ax.errorbar(centers[shown], data[shown], errors, fmt="o", color=DATA, ms=1.8, lw=0.6, mew=0)
    ax.set_xlim(*_shown_range(histograms, f))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelbottom=False)


def _residual(ax: Axes, edges: np.ndarray, residual: np.ndarray, reach: float) -> None:
    """Draw residuals (bin,) [sigma]; what lies beyond `reach` sits at the panel's edge as a triangle."""
    centers = 0.5 * (edges[1:] + edges[:-1])
    for half, shade in ((2, "0.93"), (1, "0.85")):
        ax.axhspan(-half, half, color=shade, lw=0)
    ax.axhline(0, color=MODEL, lw=0.8)
    inside = np.abs(residual) <= reach
    ax.plot(centers[inside], residual[inside], "o", color=DATA, ms=1.8, mew=0)
    for beyond, marker, sign in ((residual > reach, "^", 1), (residual < -reach, "v", -1)):
        height = np.full(int(beyond.sum()), 0.88 * sign * reach)
        ax.plot(centers[beyond], height, marker, color=BEST_FIT, ms=3, mew=0)
    tick = 3 if reach == _NARROW else 8
    ax.set(ylim=(-reach, reach), yticks=[-tick, 0, tick])


def _shown_range(histograms: Histograms, feature: int) -> tuple[float, float]:
    """Bins that hold at least one galaxy in a thousand in some slice, with one bin's margin."""
    counts = np.maximum(histograms.data[:, feature], histograms.median[:, feature])
    fraction = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1.0)
    filled = np.flatnonzero((fraction > 1e-3).any(axis=0))
    edges = histograms.edges[feature]
    if not filled.size:
        return float(edges[0]), float(edges[-1])
    return float(edges[max(filled[0] - 1, 0)]), float(edges[min(filled[-1] + 2, edges.size - 1)])


def pair_plots(pairs: ColorPairs) -> list[Plot]:
    """Color-color planes: data as filled contours, the model as lines at the same enclosed fractions."""
    caption = (
        "Color-color planes in each redshift slice (columns). Grey, filled: observed galaxies. Blue lines: "
        "mean posterior prediction. Contours of both hold 30, 68 and 95 % of the galaxies, after the same "
        "smoothing by one grid cell."
    )
    plots = []
    for columns in chunks(len(pairs.slice_z), _PER_PAGE):
        for rows in chunks(len(pairs.names), _PER_PAGE):
            if not columns or not rows:
                continue
            suffix = f"_{len(plots) + 1}" if plots else ""
            figure = _planes(pairs, rows, columns)
            planes = "; ".join(" against ".join(reversed(pairs.names[i])) for i in rows).replace("-", " − ")
            alt = f"Contours of observed galaxies and of the model, {planes}, in {len(columns)} slices."
            plots.append(Plot("color_color" + suffix, "Color-color planes", caption, figure, alt))
    return plots


def _planes(pairs: ColorPairs, rows: range, columns: range) -> Figure:
    """Draw one figure of planes, pairs down and slices across."""
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.9 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex="row", sharey="row")
    for i, pair in enumerate(rows):
        for j, s in enumerate(columns):
            _plane(axes[i, j], pairs, (s, pair))
            axes[i, j].set_xlabel(feature_label(pairs.names[pair][0]))
            if i == 0:
                axes[i, j].set_title(slice_label(pairs.slice_z[s]))
        axes[i, 0].set_ylabel(feature_label(pairs.names[pair][1]))
        x_limits, y_limits = _plane_limits(pairs, pair)
        axes[i, 0].set(xlim=x_limits, ylim=y_limits)  # shared along the row
    handles = [
        Patch(facecolor="0.6", edgecolor=DATA, label="data"),
        Line2D([], [], color=MODEL, label="model"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _plane(ax: Axes, pairs: ColorPairs, which: tuple[int, int]) -> None:
    """Draw data and model of one (slice, pair)."""
    s, pair = which
    x, y = (0.5 * (edges[pair][1:] + edges[pair][:-1]) for edges in (pairs.x_edges, pairs.y_edges))
    smooth = [gaussian_filter(counts[s, pair].T, 1.0) for counts in (pairs.data, pairs.model)]
    if smooth[0].max() > 0:
        levels = enclosing_levels(smooth[0], _CONTOUR_FRACTIONS)
        top = smooth[0].max() * 1.001
        filled = [*levels, max(top, levels[-1] * 1.01)]
        ax.contourf(x, y, smooth[0], filled, colors=["0.88", "0.72", "0.5"])
        ax.contour(x, y, smooth[0], levels, colors=DATA, linewidths=0.4)
    if smooth[1].max() > 0:
        levels = enclosing_levels(smooth[1], _CONTOUR_FRACTIONS)
        ax.contour(x, y, smooth[1], levels, colors=MODEL, linewidths=1.1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))


def _plane_limits(pairs: ColorPairs, pair: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the x and y range that holds all but the outermost galaxies of every slice, data and model."""
    limits = []
    for axis, edges in ((1, pairs.x_edges[pair]), (0, pairs.y_edges[pair])):
        low, high = edges.size - 1, 0
        for counts in (*pairs.data[:, pair], *pairs.model[:, pair]):
            along = counts.sum(axis=axis)
            filled = np.flatnonzero(along > 2e-3 * max(along.sum(), 1e-300))
            if filled.size:
                low, high = min(low, filled[0] - 1), max(high, filled[-1] + 2)
        low, high = (max(low, 0), min(high, edges.size - 1)) if high > low else (0, edges.size - 1)
        limits.append((float(edges[low]), float(edges[high])))
    return limits[0], limits[1]
