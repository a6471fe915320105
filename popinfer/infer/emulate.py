"""The surrogate of a posterior: where its nodes are, and the likelihood that goes with it.

1. Half of the nodes fill the mixture of the search's Laplace approximations.
2. At each the log-counts of every halo batch are computed. They give the values that the surrogate goes
   through, and the halo sample's covariance.
3. The other half are draws of the first surrogate's posterior, spread somewhat wider than it: there the
   posterior is, whatever the shape of the mixture.

More nodes join wherever exact values become known later (`Emulation.with_nodes`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import NotConvergedError
from popinfer.infer.counts import BatchedCounts, batch_log_counts, halo_covariance, log_mean
from popinfer.infer.data import Data
from popinfer.infer.likelihood import Likelihood, SurrogateDensity
from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.surrogate_chains import ChainSpec, run_chains
from popinfer.infer.surrogate import SurrogateFit, fit_surrogate

# exact evaluations for each parameter, measured on the SDSS posteriors: with 8 the surrogate's log-density is
# off by 0.3 (7 parameters) to 0.6 nat (9), with 16 by 0.2 to 0.3
NODES_PER_PARAMETER = 16
FEWEST_NODES = 4  # a parameter; a linear trend alone takes one, and errors must be told from curvature
MAX_NODES_PER_PARAMETER = 40  # arrays are padded to it, so that compiled programs don't depend on the number
_WIDER = 1.25  # spread of nodes in units of the posterior's: tails are interpolated too
_QUICK = ChainSpec(n_warmup=200, n_draws=200)

Say = Callable[[int, int], None]


@dataclass(frozen=True)
class Emulation:
    """A surrogate of the log-counts and the likelihood that is taken with it.

    Attributes
    ----------
    data : observed counts.
    nodes : unconstrained vectors where the exact log-counts are known.
    values : log-counts of all halo batches together there.
    halo_cov : covariance of log-counts that the halo sample brings, averaged over the first nodes.
    fit : the surrogate of all log-counts.
    likelihood : its covariance taken at the nodes' mean log-counts.
    """

    data: Data
    nodes: Float[np.ndarray, "node par"]
    values: Float[np.ndarray, "node stat"]
    halo_cov: Float[np.ndarray, "stat stat"]
    fit: SurrogateFit
    likelihood: Likelihood

    @classmethod
    def of(
        cls,
        data: Data,
        nodes: Float[np.ndarray, "node par"],
        values: Float[np.ndarray, "node stat"],
        halo_cov: Float[np.ndarray, "stat stat"],
        start: tuple[Float[np.ndarray, "par"], float] | None = None,
        *,
        fixed: bool = False,
    ) -> "Emulation":
        """Fit the surrogate to its nodes; `start` and `fixed` are those of `fit_surrogate`.

        Nodes where the model gives no number are left out.
        """
        good = np.isfinite(values).all(axis=1)
        nodes, values = nodes[good], values[good]
        if len(nodes) < FEWEST_NODES * nodes.shape[1]:
            raise NotConvergedError(
                f"the model gives a number at {len(nodes)} of {len(good)} points of the posterior's region: too "
                "few for a surrogate; look at the priors, which reach where the model can't be evaluated"
            )
        # the median: a node far out must not say where counting noise is taken
        likelihood = Likelihood.of(data.expecting(np.median(values, axis=0)), halo_cov)
        fit = fit_surrogate(nodes, values, likelihood.whiten, start, fixed=fixed)
        return cls(data, nodes, values, halo_cov, fit, likelihood)

    @property
    def density(self) -> SurrogateDensity:
        """Log posterior density with the surrogate's counts."""
        n_par = self.nodes.shape[1]
        return SurrogateDensity.of(self.fit.surrogate, self.likelihood, MAX_NODES_PER_PARAMETER * n_par)

    @property
    def room(self) -> int:
        """How many nodes more there is room for."""
        return MAX_NODES_PER_PARAMETER * self.nodes.shape[1] - len(self.nodes)

    @property
    def left_out_error(self) -> float:
        """Expected error of the log-density [nat]: that of nodes predicted from all other nodes.

        An error e of the whitened log-counts changes the log-density by r^T e, r the whitened residuals.
        """
        whiten, residual = self.likelihood.whiten, self.likelihood.data.log_observed - self.values
        errors = np.sum((residual @ whiten.T) * (self.fit.left_out @ whiten.T), axis=1)
        return float(np.sqrt(np.mean(errors**2)))

    def with_nodes(self, nodes: Float[np.ndarray, "node par"], values: np.ndarray) -> "Emulation":
        """The same with further nodes, as many as there is room for."""
        nodes, values = nodes[: self.room], values[: self.room]
        start = self.fit.lengths, self.fit.white
        together = np.concatenate([self.nodes, nodes]), np.concatenate([self.values, values])
        return Emulation.of(self.data, *together, self.halo_cov, start)


def emulate(
    key: Array, counts: BatchedCounts, data: Data, mixture: Mixture, progress: Say | None = None
) -> Emulation:
    """Build the surrogate of a posterior.

    Parameters
    ----------
    key : random key.
    counts : the model on all halo batches.
    data : observed counts.
    mixture : where the search found the posterior.
    progress : called with (nodes so far, all).
    """
    n_par = len(mixture.main.mean)
    n = NODES_PER_PARAMETER * n_par
    spread_key, chain_key, pick_key = jax.random.split(key, 3)
    say = progress or (lambda *_: None)
    first = mixture.widened(_WIDER).spread(spread_key, n - n // 2)
    batches = np.stack([_batches(counts, u, i + 1, n, say) for i, u in enumerate(first)])
    start = Emulation.of(data, first, _values(batches), halo_covariance(batches))
    chains = run_chains(chain_key, start.density, mixture, _QUICK)
    draws = chains.u.reshape(-1, n_par)
    picked = draws[np.asarray(jax.random.choice(pick_key, len(draws), (n // 2,), replace=False))]
    second = draws.mean(axis=0) + _WIDER * (picked - draws.mean(axis=0))
    more = np.stack([_batches(counts, u, len(first) + i + 1, n, say) for i, u in enumerate(second)])
    batches = np.concatenate([batches, more])
    return Emulation.of(data, np.concatenate([first, second]), _values(batches), halo_covariance(batches))


def _batches(counts: BatchedCounts, u: np.ndarray, done: int, n: int, say: Say) -> np.ndarray:
    """Log-counts of every batch at a node."""
    log_m = np.asarray(batch_log_counts(counts, jnp.asarray(u)))
    say(done, n)
    return log_m


def _values(batches: Float[np.ndarray, "node batch stat"]) -> Float[np.ndarray, "node stat"]:
    """Log-counts of all batches together."""
    return np.stack([np.asarray(log_mean(jnp.asarray(log_m))) for log_m in batches])
