"""Figures of what the posterior says about galaxies and halos, beside published relations."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report import literature
from popinfer.report.literature import Published
from popinfer.report.relations import NAMES
from popinfer.report.style import PAGE_WIDTH, PUBLISHED_COLORS, PUBLISHED_MARKERS, Plot, band

_LG_MSTAR = r"$\log_{10}\,M_\star\ [M_\odot]$"


def derived_plot(idata: InferenceData) -> Plot | None:
    """Draw the derived relations that were stored, with published ones; None when there are none."""
    if "derived" not in group_names(idata):
        return None
    relations = read_group(idata, "derived")
    panels = [(name, draw) for name, draw in _PANELS.items() if name in relations]
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(PAGE_WIDTH, 0.2 + 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, (name, draw) in zip(axes, panels, strict=False):
        draw(ax, relations, name)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    caption = (
        "Relations that follow from the posterior. Blue: median with 68 and 95 % bands; dashed: the fiducial "
        "calibration the fit started from. Symbols and grey lines: published relations, converted to a "
        "Chabrier-like IMF and no little h; the fit used none of them but those among its abundances. "
        "Definitions of halo mass differ among papers by about 0.1 dex, those of quenched by about 0.1. Away "
        "from the redshifts and masses of the data the bands extrapolate the model."
    )
    caption = " ".join(filter(None, [caption, str(relations.attrs.get("satellites", ""))]))
    alt = (
        f"{len(panels)} panels, posterior bands beside published values: "
        f"{'; '.join(NAMES[name] for name, _ in panels)}. The table below has the numbers."
    )
    return Plot("derived", "Galaxies and halos", caption, figure, alt)


def _relation(ax: Axes, relations: xr.Dataset, name: str, published: tuple[Published, ...]) -> None:
    """Draw band, fiducial and published values of one relation, and set its limits to the model's range."""
    values = relations[name]
    axis = str(next(dim for dim in values.dims if dim != "draw"))
    x = np.asarray(values[axis].values, dtype=float)
    draws = np.asarray(values.transpose("draw", axis).values, dtype=float)
    points = [relation for relation in published if not relation.curve]
    curves = [relation for relation in published if relation.curve]
    for curve, style in zip(curves, ("-", "-."), strict=False):
        ax.plot(curve.x, curve.y, color="0.55", lw=1.1, ls=style, label=curve.label, zorder=1)
    band(ax, x, draws, label="posterior")
    if f"{name}_fiducial" in relations:
        ax.plot(x, relations[f"{name}_fiducial"].values, color="black", lw=1, ls="--", label="fiducial")
    for point, color, marker in zip(points, PUBLISHED_COLORS, PUBLISHED_MARKERS, strict=False):
        errors = None if point.y_low is None else np.array([point.y_low, point.y_high])
        ax.errorbar(
            point.x,
            point.y,
            errors,
            fmt=marker,
            color=color,
            ms=3.5,
            lw=0.8,
            mfc="white",
            mew=1,
            label=point.label,
        )
    margin = 0.02 * np.ptp(x)
    ax.set_xlim(x.min() - margin, x.max() + margin)
    if "z" in values.attrs:
        ax.set_title(f"z = {float(values.attrs['z']):.2g}", loc="right", pad=3)


def _smhm(ax: Axes, relations: xr.Dataset, name: str) -> None:
    z = float(relations[name].attrs.get("z", 0.1))
    _relation(ax, relations, name, literature.stellar_mass_halo_mass(z))
    ax.set(xlabel=r"$\log_{10}\,M_{\rm halo}\ [M_\odot]$", ylabel="median " + _LG_MSTAR)
    # the published curves reach far below the masses of the data
    low, high = np.nanpercentile(relations[name].values, [0.5, 99.5])
    ax.set_ylim(low - 0.3, high + 0.5)
    ax.legend(loc="lower right")


def _quenched_fraction(ax: Axes, relations: xr.Dataset, name: str) -> None:
    _relation(ax, relations, name, literature.quenched_fraction())
    ax.set(xlabel=_LG_MSTAR, ylabel="quenched fraction", ylim=(0, 1.02))
    ax.legend(loc="upper left")


def _ssfr(ax: Axes, relations: xr.Dataset, name: str) -> None:
    definition = str(relations[name].attrs.get("definition", "star_forming"))
    _relation(ax, relations, name, literature.lg_ssfr(definition))
    of = "median, all galaxies" if definition == "all" else "mean now, star-forming galaxies"
    ax.set(xlabel=_LG_MSTAR, ylabel=r"$\log_{10}$ sSFR [yr$^{-1}$]" + f"\n({of})")
    ax.legend(loc="lower left")


def _csfrd(ax: Axes, relations: xr.Dataset, name: str) -> None:
    _relation(ax, relations, name, literature.lg_csfrd())
    ax.set(xlabel="redshift", ylabel=r"$\log_{10}\,\rho_{\rm SFR}\ [M_\odot\,{\rm yr}^{-1}\,{\rm Mpc}^{-3}]$")
    low, high = np.nanpercentile(relations[name].values, [0.5, 99.5])
    ax.set_ylim(min(low, -2.1) - 0.75, max(high, -0.4) + 0.1)  # room for the legend below the points
    ax.legend(loc="lower center", ncols=2)


_PANELS: dict[str, Callable[[Axes, xr.Dataset, str], None]] = {
    "smhm": _smhm,
    "quenched_fraction": _quenched_fraction,
    "lg_ssfr": _ssfr,
    "csfrd": _csfrd,
}
