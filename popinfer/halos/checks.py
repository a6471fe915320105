"""What is wrong with a simulation's halos, found before anything is computed with them.

Errors of units are the commonest, and the least visible: a mass function that differs by 40 % from diffhalos'
between 10^12 and 10^13 Msun is refused with the likeliest cause, from 10 % there is a warning. No two flat
cosmologies in use differ by that much.
"""

from dataclasses import dataclass

import numpy as np

from popinfer.cosmology import Cosmology, age
from popinfer.errors import InputError, percent
from popinfer.halos.lightcone import central_abundance
from popinfer.halos.reservoir import Kept
from popinfer.halos.table import HaloTable

MAX_OFF, WARN_OFF = 1.4, 1.1
MAX_ORPHANS, MAX_LATE = 0.01, 0.01
FEWEST_HALOS = 16  # of a slice
_MASS_RANGE = (12.0, 13.0)
_FEWEST_COUNTED = 100  # halos; a tenth is a standard deviation of fewer, and two fifths are no chance
_LIKE_H = 1.25  # off as masses are where h is forgotten: h to the power of 0.9
_MANY = 1000  # halos, of which some have to be satellites
_NO_BIGGER = 16.5  # log10 Msun


@dataclass(frozen=True)
class MassFunctionRatio:
    """Hosts between 10^12 and 10^13 Msun, relative to diffhalos'.

    Attributes
    ----------
    ratio : NaN where there are too few.
    n : hosts of the file there.
    """

    ratio: float
    n: float


def check_chunk(table: HaloTable, source: str) -> None:
    """Refuse halos that can't be: without mass, of impossible mass, or twice in one snapshot.

    Raises
    ------
    InputError
        Names the file, how many, and the first of them.
    """
    bad = ~np.isfinite(table.lg_mass)
    if bad.any():
        first = table.halo_id[np.argmax(bad)]
        raise InputError(
            f"{source}: {bad.sum():,} halos have no mass (NaN, zero or negative), the first of them {first}; "
            "leave them out of the file"
        )
    if len(table) and table.lg_mass.max() > _NO_BIGGER:
        raise InputError(
            f"{source}: halo {table.halo_id[np.argmax(table.lg_mass)]} would have "
            f"10^{table.lg_mass.max():.1f} Msun, more than any: check halos.source.units.mass"
        )
    if np.isnan(table.z).any():
        raise InputError(
            f"{source}: halos have no redshift; give halos.source.geometry.redshift of the box, or "
            "halos.source.columns.redshift"
        )
    _check_unique(table.halo_id, np.round(1e4 * table.z).astype(np.int64), source)


def _check_unique(halo_id: np.ndarray, epoch: np.ndarray, source: str) -> None:
    """Refuse names that are there twice in one epoch."""
    ordered = np.sort(halo_id)
    if not (ordered[1:] == ordered[:-1]).any():
        return  # the usual case, and a cheap one
    names, counts = np.unique(np.stack([halo_id, epoch], axis=1), axis=0, return_counts=True)
    if (counts > 1).any():
        twice = names[np.argmax(counts)][0]
        raise InputError(f"{source}: halo {twice} is listed {counts.max()} times; names have to be unique")


def check_kept(kept: Kept, source: str, claims_satellites: bool, cosmology: Cosmology) -> None:
    """Refuse samples with repeated halos, without any satellite where there should be some, or late peaks.

    Raises
    ------
    InputError
        Says what is wrong, and what would be right.
    """
    table = kept.table
    _check_unique(table.halo_id, kept.epoch, source)
    if claims_satellites and table.is_central.all() and kept.n_read >= _MANY:
        raise InputError(
            f"{source}: all {kept.n_read:,} halos are centrals, though the file has a column of hosts: check "
            "that -1 (or the own id) marks halos that are in none, or set halos.source.satellites to none"
        )
    today = float(age(cosmology, 0.0))
    t_peak = table.mah_params.t_peak
    late = t_peak > 1.01 * today
    # diffmah's own flow knows peaks after the observation, but no simulation ends later than its last step
    if late.mean() > MAX_LATE:
        raise InputError(
            f"{source}: t_peak is later than today ({today:.2f} Gyr) in {percent(float(late.mean()))} of the "
            "halos; it has to be in Gyr, of this cosmology"
        )
    t_obs = np.asarray(age(cosmology, table.z), float)
    after = ~table.is_central & (table.t_infall > 1.01 * t_obs)
    n_satellite = max(int((~table.is_central).sum()), 1)
    if after.sum() / n_satellite > MAX_LATE:
        raise InputError(
            f"{source}: {percent(after.sum() / n_satellite)} of the satellites fall in after they "
            "are observed (t_infall or t_peak > t_obs); times have to be in Gyr, and before t_obs"
        )


def check_hosts(table: HaloTable, source: str) -> str:
    """Refuse satellites whose hosts aren't in the file, if more than 1 %; else a warning, "" for none.

    Parameters
    ----------
    table : HaloTable
        After hosts were looked up.
    source : str
        The file.
    """
    satellite = ~table.is_central
    orphan = satellite & ~np.isfinite(table.lg_host)
    if not orphan.any():
        return ""
    fraction = orphan.sum() / satellite.sum()
    first = table.host_id[np.argmax(orphan)]
    text = f"{percent(float(fraction))} of the satellites name a host that isn't in the file, such as {first}"
    if fraction > MAX_ORPHANS:
        raise InputError(
            f"{source}: {text}; at most {percent(MAX_ORPHANS)}: add the missing files, or set "
            "halos.source.satellites to none"
        )
    return f"{text}: masses of their hosts are drawn"


def mass_function_ratio(kept: Kept, epoch: int, volume: float) -> MassFunctionRatio:
    """Abundance of hosts of 10^12 to 10^13 Msun over diffhalos'.

    Parameters
    ----------
    kept : Kept
        Halos of the file.
    epoch : int
        Snapshot or slice.
    volume : float
        Of the epoch [Mpc^3].
    """
    table, here = kept.table, kept.epoch == epoch
    inside = here & table.is_central & (table.lg_mass >= _MASS_RANGE[0]) & (table.lg_mass < _MASS_RANGE[1])
    n = float(kept.stands_for[inside].sum())
    grid = np.linspace(*_MASS_RANGE, 50)
    z = max(float(np.median(table.z[here])), 0.0)
    expected = volume * float(np.trapezoid(central_abundance(grid, np.full_like(grid, z)), grid))
    if max(n, expected) < _FEWEST_COUNTED:
        return MassFunctionRatio(float("nan"), n)
    return MassFunctionRatio(n / expected, n)


def check_mass_function(result: MassFunctionRatio, h: float, source: str) -> str:
    """Refuse abundances that are off by 40 %; else a warning, "" for none.

    Parameters
    ----------
    result : MassFunctionRatio
        The ratio.
    h : float
        Of the simulation.
    source : str
        The file.
    """
    ratio = result.ratio
    if not np.isfinite(ratio):
        return ""
    off = np.exp(abs(np.log(max(ratio, 1e-3))))
    slack = 1 + 2 / np.sqrt(max(result.n, 1.0))  # two standard deviations of counting
    text = f"halos of 10^12 to 10^13 Msun are {ratio:.2f} times as frequent as in diffhalos"
    if off >= MAX_OFF:
        raise InputError(
            f"{source}: {text}: {_likely_cause(ratio, h)}; set halos.source.mass_function to ignore where "
            "the file is but a piece of the box, such as some forests"
        )
    if off / slack < WARN_OFF:
        return ""
    return f"{text}: {_likely_cause(ratio, h) if off > _LIKE_H else 'check units of mass and length'}"


def _likely_cause(ratio: float, h: float) -> str:
    """Which mistake with h makes a ratio most nearly."""
    slope = 0.9  # of lg dn/dlgM in lg M there
    causes = {
        "masses look like Msun/h taken as Msun (halos.source.units.mass)": h**slope,
        "masses look like Msun taken as Msun/h (halos.source.units.mass)": h**-slope,
        "the box's side looks like Mpc/h taken as Mpc (geometry.side_mpc)": h**-3,
        "the box's side looks like Mpc taken as Mpc/h (geometry.side_mpc)": h**3,
        "halos of a part of the volume only (geometry, mass cut)": 0.05,
        "satellites look like they were taken as centrals, or the volume is too small": 8.0,
    }
    return min(causes, key=lambda cause: abs(np.log(causes[cause] / ratio)))
