"""The surrogate of a posterior: where its nodes are, and the likelihood that goes with it.

1. Half of the nodes fill the mixture of the search's Laplace approximations.
2. At each the log-counts of every halo batch are computed. They give the values that the surrogate goes
   through, and the halo sample's covariance.
3. The other half are draws of the first surrogate's posterior, spread somewhat wider than it: there the
   posterior is, whatever the shape of the mixture.

More nodes join wherever exact values become known later (`SurrogatePosterior.with_nodes`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from popinfer.errors import NotConvergedError
from popinfer.infer.counts import BatchedCounts, Evaluated, evaluate
from popinfer.infer.data import Data
from popinfer.infer.laplace import Mixture
from popinfer.infer.likelihood import Likelihood, SurrogateDensity
from popinfer.infer.nodes import FEWEST_NODES, MAX_NODES_PER_PARAMETER, NODES_PER_PARAMETER
from popinfer.infer.nuts import SurrogateNutsSpec, surrogate_nuts
from popinfer.infer.surrogate import SurrogateFit, fit_surrogate

_WIDER = 1.25  # spread of nodes in units of the posterior's: tails are interpolated too
_QUICK = SurrogateNutsSpec(n_warmup=200, n_draws=200)

Say = Callable[[int, int], None]


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
        kept = Evaluated(nodes.points[good], nodes.values[good], nodes.halo_cov)
        if len(kept.points) < FEWEST_NODES * nodes.points.shape[1]:
            raise NotConvergedError(
                f"the model gives a number at {len(kept.points)} of {len(nodes.points)} points of the "
                "posterior's region: too few for a surrogate; look at the priors, which reach where the "
                "model can't be evaluated"
            )
        # the median: a node far out must not say where counting noise is taken
        likelihood = Likelihood.of(data.expecting(np.median(kept.values, axis=0)), kept.halo_cov)
        fit = fit_surrogate(kept.points, kept.values, likelihood.whiten, start, fixed=fixed)
        return cls(data, kept, fit, likelihood, nodes.points[~good])

    @property
    def density(self) -> SurrogateDensity:
        """Log posterior density with the surrogate's counts."""
        n_node = MAX_NODES_PER_PARAMETER * self.nodes.points.shape[1]
        return SurrogateDensity.of(self.fit.surrogate, self.likelihood, n_node)

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

    def with_nodes(self, nodes: Evaluated) -> "SurrogatePosterior":
        """The same with further nodes, as many as there is room for."""
        start = self.fit.lengths, self.fit.white
        more = SurrogatePosterior.of(self.data, self.nodes.joined(nodes.first(self.room)), start)
        return replace(more, undefined=np.concatenate([self.undefined, more.undefined]))


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
        Called with (nodes so far, all).
    """
    n_par = len(mixture.main.mean)
    n = NODES_PER_PARAMETER * n_par
    spread_key, chain_key, pick_key = jax.random.split(key, 3)
    say = progress or (lambda *_: None)
    spread = mixture.with_widths_times(_WIDER).fill(spread_key, n - n // 2)
    first = evaluate(counts, spread, lambda done: say(done, n))
    start = SurrogatePosterior.of(data, first)
    chains = surrogate_nuts(chain_key, start.density, mixture, _QUICK)
    draws = chains.u.reshape(-1, n_par)
    picked = draws[np.asarray(jax.random.choice(pick_key, len(draws), (n // 2,), replace=False))]
    wider = draws.mean(axis=0) + _WIDER * (picked - draws.mean(axis=0))
    second = evaluate(counts, wider, lambda done: say(len(spread) + done, n))
    return SurrogatePosterior.of(data, first.joined(second))
