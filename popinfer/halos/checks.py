"""What is wrong with a simulation's halos, found before anything is computed with them.

Errors of units are the commonest, and the least visible: a mass function that differs by 40 % from diffhalos'
between 10^12 and 10^13 Msun is refused with the likeliest cause, from 10 % there is a warning. No two flat
cosmologies in use differ by that much.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from popinfer.cosmology import Cosmology, age, comoving_distance
from popinfer.errors import InputError, percent
from popinfer.halos.completed import CompletedHalos, log_mah
from popinfer.halos.lightcone import central_abundance
from popinfer.halos.reservoir import Kept
from popinfer.halos.table import HaloHeader, HaloTable

MAX_OFF, WARN_OFF = 1.4, 1.1
MAX_UNFIT, WARN_DRAWN = 0.05, 0.1
MAX_PEAK_GYR = 1.0
MAX_HISTORY_DEX = 0.1  # by which histories may miss the masses of their halos; h makes 0.15
_NEVER_GYR = 1.5  # of all times of peak or infall: scale factors, and log10 of times, are below
_SAME_DISTANCE = 0.05
_LIKE_H_DEX, _LIKE_LINEAR_DEX = 0.05, 100.0
MAX_ORPHANS, MAX_LATE = 0.01, 0.01
FEWEST_HALOS = 16  # of a slice
_MASS_RANGE = (12.0, 13.0)
_NARROWEST = 0.3  # dex, where halos begin near the range's end
_FEWEST_COUNTED = 100  # halos; a tenth is a standard deviation of fewer, and two fifths are no chance
_LIKE_H = 1.25  # off as masses are where h is forgotten: h to the power of 0.9
_MANY = 1000  # halos, of which some have to be satellites
_NO_BIGGER = 16.5  # log10 Msun


@dataclass(frozen=True)
class MassFunctionRatio:
    """Hosts between 10^12 and 10^13 Msun, or of what is left of these, relative to diffhalos'.

    Attributes
    ----------
    ratio : NaN where there are too few.
    n : hosts of the file there.
    limits : log10 of the masses between which hosts are counted [Msun].
    """

    ratio: float
    n: float
    limits: tuple[float, float] = _MASS_RANGE


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
    if len(table) and table.halo_id.min() < 0:
        raise InputError(
            f"{source}: a halo is called {table.halo_id.min()}; names have to be whole numbers from 0 "
            "to 2^63, since negative ones mark that there is no host"
        )
    bad = ~((table.p_merge >= 0) & (table.p_merge <= 1))
    if bad.any():
        first = np.argmax(bad)
        raise InputError(
            f"{source}: p_merge is {table.p_merge[first]:g} of halo {table.halo_id[first]}; it is a "
            "probability, 0 to 1"
        )
    if (table.half_mass_scale > 1.0).any():
        raise InputError(
            f"{source}: half_mass_scale is up to {np.nanmax(table.half_mass_scale):g}; it is a scale factor, "
            "0 to 1"
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


def check_kept(
    kept: Kept, source: str, claims_satellites: bool, cosmology: Cosmology, histories: str = "auto"
) -> None:
    """Refuse samples with repeated halos, without satellites where there should be some, or of wrong times.

    Parameters
    ----------
    kept : Kept
        Halos of the file.
    source : str
        The file.
    claims_satellites : bool
        Whether some halos have to be satellites.
    cosmology : Cosmology
        Of the simulation.
    histories : str
        Which are used, see `popinfer.halos.completed`.

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
    t_obs = np.asarray(age(cosmology, table.z), float)
    t_peak = table.mah_params.t_peak
    if histories != "drawn":
        _check_times(t_peak, t_obs, "t_peak", source)
    if table.branches is None:  # of trees they are our own, and may all be early where steps are few
        _check_times(table.t_infall, t_obs, "t_infall", source)
    today = float(age(cosmology, 0.0))
    late = t_peak > 1.01 * today
    # diffmah's own flow knows peaks after the observation, but no simulation ends later than its last step
    if late.mean() > MAX_LATE:
        raise InputError(
            f"{source}: t_peak is later than today ({today:.2f} Gyr) in {percent(float(late.mean()))} of the "
            "halos; it has to be in Gyr, of this cosmology"
        )
    after = ~table.is_central & (table.t_infall > 1.01 * t_obs)
    n_satellite = max(int((~table.is_central).sum()), 1)
    if after.sum() / n_satellite > MAX_LATE:
        raise InputError(
            f"{source}: {percent(after.sum() / n_satellite)} of the satellites fall in after they "
            "are observed (t_infall > t_obs); times have to be in Gyr, and before t_obs"
        )


def _check_times(values: np.ndarray, t_obs: np.ndarray, name: str, source: str) -> None:
    """Refuse times that are no Gyr, where halos are seen late enough to tell."""
    largest = np.nanmax(values, initial=-np.inf)
    enough = np.isfinite(values).sum() >= FEWEST_HALOS and t_obs.min() > 2 * _NEVER_GYR
    if enough and largest < _NEVER_GYR:
        raise InputError(
            f"{source}: {name} is {largest:.3g} at most, which looks like scale factors or logarithms; it "
            "has to be the cosmic time in Gyr"
        )


def check_histories(table: HaloTable, source: str, cosmology: Cosmology) -> None:
    """Refuse diffmah parameters whose masses aren't those of their halos.

    Parameters
    ----------
    table : HaloTable
        Halos of one epoch.
    source : str
        The file.
    cosmology : Cosmology
        Of the simulation.

    Raises
    ------
    InputError
        Half of the histories are off by more than `MAX_HISTORY_DEX`; with the likeliest cause.
    """
    rows = np.flatnonzero(table.has_fit)
    if len(rows) < FEWEST_HALOS:
        return
    some = table.take(rows)
    logt0 = float(np.log10(age(cosmology, 0.0)))
    away = log_mah(some.mah_params, np.asarray(age(cosmology, some.z), float), logt0) - some.lg_mass
    if np.median(np.abs(away)) <= MAX_HISTORY_DEX:
        return
    shift = float(np.median(away))
    if abs(abs(shift) + np.log10(cosmology.h)) < _LIKE_H_DEX:
        cause = "one of them looks like Msun/h taken as Msun (logm0 is log10 Msun, without h)"
    elif abs(shift) > _LIKE_LINEAR_DEX:
        cause = "logm0 looks like a mass in place of its logarithm"
    else:
        cause = "they look like those of other halos, or of another definition of mass"
    raise InputError(
        f"{source}: histories (logm0 ... t_peak) miss their halos' masses by {np.median(np.abs(away)):.2g} "
        f"dex ({shift:+.2g} in the median); at most {MAX_HISTORY_DEX:g}: {cause}"
    )


def check_distances(table: HaloTable, cosmology: Cosmology) -> str:
    """A warning where halos of a lightcone aren't as far from the origin as redshifts say; "" for none."""
    distance = np.linalg.norm(table.position, axis=1)
    if not len(table) or not np.isfinite(distance).all():
        return ""
    expected = np.asarray(comoving_distance(cosmology, table.z), float)
    ratio = float(np.median(distance / np.maximum(expected, 1e-3)))
    if abs(ratio - 1) <= _SAME_DISTANCE:
        return ""
    return (
        f"positions are {ratio:.3g} times as far from the origin as redshifts say: check "
        "halos.source.units.length, and that the observer is at the origin; observed redshifts and pieces of "
        "the sky depend on it"
    )


def check_claims(header: HaloHeader) -> str:
    """A warning where the file can't tell satellites from other halos; "" where it can."""
    if header.claims_satellites:
        return ""
    return (
        "the file doesn't say which halos are satellites: all count as centrals; name a column of hosts "
        "(halos.source.columns.host, central or rank) where there are subhalos"
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


def mass_function_ratio(kept: Kept, epoch: int, volume: float, lowest: float = 0.0) -> MassFunctionRatio:
    """Abundance of hosts of 10^12 to 10^13 Msun, or of what is left of these, over diffhalos'.

    Parameters
    ----------
    kept : Kept
        Halos of the file.
    epoch : int
        Snapshot or slice.
    volume : float
        Of the epoch [Mpc^3].
    lowest : float
        Log10 of the mass [Msun] below which halos were cut away; the comparison begins there.
    """
    low = max(_MASS_RANGE[0], lowest)
    high = max(_MASS_RANGE[1], low + _NARROWEST)
    table, here = kept.table, kept.epoch == epoch
    inside = here & table.is_central & (table.lg_mass >= low) & (table.lg_mass < high)
    n = float(kept.stands_for[inside].sum())
    grid = np.linspace(low, high, 50)
    z = max(float(np.median(table.z[here])), 0.0)
    expected = volume * float(np.trapezoid(central_abundance(grid, np.full_like(grid, z)), grid))
    if max(n, expected) < _FEWEST_COUNTED:
        return MassFunctionRatio(float("nan"), n, (low, high))
    return MassFunctionRatio(n / expected, n, (low, high))


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
    low, high = result.limits
    text = f"halos of 10^{low:.3g} to 10^{high:.3g} Msun are {ratio:.2f} times as frequent as in diffhalos"
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


def check_fits(
    halos: CompletedHalos, header: HaloHeader, histories: str, max_unfit: float = MAX_UNFIT
) -> str:
    """Refuse too many branches without a fit; a warning where many histories are drawn, "" for none.

    Parameters
    ----------
    halos : CompletedHalos
        Completed ones.
    header : HaloHeader
        Of the file.
    histories : str
        What was asked for, see `popinfer.halos.completed`.
    max_unfit : float
        Largest share of branches without a fit.
    """
    tally = halos.tally
    if histories == "drawn" or not tally.n:
        return ""
    fraction = tally.drawn / tally.n
    if (tally.fitted or histories == "fit") and fraction > max_unfit:
        raise InputError(
            f"{header.source}: {percent(fraction)} of the branches have too few points for a fit; at most "
            f"{percent(max_unfit)}: raise halos.lgm_min, or halos.source.max_unfit"
        )
    if histories == "given" and not tally.given:
        raise InputError(
            f"{header.source}: has no diffmah parameters, and halos.source.histories is given; name their "
            "columns (logm0, logtc, early_index, late_index, t_peak), or write drawn"
        )
    if tally.drawn == tally.n:
        return (
            "the file has no histories: all are drawn at their mass and time, so that how halos were "
            "assembled doesn't go with where they are (assembly bias is lost)"
        )
    if fraction > WARN_DRAWN:
        return f"{percent(fraction)} of the halos' histories are drawn: the file has none that can be used"
    return ""


def check_peak_times(t_peak: Float[np.ndarray, "3"], usual: Float[np.ndarray, "3"]) -> str:
    """A warning where halos peak at other times than the calibration's; "" for none.

    Parameters
    ----------
    t_peak : Float[np.ndarray, "3"]
        Of centrals, 16th, 50th and 84th percentile [Gyr].
    usual : Float[np.ndarray, "3"]
        Those of diffhalos' halos.
    """
    if not abs(t_peak[1] - usual[1]) > MAX_PEAK_GYR:
        return ""
    return (
        f"the median t_peak of centrals is {t_peak[1]:.1f} Gyr, and {usual[1]:.1f} Gyr in diffhalos: "
        "quenched fractions are functions of it (1.0 at 8 Gyr, 0.23 at 13.5 Gyr for 10^12 Msun)"
    )
