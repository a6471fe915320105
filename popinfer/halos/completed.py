"""Halos from a file, completed to what the model of galaxies needs: histories, and satellites' infall.

Where the file leaves something out it is drawn from diffhalos, conditional on what is there, with numbers of
the halo's own (`popinfer.halos.per_halo`); how many halos that is true of is counted.

- Histories: the file's diffmah parameters, else a fit of its branch (`popinfer.halos.trees`), else the flow
  P(diffmah | mass, time). Of several draws the one is kept whose half-mass time is nearest to the file's,
  where it has one: old halos stay old.
- A halo that still grows when it is observed has its largest mass then, and a fit says t_peak = t_obs. In
  calibrations t_peak is that of the whole history until today, of which quenched fractions are functions.
  Its t_peak is therefore drawn, from the flow's halos of its mass whose peak is later than t_obs. What was
  before t_obs, all that a survey sees, stays as it was fitted.
- Infall: the file's time and masses. Without them the time is t_peak, as in diffsky, where that is before
  t_obs, else that of a satellite of the flow; the satellite's mass is its own history's at that time, the
  host's that of a median history of the host's present mass; a host that isn't known is drawn given the
  satellite's mass.
"""

from dataclasses import dataclass, replace

import jax
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams, _log_mah_kern
from jaxtyping import Bool, Float, PRNGKeyArray
from scipy.special import ndtr

from popinfer.cosmology import Cosmology, age
from popinfer.halos.lightcone import N_MAH, assembly_histories, hosts_of_satellites
from popinfer.halos.per_halo import normals_of_halos
from popinfer.halos.table import HaloTable
from popinfer.halos.trees import fit_histories
from popinfer.random import stream
from popinfer.records import Halos

HISTORIES = ("auto", "given", "fit", "drawn")
_FEWEST = 256  # halos; programs are compiled for that number and its doublings
_TRIES = 16  # draws of the flow, of which one is chosen
_SAME_GYR = 1e-3
_MIN_INFALL_GYR = 0.2  # after the Big Bang; earlier there are no halos to fall into


@dataclass(frozen=True)
class Tally:
    """How many halos have what from where.

    Attributes
    ----------
    n, n_central : halos, and those that are in no other.
    given, fitted, drawn : whose histories are the file's, fits, and draws.
    still_growing : fitted halos whose t_peak was drawn beyond t_obs.
    infall_known, host_known : satellites whose time of infall, and whose host's mass the file tells.
    """

    n: int = 0
    n_central: int = 0
    given: int = 0
    fitted: int = 0
    drawn: int = 0
    still_growing: int = 0
    infall_known: int = 0
    host_known: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class CompletedHalos:
    """Halos of which nothing is missing.

    Attributes
    ----------
    table : the file's columns, histories filled in.
    t_obs : cosmic time of observation [Gyr].
    logmp0 : log10 of today's peak mass [Msun].
    lgmu_infall, logmhost_infall, gyr_since_infall : as in `popinfer.records.Halos`.
    rms : of fits' residuals [dex], NaN for other halos.
    tally : where everything comes from.
    """

    table: HaloTable
    t_obs: Float[np.ndarray, "halo"]
    logmp0: Float[np.ndarray, "halo"]
    lgmu_infall: Float[np.ndarray, "halo"]
    logmhost_infall: Float[np.ndarray, "halo"]
    gyr_since_infall: Float[np.ndarray, "halo"]
    rms: Float[np.ndarray, "halo"]
    tally: Tally

    def records(self, weight: Float[np.ndarray, "halo"], normals: Float[np.ndarray, "halo n"]) -> Halos:
        """Halos as the model takes them.

        Parameters
        ----------
        weight : Float[np.ndarray, "halo"]
            Number of such halos a volume.
        normals : Float[np.ndarray, "halo n"]
            Of their galaxies.
        """
        table = self.table
        return Halos(
            z_obs=table.z,
            t_obs=self.t_obs,
            mah_params=table.mah_params,
            logmp0=self.logmp0,
            is_central=table.is_central.astype(float),
            lgmu_infall=self.lgmu_infall,
            logmhost_infall=self.logmhost_infall,
            gyr_since_infall=self.gyr_since_infall,
            weight=weight,
            normals=normals,
        )


def complete_halos(
    key: PRNGKeyArray, table: HaloTable, cosmology: Cosmology, histories: str = "auto"
) -> CompletedHalos:
    """Fill in what the file leaves out; see the module's text.

    Parameters
    ----------
    key : PRNGKeyArray
        Random key of all draws; a halo's are its own.
    table : HaloTable
        Halos with redshifts.
    cosmology : Cosmology
        The simulation's.
    histories : str
        "given" (the file's parameters), "fit" (of branches), "drawn", or whatever there is ("auto").
    """
    t_obs = np.asarray(age(cosmology, table.z), float)
    mah, rms = _histories(table, cosmology, histories)
    n_fitted = int(np.isfinite(rms).sum())
    given = int(np.isfinite(mah[0]).sum()) - n_fitted
    lacking = np.asarray(~np.isfinite(np.stack(mah)).all(axis=0))
    logt0 = float(np.log10(age(cosmology, 0.0)))
    growing = _still_growing(table, t_obs, mah.t_peak, 10**logt0)
    scale = table.half_mass_scale
    t_half = np.where(np.isfinite(scale), age(cosmology, 1 / np.where(scale > 0, scale, 1.0) - 1), np.nan)
    mah = _with_drawn(stream(key, "histories"), table, (t_obs, t_half, logt0), mah, lacking)
    mah = _grown_on(stream(key, "growth"), table, (t_obs, logt0), mah, growing)
    filled = replace(table, mah_params=mah)
    infall = _infall(stream(key, "infall"), filled, t_obs, cosmology)
    satellite = ~table.is_central
    tally = Tally(
        n=len(table),
        n_central=int(table.is_central.sum()),
        given=given,
        fitted=n_fitted,
        drawn=int(lacking.sum()),
        still_growing=int(growing.sum()),
        infall_known=int((satellite & np.isfinite(table.t_infall)).sum()),
        host_known=int((satellite & (np.isfinite(table.lgmhost_infall) | np.isfinite(table.lg_host))).sum()),
    )
    logmp0 = log_mah(mah, np.full(len(t_obs), 10**logt0), logt0)
    return CompletedHalos(filled, t_obs, logmp0, *infall, rms, tally)


def log_mah(mah: DiffmahParams, t: Float[np.ndarray, "halo"], logt0: float) -> Float[np.ndarray, "halo"]:
    """Log10 mass [Msun] of each halo at a time of its own [Gyr]."""
    n = len(t)
    extra = _padded_size(n) - n
    padded = DiffmahParams(*(np.pad(x, (0, extra), constant_values=1.0) for x in mah))
    return np.asarray(_log_mah(padded, np.pad(t, (0, extra), constant_values=1.0), logt0), float)[:n]


_log_mah = jax.jit(jax.vmap(_log_mah_kern, in_axes=(0, 0, None)))


def _flow(kind: str, normals: np.ndarray, lgm: np.ndarray, t_obs: np.ndarray, logt0: float) -> DiffmahParams:
    """Histories of halos of some mass at t_obs, from the flow; chunks share few programs."""
    n = len(lgm)
    extra = _padded_size(n) - n
    mah, _ = assembly_histories(
        kind,
        np.pad(normals, ((0, extra), (0, 0))),
        np.pad(lgm, (0, extra), constant_values=12.0),
        np.pad(t_obs, (0, extra), constant_values=13.0),
        logt0,
    )
    return DiffmahParams(*(x[:n] for x in mah))


def _padded_size(n: int) -> int:
    """The next power of two, `_FEWEST` at least."""
    return max(_FEWEST, 1 << (n - 1).bit_length())


def _histories(
    table: HaloTable, cosmology: Cosmology, histories: str
) -> tuple[DiffmahParams, Float[np.ndarray, "halo"]]:
    """Diffmah parameters as given or fitted, NaN where neither, and residuals of fits [dex]."""
    nan = np.full(len(table), np.nan)
    if histories == "drawn":
        return DiffmahParams(*(nan,) * 5), nan
    if histories == "given" or table.branches is None or (histories == "auto" and table.has_fit.any()):
        bad = ~table.has_fit
        return DiffmahParams(*(np.where(bad, np.nan, x) for x in table.mah_params)), nan
    fits = fit_histories(table.branches, cosmology)
    return fits.mah_params, fits.rms


def _still_growing(
    table: HaloTable, t_obs: Float[np.ndarray, "halo"], t_peak: Float[np.ndarray, "halo"], today: float
) -> Bool[np.ndarray, "halo"]:
    """Centrals whose history ends, with its largest mass, when they are observed."""
    ends = np.abs(t_peak - t_obs) < _SAME_GYR
    return ends & table.is_central & (t_obs < today - _MIN_INFALL_GYR)


def _with_drawn(
    key: PRNGKeyArray,
    table: HaloTable,
    times: tuple[np.ndarray, np.ndarray, float],
    mah: DiffmahParams,
    lacking: Bool[np.ndarray, "halo"],
) -> DiffmahParams:
    """Histories of halos that have none, drawn from the flow; the nearest in age where that is known."""
    t_obs, t_half, logt0 = times
    columns = [np.array(x) for x in mah]
    for kind, inside in (("central", table.is_central), ("satellite", ~table.is_central)):
        rows = np.flatnonzero(lacking & inside)
        if not len(rows):
            continue
        lgm, t = table.lg_mass[rows], t_obs[rows]
        tries = _TRIES if np.isfinite(t_half[rows]).any() else 1
        normals = normals_of_halos(stream(key, kind), table.halo_id[rows], N_MAH * tries)
        best = np.full(len(rows), np.inf)
        for i in range(tries):
            drawn = _flow(kind, normals[:, N_MAH * i : N_MAH * (i + 1)], lgm, t, logt0)
            distance = _age_distance(drawn, t_half[rows], lgm, logt0)
            nearer = distance < best
            best = np.where(nearer, distance, best)
            for column, values in zip(columns, drawn, strict=True):
                column[rows] = np.where(nearer, values, column[rows])
    return DiffmahParams(*columns)


def _age_distance(
    mah: DiffmahParams, t_half: np.ndarray, lgm: np.ndarray, logt0: float
) -> Float[np.ndarray, "halo"]:
    """How far masses at a time are from half of today's [dex]; zero where that time isn't known."""
    is_known = np.isfinite(t_half)
    mass = log_mah(mah, np.where(is_known, t_half, 1.0), logt0)
    return np.where(is_known, np.abs(mass - (lgm - np.log10(2))), 0.0)


def _grown_on(
    key: PRNGKeyArray,
    table: HaloTable,
    times: tuple[np.ndarray, float],
    mah: DiffmahParams,
    growing: Bool[np.ndarray, "halo"],
) -> DiffmahParams:
    """Fitted histories that go on growing after t_obs until a t_peak of the flow."""
    rows = np.flatnonzero(growing)
    if not len(rows):
        return mah
    t_obs, logt0 = times
    t, t_peak = t_obs[rows], np.full(len(rows), 10**logt0)
    normals = normals_of_halos(key, table.halo_id[rows], N_MAH * _TRIES)
    pending = np.ones(len(rows), bool)
    for i in range(_TRIES):
        part = normals[:, N_MAH * i : N_MAH * (i + 1)]
        drawn = _flow("central", part, table.lg_mass[rows], t, logt0)
        later = pending & (drawn.t_peak >= t)
        t_peak = np.where(later, drawn.t_peak, t_peak)
        pending &= ~later
        if not pending.any():
            break
    column = np.array(mah.t_peak)
    column[rows] = t_peak
    return mah._replace(t_peak=column)


def _infall(
    key: PRNGKeyArray, table: HaloTable, t_obs: np.ndarray, cosmology: Cosmology
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass ratio and host mass at infall, and time since [halo each]; diffstarpop's values for centrals."""
    n, rows = len(table), np.flatnonzero(~table.is_central)
    lgmu, lgmhost, since = np.zeros(n), np.zeros(n), np.full(n, -100.0)
    if not len(rows):
        return lgmu, lgmhost, since
    satellites, logt0 = table.take(rows), float(np.log10(age(cosmology, 0.0)))
    t = t_obs[rows]
    t_infall = _times_of_infall(stream(key, "time"), satellites, t, logt0)
    itself = log_mah(satellites.mah_params, t_infall, logt0)
    itself = np.where(np.isfinite(satellites.lgm_infall), satellites.lgm_infall, itself)
    given = np.isfinite(satellites.lgmhost_infall)
    now = np.where(given, np.nan, satellites.lg_host)
    host = np.where(given, satellites.lgmhost_infall, _median_history(now, t, t_infall, logt0))
    unknown = ~np.isfinite(host)
    if unknown.any():
        uniform = ndtr(normals_of_halos(stream(key, "host"), satellites.halo_id[unknown], 1)[:, 0])
        host[unknown] = hosts_of_satellites(
            np.asarray(uniform, float), satellites.lg_mass[unknown], satellites.z[unknown]
        )
    lgmu[rows], lgmhost[rows], since[rows] = np.minimum(itself - host, 0.0), host, t - t_infall
    return lgmu, lgmhost, since


def _times_of_infall(
    key: PRNGKeyArray, satellites: HaloTable, t_obs: np.ndarray, logt0: float
) -> Float[np.ndarray, "halo"]:
    """When satellites fell in [Gyr]: the file's, else t_peak, else that of a satellite of the flow."""
    t_peak = satellites.mah_params.t_peak
    t_infall = np.where(np.isfinite(satellites.t_infall), satellites.t_infall, t_peak).astype(float)
    lacking = np.flatnonzero(~np.isfinite(satellites.t_infall) & (t_peak >= t_obs))
    if len(lacking):
        normals = normals_of_halos(key, satellites.halo_id[lacking], N_MAH)
        drawn = _flow("satellite", normals, satellites.lg_mass[lacking], t_obs[lacking], logt0)
        t_infall[lacking] = drawn.t_peak
    return np.clip(t_infall, _MIN_INFALL_GYR, t_obs)


def _median_history(
    lgm: np.ndarray, t_obs: np.ndarray, t: np.ndarray, logt0: float
) -> Float[np.ndarray, "halo"]:
    """Log10 mass at a time of halos with some mass when they are observed; NaN where that is unknown."""
    then = np.full(len(lgm), np.nan)
    is_known = np.flatnonzero(np.isfinite(lgm))
    if len(is_known):
        median = _flow("central", np.zeros((len(is_known), N_MAH)), lgm[is_known], t_obs[is_known], logt0)
        then[is_known] = log_mah(median, t[is_known], logt0)
    return then
