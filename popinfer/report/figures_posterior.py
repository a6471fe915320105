"""Figures of the posterior against the prior: corner plot and shrinkage."""

import itertools
from typing import Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter
from scipy.stats import gaussian_kde

from popinfer.inference_data import InferenceData, read_group
from popinfer.report.parameters import ParameterRow, flat_draws
from popinfer.report.style import BEST_FIT, MODEL, PAGE_WIDTH, PRIOR, TRUTH, Plot, wrap_label

LEVELS = (0.68, 0.95)
_GRID = 40
_LABEL_WIDTH = 10


def enclosing_levels(density: np.ndarray, fractions: tuple[float, ...] = LEVELS) -> list[float]:
    """Density values whose superlevel sets hold the given fractions of the total, ascending for contours."""
    order = np.sort(density.ravel())[::-1]
    cumulated = np.cumsum(order) / order.sum()
    levels = [
        float(order[min(np.searchsorted(cumulated, fraction), order.size - 1)]) for fraction in fractions
    ]
    ascending = sorted(levels)
    # contours must increase strictly, also when one crowded cell holds everything
    return [level * (1 + 1e-9 * i) + 1e-300 * i for i, level in enumerate(ascending)]


def corner_plot(idata: InferenceData, rows: tuple[ParameterRow, ...]) -> Plot:
    """Marginals of every parameter and contours of every pair, with the prior behind them."""
    n = len(rows)
    size = float(np.clip(0.92 * n, 2.8, 12.0))
    scale = float(np.clip(size / 7.5, 1.0, 1.4))  # a large figure is shown smaller: larger type
    left, below_all = 1.0 * scale, 1.15 * scale  # room for names [inch]
    width, height = size + left + 0.05, size + below_all + 0.05
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(n, n, squeeze=False)
    draws = {row.name: flat_draws(idata, "posterior", row.name) for row in rows}
    prior = {row.name: flat_draws(idata, "prior", row.name) for row in rows}
    limits = {row.name: _limits(draws[row.name], prior[row.name]) for row in rows}
    for i, below in enumerate(rows):
        for j, across in enumerate(rows):
            ax = axes[i, j]
            if j > i:
                ax.set_axis_off()
                continue
            if i == j:
                _marginal(ax, draws[below.name], prior[below.name], limits[below.name])
            else:
                pair = (across.name, below.name)
                contours(
                    ax, [prior[name] for name in pair], [limits[name] for name in pair], PRIOR, filled=False
                )
                contours(
                    ax, [draws[name] for name in pair], [limits[name] for name in pair], MODEL, filled=True
                )
                ax.set(xlim=limits[across.name], ylim=limits[below.name])
            _mark(ax, across, below if i != j else None)
            corner_labels(ax, across, below, (i, j, n), scale)
    figure.legend(handles=_legend(rows), loc="upper right", fontsize=9 * scale)
    edges = {"left": left / width, "bottom": below_all / height}
    figure.subplots_adjust(**edges, right=1 - 0.05 / width, top=1 - 0.05 / height, wspace=0.06, hspace=0.06)
    for k in range(n):
        axes[n - 1, k].xaxis.set_label_coords(0.5, -0.42 * scale * n / size)
        axes[k, 0].yaxis.set_label_coords(-0.42 * scale * n / size, 0.5)
    caption = (
        "Posterior (blue; contours hold 68 and 95 %) against the prior (grey dashed, the same levels where "
        "they fit in the panel). Vermilion: highest posterior density"
        + ("; green: the truth of this mock catalog." if _has_truth(rows) else ".")
    )
    return Plot("corner", "Posterior and prior", caption, figure, _correlations(idata, rows))


def _correlations(idata: InferenceData, rows: tuple[ParameterRow, ...]) -> str:
    """What a corner plot shows, in words: how many parameters, and which are correlated most."""
    shown = f"Corner plot of {len(rows)} parameters."
    draws = np.stack(
        [np.asarray(read_group(idata, "posterior")[row.name].values, float).ravel() for row in rows]
    )
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    if len(rows) < 2 or draws.shape[1] < 2 or (draws.std(axis=1) == 0).any():
        return shown
    matrix = np.corrcoef(draws)
    pairs = sorted(itertools.combinations(range(len(rows)), 2), key=lambda pair: -abs(matrix[pair]))
    listed = "; ".join(
        f"{rows[i].name} and {rows[j].name} {f'{matrix[i, j]:+.2f}'.replace('-', '−')}" for i, j in pairs[:3]
    )
    return f"{shown} Strongest correlations: {listed}."


def shrinkage_plot(rows: tuple[ParameterRow, ...], idata: InferenceData) -> Plot | None:
    """Show each posterior in units of its prior; None without prior draws."""
    informed = [row for row in rows if np.isfinite(row.shrinkage)]
    if not informed:
        return None
    figure = Figure(figsize=(PAGE_WIDTH, 0.8 + 0.28 * len(informed)), layout="constrained")
    ax, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    ax.axvspan(-1, 1, color=PRIOR, alpha=0.3, lw=0)
    ax.axvspan(-2, 2, color=PRIOR, alpha=0.18, lw=0)
    for y, row in enumerate(informed):
        center = flat_draws(idata, "prior", row.name).mean()
        low95, low68, median, high68, high95 = (
            (quantile - center) / row.prior_sd
            for quantile in (row.low95, row.low68, row.median, row.high68, row.high95)
        )
        ax.plot([low95, high95], [y, y], color=MODEL, lw=1.2)
        ax.plot([low68, high68], [y, y], color=MODEL, lw=3.5, solid_capstyle="butt")
        ax.plot(median, y, "o", color="white", mec=MODEL, ms=4)
        right.barh(y, row.shrinkage, color=MODEL, height=0.55)
    ax.set_yticks(range(len(informed)), [row.name for row in informed])
    ax.set(ylim=(len(informed) - 0.4, -0.6), xlabel="(parameter − prior mean) / prior standard deviation")
    right.set(xlim=(min(0.0, *(row.shrinkage for row in informed)), 1), xlabel="shrinkage")
    right.axvline(0, color="black", lw=0.7)
    caption = (
        "Left: posterior medians with 68 and 95 % intervals (blue) in units of each prior (grey: 1 and 2 "
        "prior standard deviations). Right: shrinkage, 1 − sd(posterior)/sd(prior); near 0 the data said "
        "nothing."
    )
    listed = ", ".join(f"{row.name} {row.shrinkage:.2f}" for row in informed)
    alt = (
        f"Medians and intervals of {len(informed)} parameters in units of their priors. Shrinkage: {listed}."
    )
    return Plot("shrinkage", "What the data taught", caption, figure, alt)


def _limits(draws: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    """Return the posterior's range, wider towards the prior's bulk while the posterior stays visible."""
    if not draws.size:
        return (-1.0, 1.0)
    low, high = np.percentile(draws, [0.2, 99.8])
    width = max(high - low, 1e-6 * max(1.0, abs(high)))
    low, high = low - 0.15 * width, high + 0.15 * width
    if prior.size:
        prior_low, prior_high = np.percentile(prior, [5, 95])
        low = max(min(low, prior_low), low - 0.9 * width)
        high = min(max(high, prior_high), high + 0.9 * width)
    return float(low), float(high)


def _marginal(ax: Axes, draws: np.ndarray, prior: np.ndarray, limits: tuple[float, float]) -> None:
    """Posterior and prior densities of one parameter, normalised alike."""
    grid = np.linspace(*limits, 300)
    if draws.size > 10 and np.ptp(draws) > 0:
        density = gaussian_kde(draws)(grid)
        ax.fill_between(grid, density, color=MODEL, alpha=0.35, lw=0)
        ax.plot(grid, density, color=MODEL, lw=1.1)
    if prior.size > 10 and np.ptp(prior) > 0:
        ax.plot(grid, gaussian_kde(prior)(grid), color=PRIOR, lw=1.1, ls="--")
    ax.set(xlim=limits, yticks=[])
    ax.set_ylim(bottom=0)


def contours(
    ax: Axes, pair: list[np.ndarray], limits: list[tuple[float, float]], color: str, *, filled: bool
) -> None:
    """68 and 95 % contours of draws, smoothed by about one cell; nothing when there are too few."""
    n = min(draws.size for draws in pair)
    if n < 50 or any(np.ptp(draws) == 0 for draws in pair):
        return
    # on a grid that holds all draws, so that the levels are right even where the panel cuts the prior
    edges = [np.linspace(draws.min(), draws.max(), _GRID + 1) for draws in pair]
    counts = np.histogram2d(pair[0][:n], pair[1][:n], edges)[0].T
    density = gaussian_filter(np.pad(counts, 3), 1.2)
    x, y = (np.arange(-3, _GRID + 3) * (e[1] - e[0]) + e[0] + 0.5 * (e[1] - e[0]) for e in edges)
    levels = enclosing_levels(density)
    if filled:
        shades = [to_rgba(color, alpha) for alpha in (0.2, 0.5)]  # the inner region is the darker one
        ax.contourf(x, y, density, [*levels, density.max() * 1.001], colors=shades)
    ax.contour(x, y, density, levels, colors=color, linewidths=0.9, linestyles="-" if filled else "--")
    ax.set(xlim=limits[0], ylim=limits[1])


def _mark(ax: Axes, across: ParameterRow, below: ParameterRow | None) -> None:
    """Mark best fit and truth: a line in a marginal, a cross in a pair."""
    for field, color, style, marker in (("best_fit", BEST_FIT, "-", "+"), ("truth", TRUTH, ":", "x")):
        x = getattr(across, field)
        if not np.isfinite(x):
            continue
        if below is None:
            ax.axvline(x, color=color, lw=1, ls=style)
        elif np.isfinite(getattr(below, field)):
            ax.plot(x, getattr(below, field), marker, color=color, ms=6, mew=1.3)


@runtime_checkable
class Named(Protocol):
    """What a panel's axes are labelled by."""

    @property
    def name(self) -> str:
        """Dotted name of a parameter."""
        ...

    @property
    def unit(self) -> str:
        """Its unit; "" where it has none."""
        ...


def corner_labels(ax: Axes, across: Named, below: Named, place: tuple[int, int, int], scale: float) -> None:
    """Ticks and names at the left and lower edge only."""
    i, j, n = place
    ax.set_xticks(_inner_ticks(ax.get_xlim()))
    ax.tick_params(labelsize=7 * scale, length=2.5)
    if i != j:
        ax.set_yticks(_inner_ticks(ax.get_ylim()))
    if i == n - 1:
        ax.set_xlabel(wrap_label(across.name, across.unit, _LABEL_WIDTH), fontsize=8 * scale)
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticklabels([])
    if j == 0 and i > 0:
        ax.set_ylabel(wrap_label(below.name, below.unit, _LABEL_WIDTH), fontsize=8 * scale)
    else:
        ax.set_yticklabels([])


def _inner_ticks(limits: tuple[float, float]) -> list[float]:
    """Return about three round values that keep clear of the panel's edges, so that neighbors don't touch."""
    low, high = limits
    margin = 0.08 * (high - low)
    ticks = MaxNLocator(3).tick_values(low + margin, high - margin)
    return [float(tick) for tick in ticks if low + margin <= tick <= high - margin]


def _has_truth(rows: tuple[ParameterRow, ...]) -> bool:
    return any(np.isfinite(row.truth) for row in rows)


def _legend(rows: tuple[ParameterRow, ...]) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=MODEL, alpha=0.5, edgecolor=MODEL, label="posterior, 68 and 95 %"),
        Line2D([], [], color=PRIOR, ls="--", label="prior"),
        Line2D([], [], color=BEST_FIT, marker="+", ls="-", label="highest posterior density"),
    ]
    if _has_truth(rows):
        handles.append(Line2D([], [], color=TRUTH, marker="x", ls=":", label="truth"))
    return handles
