"""One look for every figure: sizes as printed, 8 pt type, hues that color-blind readers tell apart.

Data are black, the model is blue, the prior grey, the best fit vermilion and a known truth green (the
palette of Okabe & Ito 2008). Figures are `matplotlib.figure.Figure` objects without pyplot, so that
nothing depends on a display or on global state.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DATA, MODEL, PRIOR, BEST_FIT, TRUTH = "black", "#0072B2", "#6e6e6e", "#D55E00", "#009E73"
CHAIN_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#555555")
PUBLISHED_COLORS = ("#E69F00", "#009E73", "#CC79A7", "#D55E00")
PUBLISHED_MARKERS = ("o", "s", "D", "^")

PAGE_WIDTH = 7.1  # two columns of a journal page [inch]
DPI = 170

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "pdf.fonttype": 42,  # text stays text in PDF
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Plot:
    """A finished figure.

    Attributes
    ----------
    name : of its file. title : of the figure.
    caption : says what is data and what is model.
    figure : the drawing.
    alt : what the figure shows, for those who don't see it; its caption is read to them as well.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    alt: str = ""


@contextlib.contextmanager
def report_style() -> Iterator[None]:
    """Draw and save inside this block, whatever settings the user has; those come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def wrap_label(name: str, unit: str = "", width: int = 13) -> str:
    """Break a dotted parameter name into lines of about `width` characters, its unit on the last."""
    lines = [""]
    for word in name.replace(".", ". ").replace("_", "_ ").split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines).replace("_\n", "\n").replace("_", " ") + (f"\n[{unit}]" if unit else "")


def feature_label(feature: str) -> str:
    """Axis label of a color or magnitude, with a true minus sign and its unit."""
    return f"{feature.replace('-', ' − ')} [mag]"


def slice_label(limits: np.ndarray) -> str:
    """Name a redshift slice by its limits, shape (2,)."""
    return f"{limits[0]:.3g} < z < {limits[1]:.3g}"


def band(ax: Axes, x: np.ndarray, draws: np.ndarray, color: str = MODEL, label: str = "model") -> None:
    """Draw the median and the 68 and 95 % bands of curves, `draws` (draw, x)."""
    low95, low68, median, high68, high95 = np.nanpercentile(draws, [2.5, 16, 50, 84, 97.5], axis=0)
    ax.fill_between(x, low95, high95, color=color, alpha=0.2, lw=0)
    ax.fill_between(x, low68, high68, color=color, alpha=0.35, lw=0)
    ax.plot(x, median, color=color, label=label)


def stairs_band(ax: Axes, edges: np.ndarray, draws: np.ndarray) -> None:
    """Draw the median and the 68 and 95 % bands of histograms, `draws` (draw, bin)."""
    low95, low68, median, high68, high95 = np.percentile(draws, [2.5, 16, 50, 84, 97.5], axis=0)
    ax.stairs(high95, edges, baseline=low95, fill=True, color=MODEL, alpha=0.25, lw=0)
    ax.stairs(high68, edges, baseline=low68, fill=True, color=MODEL, alpha=0.4, lw=0)
    ax.stairs(median, edges, color=MODEL, lw=1.0, baseline=None)


def poisson_errors(counts: np.ndarray) -> np.ndarray:
    """One-sigma Poisson errors down and up, (2, n), after Gehrels 1986 (ApJ 303, 336), equations 7 and 11."""
    up = 1 + np.sqrt(counts + 0.75)
    down = np.where(counts > 0, np.minimum(np.sqrt(np.maximum(counts - 0.25, 0)), counts), 0)
    return np.array([down, up])


def chunks(n: int, size: int) -> list[range]:
    """Split 0..n-1 into runs of at most `size`, as even as possible."""
    parts = max(1, -(-n // size))
    bounds = [round(i * n / parts) for i in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]
