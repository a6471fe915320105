"""The no-U-turn sampler on a surrogate's density, with blackjax's window adaptation, chains side by side.

A surrogate costs microseconds, so that all chains, warm-up included, are one compiled program. Chains move in
whitened coordinates z, u = mean + factor z, of the posterior's main maximum; the adapted metric is diagonal
in them. (A dense one would need Cholesky factors of several chains at once inside the program, and concurrent
LAPACK calls can block XLA's threads on two cores.)
"""

from dataclasses import dataclass
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.hamiltonian import nuts_statistics

_MAX_DOUBLINGS = 10


@dataclass(frozen=True)
class ChainSpec:
    """How many chains, how long, and the acceptance that their step size is adapted to."""

    n_chains: int = 4
    n_warmup: int = 500
    n_draws: int = 1000
    target_accept: float = 0.8
    start_scale: float = 1.5


@dataclass(frozen=True)
class Chains:
    """Draws of all chains [chain, draw, par], and the sampler's statistics by ArviZ's names [chain, draw]."""

    u: Float[np.ndarray, "chain draw par"]
    stats: dict[str, np.ndarray]


class _Whitened(eqx.Module):
    """A density in whitened coordinates."""

    density: Any
    mean: Array
    factor: Array

    def __call__(self, z: Float[Array, "par"]) -> Float[Array, ""]:
        return self.density(self.mean + self.factor @ z)


@eqx.filter_jit
def _run(density: _Whitened, keys: Array, starts: Array, spec: ChainSpec) -> tuple[Array, dict[str, Array]]:
    """Warm-up and draws of all chains: positions [chain, draw, par] and statistics."""

    def chain(key: Array, start: Array) -> tuple[Array, dict[str, Array]]:
        warm_key, run_key = jax.random.split(key)
        warmup = blackjax.window_adaptation(
            blackjax.nuts,
            density,
            target_acceptance_rate=spec.target_accept,
            max_num_doublings=_MAX_DOUBLINGS,
        )
        (state, tuned), _ = warmup.run(warm_key, start, spec.n_warmup)  # pyright: ignore[reportCallIssue]
        step = blackjax.nuts(density, **tuned).step

        def advance(state: Any, key: Array) -> tuple[Any, tuple[Array, dict[str, Array]]]:
            state, info = step(key, state)
            return state, (state.position, nuts_statistics(state, info))

        return jax.lax.scan(advance, state, jax.random.split(run_key, spec.n_draws))[1]

    return jax.vmap(chain)(keys, starts)


def run_chains(key: Array, density: Any, start: Mixture, spec: ChainSpec) -> Chains:
    """Sample a cheap density.

    Parameters
    ----------
    key : random key.
    density : equinox Module, vector u -> log density; its arrays are arguments of the compiled program.
    start : its main component whitens; chains start around all components, in proportion to their weights,
        overdispersed by `spec.start_scale`.
    spec : number and lengths of chains.
    """
    start_key, run_key = jax.random.split(key)
    mean, factor = start.main.mean, start.main.factor
    normal = np.asarray(jax.random.normal(start_key, (spec.n_chains, len(mean))))
    u = start.placed(start.shared_out(spec.n_chains), spec.start_scale * normal)
    z = np.linalg.solve(factor, (u - mean).T).T
    whitened = _Whitened(jax.tree.map(jnp.asarray, density), jnp.asarray(mean), jnp.asarray(factor))
    positions, stats = _run(whitened, jax.random.split(run_key, spec.n_chains), jnp.asarray(z), spec)
    draws = mean + np.asarray(positions) @ factor.T
    return Chains(draws, {name: np.asarray(values) for name, values in stats.items()})
