"""How many galaxies of the survey a simulation lacks, because it doesn't resolve their halos.

Halos are drawn from diffhalos down to the run file's ``halos.lgm_min``, and the model's galaxies on them are
seen as the survey sees them: those in halos below the simulation's resolution are missing in the run.
"""

import dataclasses

import jax
import numpy as np

from popinfer.cosmology import age
from popinfer.errors import percent
from popinfer.halos.completed import log_mah
from popinfer.halos.lightcone import draw_slices, surviving
from popinfer.model import predict_galaxies, weights_of_halos
from popinfer.population.parameters import ModelParams
from popinfer.random import stream
from popinfer.run.batches import LEARNED_FROM
from popinfer.run.build import in_precision, lightcones
from popinfer.run.prepare import Run
from popinfer.run.simulation import simulation_in, survival_of_drawn

NOTICED = 0.01  # of a slice's galaxies


def galaxies_missing(run: Run, params: ModelParams) -> list[str]:
    """A warning for each slice in which the survey sees galaxies of halos that aren't resolved.

    Parameters
    ----------
    run : Run
        On a simulation; other runs miss nothing.
    params : ModelParams
        Of the galaxies.
    """
    sample, config = simulation_in(run.source), run.config
    if sample is None or sample is not run.source:
        return []
    limits, lowest = sample.spec.lgm_min, [spec.lgm_min for spec in lightcones(config)]
    if not any(limit > low for limit, low in zip(limits, lowest, strict=True)):
        return []
    return [
        f"{percent(share)} of the galaxies that the survey sees at z = {z[0]:g} to {z[1]:g} would be in "
        f"halos below 10^{limit:.2f} Msun, which the simulation doesn't resolve; the run has none of them: "
        "set halos.source.below_resolution to lightcone, or let the survey end at brighter galaxies"
        for share, z, limit in zip(shares_below(run, params, limits), config.slices, limits, strict=True)
        if share > NOTICED
    ]


def shares_below(run: Run, params: ModelParams, limits: tuple[float, ...]) -> list[float]:
    """Share of the galaxies that a survey sees in halos below a mass, one number a slice.

    Parameters
    ----------
    run : Run
        The survey and the model.
    params : ModelParams
        Of the galaxies.
    limits : tuple[float, ...]
        Log10 of the mass [Msun] in each slice.
    """
    specs = [dataclasses.replace(spec, n_halo=LEARNED_FROM, flatten=0.5) for spec in lightcones(run.config)]
    cosmology = run.source.cosmology
    halos = draw_slices(stream(run.key, "resolution"), specs, cosmology)
    halos = surviving(halos, survival_of_drawn(run.config))
    galaxies = predict_galaxies(run.survey_model, params, in_precision(run.config, halos))
    seen, _ = weights_of_halos(galaxies)
    logt0 = float(np.log10(age(cosmology, 0.0)))
    shares = []
    for i, limit in enumerate(limits):
        mah = jax.tree.map(lambda x, i=i: np.asarray(x)[i], halos.mah_params)
        below = log_mah(mah, np.asarray(halos.t_obs)[i], logt0) < limit
        shares.append(float(np.sum(seen[i] * below) / np.sum(seen[i])))
    return shares
