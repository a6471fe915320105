"""Metropolis-adjusted microcanonical Monte Carlo, from blackjax (Robnik et al. 2025, arXiv:2503.01707).

Isokinetic dynamics of a unit velocity n in d whitened coordinates z (Ver Steeg & Galstyan 2021,
arXiv:2111.02434; Robnik et al. 2023, arXiv:2212.08549),

    dz/dt = n,    dn/dt = (1 - n n^T) grad log p(z) / (d - 1),

integrated by the minimal-norm scheme, two gradients a step. The change of the kinetic energy along a
trajectory, (d - 1) log|dn|, enters the Metropolis ratio, so that the draws are exact. After each trajectory n
is drawn afresh. Trajectories have random lengths, uniform between 0 and twice ``length`` sqrt(d): in whitened
coordinates a posterior has a size of sqrt(d), and random lengths avoid resonances.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from blackjax.mcmc import adjusted_mclmc
from jaxtyping import Array

from popinfer.errors import InputError
from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.chains import ChainSpec, Kernel, run_chains
from popinfer.infer.sample.draws import Draws, LogDensity, Progress


@dataclass(frozen=True)
class MclmcSpec(ChainSpec):
    """Length and tuning; ``length`` is the mean length of a trajectory in units of sqrt(dimension)."""

    target_accept: float = 0.9
    length: float = 1.0
    max_steps: int = 64


class Mclmc(Kernel):
    """One adjusted trajectory of mean length ``length`` and at most ``max_steps`` steps."""

    length: float
    max_steps: int
    first_step_size: float
    gradients_per_step: ClassVar[int] = 2

    def init(self, z: Array) -> Any:
        """State at z [par]."""
        return adjusted_mclmc.init(z, self.whitened)

    def step(self, key: Array, state: Any, step_size: Array) -> tuple[Any, dict[str, Array]]:
        """Next state, and what the convergence gate asks for."""
        length_key, move_key = jax.random.split(key)
        longest = 2 * self.length / step_size
        n_steps = jnp.ceil(jax.random.uniform(length_key) * longest).clip(1, self.max_steps).astype(int)
        transition: Any = adjusted_mclmc.build_kernel()  # annotated for floats only
        moved, info = transition(move_key, state, self.whitened, step_size, (n_steps,))
        # a point without a density or gradient would spread NaN to all later ones: it counts as forbidden
        sound = jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in moved]))
        state = jax.tree.map(lambda new, old: jnp.where(sound, new, old), moved, state)
        return state, {
            "lp": state.logdensity,
            "diverging": info.is_divergent | ~sound,
            "n_steps": n_steps,
            "acceptance_rate": jnp.where(sound, info.acceptance_rate, 0.0),
        }


def mclmc(key: Array, log_density: LogDensity, start: Mixture, spec: MclmcSpec, progress: Progress) -> Draws:
    """Sample with adjusted microcanonical dynamics.

    Parameters
    ----------
    key : random key. log_density : of u. start : its main component whitens, chains start around all of them.
    spec : lengths. progress : called with (step, total, text) after every step.

    Raises
    ------
    InputError
        With one parameter: a unit velocity has no direction to turn to.
    """
    n_par = len(start.main.mean)
    if n_par < 2:
        raise InputError("sample.kind 'mclmc' needs at least two free parameters")
    kernel = Mclmc(
        log_density,
        jnp.asarray(start.main.mean),
        jnp.asarray(start.main.factor),
        spec.length * n_par**0.5,
        spec.max_steps,
        0.2 * n_par**0.5,
    )
    draws = run_chains(key, kernel, start, spec, progress)
    return Draws(draws.u, draws.stats, {"sampler": "mclmc", **draws.attrs})
