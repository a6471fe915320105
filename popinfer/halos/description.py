"""What a simulation's halos are, in lines for a person: ``popinfer halos FILE``."""

import resource
import sys

import numpy as np

from popinfer.errors import percent
from popinfer.halos.completed import Tally
from popinfer.halos.sample import SimulatedHalos, SlicePool


def describe_sample(
    sample: SimulatedHalos, resolution: float = 0.0, seconds: float | None = None, *, warnings: bool = True
) -> list[str]:
    """Lines on a sample: what it holds, where histories come from, and how it compares.

    Parameters
    ----------
    sample : SimulatedHalos
        Halos that were read.
    resolution : float
        Log10 of the lowest resolved mass [Msun]; zero for unknown.
    seconds : float or None
        That reading took; None to leave it out.
    warnings : bool
        Whether the sample's warnings are among the lines; not where they were told already.
    """
    header, geometry, cosmology = sample.header, sample.spec.geometry, sample.cosmology
    where = (
        f"box of {geometry.side:.5g} Mpc"
        if geometry.kind == "box"
        else f"lightcone of {geometry.area_deg2:.5g} deg2"
    )
    lines = [
        f"{header.source}: {header.format}, {where}; units {header.units}",
        f"  cosmology: Om0 {cosmology.om0:.4g}, h {cosmology.h:.4g}, w0 {cosmology.w0:.3g}, "
        f"wa {cosmology.wa:.3g}",
        f"  halos: {sample.n_read:,} above the lowest mass; noise from {sample.pieces}",
    ]
    if resolution:
        lines.append(f"  resolution: 10^{resolution:.2f} Msun")
    for limits, pool in zip(sample.spec.slices, sample.pools, strict=True):
        lines += [f"  slice z = {limits[0]:g} to {limits[1]:g}", *_slice_lines(pool)]
    lines += [f"  warning: {text}" for text in sample.warnings if warnings]
    lines += [f"  {text}" for text in sample.notes]
    if seconds is not None:
        scale = 1 if sys.platform == "darwin" else 1024
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30
        lines.append(f"  {seconds:.1f} s, at most {memory:.2f} GiB of memory")
    return lines


def _slice_lines(pool: SlicePool) -> list[str]:
    table, halos = pool.halos.table, pool.halos
    share = float((pool.density * ~table.is_central).sum() / pool.density.sum())
    n_central = int(table.is_central.sum())
    lines = [
        f"    kept: {len(pool):,} halos at z = {np.median(table.z):.4g}, {n_central:,} centrals and "
        f"{len(pool) - n_central:,} satellites",
        f"    masses: 10^{table.lg_mass.min():.2f} to 10^{table.lg_mass.max():.2f} Msun; "
        f"{pool.density.sum():.3g} a Mpc^3, of them {percent(share)} satellites",
        f"    histories: {_from_where(halos.tally)}",
    ]
    rms = halos.rms[np.isfinite(halos.rms)]
    if len(rms):
        lines.append(
            f"    residuals of fits: median {np.median(rms):.3f} dex, 95 % below {np.percentile(rms, 95):.3f}"
        )
    low, high = (f"10^{limit:.3g}" for limit in pool.ratio.limits)
    if np.isfinite(pool.ratio.ratio):
        lines.append(f"    hosts of {low} to {high} Msun: {pool.ratio.ratio:.2f} times diffhalos'")
    else:
        lines.append(f"    hosts of {low} to {high} Msun: too few to compare their number with diffhalos'")
    here, usual = (", ".join(f"{x:.1f}" for x in t) for t in (pool.t_peak, pool.t_peak_calibration))
    lines.append(f"    t_peak of centrals, 16/50/84 %: {here} Gyr; in diffhalos {usual} Gyr")
    return lines


def _from_where(tally: Tally) -> str:
    """Which histories and infalls are the file's, and which are drawn."""
    n_satellite = tally.n - tally.n_central
    parts = [
        f"{number:,} {what}"
        for number, what in (
            (tally.given, "given"),
            (tally.fitted, "fitted"),
            (tally.drawn, "drawn at their mass and time"),
        )
        if number
    ]
    if tally.still_growing:
        parts.append(f"{tally.still_growing:,} still growing, with a t_peak that was drawn")
    if n_satellite:
        parts.append(
            f"infall known of {tally.infall_known:,} of {n_satellite:,} satellites, hosts' masses of "
            f"{tally.host_known:,}"
        )
    return ", ".join(parts)
