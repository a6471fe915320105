"""A calibration's page and figures: rank histograms, expected coverage, bias and width of every parameter."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from popinfer.infer.calibration import (
    CENTRAL_SIGMA,
    TARP_SIGMA,
    Calibration,
    expected_coverage,
    n_bins,
    rank_band,
    tarp_band,
)
from popinfer.report.figures import figure_files
from popinfer.report.html import embed_images
from popinfer.report.style import MODEL, PAGE_WIDTH, Plot, report_style, wrap_label
from popinfer.report.templates import render
from popinfer.storage import with_seal, write_page

_COLUMNS = 4


def write_calibration(calibration: Calibration, out_dir: Path | str) -> Path:
    """Write ``calibration.html`` and its figures.

    Parameters
    ----------
    calibration : Calibration
        Verdict over all simulated surveys.
    out_dir : Path or str
        Folder; made when absent.

    Returns
    -------
    Path
        The HTML file.
    """
    out_dir = Path(out_dir)
    with report_style():
        plots = [rank_plot(calibration), coverage_plot(calibration)]
    files, path = figure_files(plots), out_dir / "calibration.html"
    page = render(
        "calibration.html",
        calibration=calibration,
        figures=embed_images(plots, files),
        tarp_sigma=TARP_SIGMA,
        central_sigma=CENTRAL_SIGMA,
    )
    write_page(path, with_seal(page.encode(), path.suffix, "calibration"), {"figures": files})
    return path


def rank_plot(calibration: Calibration) -> Plot:
    """Rank histograms of all parameters."""
    n_rows = -(-len(calibration.names) // _COLUMNS)
    figure = Figure(figsize=(PAGE_WIDTH, 0.4 + 1.35 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
    edges = np.linspace(0, 1, n_bins(calibration.n_trials) + 1)
    (low, high), top = rank_band(calibration.n_trials), 2.2
    for ax, parameter, ranks in zip(axes.ravel(), calibration.parameters, calibration.ranks.T, strict=False):
        counts = np.histogram(ranks, edges)[0] * (len(edges) - 1) / calibration.n_trials
        ax.axhspan(low, high, color="0.9", lw=0)
        ax.stairs(counts, edges, color=MODEL, lw=1.2)
        ax.text(0.5, 0.93, f"p = {parameter.p_value:.2g}", transform=ax.transAxes, ha="center", va="top")
        ax.set_title(wrap_label(parameter.name, width=26))
        top = max(top, 1.35 * float(counts.max()))  # headroom for the line of text
    axes[0, 0].set(xlim=(0, 1), ylim=(0, top), xticks=[0, 0.5, 1])
    for ax in axes.ravel()[len(calibration.names) :]:
        ax.set_visible(False)
    figure.supxlabel("share of posterior draws below the truth", fontsize=8)
    figure.supylabel("surveys, relative to uniform", fontsize=8)
    caption = (
        "Blue: how often the true value sits at each place of its posterior, over simulated surveys; grey: "
        "where 99 % of the bins of a right posterior lie. High ends say that posteriors are too narrow, a "
        "high middle that they are too wide, a slope that they are biased. p: that the ranks are uniform."
    )
    worst = min(calibration.parameters, key=lambda one: one.p_value)
    alt = (
        f"Rank histograms of {len(calibration.names)} parameters over {calibration.n_trials} surveys. Least "
        f"uniform: {worst.name}, p = {worst.p_value:.2g}."
    )
    return Plot("calibration_ranks", "Ranks of the truth among posterior draws", caption, figure, alt)


def coverage_plot(calibration: Calibration) -> Plot:
    """Expected coverage against credibility, all parameters together."""
    figure = Figure(figsize=(0.48 * PAGE_WIDTH, 0.45 * PAGE_WIDTH), layout="constrained")
    ax = figure.subplots()
    level = np.linspace(0, 1, 201)
    half = TARP_SIGMA * tarp_band(level, calibration.n_trials)
    ax.fill_between(level, level - half, level + half, color="0.9", lw=0, label=f"{TARP_SIGMA:g} σ band")
    ax.plot(level, level, color="0.5", lw=0.8, ls="--", label="right posteriors")
    ax.plot(level, expected_coverage(calibration.tarp, level), color=MODEL, label="simulated surveys")
    ax.set(xlabel="credibility", ylabel="expected coverage", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="upper left")
    caption = (
        "Share of simulated surveys whose truth lies in the region of a given credibility around a random "
        "reference point, all parameters together (TARP)."
    )
    alt = (
        "Expected coverage against credibility. Largest distance from the diagonal: "
        f"{calibration.tarp_excursion:.1f} standard deviations."
    )
    return Plot("calibration_coverage", "Expected coverage", caption, figure, alt)
