"""Figures carry labels with units, and show what was stored."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import synthetic
from matplotlib.backends.backend_agg import FigureCanvasAgg

from popinfer.report import comparison, figures_data, figures_posterior, judge, style
from popinfer.report.figures import draw_figures
from popinfer.report.parameters import tabulate


@pytest.fixture(scope="module")
def plots(converged_run):
    summary, verdict = synthetic.summary(), judge(converged_run)
    drawn = draw_figures(converged_run, summary, verdict, tabulate(converged_run, summary, verdict))
    return {plot.name: plot for plot in drawn}


def _texts(figure) -> str:
    """All labels, titles, ticks and legends of a figure."""
    texts = []
    for ax in figure.axes:
        texts += [ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), *(one.get_text() for one in ax.texts)]
        legend = ax.get_legend()
        texts += [one.get_text() for one in legend.get_texts()] if legend else []
    for legend in figure.legends:
        texts += [one.get_text() for one in legend.get_texts()]
    return " | ".join(texts)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("color_histograms", ("u − g [mag]", "galaxies per bin", "[σ]", "0.12 < z < 0.16", "data", "model")),
        ("magnitude_counts", ("r [mag]", "galaxies per bin", "0.03 < z < 0.06")),
        ("color_color", ("g − r [mag]", "u − g [mag]", "data", "model")),
        (
            "misfit",
            ("rms residual [σ]", "median, data − model [mag]", "width, data − model [mag]", "blue fraction"),
        ),
        ("misfit_kernels", ("u − g [mag]", "g − r [mag]", "r [mag]", "(data − model)/σ", "0.12 < z < 0.16")),
        ("soft_counts", ("residual [σ]",)),
        ("corner", ("[dex]", "[mag]", "prior", "posterior")),
        ("trace_rank", ("draw", "rank", "[dex]")),
        ("energy", ("energy [nat]",)),
        ("derived", ("M_\\odot", "yr", "redshift", "Madau", "Moster", "Moustakas", "Bauer", "fiducial")),
        ("shrinkage", ("shrinkage", "prior standard deviation")),
    ],
)
def test_labels_and_units(plots, name: str, needed: tuple[str, ...]):
    texts = _texts(plots[name].figure)
    for one in needed:
        assert one in texts, (one, texts)


def test_settings_of_the_user_change_nothing_and_stay():
    def picture():
        with style.report_style():
            figure = mpl.figure.Figure(figsize=(2, 2))
            figure.subplots().plot([0, 1], label="line")
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            return np.asarray(canvas.buffer_rgba()), figure.get_layout_engine()

    plain, _ = picture()
    theirs = {"figure.constrained_layout.use": True, "axes.grid": True, "image.cmap": "gray", "font.size": 20}
    with mpl.rc_context(theirs):
        pixels, engine = picture()
        assert engine is None  # a layout engine would ignore the margins that figures set
        assert (pixels == plain).all()
        assert all(mpl.rcParams[name] == value for name, value in theirs.items())


def test_every_caption_is_a_sentence(plots):
    for plot in plots.values():
        assert len(plot.caption) > 60 and plot.caption.endswith(".") and plot.title


def test_print_size(plots):
    # legible at the width of a page: nothing but the corner plot may be wider
    for name, plot in plots.items():
        assert plot.figure.get_figwidth() <= style.PAGE_WIDTH or name == "corner"


def test_misfit_writes_each_difference_with_its_significance(plots):
    median = plots["misfit"].figure.axes[0]
    texts = [one.get_text() for one in median.texts]
    assert len(texts) == 20 and texts.count("−0.060\n15.0 σ") == 1
    assert median.get_yticklabels()[3].get_text() == "0.12 < z < 0.16"
    assert texts[15] == "−0.060\n15.0 σ"  # u - g, the first feature of the last slice
    blue = [one.get_text() for one in plots["misfit"].figure.axes[2].texts]
    assert blue.count("–") == 4  # magnitudes have none


def test_kernels_are_drawn_where_they_are(plots, converged_run):
    centers = converged_run.observed_data["kernel_center"]
    drawn = plots["misfit_kernels"].figure.axes[0].collections[0].get_offsets()
    expected = centers.sel(feature=["r", "u-g"]).values[0]
    assert sorted(map(tuple, np.asarray(drawn).round(6))) == sorted(map(tuple, expected.round(6)))
    soft = comparison.read_soft_counts(converged_run)
    assert soft is not None
    values = np.sort(np.asarray(plots["misfit_kernels"].figure.axes[0].collections[0].get_array()))
    np.testing.assert_allclose(values, np.sort(soft.residuals[0]))


def test_color_histograms_draw_the_data(plots, converged_run):
    counts = converged_run.observed_data["hist"].values[0, 0]
    first = plots["color_histograms"].figure.axes[0]
    heights = {round(float(y)) for line in first.lines for y in line.get_ydata()}
    assert {int(one) for one in counts if one > 0} <= heights


def test_many_slices_and_colors_are_split_over_figures():
    rng = np.random.default_rng(0)
    features = ("a-b", "b-c", "c-d", "d-e", "e-f", "r")
    edges = np.tile(np.linspace(0, 1, 11), (6, 1))
    data = rng.poisson(20, size=(6, 6, 10)).astype(float)
    slices = np.array([(0.1 * i, 0.1 * i + 0.1) for i in range(6)])
    histograms = comparison.Histograms(features, edges, slices, data, np.full((3, 6, 6, 10), 20.0))
    colors, magnitudes = figures_data.color_plots(histograms), figures_data.magnitude_plots(histograms)
    assert [one.name for one in colors] == ["color_histograms", *(f"color_histograms_{i}" for i in (2, 3, 4))]
    assert [one.name for one in magnitudes] == ["magnitude_counts", "magnitude_counts_2"]


def test_chunks_cover_everything_evenly():
    assert [list(one) for one in style.chunks(6, 4)] == [[0, 1, 2], [3, 4, 5]]
    assert [len(one) for one in style.chunks(9, 4)] == [3, 3, 3]
    assert [list(one) for one in style.chunks(1, 4)] == [[0]]


def test_enclosing_levels_of_a_known_density():
    x = np.linspace(-6, 6, 601)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x[None, :] ** 2))
    # a 2-d Gaussian holds a fraction f above exp(-r^2/2) = 1 - f
    assert figures_posterior.enclosing_levels(density, (0.68, 0.95)) == pytest.approx([0.05, 0.32], abs=0.01)


# what dichromats see, in linear RGB (Machado, Oliveira & Fernandes 2009, severity 1)
DICHROMATS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.0039, -0.0481, 1.0520)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.0118, 0.0429, 0.9689)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.0047, 0.6914, 0.3039)),
}
XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    xyz = XYZ @ linear / (XYZ @ np.ones(3))
    x, y, z = np.where(xyz > 0.008856, np.cbrt(np.maximum(xyz, 0)), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen_by", DICHROMATS)
def test_colors_that_share_a_panel_differ_for_color_blind_readers(seen_by):
    shared = (
        (style.DATA, style.MODEL, style.PRIOR, style.BEST_FIT, style.TRUTH),
        (style.MODEL, *style.PUBLISHED_COLORS),
        style.CHAIN_COLORS[:4],
    )
    for colors in shared:
        rgb = [np.array(mpl.colors.to_rgb(color)) for color in colors]
        linear = [np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) for x in rgb]
        seen = [_lab(np.clip(np.array(DICHROMATS[seen_by]) @ x, 0, 1)) for x in linear]
        for (first, a), (second, b) in itertools.combinations(zip(colors, seen, strict=True), 2):
            assert np.linalg.norm(a - b) > 12, (first, second)  # a few units are seen side by side


def test_gehrels_errors():
    down, up = style.poisson_errors(np.array([0.0, 1.0, 100.0]))
    assert up == pytest.approx([1.87, 2.32, 11.04], abs=0.01)
    assert down == pytest.approx([0.0, 0.87, 9.99], abs=0.01)


def test_wrapped_names_keep_their_words():
    assert style.wrap_label("sfh.quenching_time", "dex", 13) == "sfh.\nquenching\ntime\n[dex]"
    assert style.wrap_label("dust.av", "", 13) == "dust.av"
