"""The reference sampler: the no-U-turn sampler (Hoffman & Gelman 2014, arXiv:1111.4246), from blackjax.

Hamiltonian dynamics of H(z, p) = -log p(z) + |p|^2 / 2 in Laplace-whitened coordinates, with trajectories
that double until they turn back.
"""

from dataclasses import dataclass
from typing import Any

import blackjax
import jax.numpy as jnp
from jaxtyping import Array

from popinfer.infer.laplace import Laplace
from popinfer.infer.sample.chains import ChainSpec, Kernel, run_chains
from popinfer.infer.sample.draws import Draws, LogDensity, Progress


@dataclass(frozen=True)
class NutsSpec(ChainSpec):
    """Length and tuning of a NUTS run."""

    max_tree_depth: int = 8


def nuts(key: Array, log_density: LogDensity, approx: Laplace, spec: NutsSpec, progress: Progress) -> Draws:
    """Sample with blackjax NUTS.

    Parameters
    ----------
    key : random key. log_density : of u. approx : whitening and centre of the starts.
    spec : lengths. progress : called with (step, total, text) after every step.
    """
    factor, mean = jnp.asarray(approx.factor), jnp.asarray(approx.mean)
    metric, transition = jnp.ones(len(approx.mean)), blackjax.nuts.build_kernel()

    def density(z: Array) -> Array:
        return log_density(mean + factor @ z)

    def step(key: Array, state: Any, step_size: Array) -> tuple[Any, dict[str, Array]]:
        state, info = transition(
            key, state, density, step_size, metric, max_num_doublings=spec.max_tree_depth
        )
        return state, {
            "lp": state.logdensity,
            "energy": info.energy,
            "diverging": info.is_divergent,
            "tree_depth": info.num_trajectory_expansions,
            "n_steps": info.num_integration_steps,
            "acceptance_rate": info.acceptance_rate,
        }

    kernel = Kernel(lambda z: blackjax.nuts.init(z, density), step, first_step_size=0.5)
    draws = run_chains(key, kernel, approx, spec, progress)
    attrs = {"sampler": "nuts", **draws.attrs, "max_tree_depth": spec.max_tree_depth}
    return Draws(draws.u, draws.stats, attrs)
