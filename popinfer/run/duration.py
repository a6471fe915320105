"""How long will a run take? A line through reference runs, for a person to plan by.

A run evaluates the model at the surrogate's nodes and at the draws that are weighted exactly, each on all
halos. Times of the stages of both shipped files on two idle CPU cores in five bands (commit 9bc0b6e) follow

    seconds = 204 + 5.4e-6 x halos of all slices x evaluations

(`tests/run/test_check.py` compares them with the runs that `results/reference` holds). It knows nothing of
other machines, of the bands' number or of a posterior that is hard to sample: within a factor of two or
three it is to be believed.
"""

from popinfer.config import RunConfig
from popinfer.config.inference import NutsConfig
from popinfer.infer.sizes import MOST_IN_ROUNDS, NODES_PER_PARAMETER

_SECONDS_AT_LEAST, _SECONDS_PER_HALO = 204.0, 5.4e-6
_FEW = 10  # parameters, up to which a surrogate is right with the fewest nodes
# nodes a parameter, for each parameter more: 14 and 18 took the most in the reference runs
_MORE_NODES = 9.0


def exact_evaluations(config: RunConfig) -> int | None:
    """How often a run evaluates the model on all its halos; None for samplers that decide on their way."""
    settings = config.sample
    if not isinstance(settings, NutsConfig):
        return None
    draws = min(round(_draws_per_ess(len(config.free)) * settings.min_ess), settings.max_evaluations)
    return expected_nodes(len(config.free)) + draws


def _draws_per_ess(n_par: int) -> float:
    """Draws to evaluate exactly, for each independent one that they are worth.

    928/421 of 14 parameters and 2112/404 of 18 in the reference runs; 1.2 where weights are even.
    """
    return max(1.2, 2.2 + 0.76 * (n_par - 14))


def expected_nodes(n_par: int) -> int:
    """Nodes of the surrogate to expect with so many free parameters."""
    each = NODES_PER_PARAMETER + _MORE_NODES * max(n_par - _FEW, 0)
    return round(min(each, MOST_IN_ROUNDS) * n_par)


def estimated_seconds(config: RunConfig) -> float | None:
    """Time of a run [s], see the module's text; None for samplers that weren't measured."""
    evaluations = exact_evaluations(config)
    if evaluations is None:
        return None
    return _SECONDS_AT_LEAST + _SECONDS_PER_HALO * config.halos.n_per_slice * len(config.slices) * evaluations
