"""What a report says of the user's own halos: the group ``simulation`` of `popinfer.report`.

Abundances of hosts against diffhalos', residuals of fitted histories, times of peak mass against those of the
halos that galaxies' calibrations were made for, and how the quenched fraction goes with the formation time at
fixed halo mass: the rank correlation of both over central halos of one mass. Formation is when half of the
mass at observation was there. Halos that formed early are quenched more often where it is negative; where
histories are drawn at mass and time, this has nothing to do with where halos are.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import spearmanr

from popinfer.cosmology import age
from popinfer.halos.completed import CompletedHalos, log_mah
from popinfer.halos.lightcone import LightconeSpec, central_abundance, draw_halos
from popinfer.halos.sample import SlicePool
from popinfer.population.parameters import ModelParams
from popinfer.random import stream
from popinfer.run.prepare import Run
from popinfer.run.simulation import SURVIVAL, simulation_in, simulation_of

MASS_EDGES = np.arange(10.0, 15.3, 0.2)  # log10 Msun
PEAK_EDGES = np.arange(1.0, 14.6, 0.5)  # Gyr
RMS_EDGES = np.linspace(0.0, 0.2, 41)  # dex; the last bin holds what is worse
FIXED_MASSES, HALF_WIDTH = np.arange(11.5, 14.1, 0.5), 0.1  # log10 Msun, dex
_FEWEST, _MOST = 50, 2000  # centrals that make a correlation
_HALVINGS = 16  # of the time in which formation is looked for: to 2e-4 Gyr
_N_DRAWN = 8192


def simulation_group(run: Run, params: ModelParams) -> xr.Dataset | None:
    """Halos of a run's simulation beside diffhalos'; None where all halos are drawn.

    Parameters
    ----------
    run : Run
        The run.
    params : ModelParams
        Of the galaxies whose quenched fractions are looked at.
    """
    sample = simulation_in(run.source)
    if sample is None:
        return None
    rows = [_of_slice(run, pool, i) for i, pool in enumerate(sample.pools)]
    variables: dict[str, Any] = {
        name: (("slice", axis), np.stack([row[name] for row in rows])) for name, axis in _AXES.items()
    }
    variables["slice_z"] = (("slice", "bound"), np.asarray(sample.spec.slices))
    variables["formation_quenching"] = (
        ("slice", "fixed_mass"),
        np.stack([formation_and_quenching(run, params, pool.halos) for pool in sample.pools]),
    )
    coords = {
        "mass": 0.5 * (MASS_EDGES[1:] + MASS_EDGES[:-1]),
        "t_peak_bin": 0.5 * (PEAK_EDGES[1:] + PEAK_EDGES[:-1]),
        "rms_bin": 0.5 * (RMS_EDGES[1:] + RMS_EDGES[:-1]),
        "fixed_mass": FIXED_MASSES,
    }
    attrs = {"source": Path(sample.header.source).name, "satellites": satellites_in_words(run, params)}
    return xr.Dataset(variables, coords, attrs)


_AXES = {
    "mass_function": "mass",
    "mass_function_sd": "mass",
    "mass_function_diffhalos": "mass",
    "rms": "rms_bin",
    "t_peak": "t_peak_bin",
    "t_peak_diffhalos": "t_peak_bin",
}


def _of_slice(run: Run, pool: SlicePool, index: int) -> dict[str, np.ndarray]:
    """Histograms of one slice's halos, and of diffhalos'."""
    table, limits = pool.halos.table, run.config.slices[index]
    central = table.is_central
    width = np.diff(MASS_EDGES)
    counts = np.histogram(table.lg_mass[central], MASS_EDGES)[0]
    density = np.histogram(table.lg_mass[central], MASS_EDGES, weights=pool.density[central])[0] / width
    middle = 0.5 * (MASS_EDGES[1:] + MASS_EDGES[:-1])
    z = np.full_like(middle, float(np.median(table.z)))
    lowest = float(np.clip(table.lg_mass.min(), 9.0, 14.0))
    spec = LightconeSpec(float(limits[0]), float(limits[1]), _N_DRAWN, lowest, 1)
    drawn = draw_halos(stream(run.key, "comparison", index), spec, run.source.cosmology)
    theirs = np.asarray(drawn.is_central) > 0.5
    rms = pool.halos.rms[np.isfinite(pool.halos.rms)]
    return {
        "mass_function": np.where(counts > 0, density, np.nan),
        "mass_function_sd": np.where(counts > 0, density / np.sqrt(np.maximum(counts, 1)), np.nan),
        "mass_function_diffhalos": central_abundance(middle, z),
        "rms": np.histogram(np.minimum(rms, RMS_EDGES[-1] - 1e-9), RMS_EDGES)[0].astype(float),
        "t_peak": _shares(table.mah_params.t_peak[central], pool.density[central]),
        "t_peak_diffhalos": _shares(
            np.asarray(drawn.mah_params.t_peak)[theirs], np.asarray(drawn.weight)[theirs]
        ),
    }


def _shares(t_peak: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "bin"]:
    """Share of the weight in each bin of t_peak; what is beyond is in the outermost."""
    inside = np.clip(t_peak, PEAK_EDGES[0], PEAK_EDGES[-1] - 1e-9)
    return np.histogram(inside, PEAK_EDGES, weights=weight)[0] / weight.sum()


def formation_and_quenching(
    run: Run, params: ModelParams, halos: CompletedHalos
) -> Float[np.ndarray, "fixed_mass"]:
    """Spearman's rank correlation of formation time and quenched fraction of centrals at each fixed mass.

    Parameters
    ----------
    run : Run
        Its model makes the quenched fractions.
    params : ModelParams
        Of the galaxies.
    halos : CompletedHalos
        Of one slice.

    Returns
    -------
    array
        At `FIXED_MASSES`, within `HALF_WIDTH`; NaN where there are too few halos, or all are alike.
    """
    model = run.model.forward
    result = np.full(len(FIXED_MASSES), np.nan)
    for i, mass in enumerate(FIXED_MASSES):
        rows = np.flatnonzero(halos.table.is_central & (np.abs(halos.table.lg_mass - mass) < HALF_WIDTH))
        if len(rows) < _FEWEST:
            continue
        # one number of halos, whatever the mass: each further one would compile the histories again
        rows = rows[np.arange(_MOST) * len(rows) // _MOST]
        some = halos.records(np.ones(len(halos.t_obs)), np.zeros((len(halos.t_obs), model.sfh.n_normal)))
        some = jax.tree.map(lambda x, rows=rows: jnp.asarray(np.asarray(x)[rows]), some)
        frac_q = np.asarray(model.histories(params, some, jnp.ones(1)).frac_quenched)
        distinct = np.unique(rows, return_index=True)[1]
        formed = formation_times(halos, rows, float(np.log10(age(run.source.cosmology, 0.0))))
        if np.ptp(frac_q[distinct]) > 0 and np.ptp(formed[distinct]) > 0:
            result[i] = spearmanr(formed[distinct], frac_q[distinct]).statistic
    return result


def formation_times(halos: CompletedHalos, rows: np.ndarray, logt0: float) -> Float[np.ndarray, "halo"]:
    """Cosmic time [Gyr] when half of the mass at observation was there.

    Parameters
    ----------
    halos : CompletedHalos
        Of which `rows` are wanted.
    logt0 : float
        Log10 of today's cosmic time [Gyr].
    """
    mah = jax.tree.map(lambda x: np.asarray(x)[rows], halos.table.mah_params)
    t_obs = halos.t_obs[rows]
    half = log_mah(mah, t_obs, logt0) - np.log10(2)
    low, high = np.full(len(rows), 1e-2), t_obs.copy()
    for _ in range(_HALVINGS):  # masses never fall
        middle = 0.5 * (low + high)
        early = log_mah(mah, middle, logt0) < half
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    return 0.5 * (low + high)


def quenching_in_words(run: Run, params: ModelParams) -> str:
    """How satellites come to be quenched; empty for histories that don't know of it."""
    amplitude = getattr(params.sfh, "satellite_quenching", None)
    if amplitude is None:
        return ""
    share = f"{float(amplitude):.2g} of diffstarpop's own, which its calibrations don't include"
    by = share if float(amplitude) > 0 else "off"
    free = " (best fit)" if "sfh.satellite_quenching" in run.model.space.names else ""
    return f"Quenching of satellites by infall is {by}{free}."


def satellites_in_words(run: Run, params: ModelParams) -> str:
    """How satellites come to be quenched, and which subhalos host galaxies."""
    said = [*filter(None, [quenching_in_words(run, params)])]
    source = simulation_of(run.config)
    if source is not None and source.satellites == "none":
        said.append("Subhalos were left out.")
    elif run.model.params is not None and hasattr(run.model.params.satellites, SURVIVAL.partition(".")[2]):
        said.append("Every subhalo of the simulation hosts a galaxy, but for those that have merged.")
    return " ".join(said)
