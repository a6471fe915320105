"""Figure of how far the soft counts, the statistic that was fitted, are from the model."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from popinfer.report.comparison import SoftCounts
from popinfer.report.style import DATA, MODEL, PAGE_WIDTH, Plot, chunks, slice_label


def soft_count_plot(soft: SoftCounts) -> Plot:
    """Histograms of soft-count residuals in each slice against a unit normal."""
    n = len(soft.slice_z)
    rows = chunks(n, 4)
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(PAGE_WIDTH, 0.4 + 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True)
    edges = np.linspace(-5, 5, 26)
    grid = np.linspace(-5, 5, 201)
    for ax, s in zip(axes.ravel(), range(n), strict=False):
        values = soft.residuals[s][np.isfinite(soft.residuals[s])]
        ax.hist(np.clip(values, -5, 5), edges, density=True, color=DATA, alpha=0.35)
        ax.plot(grid, norm.pdf(grid), color=MODEL)
        rms = np.sqrt(np.mean(values**2)) if values.size else np.nan
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
    return Plot("soft_counts", "Soft counts", caption, figure)
