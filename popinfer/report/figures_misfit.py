"""Figures of where the model fails: colors in slices, places in color and magnitude, and soft counts."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from popinfer.report.comparison import MIN_COUNT, Histograms, SoftCounts
from popinfer.report.goodness import FeatureChecks
from popinfer.report.style import DATA, MODEL, PAGE_WIDTH, Plot, chunks, feature_label, slice_label

_PER_PAGE = 4  # slices across
_REACH = 3.0  # range of the kernels' residuals [sigma]
_MEDIAN_SENSE = "blue: data bluer (brighter) than the model"
_PLAIN = 3.0  # residuals that get a black rim [sigma]


@dataclass(frozen=True)
class _Map:
    """Numbers of slices and features, (slice, feature), with what is written below each."""

    label: str
    sense: str
    values: np.ndarray
    significance: np.ndarray | None = None
    form: str = "{:+.3f}"
    reach: float = 0.05  # of the colors, at least: what matters little stays pale


def misfit_plot(histograms: Histograms, checks: FeatureChecks | None) -> Plot:
    """Which features in which slices, as annotated maps: medians, widths and blue fractions, histograms."""
    maps = _check_maps(checks) if checks is not None else [_binned_medians(histograms)]
    rms = histograms.rms_residuals()
    maps.append(_Map("rms residual [σ]", "of the whole histogram; noise allows 1", rms, None, "{:.1f}", 3.0))
    n_slice, n_row = len(histograms.slice_z), -(-len(maps) // 2)
    figure = Figure(figsize=(PAGE_WIDTH, n_row * (0.62 + 0.36 * n_slice)), layout="constrained")
    axes = figure.subplots(n_row, 2, sharey=True, squeeze=False)
    names = [name.replace("-", " − ") for name in histograms.features]
    for ax, shown in zip(axes.ravel(), maps, strict=False):
        _draw_map(ax, shown)
        ax.set_yticks(range(n_slice), [slice_label(limits) for limits in histograms.slice_z])
        ax.set_xticks(range(len(names)), names)
        ax.set_title(f"{shown.label}\n{shown.sense}")
        ax.tick_params(length=0)
    caption = (
        "Where the model fails. Root mean square of (data − model)/σ over the bins of each histogram with at "
        f"least {MIN_COUNT:.0f} galaxies: a perfect model gives 1, a plain misfit 3. "
    )
    if checks is None:
        caption += "Median of the data minus median of the model."
    else:
        caption += (
            "The other maps: data minus posterior predictive mean of the median, of the width (84th − 16th "
            "percentile) and of the share of galaxies bluer than the color that splits the observed ones "
            "best; below each, its size in standard deviations of replicate surveys. These have counting "
            "noise, the posterior's spread and the halo sample's noise, but no model error."
        )
    alt = f"Maps of {', '.join(names)} in {n_slice} slices."
    if np.isfinite(rms).any():
        s, f = np.unravel_index(int(np.nanargmax(rms)), rms.shape)
        where = slice_label(histograms.slice_z[int(s)])
        alt += f" The largest rms residual is {rms[s, f]:.1f} σ, of {names[int(f)]} at {where}."
    return Plot("misfit", "Which colors, which slices", caption, figure, alt)


def _check_maps(checks: FeatureChecks) -> list[_Map]:
    texts = {
        "median": ("median, data − model [mag]", _MEDIAN_SENSE),
        "width": ("width, data − model [mag]", "red: data wider than the model"),
        "blue_fraction": ("blue fraction, data − model", "red: more blue galaxies in the data"),
    }
    return [
        _Map(
            *texts[statistic],
            checks.of(statistic, checks.difference),
            checks.of(statistic, checks.significance),
            reach=0.1 if statistic == "blue_fraction" else 0.05,
        )
        for statistic in checks.statistics
    ]


def _binned_medians(histograms: Histograms) -> _Map:
    offset = histograms.median_offsets()
    return _Map("median, data − model [mag]", _MEDIAN_SENSE, offset)


def _draw_map(ax: Axes, shown: _Map) -> None:
    """Draw one map with a number in each cell, white where the cell is dark."""
    signed = shown.form.startswith("{:+")
    largest = float(np.nanmax(np.abs(shown.values), initial=0))
    top = max(shown.reach, largest)
    limits = (
        {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
        if signed
        else {"cmap": "cividis", "vmin": 0, "vmax": top}
    )
    ax.imshow(shown.values, aspect="auto", **limits)
    for (row, column), value in np.ndenumerate(shown.values):
        dark = abs(value) > 0.6 * top if signed else value < 0.55 * top
        text = shown.form.format(value).replace("-", "−") if np.isfinite(value) else "–"
        if shown.significance is not None and np.isfinite(shown.significance[row, column]):
            text += f"\n{abs(shown.significance[row, column]):.1f} σ"
        color = "white" if dark else "black"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=7, linespacing=1.1)


def kernel_plots(soft: SoftCounts) -> list[Plot]:
    """Which kernels: each center a dot colored by its residual, planes down and slices across."""
    planes = _planes(soft)
    if not planes:
        return []
    caption = (
        "Where in color and magnitude the fitted soft counts are missed. Each dot is the center of a "
        "kernel, colored by (data − model)/σ, with σ from counting, the allowed model error and the halo "
        "sample; red: more galaxies observed than predicted. Dots with a black rim are off by more than "
        f"{_PLAIN:.0f} σ. Kernels are wider than the distance between dots, so that neighbors share galaxies."
    )
    plots = []
    for columns in chunks(len(soft.slice_z), _PER_PAGE):
        suffix = f"_{len(plots) + 1}" if plots else ""
        figure = _kernel_figure(soft, planes, columns)
        shown = soft.residuals[list(columns)]
        far = int((np.abs(np.nan_to_num(shown)) > _PLAIN).sum())
        n_shown = int(np.isfinite(shown).sum())
        alt = f"Kernels of {len(columns)} slices; {far} of {n_shown} are off by more than {_PLAIN:.0f} σ."
        plots.append(Plot("misfit_kernels" + suffix, "Which kernels", caption, figure, alt))
    return plots


def _planes(soft: SoftCounts) -> list[tuple[int, int]]:
    """(x, y) features of the planes: the color that varies most, against the magnitude and the next color."""
    colors = [i for i, name in enumerate(soft.features) if "-" in name]
    others = [i for i, name in enumerate(soft.features) if "-" not in name]
    if not colors:
        return []
    spread = np.nanstd(soft.centers.reshape(-1, len(soft.features)), axis=0)
    at = int(np.argmax(spread[colors]))
    neighbors = [*colors[at + 1 :], *reversed(colors[:at])]
    return [(x, colors[at]) for x in (*others[:1], *neighbors[:1])]


def _kernel_figure(soft: SoftCounts, planes: list[tuple[int, int]], columns: range) -> Figure:
    n_row, n_col = len(planes), len(columns)
    figure = Figure(figsize=(PAGE_WIDTH, 0.45 + 2.1 * n_row), layout="constrained")
    axes = figure.subplots(n_row, n_col, squeeze=False, sharex="row", sharey=True)
    dots = None
    for i, (x, y) in enumerate(planes):
        for j, s in enumerate(columns):
            ax = axes[i, j]
            dots = _dots(ax, soft, s, (x, y))
            ax.set_xlabel(feature_label(soft.features[x]))
            ax.xaxis.set_major_locator(MaxNLocator(4))
            if i == 0:
                ax.set_title(slice_label(soft.slice_z[s]))
        axes[i, 0].set_ylabel(feature_label(soft.features[y]))
    if dots is not None:
        figure.colorbar(dots, ax=axes, label="(data − model)/σ of the soft count", extend="both", aspect=35)
    return figure


def _dots(ax: Axes, soft: SoftCounts, s: int, plane: tuple[int, int]) -> PathCollection:
    """Draw the kernels of a slice, the largest residuals on top."""
    residual = soft.residuals[s]
    order = np.argsort(np.abs(np.nan_to_num(residual)))
    order = order[
        np.isfinite(residual[order]) & np.isfinite(soft.centers[s][order][:, list(plane)]).all(axis=1)
    ]
    x, y = (soft.centers[s][order, feature] for feature in plane)
    rim = ["black" if size > _PLAIN else "0.55" for size in np.abs(residual[order])]
    return ax.scatter(
        x,
        y,
        s=16,
        c=residual[order],
        cmap="RdBu_r",
        vmin=-_REACH,
        vmax=_REACH,
        edgecolors=rim,
        linewidths=0.5,
    )


def soft_count_plot(soft: SoftCounts) -> Plot:
    """Histograms of soft-count residuals in each slice against a unit normal."""
    n = len(soft.slice_z)
    rows = chunks(n, 4)
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(PAGE_WIDTH, 0.4 + 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True)
    edges = np.linspace(-5, 5, 26)
    grid, all_rms = np.linspace(-5, 5, 201), list[float]()
    for ax, s in zip(axes.ravel(), range(n), strict=False):
        values = soft.residuals[s][np.isfinite(soft.residuals[s])]
        ax.hist(np.clip(values, -5, 5), edges, density=True, color=DATA, alpha=0.35)
        ax.plot(grid, norm.pdf(grid), color=MODEL)
        rms = float(np.sqrt(np.mean(values**2))) if values.size else np.nan
        all_rms.append(rms)
        ax.text(0.04, 0.95, f"rms {rms:.2f}\nn {values.size}", transform=ax.transAxes, va="top", fontsize=7.5)
        ax.set(title=slice_label(soft.slice_z[s]), xlabel="residual [σ]", yticks=[], xlim=(-5, 5))
    for ax in axes.ravel()[n:]:
        ax.set_axis_off()
    axes[0, 0].set_ylabel("kernels")
    caption = (
        "The statistic that was fitted. Grey: (data − model)/σ of the soft counts of each slice, with σ from "
        "counting, the allowed model error and the halo sample (values beyond 5 sit at the edge). Blue: the "
        "unit normal that a perfect model would give; neighboring kernels share galaxies, so the histogram "
        "is less smooth than its size suggests."
    )
    listed = ", ".join(f"{one:.2f} at {slice_label(z)}" for one, z in zip(all_rms, soft.slice_z, strict=True))
    alt = f"Histograms of residuals against a unit normal; rms {listed}."
    return Plot("soft_counts", "Soft counts", caption, figure, alt)
