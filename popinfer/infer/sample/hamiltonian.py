"""The reference sampler: the no-U-turn sampler (Hoffman & Gelman 2014, arXiv:1111.4246), from blackjax.

Hamiltonian dynamics of H(z, p) = -log p(z) + |p|^2 / 2 in Laplace-whitened coordinates, with trajectories
that double until they turn back.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import blackjax
import jax.numpy as jnp
from jaxtyping import Array

from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.chains import ChainSpec, Kernel, run_chains
from popinfer.infer.sample.draws import Draws, LogDensity, Progress


@dataclass(frozen=True)
class NutsSpec(ChainSpec):
    """Length and tuning of a NUTS run."""

    max_tree_depth: int = 8


class Nuts(Kernel):
    """One transition of the no-U-turn sampler with a unit metric."""

    max_tree_depth: int = 8
    first_step_size: float = 0.5
    gradients_per_step: ClassVar[int] = 1

    def init(self, z: Array) -> Any:
        """State at z [par]."""
        return blackjax.nuts.init(z, self.whitened)

    def step(self, key: Array, state: Any, step_size: Array) -> tuple[Any, dict[str, Array]]:
        """Next state, and what the convergence gate asks for."""
        state, info = blackjax.nuts.build_kernel()(
            key,
            state,
            self.whitened,
            step_size,
            jnp.ones_like(self.mean),
            max_num_doublings=self.max_tree_depth,
        )
        return state, nuts_statistics(state, info)


def nuts_statistics(state: Any, info: Any) -> dict[str, Array]:
    """What the convergence gate asks of one transition of blackjax' NUTS, by ArviZ's names."""
    return {
        "lp": state.logdensity,
        "energy": info.energy,
        "diverging": info.is_divergent,
        "tree_depth": info.num_trajectory_expansions,
        "n_steps": info.num_integration_steps,
        "acceptance_rate": info.acceptance_rate,
    }


def nuts(key: Array, log_density: LogDensity, start: Mixture, spec: NutsSpec, progress: Progress) -> Draws:
    """Sample with blackjax NUTS.

    Parameters
    ----------
    key : random key. log_density : of u. start : its main component whitens, chains start around all of them.
    spec : lengths. progress : called with (step, total, text) after every step.
    """
    kernel = Nuts(
        log_density, jnp.asarray(start.main.mean), jnp.asarray(start.main.factor), spec.max_tree_depth
    )
    draws = run_chains(key, kernel, start, spec, progress)
    attrs = {"sampler": "nuts_exact", **draws.attrs, "max_tree_depth": spec.max_tree_depth}
    return Draws(draws.u, draws.stats, attrs)
