"""Figures that show whether the sampler worked: traces and ranks, energies, weights, lineages."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm, rankdata

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.gate import MIN_BFMI, Verdict
from popinfer.report.style import CHAIN_COLORS, DATA, MODEL, PAGE_WIDTH, Plot, wrap_label
from popinfer.report.summary import RunSummary

_RANK_BINS = 20


def trace_plot(idata: InferenceData, summary: RunSummary) -> Plot:
    """Show traces of every parameter beside the rank histogram of each chain."""
    chains = read_group(idata, "chains" if "chains" in group_names(idata) else "posterior")
    names = [str(name) for name in chains.data_vars]
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 0.85 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False, sharex="col", width_ratios=(2.4, 1))
    for (left, right), name in zip(axes, names, strict=True):
        draws = np.asarray(chains[name].transpose("chain", "draw").values, dtype=float)
        for chain, values in enumerate(draws):
            color = CHAIN_COLORS[chain % len(CHAIN_COLORS)]
            left.plot(values, color=color, lw=0.4, alpha=0.8, rasterized=True)
        _ranks(right, draws)
        left.set_ylabel(
            wrap_label(name, summary.units.get(name, ""), 16), rotation=0, ha="right", va="center"
        )
        left.yaxis.set_major_locator(MaxNLocator(3))
        left.margins(x=0)
    axes[-1, 0].set_xlabel("draw")
    axes[-1, 1].set_xlabel("rank among all chains [%]")
    axes[0, 0].set_title("trace, one color a chain")
    axes[0, 1].set_title("ranks (flat when mixed)")
    figure.align_ylabels(axes[:, 0])
    caption = (
        "Left: draws of each chain in order. Right: histogram of each chain's ranks among the draws of all "
        "chains, relative to a flat one; well-mixed chains stay within the grey band (99 % for independent "
        "draws)."
    )
    sizes = chains.sizes
    alt = (
        f"Traces of {len(names)} parameters in {sizes['chain']} chains of {sizes['draw']} draws, and "
        "histograms of their ranks. The table of checks has R-hat and effective sample sizes."
    )
    return Plot("trace_rank", "Traces and ranks", caption, figure, alt)


def _ranks(ax: Axes, draws: np.ndarray) -> None:
    """Rank histogram of every chain, `draws` (chain, draw), relative to a uniform one."""
    n_chain, n_draw = draws.shape
    finite = np.where(np.isfinite(draws), draws, 0.0)
    ranks = rankdata(finite).reshape(draws.shape) / draws.size
    expected = n_draw / _RANK_BINS
    half = norm.ppf(0.995) / np.sqrt(max(expected, 1.0))
    ax.axhspan(1 - half, 1 + half, color="0.9", lw=0)
    edges = np.linspace(0, 100, _RANK_BINS + 1)
    for chain in range(n_chain):
        counts = np.histogram(100 * ranks[chain], edges)[0] / expected
        ax.stairs(counts, edges, color=CHAIN_COLORS[chain % len(CHAIN_COLORS)], lw=0.9, baseline=None)
    ax.set(xlim=(0, 100), ylim=(0, max(2.0, ax.get_ylim()[1])))
    ax.yaxis.set_major_locator(MaxNLocator(2))


def energy_plot(idata: InferenceData, verdict: Verdict) -> Plot | None:
    """Compare the marginal energy distribution with that of the transitions; None without energies."""
    stats = read_group(idata, "chain_stats" if "chain_stats" in group_names(idata) else "sample_stats")
    if "energy" not in stats:
        return None
    energy = np.asarray(stats["energy"].transpose("chain", "draw").values, dtype=float)
    centered = energy - energy.mean(axis=1, keepdims=True)
    steps = np.diff(energy, axis=1)
    reach = np.nanpercentile(np.abs(centered), 99.5) * 1.2 or 1.0
    edges = np.linspace(-reach, reach, 41).tolist()
    figure = Figure(figsize=(PAGE_WIDTH * 0.6, 2.4), layout="constrained")
    ax = figure.subplots()
    ax.hist(centered.ravel(), edges, density=True, color=MODEL, alpha=0.35, label="energy, about its mean")
    ax.hist(steps.ravel(), edges, density=True, histtype="step", color=DATA, lw=1.2, label="change of energy")
    ax.set(xlabel="energy [nat]", ylabel="density", xlim=(-reach, reach))
    ax.legend(loc="upper right")
    measured = next((check.measured for check in verdict.checks if check.title == "E-BFMI"), "")
    ax.text(0.03, 0.95, f"smallest E-BFMI {measured}", transform=ax.transAxes, va="top")
    caption = (
        "Energy of the Hamiltonian chains (blue) and its change from draw to draw (black). When the change "
        f"is much narrower, the chains explore the tails too slowly; the gate asks for E-BFMI > {MIN_BFMI}."
    )
    alt = f"Histograms of energy and of its changes; the smallest E-BFMI of a chain is {measured}."
    return Plot("energy", "Energies", caption, figure, alt)


def weight_plot(idata: InferenceData) -> Plot | None:
    """Show how evenly the importance weights are spread; None when there are none."""
    stats = read_group(idata, "sample_stats")
    if "log_weight" not in stats:
        return None
    log_weight = np.asarray(stats["log_weight"].values, dtype=float).ravel()
    log_weight = log_weight[np.isfinite(log_weight)]
    if not log_weight.size:
        return None
    weight = np.sort(np.exp(log_weight - log_weight.max()))[::-1]
    cumulated = np.cumsum(weight) / weight.sum()
    figure = Figure(figsize=(PAGE_WIDTH, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(log_weight - log_weight.max() - np.log(weight.mean()), 50, color=MODEL)
    left.set(xlabel="log importance weight (mean weight = 0)", ylabel="draws", yscale="log")
    percent = 100 * np.arange(1, weight.size + 1) / weight.size
    right.plot(percent, 100 * cumulated, color=MODEL, label="this run")
    right.plot([0, 100], [0, 100], color=DATA, lw=0.8, ls=":", label="perfect surrogate")
    right.set(xlabel="largest weights [% of draws]", ylabel="share of the total weight [%]")
    right.set(xlim=(0, 100), ylim=(0, 101))
    right.legend(loc="lower right")
    caption = (
        "Exact over surrogate density of the draws that were evaluated exactly. Left: the distribution; its "
        "width is the surrogate's error, and a long tail to the right means that the surrogate misses part "
        "of the posterior. Right: the share of the total weight held by the largest weights."
    )
    tenth = cumulated[max(round(0.1 * weight.size) - 1, 0)]
    alt = (
        f"Distribution of {weight.size} log weights, and the share of the total that the largest hold: a "
        f"tenth of the draws holds {100 * tenth:.0f} %, of a perfect surrogate it would hold 10 %."
    )
    return Plot("importance_weights", "Exact weights", caption, figure, alt)


def lineage_plot(idata: InferenceData) -> Plot | None:
    """Show how evenly the lineages of tempered particles share the posterior; None without ancestors."""
    stats = read_group(idata, "sample_stats")
    if "ancestor" not in stats:
        return None
    _, size = np.unique(np.asarray(stats["ancestor"].values), return_counts=True)
    fraction = np.sort(size)[::-1] / size.sum()
    figure = Figure(figsize=(PAGE_WIDTH * 0.6, 2.4), layout="constrained")
    ax = figure.subplots()
    ax.stairs(100 * fraction, np.arange(fraction.size + 1), fill=True, color=MODEL)
    ax.set(xlabel="lineage, the largest first", ylabel="particles [%]", xlim=(0, fraction.size))
    ax.text(0.97, 0.95, f"worth {1 / np.sum(fraction**2):.0f}", transform=ax.transAxes, ha="right", va="top")
    caption = (
        "Share of the particles that descend from each of the prior draws with descendants. A few large "
        "lineages mean that few prior draws decided how much of the posterior each maximum got."
    )
    alt = (
        f"Shares of {fraction.size} lineages, the largest first: it holds {100 * fraction[0]:.1f} % of the "
        f"particles, and all are worth {1 / np.sum(fraction**2):.0f} equal ones."
    )
    return Plot("lineages", "Lineages", caption, figure, alt)
