"""The report as one HTML file that needs nothing else: styles and figures are inside it.

Convergence comes first, then goodness of fit, then the numbers and figures, then what was run. Pages are made
from the templates beside this file; everything that comes from a run is escaped.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.caveats import MAX_HALO_SHARE, caveats
from popinfer.report.comparison import read_abundances, read_histograms
from popinfer.report.figures import draw_figures, figure_files
from popinfer.report.figures_simulation import simulation_sentences
from popinfer.report.gate import PARTICLE_SAMPLERS, SURROGATE_SAMPLERS, Verdict, judge
from popinfer.report.goodness import judge_fit, misfits, read_checks, tabulate_checks, verdict_of_checks
from popinfer.report.parameters import ParameterRow, tabulate
from popinfer.report.relations import tabulate_relations
from popinfer.report.style import Plot, slice_label
from popinfer.report.summary import RunSummary
from popinfer.storage import with_seal, write_page

_SAMPLER_NAMES = {
    "nuts": "Hamiltonian Monte Carlo (NUTS) on a surrogate, weighted by exact evaluations",
    "nuts_exact": "Hamiltonian Monte Carlo (NUTS) on the exact density",
    "smc": "Tempered particles (sequential Monte Carlo)",
    "own": "A sampler of the user's own",
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
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` and ``*.pdf``: all of them, or nothing.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    summary : RunSummary
        What was run, and its goodness of fit.
    out_dir : path
        The run's folder; made when absent.
    progress : callable
        Hears how many of how many figures are saved, which takes most of the time.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    InputError
        When there is no posterior.
    """
    out_dir = Path(out_dir)
    verdict = judge(idata)
    rows = tabulate(idata, summary, verdict)
    plots = draw_figures(idata, summary, verdict, rows)
    files, path = figure_files(plots, progress), out_dir / "report.html"
    page = render_page(idata, summary, verdict, rows, Figures(plots, files))
    write_page(path, with_seal(page.encode(), path.suffix, "report", summary.posterior or "-"), files)
    return path


@dataclass(frozen=True)
class Figures:
    """Figures of a page and their files by name."""

    plots: list[Plot]
    files: dict[str, bytes]

    def of_part(self, place: str) -> list[tuple[Plot, str]]:
        """Figures of one part of the report with their base64 PNGs, in order."""
        chosen = [p for start in _PLACES[place] for p in self.plots if p.name.startswith(start)]
        return embed_images(chosen, self.files)


def render_page(
    idata: InferenceData,
    summary: RunSummary,
    verdict: Verdict,
    rows: tuple[ParameterRow, ...],
    figures: Figures,
) -> str:
    """Return the page as HTML; arguments as `write_report` makes them."""
    histograms, checks = read_histograms(idata), read_checks(idata)
    filters = {
        "number": _number,
        "rounded": _fixed_decimals,
        "seconds": _seconds,
        "interval": _interval,
        "probability": _probability,
        "significant": _significant,
    }
    return render(
        "report.html",
        filters,
        summary=summary,
        verdict=verdict,
        rows=rows,
        goodness=judge_fit(summary.chi2, summary.n_eff, summary.p_value),
        misfits=misfits(histograms, checks),
        checks=tabulate_checks(checks),
        checks_verdict=verdict_of_checks(checks),
        caveats=caveats(summary, rows, histograms),
        slices=_slices(summary, idata),
        abundances=read_abundances(idata),
        relations=tabulate_relations(idata),
        simulation=simulation_sentences(idata),
        figures={place: figures.of_part(place) for place in _PLACES},
        sampler=_SAMPLER_NAMES.get(verdict.sampler, verdict.sampler),
        amount=_amount(idata, verdict.sampler),
        has_truth=any(math.isfinite(row.truth) for row in rows),
        max_halo_share=MAX_HALO_SHARE,
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
                "chi2": _fixed_decimals(chi2, 1),
                "n_eff": _fixed_decimals(n_eff, 0),
                "ratio": _fixed_decimals(chi2 / n_eff if n_eff else math.nan, 2),
                "p": _probability(p),
                "predictive_p": _probability(mean_p),
            }
        )
    return table


def _fixed_decimals(value: float, decimals: int = 2) -> str:
    """Write a number with fixed decimals and a true minus sign; a dash when it isn't finite."""
    if not math.isfinite(value):
        return "–"
    rounded = round(value, decimals) + 0.0  # adding zero turns a negative zero into a plain one
    return f"{rounded:,.{decimals}f}".replace("-", "−")


def _probability(p: float) -> str:
    """Write a p-value to two significant figures, with a floor."""
    return "–" if not math.isfinite(p) else f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _significant(value: float) -> str:
    """Write a number of any size to three figures."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _number(value: float, row: ParameterRow) -> str:
    """Write a parameter's value to two significant figures of its posterior width."""
    return _fixed_decimals(value, _decimals(row.posterior_sd))


def _interval(row: ParameterRow) -> str:
    """Write the 95 % interval of a parameter."""
    decimals = _decimals(row.posterior_sd)
    return f"{_fixed_decimals(row.low95, decimals)} … {_fixed_decimals(row.high95, decimals)}"


def _decimals(sd: float) -> int:
    if not (math.isfinite(sd) and sd > 0):
        return 3
    return max(0, 1 - math.floor(math.log10(sd)))


def _seconds(value: float) -> str:
    """Write a duration as people read it."""
    if not math.isfinite(value):
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def render(name: str, filters: dict[str, Callable[..., str]] | None = None, **content: Any) -> str:
    """Fill a template, with the pages' style sheet; a value that it lacks is an error."""
    files = resources.files("popinfer.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name).render(
        css=(files / "report.css").read_text(encoding="utf-8"), **content
    )


def embed_images(plots: list[Plot], files: dict[str, bytes]) -> list[tuple[Plot, str]]:
    """Figures with their PNGs as text, for the page to hold."""
    return [(plot, base64.b64encode(files[f"{plot.name}.png"]).decode()) for plot in plots]
