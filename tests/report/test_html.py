"""The report stands alone, puts the verdict first and says what a run deserves."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import synthetic
import xarray as xr
from inference_groups import draws_of

from popinfer.errors import InputError
from popinfer.inference_data import InferenceData, add_groups, read_group
from popinfer.report import RunSummary, html, judge, write_report
from popinfer.report.comparison import read_abundances
from popinfer.report.figures import draw_figures
from popinfer.report.numbers import decimals_of, probability
from popinfer.report.numbers import seconds as written_seconds
from popinfer.report.parameters import tabulate


def _small(posterior: dict[str, np.ndarray] | None = None) -> InferenceData:
    """Two parameters without predictions: quick to draw."""
    posterior = posterior or {name: synthetic.draws()[name] for name in list(synthetic.PARAMETERS)[:2]}
    return synthetic.chains(posterior)


def _page(idata: InferenceData, summary: RunSummary) -> str:
    """The page without its figures, which are most of the time."""
    return html.render_page(idata, html.find(idata, summary), html.Figures([], {}))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_report_is_one_file_that_needs_no_other(report_folder):
    text = _text(report_folder / "report.html")
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert sources and all(one.startswith(("data:image/png;base64,", "#")) for one in sources)
    assert "url(" not in text and "@import" not in text
    assert text.count("<img") == len(list((report_folder / "figures").glob("*.png")))


def test_what_was_learnt_comes_first_under_its_verdicts(report_folder):
    text = _text(report_folder / "report.html")
    needles = (
        *('<span class="badge pass">CONVERGED', "DESCRIBES THE DATA, STRAINED", "<h2>What was learnt"),
        *(
            "<h2>Can it be trusted?",
            "<h3>CONVERGED",
            "<h3>The model is strained",
            'id="fit"',
            'id="parameters"',
        ),
    )
    places = [text.index(one) for one in needles]
    assert places == sorted(places)
    assert "NOT CONVERGED" not in text


def test_parameters_are_told_in_words_with_units_and_against_their_priors(report_folder):
    text = _text(report_folder / "report.html")
    learned = text[text.index('<table class="learned">') : text.index("<h2>Can it be trusted?")]
    row = re.search(r"<tr><td>Shift of the peak star formation efficiency.*?</tr>", learned, re.DOTALL)
    assert row and re.search(r">−0\.05\d .*0\.0\d\d dex<", row[0]) and "sfh.efficiency" in row[0]
    assert re.search(r"[67](\.\d)? times narrower than the prior, near its mean", row[0])
    assert learned.index("sfh.efficiency") < learned.index("sfh.quenching_time")  # the best known first
    assert (
        "The data said little about <code>metallicity.zero_point</code>: its posterior is mostly the prior"
        in learned
    )
    assert "stellar metallicity" not in learned
    smhm = re.search(r"<li>Central galaxies of halos of 10<sup>12</sup> Msun.*?</li>", learned)
    assert smhm and "(z = 0.08)" in smhm[0] and "Moster+13: 10<sup>" in smhm[0]
    assert re.search(r"Of galaxies of 10<sup>10\.5</sup> Msun \(z = 0\.08\), \d\d\xa0% are quenched", learned)


def test_a_misfit_is_said_before_any_number():
    summary = dataclasses.replace(synthetic.summary(), p_value=1e-6)
    text = _page(_small(), summary)
    warned = text.index("These are values of a model that does not describe the data")
    assert text.index("DOES NOT DESCRIBE THE DATA</span>") < warned < text.index('<table class="learned">')


def test_meanings_are_escaped():
    summary = dataclasses.replace(synthetic.summary(), meanings={"sfh.efficiency": "<b>10^12 & more</b>"})
    assert "&lt;b&gt;10<sup>12</sup> &amp; more&lt;/b&gt;" in _page(_small(), summary)


def test_every_picture_is_told_in_words(report_folder):
    text = _text(report_folder / "report.html")
    alts = re.findall(r'<img[^>]* alt="([^"]*)"', text)
    assert (
        len(alts) == text.count("<img") and all(len(alt) > 40 for alt in alts) and len(set(alts)) == len(alts)
    )
    assert any("sfh.critical_mass and sfh.efficiency +0." in alt for alt in alts)
    assert any("misses u − g at 0.12 &lt; z &lt; 0.16 most" in alt for alt in alts)


def test_every_parameter_has_its_row(report_folder):
    text = _text(report_folder / "report.html")
    for name, row in synthetic.PARAMETERS.items():
        assert f"<code>{name}</code>" in text and row[4] in text and f"normal(0, {row[2]})" in text


def test_numbers_of_the_run_are_there(report_folder):
    text = _text(report_folder / "report.html")
    for needle in ("χ² = 243.1", "p = 0.004", "12 min 11 s", "1,230", "ab" * 32, "17\xa0%", "21,456", "7.20"):
        assert needle in text, needle


def test_misfit_is_named_with_its_sense(report_folder):
    text = _text(report_folder / "report.html")
    assert re.search(
        r"u − g in 1 of 4 slices, worst at 0\.12 &lt; z &lt; 0\.16: rms.* σ, [a-z ]* 0\.0[456]\d mag bluer",
        text,
    )


def test_predictive_checks_stand_beside_the_goodness_of_fit(report_folder):
    text = _text(report_folder / "report.html")
    assert "0.0061" in text and "posterior predictive p" in text
    assert "1 of 56 checks have p &lt; 0.01; of a perfect model, about 0.6 would" in text
    row = re.search(r'<tr><td>u − g</td><td class="slice">0\.12 &lt; z &lt; 0\.16</td>.*', text)
    assert row and "0.940" in row[0] and "−0.060 ± 0.004" in row[0] and "<b>≤ 0.002</b>" in row[0]
    magnitude = re.search(r"<tr><td>r</td>.*", text)
    assert magnitude and magnitude[0].count("–") == 3
    assert "no model error" in text


def test_older_run_without_checks_has_the_histograms_medians(converged_run):
    old = converged_run.copy()
    del old["checks"]
    add_groups(old, {"observed_data": read_group(old, "observed_data").drop_vars("kernel_center")})
    text = _page(old, RunSummary(name="old"))
    assert 'id="predictive-checks"' not in text and "mag bluer" in text
    verdict = judge(old)
    plots = draw_figures(old, RunSummary(name="old"), verdict, tabulate(old, RunSummary(name="old"), verdict))
    by_name = {plot.name: plot for plot in plots}
    assert "misfit_kernels" not in by_name
    assert len(by_name["misfit"].figure.axes) == 2  # histograms alone


def test_run_file_is_escaped(report_folder):
    assert "# &lt;a&gt;" in _text(report_folder / "report.html")


def test_every_figure_has_png_and_pdf(report_folder):
    png = {one.stem for one in (report_folder / "figures").glob("*.png")}
    pdf = {one.stem for one in (report_folder / "figures").glob("*.pdf")}
    assert png == pdf
    assert png == {
        *(
            "misfit",
            "misfit_kernels",
            "soft_counts",
            "shrinkage",
            "corner",
            "color_histograms",
            "color_color",
        ),
        *("magnitude_counts", "derived", "trace_rank", "energy"),
    }


def test_failed_run_says_so_first_with_reasons():
    posterior = {name: values.copy() for name, values in list(synthetic.draws().items())[:2]}
    posterior["sfh.efficiency"][1] += 0.3
    text = _page(_small(posterior), RunSummary(name="bimodal"))
    assert "<h3>NOT CONVERGED</h3>" in text and 'class="banner fail"' in text
    assert text.index("R-hat is") < text.index('id="checks"')
    assert "<h2>What was learnt" not in text and "nothing was learnt from them" in text
    assert "must not be read as a posterior" in text and "✗ FAIL" in text
    assert "No predictions were stored" in text  # nothing is silently left out
    assert "Goodness of fit was not computed" in text


def test_report_of_particles_shows_lineages_in_place_of_traces(tmp_path):
    idata = _small()
    ancestor = (("chain", "draw"), np.arange(2000).reshape(4, 500) // 3)
    add_groups(idata, {"sample_stats": xr.Dataset({"ancestor": ancestor}, attrs={"sampler": "smc"})})
    steps = []
    page = _text(write_report(idata, RunSummary(name="quick"), tmp_path, lambda *step: steps.append(step)))
    total = len(list((tmp_path / "figures").glob("*.png")))
    assert total and steps == [(done, total) for done in range(1, total + 1)]  # of the report's bar
    assert "Tempered particles" in page and "2,000 particles" in page
    assert (tmp_path / "figures" / "lineages.png").exists()
    assert not (tmp_path / "figures" / "trace_rank.png").exists()


def test_report_of_a_surrogate_shows_its_chains_and_its_weights(tmp_path):
    idata = synthetic.weighted(0.2 * np.random.default_rng(0).normal(size=600))
    names = list(synthetic.PARAMETERS)[:2]
    add_groups(idata, {group: read_group(idata, group)[names] for group in ("posterior", "chains")})
    text = _text(write_report(idata, RunSummary(name="quick"), tmp_path))
    assert "Pareto k-hat" in text and '<th class="n">R-hat' in text
    assert "4 chains of 500 draws of the surrogate, 1,000 resampled by the exact weights of 600" in text
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"importance_weights", "trace_rank", "energy"} <= figures


@pytest.mark.parametrize("broken", ["not finite", "frozen", "one chain"])
def test_broken_draws_still_make_a_page_and_figures(broken: str):
    posterior = {name: values.copy() for name, values in list(synthetic.draws().items())[:2]}
    if broken == "not finite":
        posterior["sfh.efficiency"][0, :5] = np.nan
    elif broken == "frozen":
        posterior = {name: np.full((4, 100), 0.2) for name in posterior}
    else:
        posterior = {name: values[:1] for name, values in posterior.items()}
    idata, summary = _small(posterior), RunSummary(name=broken)
    text = _page(idata, summary)
    assert "<h3>NOT CONVERGED</h3>" in text
    assert broken == "one chain" or broken in text
    verdict = judge(idata)
    names = [one.name for one in draw_figures(idata, summary, verdict, tabulate(idata, summary, verdict))]
    assert {"corner", "trace_rank", "energy"} <= set(names)


def test_truth_of_a_mock_has_its_column():
    summary = dataclasses.replace(synthetic.summary(), truth={"sfh.efficiency": -0.0123})
    text = _page(_small(), summary)
    assert '<th class="n">truth</th>' in text and "−0.012" in text
    assert re.search(r"narrower than the prior[^<]*; the truth is −0\.012</td>", text)


def test_no_posterior_is_refused(tmp_path):
    with pytest.raises(InputError):
        write_report(draws_of(prior={"a": np.zeros((1, 9))}), RunSummary(name="x"), tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (59.96, "60.0 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str):
    assert written_seconds(seconds) == text


@pytest.mark.parametrize(("sd", "decimals"), [(0.05, 3), (0.3, 2), (2.0, 1), (25, 0), (400, 0), (0.0, 3)])
def test_two_figures_of_the_uncertainty(sd: float, decimals: int):
    assert decimals_of(sd) == decimals


def test_probabilities():
    assert [probability(p) for p in (0.5, 0.0123, 1e-9, float("nan"))] == ["0.5", "0.012", "< 0.0001", "–"]


def test_abundances_stand_beside_their_predictions():
    idata = _small()
    numbers = np.array([1000.0, 2.0e-3]) * (1 + 0.1 * np.random.default_rng(3).standard_normal((1, 500, 2)))
    add_groups(
        idata,
        {
            "posterior_predictive": xr.Dataset({"abundance": (("chain", "draw", "number"), numbers)}),
            "observed_data": xr.Dataset(
                {
                    "abundance": (("number",), [1300.0, 2.0e-3]),
                    "abundance_sd": (("number",), [100.0, 2e-4]),
                    "abundance_name": (("number",), ["galaxies at 0.06 < z < 0.09", "log M* 10 to 10.5"]),
                }
            ),
        },
    )
    rows = read_abundances(idata)
    assert rows[0].median == pytest.approx(1000, rel=0.02)
    assert rows[0].high - rows[0].low == pytest.approx(200, rel=0.15)
    assert rows[0].pull == pytest.approx(300 / np.hypot(100, 100), rel=0.15)
    page = _page(idata, synthetic.summary())
    assert "galaxies at 0.06 &lt; z &lt; 0.09" in page
    assert "1,300" in page
    assert "0.002" in page
    assert "cosmic variance" not in _page(_small(), synthetic.summary())
