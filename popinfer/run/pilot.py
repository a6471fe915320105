"""Where to look for galaxies: lightcones whose halos lie where the best-fitting model's galaxies are seen.

The run file's pilot says where to look first. A quick fit on those halos then replaces it, because a sample
drawn for other parameters has few halos where they are needed, and Monte Carlo noise to match.
"""

import jax.numpy as jnp
import numpy as np

from popinfer.config import RunConfig
from popinfer.infer.optimise import Compiled, gauss_newton
from popinfer.population.halos import LightconeSpec
from popinfer.run.build import Setup, build_problem, detectable, draw_slices, lightcones
from popinfer.run.observed import Survey

MAX_STEPS = 15


def tuned_lightcones(config: RunConfig, setup: Setup, survey: Survey, seed: int) -> list[LightconeSpec]:
    """Lightcones for the run's halos, after one fit; weights are exact whatever the pilot.

    Parameters
    ----------
    config : the run file.
    setup, survey : what the model and the data are.
    seed : of the pilot's halos.
    """
    specs = detectable(setup, survey, lightcones(config), seed)
    problem = build_problem(setup, survey, draw_slices(specs, seed + 1), [])
    start = np.zeros(problem.size)
    found = gauss_newton(Compiled(problem).with_due_share(start), start, max_steps=MAX_STEPS)
    return detectable(setup, survey, lightcones(config), seed, setup.model_params(jnp.asarray(found.u)))
