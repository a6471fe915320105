"""Figures of where the model fails: residuals by color and slice, and of the soft counts themselves."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from popinfer.report.predictive import MIN_COUNT, Histograms, SoftCounts
from popinfer.report.style import DATA, MODEL, PAGE_WIDTH, Plot, chunks, slice_label


def misfit_plot(histograms: Histograms) -> Plot:
    """Which colors in which slices: rms residuals and median offsets as two annotated maps."""
    n_slice = len(histograms.slice_z)
    figure = Figure(figsize=(PAGE_WIDTH, 1.3 + 0.34 * n_slice), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rms, offset = histograms.rms_residuals(), histograms.median_offsets()
    top = max(3.0, float(np.nanmax(rms, initial=0)))
    image = left.imshow(rms, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    _annotate(left, rms, "{:.1f}", dark_below=0.55 * top)
    figure.colorbar(image, ax=left, label="rms residual [σ]")
    reach = max(0.02, float(np.nanmax(np.abs(offset), initial=0)))
    image = right.imshow(offset, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    _annotate(right, offset, "{:+.3f}", dark_above=0.6 * reach)
    figure.colorbar(image, ax=right, label="median, data − model [mag]")
    left.set_yticks(range(n_slice), [slice_label(limits) for limits in histograms.slice_z])
    for ax, title in (
        (left, "1 is as good as noise allows"),
        (right, "blue: data bluer (brighter) than model"),
    ):
        ax.set_xticks(
            range(len(histograms.features)), [one.replace("-", " − ") for one in histograms.features]
        )
        ax.set_title(title)
        ax.tick_params(length=0)
    caption = (
        "Where the model fails. Left: root mean square of (data − model)/σ over the bins of each histogram "
        f"with at least {MIN_COUNT:.0f} galaxies; a perfect model gives 1, a plain misfit 3. Right: median "
        "of the data minus median of the model."
    )
    return Plot("misfit", "Which colors, which slices", caption, figure)


def _annotate(
    ax: Axes, values: np.ndarray, form: str, *, dark_below: float = -np.inf, dark_above: float = np.inf
) -> None:
    """Write each number into its cell, white where the cell is dark."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value < dark_below or abs(value) > dark_above
            text = form.format(value).replace("-", "−")
            ax.text(
                column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=7.5
            )


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
        "the data's and the model's Monte Carlo covariance (values beyond 5 sit at the edge). Blue: the unit "
        "normal that a perfect model would give; neighboring kernels share galaxies, so the histogram is "
        "less smooth than its size suggests."
    )
    return Plot("soft_counts", "Soft counts", caption, figure)
