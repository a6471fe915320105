"""Two posteriors side by side: a table of the parameters that both have, and one corner plot.

The shift of a parameter is the difference of the means in units of the root mean square of the two standard
deviations: of two analyses of the same galaxies, and not of independent data, it has no expected value.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import gaussian_kde

from popinfer.errors import InputError, shortened
from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.figures_posterior import contours, corner_labels
from popinfer.report.parameters import flat_draws
from popinfer.report.style import BEST_FIT, MODEL, Plot

COLORS = (MODEL, BEST_FIT)  # of the first and the second
_FEWEST_DRAWS = 50
_LARGEST_CORNER = 15  # parameters; smaller panels can't be read


class Compared(NamedTuple):
    """One parameter of two posteriors, in its own unit.

    Attributes
    ----------
    means, sds : of the first and the second.
    """

    name: str
    unit: str
    means: tuple[float, float]
    sds: tuple[float, float]

    @property
    def shift(self) -> float:
        """Second mean minus first, in units of the root mean square of the standard deviations."""
        typical = float(np.sqrt(np.mean(np.square(self.sds))))
        difference = self.means[1] - self.means[0]
        return difference / typical if typical > 0 else (0.0 if difference == 0 else np.inf)

    @property
    def ratio(self) -> float:
        """Second standard deviation in units of the first."""
        return self.sds[1] / self.sds[0] if self.sds[0] > 0 else np.inf


def compare_posteriors(first: InferenceData, second: InferenceData) -> list[Compared]:
    """The parameters that two posteriors share, in the first's order.

    Raises
    ------
    InputError
        One has no posterior, they share no parameter, or units differ.
    """
    for idata in (first, second):
        if "posterior" not in group_names(idata):
            raise InputError("a posterior is compared with a file that holds none")
    drawn = [read_group(idata, "posterior") for idata in (first, second)]
    shared = [str(name) for name in drawn[0].data_vars if name in drawn[1].data_vars]
    if not shared:
        names = (", ".join(map(str, posterior.data_vars)) for posterior in drawn)
        raise InputError(f"the posteriors share no parameter: {' in the first, '.join(names)} in the second")
    rows = []
    for name in shared:
        units = [str(posterior[name].attrs.get("unit", "")) for posterior in drawn]
        if units[0] != units[1]:
            raise InputError(
                f"{name} is in '{units[0]}' in the first posterior and in '{units[1]}' in the second"
            )
        draws = [flat_draws(idata, "posterior", name) for idata in (first, second)]
        if min(x.size for x in draws) < _FEWEST_DRAWS:
            raise InputError(f"{name} has fewer than {_FEWEST_DRAWS} draws in one of the posteriors")
        means, sds = (tuple(float(f(x)) for x in draws) for f in (np.mean, np.std))
        rows.append(Compared(name, units[0], (means[0], means[1]), (sds[0], sds[1])))
    return rows


def comparison_table(rows: Sequence[Compared], labels: tuple[str, str]) -> str:
    """Lines for a person: means, standard deviations, their shift and ratio."""
    heads = (f"A: {labels[0]}", f"B: {labels[1]}")
    columns = ("parameter", "unit", "A mean", "A sd", "B mean", "B sd", "shift/sd", "sd B/A")
    cells = [
        (
            *(row.name, row.unit, f"{row.means[0]:.4g}", f"{row.sds[0]:.2g}", f"{row.means[1]:.4g}"),
            *(f"{row.sds[1]:.2g}", f"{row.shift:+.2f}", f"{row.ratio:.2f}"),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (columns, *cells)) for i in range(len(columns))]
    lines = [
        "  ".join(
            f"{cell:{'<' if i < 2 else '>'}{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (columns, *cells)
    ]
    farthest = max(rows, key=lambda row: abs(row.shift))
    return "\n".join([*heads, *lines, f"largest shift: {farthest.name}, {farthest.shift:+.2f} sd"])


def overlaid_corners(
    first: InferenceData, second: InferenceData, rows: Sequence[Compared], labels: tuple[str, str]
) -> Plot:
    """Marginals and contours of both posteriors; of many parameters those that moved most."""
    chosen = sorted(rows, key=lambda row: -abs(row.shift))[:_LARGEST_CORNER]
    shown = [row for row in rows if row in chosen]
    n = len(shown)
    size = float(np.clip(0.92 * n, 2.8, 12.0))
    scale = float(np.clip(size / 7.5, 1.0, 1.4))  # a large figure is shown smaller: larger type
    left, below_all, above = 1.0 * scale, 1.15 * scale, 0.55 * scale  # room for names and the legend [inch]
    width, height = size + left + 0.05, size + below_all + above
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(n, n, squeeze=False)
    both = [[flat_draws(idata, "posterior", row.name) for row in shown] for idata in (first, second)]
    limits = [_limits([draws[k] for draws in both]) for k in range(n)]
    for i, j in itertools.product(range(n), range(n)):
        ax: Axes = axes[i, j]
        if j > i:
            ax.set_axis_off()
            continue
        for draws, color, filled in zip(both, COLORS, (True, False), strict=True):
            if i == j:
                _marginal(ax, draws[i], color, limits[i], filled=filled)
            else:
                contours(ax, [draws[j], draws[i]], [limits[j], limits[i]], color, filled=filled)
        # a lower end alone, and only after both curves: the higher one decides where the panel ends
        ax.set(xlim=limits[j], **({"yticks": []} if i == j else {"ylim": limits[i]}))
        if i == j:
            ax.set_ylim(bottom=0)
        corner_labels(ax, shown[j], shown[i], (i, j, n), scale)
    most = int((width - 1.0) * 72 / (0.62 * 8 * scale))  # letters beside a key
    names = [f"{letter}: {shortened(label, most)}" for letter, label in zip("AB", labels, strict=True)]
    handles = [
        Patch(facecolor=to_rgba(COLORS[0], 0.5), edgecolor=COLORS[0], label=names[0]),
        Line2D([], [], color=COLORS[1], ls="--", label=names[1]),
    ]
    figure.legend(handles=handles, loc="upper right", fontsize=8 * scale)
    edges = {"left": left / width, "bottom": below_all / height}
    figure.subplots_adjust(**edges, right=1 - 0.05 / width, top=1 - above / height, wspace=0.06, hspace=0.06)
    for k in range(n):
        axes[n - 1, k].xaxis.set_label_coords(0.5, -0.42 * scale * n / size)
        axes[k, 0].yaxis.set_label_coords(-0.42 * scale * n / size, 0.5)
    caption = f"Contours hold 68 and 95 %. Blue, filled: {labels[0]}; vermilion, dashed: {labels[1]}."
    farthest = max(rows, key=lambda row: abs(row.shift))
    alt = f"Corner plots of {n} parameters; {farthest.name} moved most, by {farthest.shift:+.2f} sd."
    return Plot("compare", "Two posteriors", caption, figure, alt)


def _limits(draws: list[np.ndarray]) -> tuple[float, float]:
    """A range that holds the bulk of both posteriors."""
    ends = [np.percentile(x, [0.3, 99.7]) for x in draws]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    margin = 0.08 * max(high - low, 1e-6 * max(1.0, abs(high)))
    return float(low - margin), float(high + margin)


def _marginal(ax: Axes, draws: np.ndarray, color: str, limits: tuple[float, float], *, filled: bool) -> None:
    """Density of one parameter."""
    if np.ptp(draws) > 0:
        grid = np.linspace(*limits, 300)
        density = gaussian_kde(draws)(grid)
        if filled:
            ax.fill_between(grid, density, color=color, alpha=0.35, lw=0)
        ax.plot(grid, density, color=color, lw=1.1, ls="-" if filled else "--")
