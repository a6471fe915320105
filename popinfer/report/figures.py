"""All figures of a report, in the order in which they are shown, and their files."""

import io
from collections.abc import Callable

from popinfer.inference_data import InferenceData
from popinfer.report import (
    figures_chains,
    figures_data,
    figures_derived,
    figures_misfit,
    figures_posterior,
    figures_simulation,
)
from popinfer.report.comparison import read_histograms, read_pairs, read_soft_counts
from popinfer.report.gate import PARTICLE_SAMPLERS, SURROGATE_SAMPLERS, Verdict
from popinfer.report.goodness import read_checks
from popinfer.report.parameters import ParameterRow
from popinfer.report.style import DPI, Plot, report_style
from popinfer.report.summary import RunSummary


def draw_figures(
    idata: InferenceData, summary: RunSummary, verdict: Verdict, rows: tuple[ParameterRow, ...]
) -> list[Plot]:
    """Draw every figure that the stored groups allow; what is missing is left out."""
    plots: list[Plot | None] = []
    with report_style():
        histograms, pairs, soft = read_histograms(idata), read_pairs(idata), read_soft_counts(idata)
        if histograms is not None:
            plots.append(figures_misfit.misfit_plot(histograms, read_checks(idata)))
            plots.extend(figures_data.color_plots(histograms))
            plots.extend(figures_data.magnitude_plots(histograms))
        if pairs is not None:
            plots.extend(figures_data.pair_plots(pairs))
        if soft is not None:
            plots.extend(figures_misfit.kernel_plots(soft))
            plots.append(figures_misfit.soft_count_plot(soft))
        plots.append(figures_derived.derived_plot(idata))
        plots.append(figures_simulation.simulation_plot(idata))
        plots.append(figures_posterior.corner_plot(idata, rows))
        plots.append(figures_posterior.shrinkage_plot(rows, idata))
        if verdict.sampler in SURROGATE_SAMPLERS:
            plots.append(figures_chains.weight_plot(idata))
        if verdict.sampler in PARTICLE_SAMPLERS:
            plots.append(figures_chains.lineage_plot(idata))
        else:
            plots.append(figures_chains.trace_plot(idata, summary))
            plots.append(figures_chains.energy_plot(idata, verdict))
    return [plot for plot in plots if plot is not None]


def figure_files(
    plots: list[Plot], progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, bytes]:
    """Each figure as PNG and PDF: file name -> content.

    Parameters
    ----------
    plots : list[Plot]
        The figures.
    progress : callable
        Hears how many of how many are saved.
    """
    files = {}
    with report_style():
        for done, plot in enumerate(plots, 1):
            picture, document = io.BytesIO(), io.BytesIO()
            plot.figure.savefig(picture, format="png", dpi=DPI)
            # the layout is found once: PNG and PDF agree, in half the time
            plot.figure.set_layout_engine("none")
            # no creation date: the same run gives the same file
            plot.figure.savefig(document, format="pdf", metadata={"CreationDate": None}, dpi=DPI)
            files |= {f"{plot.name}.png": picture.getvalue(), f"{plot.name}.pdf": document.getvalue()}
            progress(done, len(plots))
    return files
