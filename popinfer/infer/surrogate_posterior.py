"""The surrogate of a posterior: where its nodes are, and the likelihood that goes with it.

1. The first nodes fill the mixture of the search's Laplace approximations.
2. At each the log-counts of every halo batch are computed. They give the values that the surrogate goes
   through, and the halo sample's covariance.
3. In rounds, draws of the last surrogate's posterior join, spread somewhat wider than it: there the posterior
   is, whatever the shape of the mixture. What the last surrogate said there, against the exact values, is its
   error; rounds go on until it is small enough, or there are as many nodes as pay.

More nodes join wherever exact values become known later (`SurrogatePosterior.with_nodes`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from popinfer.errors import NotConvergedError
from popinfer.infer.counts import BatchedCounts, Evaluated, evaluate
from popinfer.infer.data import Data
from popinfer.infer.laplace import Mixture
from popinfer.infer.likelihood import Likelihood, SurrogateDensity
from popinfer.infer.nuts import SurrogateNutsSpec, surrogate_nuts
from popinfer.infer.sizes import (
    FEWEST_NODES,
    FIRST_NODES,
    MAX_NODES_PER_PARAMETER,
    MOST_IN_ROUNDS,
    NODES_PER_PARAMETER,
    ROUND_NODES,
)
from popinfer.infer.surrogate import SurrogateFit, fit_surrogate

_BEYOND = 0.5  # standard deviations of nodes beyond the posterior's radius: tails are interpolated too
MAX_ERROR = 0.5  # nat; above it the efficiency of exact weights is below about 0.6
# largest radius of the first nodes in standard deviations of the Laplace approximations. More leads to where
# the posterior is not: of 28 parameters with curved valleys, whose own is 5.3, surrogates err twice as much
_FIRST_RADIUS = 4.25
_QUICK = SurrogateNutsSpec(n_warmup=200, n_draws=200)

Say = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SurrogatePosterior:
    """A surrogate of the log-counts and the likelihood that is taken with it.

    Attributes
    ----------
    data : observed counts.
    nodes : exact log-counts at the nodes.
    fit : the surrogate of all log-counts.
    likelihood : its covariance taken at the nodes' median log-counts.
    undefined : points that would be nodes if the model gave a number there.
    """

    data: Data
    nodes: Evaluated
    fit: SurrogateFit
    likelihood: Likelihood
    undefined: Float[np.ndarray, "undefined par"]

    @classmethod
    def of(
        cls,
        data: Data,
        nodes: Evaluated,
        start: tuple[Float[np.ndarray, "par"], float] | None = None,
        *,
        fixed: bool = False,
    ) -> "SurrogatePosterior":
        """Fit the surrogate to its nodes; `start` and `fixed` are those of `fit_surrogate`.

        Nodes where the model gives no number are left out.
        """
        good: Bool[np.ndarray, "node"] = np.all(np.isfinite(nodes.values), axis=1)
        kept = replace(nodes, points=nodes.points[good], values=nodes.values[good])
        if len(kept.points) < FEWEST_NODES * nodes.points.shape[1]:
            raise NotConvergedError(
                f"the model gives a number at {len(kept.points)} of {len(nodes.points)} points of the "
                "posterior's region: too few for a surrogate; look at the priors, which reach where the "
                "model can't be evaluated"
            )
        # the median: a node far out must not say where counting noise is taken
        expecting = data.expecting(np.median(kept.values, axis=0))
        likelihood = Likelihood.of(expecting, kept.halo_cov, kept.n_batch)
        fit = fit_surrogate(kept.points, kept.values, likelihood.whiten, start, fixed=fixed)
        return cls(data, kept, fit, likelihood, nodes.points[~good])

    @property
    def density(self) -> SurrogateDensity:
        """Log posterior density with the surrogate's counts."""
        n_node = MAX_NODES_PER_PARAMETER * self.nodes.points.shape[1]
        return SurrogateDensity.of(self.fit.surrogate, self.likelihood, n_node)

    @property
    def best_node(self) -> Float[np.ndarray, "par"]:
        """The node with the highest exact density."""
        return self.nodes.points[
            np.argmax(self.likelihood.log_posteriors(self.nodes.values, self.nodes.points))
        ]

    @property
    def room(self) -> int:
        """How many nodes more there is room for."""
        return MAX_NODES_PER_PARAMETER * self.nodes.points.shape[1] - len(self.nodes.points)

    @property
    def left_out_error(self) -> float:
        """Expected error of the log-density [nat]: that of nodes predicted from all other nodes.

        An error e of the whitened log-counts changes the log-density by r^T e, r the whitened residuals.
        """
        whiten, residual = self.likelihood.whiten, self.likelihood.data.log_observed - self.nodes.values
        errors = np.sum((residual @ whiten.T) * (self.fit.left_out @ whiten.T), axis=1)
        return float(np.sqrt(np.mean(errors**2)))

    def error(self, new: Evaluated) -> float:
        """Spread of exact over the surrogate's log-densities at points that are no nodes [nat]."""
        log_p = self.likelihood.log_posteriors(new.values, new.points)
        log_q = np.asarray(_densities(self.density, jnp.asarray(new.points)))
        difference = (log_p - log_q)[np.isfinite(log_p)]
        return float(np.std(difference)) if difference.size > 1 else np.inf

    def with_nodes(self, nodes: Evaluated) -> "SurrogatePosterior":
        """The same with further nodes, as many as there is room for."""
        start = self.fit.lengths, self.fit.white
        more = SurrogatePosterior.of(self.data, self.nodes.joined(nodes.first(self.room)), start)
        return replace(more, undefined=np.concatenate([self.undefined, more.undefined]))


@eqx.filter_jit
def _densities(density: SurrogateDensity, points: Float[Array, "point par"]) -> Float[Array, "point"]:
    return jax.vmap(density)(points)


def spread_factor(n_par: int, beyond: float) -> float:
    """Spread, in units of the posterior's, that adds so many standard deviations to its radius, sqrt(n).

    A factor that is harmless with few parameters leads to where the posterior is not with many.
    """
    return 1 + beyond / np.sqrt(n_par)


def spread_out(
    points: Float[np.ndarray, "point par"], center: Float[np.ndarray, "par"], beyond: float
) -> Float[np.ndarray, "point par"]:
    """Points farther from a center by that factor."""
    return center + spread_factor(len(center), beyond) * (points - center)


def build_surrogate(
    key: Array, counts: BatchedCounts, data: Data, mixture: Mixture, progress: Say | None = None
) -> SurrogatePosterior:
    """Build the surrogate of a posterior.

    Parameters
    ----------
    key : Array
        Random key.
    counts : BatchedCounts
        The model on all halo batches.
    data : Data
        Observed counts.
    mixture : Mixture
        Where the search found the posterior.
    progress : Say or None
        Called with nodes so far, nodes that are expected or needed by the round at work, and a text.
    """
    n_par, report = len(mixture.main.mean), progress or (lambda *_: None)
    n, most, error = FIRST_NODES * n_par, NODES_PER_PARAMETER * n_par, np.inf
    n_then = n  # when the round that is being evaluated is done

    def say(done: int) -> None:
        text = f"error {error:.1f} nat" if np.isfinite(error) else ""
        report(done, max(most, n_then), text)

    first_spread = min(spread_factor(n_par, _BEYOND), _FIRST_RADIUS / np.sqrt(n_par))
    spread = mixture.with_widths_times(first_spread).fill(jax.random.fold_in(key, 0), n)
    surrogate = SurrogatePosterior.of(data, evaluate(counts, spread, say))
    while n < most or (error > MAX_ERROR and n < MOST_IN_ROUNDS * n_par):
        points = _spread_draws(jax.random.fold_in(key, n), surrogate.density, mixture, ROUND_NODES * n_par)
        n_then = n + len(points)
        new = evaluate(counts, points, lambda done, n=n: say(n + done))
        error, n = surrogate.error(new), n + len(points)
        surrogate = surrogate.with_nodes(new)
        say(n)
    return surrogate


def _spread_draws(
    key: Array, density: SurrogateDensity, mixture: Mixture, n: int
) -> Float[np.ndarray, "n par"]:
    """Some draws of a surrogate's posterior, somewhat farther from their mean than they are."""
    chain_key, pick_key = jax.random.split(key)
    chains = surrogate_nuts(chain_key, density, mixture, _QUICK)
    draws = chains.u.reshape(-1, chains.u.shape[-1])
    picked = draws[np.asarray(jax.random.choice(pick_key, len(draws), (n,), replace=False))]
    return spread_out(picked, draws.mean(axis=0), _BEYOND)
