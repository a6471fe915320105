"""The no-U-turn sampler, from blackjax: on the exact density, and on a surrogate's.

It (Hoffman & Gelman 2014, arXiv:1111.4246) follows Hamiltonian dynamics of H(z, p) = -log p(z) + |p|^2 / 2 in
the whitened coordinates z of the posterior's main maximum, u = mean + factor @ z, along trajectories that
double until they turn back. Chains start overdispersed: from draws of the posterior's mixture, its components
`start_scale` times as wide and shared out in proportion to their weights, so that chains begin at all maxima
that hold mass.

`nuts` is the reference, on a density that takes long. The step size of each chain follows dual averaging
toward a target acceptance during warm-up and then stays. One compiled step is called in a loop: a program
that inlines the model several times compiles for minutes. On a CPU chains run one after another, on a GPU
side by side in one batched program. Keys belong to chains, so that both give the same draws up to rounding.

`surrogate_nuts` runs on a density that costs microseconds: warm-up, with blackjax's window adaptation, and a
number of draws are one compiled program each, for all chains; the second can be called again. The adapted
metric is diagonal in z. (A dense one would need Cholesky factors of several chains at once inside the
program, and concurrent LAPACK calls can block XLA's threads on two cores.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jaxtyping import Array, Float, Int

from popinfer.infer.draws import Draws, LogDensity, Progress
from popinfer.infer.laplace import Mixture
from popinfer.journal import kept

_FIRST_STEP_SIZE = 0.5  # of the exact density, where dual averaging begins
_SURROGATE_DOUBLINGS = 10


@dataclass(frozen=True)
class NutsSpec:
    """Length and tuning of chains on the exact density.

    Attributes
    ----------
    n_chains, n_warmup, n_draws : number of chains, and of steps in each.
    target_accept : acceptance that the step size is adapted to.
    start_scale : how much wider than the posterior the starts are spread.
    chains : whether they run in sequence or batched.
    max_tree_depth : doublings of a trajectory at most.
    """

    n_chains: int = 4
    n_warmup: int = 150
    n_draws: int = 400
    target_accept: float = 0.8
    start_scale: float = 2.0
    chains: Literal["auto", "sequence", "vmap"] = "auto"
    max_tree_depth: int = 8

    @property
    def n_steps(self) -> int:
        """Steps of all chains together."""
        return self.n_chains * (self.n_warmup + self.n_draws)

    @property
    def batch(self) -> int:
        """Chains that run side by side."""
        batched = self.chains == "vmap" or (self.chains == "auto" and jax.default_backend() != "cpu")
        return self.n_chains if batched else 1


@dataclass(frozen=True)
class SurrogateNutsSpec:
    """Length and tuning of chains on a surrogate's density.

    Attributes
    ----------
    n_chains, n_warmup, target_accept, start_scale : as those of `NutsSpec`.
    n_draws : draws of each chain, and of each of its extensions.

    With two maxima of different widths 2 % of the transitions diverged at an acceptance of 0.8, each chain
    with a step size of its own; with the median of these up to 0.6 % at 0.9 and 0.2 % at 0.95; with the
    shortest at 0.95 none of 32,000.
    """

    n_chains: int = 4
    n_warmup: int = 500
    n_draws: int = 1000
    target_accept: float = 0.95
    start_scale: float = 1.5


class _WhitenedDensity(eqx.Module):
    """A log-density in whitened coordinates; its arrays are arguments of the compiled programs."""

    log_density: LogDensity
    mean: Array
    factor: Array

    def __call__(self, z: Float[Array, "par"]) -> Float[Array, ""]:
        """Log density, -inf without a slope where it or its gradient is no number: a step there diverges."""
        here = jax.lax.stop_gradient(z)
        value, slope = jax.value_and_grad(lambda z: self.log_density(self.mean + self.factor @ z))(here)
        sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        value, slope = jnp.where(sound, value, -jnp.inf), jnp.where(sound, slope, 0.0)
        return value + jax.lax.stop_gradient(slope) @ jnp.where(sound, z - here, 0.0)


def _whiten(log_density: LogDensity, start: Mixture) -> _WhitenedDensity:
    return _WhitenedDensity(log_density, jnp.asarray(start.main.mean), jnp.asarray(start.main.factor))


def _starts(
    start: Mixture, component: Int[np.ndarray, "chain"], normal: Float[np.ndarray, "chain par"]
) -> Float[Array, "chain par"]:
    """Whitened coordinates of points that lie `normal` standard deviations off their components' centers."""
    u = start.points_at(component, normal)
    return jnp.asarray(np.linalg.solve(start.main.factor, (u - start.main.mean).T).T)


def _statistics(state: Any, info: Any) -> dict[str, Array]:
    """What the convergence gate asks of a transition, by ArviZ's names."""
    return {
        "lp": state.logdensity,
        "energy": info.energy,
        "diverging": info.is_divergent,
        "tree_depth": info.num_trajectory_expansions,
        "n_steps": info.num_integration_steps,
        "acceptance_rate": info.acceptance_rate,
    }


def nuts(key: Array, log_density: LogDensity, start: Mixture, spec: NutsSpec, progress: Progress) -> Draws:
    """Sample the exact density.

    Parameters
    ----------
    key : Array
        Random key.
    log_density : LogDensity
        Of u.
    start : Mixture
        Its main component whitens, chains start around all of them.
    spec : NutsSpec
        Lengths.
    progress : Progress
        Called with (step, total, text) after every step.

    Returns
    -------
    Draws
        Attributes hold the gradients spent, warm-up included, and the mean step size.
    """
    density, groups = _whiten(log_density, start), []
    for first in range(0, spec.n_chains, spec.batch):
        ids = jnp.arange(first, first + spec.batch)
        start_keys, run_keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(ids).T
        normal = jax.vmap(lambda k: jax.random.normal(k, density.mean.shape))(start_keys)
        component = start.component_of_each(spec.n_chains)[ids]
        z = _starts(start, component, spec.start_scale * np.asarray(normal))
        groups.append(_ChainGroup(density, run_keys, _states(density, z), first).run(spec, progress))
    z, stats, sizes, steps = (_concatenate([group[i] for group in groups]) for i in range(4))
    attrs = {
        "sampler": "nuts_exact",
        "gradient_evaluations": int(steps.sum()),
        "step_size": float(sizes.mean()),
        "max_tree_depth": spec.max_tree_depth,
    }
    return Draws(np.asarray(density.mean) + z @ np.asarray(density.factor).T, stats, attrs)


@eqx.filter_jit
def _states(density: _WhitenedDensity, z: Array) -> Any:
    return _over_chains(lambda z: blackjax.nuts.init(z, density), z)


@eqx.filter_jit
def _step(
    density: _WhitenedDensity, max_doublings: int, keys: Array, i: Array, state: Any, size: Array
) -> tuple[Any, dict[str, Array]]:
    """Step i of every chain."""
    kernel = blackjax.nuts.build_kernel()

    def step(key: Array, state: Any, size: Array) -> tuple[Any, dict[str, Array]]:
        # the key of a step is made inside the compiled program: made outside it would cost more than a toy's
        key, metric = jax.random.fold_in(key, i), jnp.ones_like(density.mean)
        state, info = kernel(key, state, density, size, metric, max_num_doublings=max_doublings)
        return state, _statistics(state, info)

    return _over_chains(step, keys, state, size)


@dataclass(frozen=True)
class _ChainGroup:
    """Chains that advance together, the first of which has number ``first``."""

    density: _WhitenedDensity
    keys: Array
    state: Any
    first: int

    def run(
        self, spec: NutsSpec, progress: Progress
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Positions and statistics [chain, draw, ...], step size and integration steps of each chain."""
        adapt_init, adapt_update, adapt_final = dual_averaging_adaptation(spec.target_accept)
        n_chain, length = len(self.keys), spec.n_warmup + spec.n_draws
        size = jnp.full(n_chain, _FIRST_STEP_SIZE)
        adaptation, state, positions, kept = adapt_init(size), self.state, [], []
        gradients = np.zeros(n_chain, int)
        for i in range(length):
            state, stats = self._advanced(spec.max_tree_depth, i, state, size)
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

    def _advanced(self, max_depth: int, i: int, state: Any, size: Array) -> tuple[Any, dict[str, Array]]:
        """Step i of every chain, or what the stage at work has kept of it."""
        leaves, treedef = jax.tree.flatten(state)

        def compute() -> dict[str, np.ndarray]:
            after, stats = _step(self.density, max_depth, self.keys, jnp.asarray(i), state, size)
            named = {f"state {n}": leaf for n, leaf in enumerate(jax.tree.leaves(after))}
            return {name: np.asarray(value) for name, value in {**named, **stats}.items()}

        where = {"step": np.array([self.first, i]), "size": np.asarray(size), "at": np.asarray(leaves[0])}
        result = dict(kept("nuts", where, compute))
        after = [jnp.asarray(result.pop(f"state {n}")) for n in range(len(leaves))]
        return jax.tree.unflatten(treedef, after), {k: jnp.asarray(v) for k, v in result.items()}


def _over_chains(function: Callable, *arguments: Any) -> Any:
    """Apply a function of one chain along a leading chain axis; a chain alone keeps the plain program.

    A batched program evaluates both sides of every branch and was 1.6 to 3.4 times slower on a CPU.
    """
    if len(arguments[0]) > 1:
        return jax.vmap(function)(*arguments)
    result = function(*jax.tree.map(lambda x: x[0], arguments))
    return jax.tree.map(lambda x: jnp.asarray(x)[None], result)


def _concatenate(groups: list[Any]) -> Any:
    """Groups' arrays put together along the chain axis."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *groups)


@dataclass(frozen=True)
class SurrogateChains:
    """Chains on a cheap density, which can go on.

    Attributes
    ----------
    draws : so far.
    keys : of the chains.
    spec : their lengths.
    """

    draws: Draws
    keys: Array
    spec: SurrogateNutsSpec
    _density: _WhitenedDensity
    _states: Any
    _tuned: dict[str, Array]

    @classmethod
    def start(
        cls, key: Array, log_density: Any, start: Mixture, spec: SurrogateNutsSpec
    ) -> "SurrogateChains":
        """Warm-up, and the first draws.

        Parameters
        ----------
        key : Array
            Random key.
        log_density : Any
            Equinox Module, vector u -> log density.
        start : Mixture
            Its main component whitens, chains start around all of them.
        spec : SurrogateNutsSpec
            Number and lengths of chains.
        """
        start_key, run_key = jax.random.split(key)
        density = _whiten(jax.tree.map(jnp.asarray, log_density), start)
        normal = np.asarray(jax.random.normal(start_key, (spec.n_chains, *density.mean.shape)))
        z = _starts(start, start.component_of_each(spec.n_chains), spec.start_scale * normal)
        warm_key, draw_key = jax.random.split(run_key)
        warm_keys, keys = (jax.random.split(each, spec.n_chains) for each in (warm_key, draw_key))
        states, tuned = _warm_up(density, warm_keys, z, spec.n_warmup, spec.target_accept)
        none = Draws(np.empty((spec.n_chains, 0, len(density.mean))), {})
        return cls(none, keys, spec, density, states, tuned).extended()

    def extended(self) -> "SurrogateChains":
        """The same with `spec.n_draws` draws more of each chain."""
        density, before = self._density, self.draws
        keys = jax.vmap(lambda key: jax.random.fold_in(key, before.u.shape[1]))(self.keys)
        states, (z, stats) = _draw_on(density, keys, self._states, self._tuned, self.spec.n_draws)
        u = np.asarray(density.mean) + np.asarray(z) @ np.asarray(density.factor).T
        joined = {
            name: np.concatenate([before.stats[name], values], axis=1) if before.stats else np.asarray(values)
            for name, values in stats.items()
        }
        draws = Draws(np.concatenate([before.u, u], axis=1), joined, {"max_tree_depth": _SURROGATE_DOUBLINGS})
        return replace(self, draws=draws, _states=states)


def surrogate_nuts(key: Array, log_density: Any, start: Mixture, spec: SurrogateNutsSpec) -> Draws:
    """Sample a cheap density with chains of a given length; arguments of `SurrogateChains.start`."""
    return SurrogateChains.start(key, log_density, start, spec).draws


@eqx.filter_jit
def _warm_up(
    density: _WhitenedDensity, keys: Array, starts: Array, n_warmup: int, target_accept: float
) -> tuple[Any, dict[str, Array]]:
    """States of all chains after warm-up; for all the shortest step size, and medians of the metrics."""

    def chain(key: Array, start: Array) -> tuple[Any, dict[str, Array]]:
        warmup = blackjax.window_adaptation(
            blackjax.nuts,
            density,
            target_acceptance_rate=target_accept,
            max_num_doublings=_SURROGATE_DOUBLINGS,
        )
        (state, tuned), _ = warmup.run(key, start, n_warmup)  # pyright: ignore[reportCallIssue]
        return state, {name: tuned[name] for name in ("step_size", "inverse_mass_matrix")}

    states, tuned = _each_chain(chain, keys, starts)
    # a chain's own step size can be too long by a factor of two, and then it diverges where others don't
    return states, {
        "step_size": jnp.nanmin(tuned["step_size"]),
        "inverse_mass_matrix": jnp.nanmedian(tuned["inverse_mass_matrix"], axis=0),
    }


@eqx.filter_jit
def _draw_on(
    density: _WhitenedDensity, keys: Array, states: Any, tuned: dict[str, Array], n_draws: int
) -> tuple[Any, tuple[Array, dict[str, Array]]]:
    """States after so many more draws; the draws' positions [chain, draw, par] and statistics."""

    def chain(key: Array, state: Any) -> tuple[Any, tuple[Array, dict[str, Array]]]:
        step = blackjax.nuts(density, max_num_doublings=_SURROGATE_DOUBLINGS, **tuned).step

        def advance(state: Any, key: Array) -> tuple[Any, tuple[Array, dict[str, Array]]]:
            state, info = step(key, state)
            return state, (state.position, _statistics(state, info))

        return jax.lax.scan(advance, state, jax.random.split(key, n_draws))

    return _each_chain(chain, keys, states)


def _each_chain(function: Callable, *arguments: Any) -> Any:
    """Apply a function of one chain to all, side by side on an accelerator, one after another on a CPU.

    Side by side each chain waits for the longest trajectory of all, and small batches of products are slow on
    CPUs: four chains took 3.5 times as long.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda chain: function(*chain), arguments)
    return jax.vmap(function)(*arguments)
