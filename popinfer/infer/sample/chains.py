"""Markov chains of any Metropolis-adjusted kernel in Laplace-whitened coordinates z: u = mean + factor @ z.

Starts are overdispersed: draws of the posterior's mixture, components `start_scale` times as wide and shared
out in proportion to their weights, so that chains begin in all modes that hold mass. The step size of each
chain follows dual averaging toward a target acceptance during warm-up and then stays (Hoffman & Gelman 2014,
arXiv:1111.4246). One compiled step is called in a loop: a program that inlines the model several times
compiles for minutes.

On a CPU chains run one after another, on a GPU side by side in one batched program. Keys belong to chains,
so that both give the same draws up to rounding.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jaxtyping import Array

from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.draws import Draws, LogDensity, Progress


@dataclass(frozen=True)
class ChainSpec:
    """Length and tuning that all chains share; ``chains`` says whether they run in sequence or batched."""

    n_chains: int = 4
    n_warmup: int = 150
    n_draws: int = 400
    target_accept: float = 0.8
    start_scale: float = 2.0
    chains: Literal["auto", "sequence", "vmap"] = "auto"

    @property
    def n_steps(self) -> int:
        """Steps of all chains together."""
        return self.n_chains * (self.n_warmup + self.n_draws)

    @property
    def batch(self) -> int:
        """Chains that run side by side."""
        batched = self.chains == "vmap" or (self.chains == "auto" and jax.default_backend() != "cpu")
        return self.n_chains if batched else 1


class Kernel(eqx.Module):
    """A transition of one chain; its arrays, the density's too, are arguments of the compiled programs.

    Attributes
    ----------
    log_density : of u. mean, factor : of the whitening, [par] and [par, par].
    """

    log_density: LogDensity
    mean: Array
    factor: Array
    first_step_size: eqx.AbstractVar[float]  # where dual averaging begins
    gradients_per_step: eqx.AbstractClassVar[int]  # behind each of the statistics' ``n_steps``

    def whitened(self, z: Array) -> Array:
        """Log density at whitened coordinates z [par]."""
        return self.log_density(self.mean + self.factor @ z)

    @abstractmethod
    def init(self, z: Array) -> Any:
        """State at z [par], which has a ``position``."""

    @abstractmethod
    def step(self, key: Array, state: Any, step_size: Array) -> tuple[Any, dict[str, Array]]:
        """Next state, and scalars by ArviZ's names, among them ``acceptance_rate`` and ``n_steps``."""


def run_chains(key: Array, kernel: Kernel, start: Mixture, spec: ChainSpec, progress: Progress) -> Draws:
    """Run all chains; ``attrs`` hold the gradients spent (warm-up too) and the mean step size."""
    groups = []
    for first in range(0, spec.n_chains, spec.batch):
        ids = jnp.arange(first, first + spec.batch)
        start_keys, run_keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(ids).T
        normal = jax.vmap(lambda k: jax.random.normal(k, kernel.mean.shape))(start_keys)
        u = start.placed(start.shared_out(spec.n_chains)[ids], spec.start_scale * np.asarray(normal))
        z = np.linalg.solve(np.asarray(kernel.factor), (u - np.asarray(kernel.mean)).T).T
        state = _init(kernel, jnp.asarray(z))
        groups.append(_Group(kernel, run_keys, state, first).run(spec, progress))
    z, stats, sizes, steps = (_joined([group[i] for group in groups]) for i in range(4))
    attrs = {
        "gradient_evaluations": kernel.gradients_per_step * int(steps.sum()),
        "step_size": float(sizes.mean()),
    }
    return Draws(np.asarray(kernel.mean) + z @ np.asarray(kernel.factor).T, stats, attrs)


@eqx.filter_jit
def _init(kernel: Kernel, z: Array) -> Any:
    return _over_chains(kernel.init, z)


@eqx.filter_jit
def _step(kernel: Kernel, keys: Array, i: Array, state: Any, size: Array) -> tuple[Any, dict[str, Array]]:
    # the key of a step is made inside the compiled program: made outside it would cost more than a toy's step
    return _over_chains(lambda key, *rest: kernel.step(jax.random.fold_in(key, i), *rest), keys, state, size)


@dataclass(frozen=True)
class _Group:
    """Chains that advance together, the first of which has number ``first``."""

    kernel: Kernel
    keys: Array
    state: Any
    first: int

    def run(
        self, spec: ChainSpec, progress: Progress
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Positions and statistics [chain, draw, ...], step size and integration steps of each chain."""
        adapt_init, adapt_update, adapt_final = dual_averaging_adaptation(spec.target_accept)
        n_chain, length = len(self.keys), spec.n_warmup + spec.n_draws
        size = jnp.full(n_chain, self.kernel.first_step_size)
        adaptation, state, positions, kept = adapt_init(size), self.state, [], []
        gradients = np.zeros(n_chain, int)
        for i in range(length):
            state, stats = _step(self.kernel, self.keys, jnp.asarray(i), state, size)
            gradients += np.asarray(stats["n_steps"])
            if i < spec.n_warmup:
                adaptation = adapt_update(adaptation, stats["acceptance_rate"])
                last = i == spec.n_warmup - 1
                size = adapt_final(adaptation) if last else jnp.exp(adaptation.log_step_size)
            else:
                positions.append(np.asarray(state.position))
                kept.append({name: np.asarray(value) for name, value in stats.items()})
            which = f"chain {self.first + 1}" if n_chain == 1 else f"{n_chain} chains"
            text = f"{which}, step size {float(size.mean()):.2f}"
            progress(self.first * length + (i + 1) * n_chain, spec.n_steps, text)
        stacked = {name: np.stack([stats[name] for stats in kept], axis=1) for name in kept[0]}
        return np.stack(positions, axis=1), stacked, np.asarray(size), gradients


def _over_chains(function: Callable, *arguments: Any) -> Any:
    """Apply a function of one chain along a leading chain axis; a chain alone keeps the plain program.

    A batched program evaluates both sides of every branch and was 1.6 to 3.4 times slower on a CPU.
    """
    if len(arguments[0]) > 1:
        return jax.vmap(function)(*arguments)
    result = function(*jax.tree.map(lambda x: x[0], arguments))
    return jax.tree.map(lambda x: jnp.asarray(x)[None], result)


def _joined(parts: list[Any]) -> Any:
    """Groups' arrays put together along the chain axis."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
