"""The report as one HTML file that needs nothing else: styles, figures and data are inside it.

It opens with what was learnt, then tells whether that can be trusted (of draws that aren't converged, this
comes first and nothing was learnt), then the numbers and figures, then what was run. Everything that comes
from a run is escaped.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.caveats import MAX_HALO_SHARE, caveats
from popinfer.report.citations import citations_of
from popinfer.report.companions import Findings, companion_files
from popinfer.report.comparison import read_abundances, read_histograms
from popinfer.report.explorer import as_script_data, explorer_data, script
from popinfer.report.figures import draw_figures, figure_files
from popinfer.report.figures_simulation import simulation_sentences
from popinfer.report.gate import PARTICLE_SAMPLERS, SURROGATE_SAMPLERS, judge
from popinfer.report.goodness import judge_fit, misfits, read_checks, tabulate_checks, verdict_of_checks
from popinfer.report.learned import learned_of
from popinfer.report.numbers import (
    fixed_decimals,
    interval,
    measured,
    of_parameter,
    probability,
    seconds,
    significant,
)
from popinfer.report.parameters import tabulate
from popinfer.report.pdf import pdf_maker
from popinfer.report.relations import tabulate_relations
from popinfer.report.style import Plot, slice_label
from popinfer.report.summary import RunSummary
from popinfer.report.tables import table_files
from popinfer.report.templates import render
from popinfer.storage import seal_identity, with_seal, write_page

_SAMPLER_NAMES = {
    "nuts": "Hamiltonian Monte Carlo (NUTS) on a surrogate, weighted by exact evaluations",
    "nuts_exact": "Hamiltonian Monte Carlo (NUTS) on the exact density",
    "smc": "Tempered particles (sequential Monte Carlo)",
    "own": "A sampler of the user's own",
}
_GRADE_WORDS = {
    "good": "DESCRIBES THE DATA",
    "strained": "DESCRIBES THE DATA, STRAINED",
    "poor": "DOES NOT DESCRIBE THE DATA",
    "unknown": "goodness of fit unknown",
}
# which part of the report a figure belongs to, by the start of its name
_PLACES = {
    "fit": ("misfit", "soft_counts"),
    "parameters": ("shrinkage", "corner"),
    "data": ("color_histograms", "color_color", "magnitude_counts"),
    "derived": ("derived",),
    "simulation": ("simulation",),
    "chains": ("trace_rank", "energy", "importance_weights", "lineages"),
}


def write_report(
    idata: InferenceData,
    summary: RunSummary,
    out_dir: Path | str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    pdf: bool = False,
) -> Path:
    """Write ``report.html``, its figures and tables, README, script and citations: all of them, or nothing.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    summary : RunSummary
        What was run, and its goodness of fit.
    out_dir : path
        The run's folder; made when absent. Files of the user's own there that are called like the report's
        are kept, and the report's aren't written then.
    progress : callable
        Hears how many of how many figures are saved, which takes most of the time.
    pdf : bool
        Write ``report.pdf`` too; one that is there of the same draws stays otherwise.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    InputError
        When there is no posterior; when a PDF is asked for and can't be made here.
    """
    make_pdf = pdf_maker() if pdf else None
    path = Path(out_dir) / "report.html"
    found = find(idata, summary)
    plots = draw_figures(idata, summary, found.verdict, found.rows)
    pictures = figure_files(plots, progress)
    page = render_page(idata, found, Figures(plots, pictures))
    identity = summary.posterior or "-"
    beside: dict[str, bytes | None] = dict(companion_files(found))
    if make_pdf is not None:
        beside["report.pdf"] = with_seal(make_pdf(page), ".pdf", "pdf", identity)
    elif identity == "-" or seal_identity(path.with_name("report.pdf")) != identity:
        beside["report.pdf"] = None
    folders = {"figures": pictures, "tables": table_files(idata, summary, found.rows)}
    write_page(path, with_seal(page.encode(), path.suffix, "report", identity), folders, beside)
    return path


def find(idata: InferenceData, summary: RunSummary) -> Findings:
    """What a run's draws and summary say, for page and README.

    Raises
    ------
    InputError
        When there is no posterior.
    """
    verdict = judge(idata)
    rows = tabulate(idata, summary, verdict)
    return Findings(
        summary,
        verdict,
        judge_fit(summary.chi2, summary.n_eff, summary.p_value),
        rows,
        learned_of(rows, tabulate_relations(idata)),
        caveats(summary, rows, read_histograms(idata), read_checks(idata)),
        citations_of(idata, summary),
    )


@dataclass(frozen=True)
class Figures:
    """Figures of a page and their files by name."""

    plots: list[Plot]
    files: dict[str, bytes]

    def of_part(self, place: str) -> list[tuple[Plot, str]]:
        """Figures of one part of the report with their base64 PNGs, in order."""
        chosen = [p for start in _PLACES[place] for p in self.plots if p.name.startswith(start)]
        return embed_images(chosen, self.files)


def render_page(idata: InferenceData, found: Findings, figures: Figures) -> str:
    """Return the page as HTML; arguments as `write_report` makes them."""
    histograms, checks = read_histograms(idata), read_checks(idata)
    filters = {
        "number": of_parameter,
        "rounded": fixed_decimals,
        "seconds": seconds,
        "interval": interval,
        "probability": probability,
        "significant": significant,
        "measured": measured,
    }
    explored = explorer_data(idata, found.rows)
    return render(
        "report.html",
        filters,
        **vars(found),
        goodness_word=_GRADE_WORDS[found.goodness.grade],
        misfits=misfits(histograms, checks),
        checks=tabulate_checks(checks),
        checks_verdict=verdict_of_checks(checks),
        slices=_slices(found.summary, idata),
        abundances=read_abundances(idata),
        relations=tabulate_relations(idata),
        simulation=simulation_sentences(idata),
        figures={place: figures.of_part(place) for place in _PLACES},
        sampler=_SAMPLER_NAMES.get(found.verdict.sampler, found.verdict.sampler),
        amount=_amount(idata, found.verdict.sampler),
        has_truth=any(math.isfinite(row.truth) for row in found.rows),
        max_halo_share=MAX_HALO_SHARE,
        explored=explored,
        explorer_data=as_script_data(explored),
        program=script() if explored else "",
    )


def _amount(idata: InferenceData, sampler: str) -> str:
    """How much was drawn; pseudo-chains that were dealt from a pool of draws aren't called chains."""
    n_chain, n_draw = (read_group(idata, "posterior").sizes[axis] for axis in ("chain", "draw"))
    if sampler in PARTICLE_SAMPLERS:
        return f"{n_chain * n_draw:,} particles"
    if sampler in SURROGATE_SAMPLERS and "chains" in group_names(idata):
        chains = read_group(idata, "chains").sizes
        return (
            f"{chains['chain']} chains of {chains['draw']:,} draws of the surrogate, {n_chain * n_draw:,} "
            f"resampled by the exact weights of {idata['sample_stats'].sizes.get('proposal', 0):,}"
        )
    return f"{n_chain} chains of {n_draw:,} draws"


def _slices(summary: RunSummary, idata: InferenceData) -> list[dict[str, str]]:
    """Build one row a redshift slice: limits, galaxies and goodness of fit, as far as each is known."""
    limits = []
    observed = read_group(idata, "observed_data")
    if "slice_z" in observed:
        limits = [slice_label(bounds) for bounds in observed["slice_z"].values]
    n = max(len(limits), len(summary.n_galaxies), len(summary.goodness_per_slice))
    table = []
    for i in range(n):
        fit = summary.goodness_per_slice[i] if i < len(summary.goodness_per_slice) else {}
        chi2, n_eff, p, mean_p = (
            fit.get(key, math.nan) for key in ("chi2", "n_eff", "p_value", "predictive_p_value")
        )
        table.append(
            {
                "z": limits[i] if i < len(limits) else f"slice {i + 1}",
                "galaxies": f"{summary.n_galaxies[i]:,}" if i < len(summary.n_galaxies) else "–",
                "chi2": fixed_decimals(chi2, 1),
                "n_eff": fixed_decimals(n_eff, 0),
                "ratio": fixed_decimals(chi2 / n_eff if n_eff else math.nan, 2),
                "p": probability(p),
                "predictive_p": probability(mean_p),
            }
        )
    return table


def embed_images(plots: list[Plot], files: dict[str, bytes]) -> list[tuple[Plot, str]]:
    """Figures with their PNGs as text, for the page to hold."""
    return [(plot, base64.b64encode(files[f"{plot.name}.png"]).decode()) for plot in plots]
