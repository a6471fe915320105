"""The figure on a user's own simulation: its halos against those that diffhalos draws."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.style import CHAIN_COLORS, DATA, PAGE_WIDTH, PRIOR, Plot, slice_label

_MOST = 4  # slices that are told apart by color
_FAINTEST = 1e-7  # 1/Mpc^3/dex


def simulation_plot(idata: InferenceData) -> Plot | None:
    """Draw mass function, residuals of fits and t_peak; None where all halos were drawn."""
    if "simulation" not in group_names(idata):
        return None
    halos = read_group(idata, "simulation")
    fitted = bool(halos["rms"].sum() > 0)
    figure = Figure(figsize=(PAGE_WIDTH, 2.7), layout="constrained")
    panels = [_mass_function, _residuals, _peak_times] if fitted else [_mass_function, _peak_times]
    for ax, draw in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        draw(ax, halos)
    caption = (
        f"Halos of {halos.attrs['source']}, one color a redshift slice. Abundance of halos that are in no "
        "other, with Poisson errors of those that were kept; "
        + ("residuals of fitted mass histories, the last bin with all that are larger; " if fitted else "")
        + "share of these halos by the time of their largest mass, until today. Grey: halos of the same "
        "masses and redshifts that diffhalos draws, for which galaxies' calibrations were made."
    )
    parts = [
        "Mass function",
        *(["residuals of fitted histories"] if fitted else []),
        "time of the largest mass",
    ]
    alt = f"{', '.join(parts)} of halos in {halos.sizes['slice']} slices, beside those that diffhalos draws."
    return Plot("simulation", "The simulation's halos", caption, figure, alt)


def simulation_sentences(idata: InferenceData) -> list[str]:
    """What the report says of a simulation in words; nothing where all halos were drawn."""
    if "simulation" not in group_names(idata):
        return []
    halos = read_group(idata, "simulation")
    rows: dict[str, str] = {}  # slices that share a snapshot have the same halos
    for label, values in zip(_labels(halos), halos["formation_quenching"].values, strict=True):
        listed = [
            f"{value:+.2f} at 10^{mass:.3g} Msun".replace("-", "−")
            for mass, value in zip(halos["fixed_mass"].values, values, strict=True)
            if np.isfinite(value)
        ]
        if listed:
            rows.setdefault(", ".join(listed), label)
    of_slices = "; ".join(f"{text} ({label})" if len(rows) > 1 else text for text, label in rows.items())
    text = (
        "Rank correlation (Spearman) of formation time (half of the mass was there) and quenched fraction of "
        f"centrals at fixed halo mass: {of_slices or 'there are too few halos of one mass to say'}."
    )
    return [text, *filter(None, [str(halos.attrs.get("satellites", ""))])]


def _labels(halos: xr.Dataset) -> list[str]:
    return [slice_label(limits) for limits in halos["slice_z"].values]


def _color(halos: xr.Dataset, index: int) -> str:
    """Color of a slice; data are black where there is one only."""
    return DATA if halos.sizes["slice"] == 1 else CHAIN_COLORS[index % len(CHAIN_COLORS)]


def _mass_function(ax: Axes, halos: xr.Dataset) -> None:
    mass, width = halos["mass"].values, float(np.diff(halos["mass"].values[:2])[0])
    for i, label in enumerate(_labels(halos)):
        density, sd = halos["mass_function"].values[i], halos["mass_function_sd"].values[i]
        ax.plot(mass, halos["mass_function_diffhalos"].values[i], color=PRIOR, lw=1.2, zorder=1)
        shown = label if halos.sizes["slice"] <= _MOST else None
        moved = mass + 0.1 * width * (i - 0.5 * (halos.sizes["slice"] - 1))
        ax.errorbar(moved, density, sd, fmt="o", ms=2.5, lw=0.8, color=_color(halos, i), label=shown)
    there = np.isfinite(halos["mass_function"].values).any(axis=0)
    ax.set_yscale("log")
    ax.set_xlim(mass[there].min() - width, mass[there].max() + 1.5 * width)
    values = halos["mass_function"].values
    ax.set_ylim(max(0.4 * np.nanmin(values), _FAINTEST), 3 * np.nanmax(values))
    ax.set(xlabel=r"$\log_{10}\,M_{\rm halo}\ [M_\odot]$", ylabel=r"$dn/d\log_{10}M\ [{\rm Mpc}^{-3}]$")
    ax.plot([], [], color=PRIOR, label="diffhalos")
    ax.legend(loc="lower left")


def _residuals(ax: Axes, halos: xr.Dataset) -> None:
    rms = halos["rms_bin"].values
    step = float(rms[1] - rms[0])
    edges = np.append(rms - 0.5 * step, rms[-1] + 0.5 * step)
    for i in range(halos.sizes["slice"]):
        counts = halos["rms"].values[i]
        if counts.sum():
            ax.stairs(counts / counts.sum(), edges, color=_color(halos, i))
    ax.set(xlabel="rms of a history's fit [dex]", ylabel="share of the fitted halos")
    ax.set_xlim(edges[0], edges[-1])


def _peak_times(ax: Axes, halos: xr.Dataset) -> None:
    middle = halos["t_peak_bin"].values
    step = float(middle[1] - middle[0])
    edges = np.append(middle - 0.5 * step, middle[-1] + 0.5 * step)
    for i in range(halos.sizes["slice"]):
        ax.stairs(halos["t_peak_diffhalos"].values[i], edges, color=PRIOR, lw=1.2)
        ax.stairs(halos["t_peak"].values[i], edges, color=_color(halos, i))
    ax.set(xlabel=r"$t_{\rm peak}$ of centrals [Gyr]", ylabel="share of the centrals")
    ax.set_yscale("log")
    ax.set_xlim(edges[0], edges[-1])
