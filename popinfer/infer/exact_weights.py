"""Draws of a surrogate's posterior, checked by exact evaluations and weighted by them.

With p the exact posterior density and q that of the surrogate, a draw u of q has the weight w = p(u) / q(u).
The exact density is the model's own, on all halo batches. Weights are Pareto-smoothed; a shape k-hat above
0.7 says that they can't be trusted (Vehtari et al. 2024, JMLR 25, 72). Evaluations go on until the weights
are worth enough independent draws, (sum w)^2 / sum w^2, and k-hat is small enough.

The spread of log w is the surrogate's error in nat. Where a first look finds it large, the points of that
look become nodes of the surrogate, and chains are run anew. Weights can't tell of what no chain reaches:
a surrogate is kept inside the region of its nodes, and one whose chains press against that region's edge gets
nodes farther out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.counts import BatchedCounts, Evaluated, evaluate
from popinfer.infer.draws import Draws
from popinfer.infer.laplace import Mixture
from popinfer.infer.nuts import SurrogateNutsSpec, surrogate_nuts
from popinfer.infer.surrogate_posterior import MAX_ERROR, SurrogatePosterior, spread_out
from popinfer.resampling import EVEN, MAX_PARETO_K, kish_size, pareto_smooth, shuffled_systematic

MAX_BEYOND = 0.01  # of the draws; a posterior that the nodes cover has hardly any beyond all of them
MAX_REFINEMENTS = 4
_HELPED = 0.9  # of the error before: a refinement that leaves more is the last
# radius of new nodes beyond the draws', where these press against the region's edge [standard deviations]
_FARTHER = 1.5
_MORE = 1.25  # times as many evaluations, where the weights' tail can't be trusted yet
FIRST_LOOK = 32  # exact evaluations, a multiple of what is evaluated at once

Say = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExactWeightsSpec:
    """Chains on the surrogate, and what their exact weights have to be worth.

    Attributes
    ----------
    n_chains, n_warmup, n_draws, target_accept : of the chains on the surrogate.
    min_ess : effective number of draws that the weights have to be worth.
    max_evaluations : exact evaluations at most, refinements not counted.
    n_kept : draws that are kept, resampled by weight.
    """

    n_chains: int = 4
    n_warmup: int = 500
    n_draws: int = 1000
    target_accept: float = 0.8
    min_ess: float = 400.0
    max_evaluations: int = 4000
    n_kept: int = 1000

    @property
    def n_steps(self) -> int:
        """Exact evaluations to expect at least."""
        return int(self.min_ess)

    @property
    def chains(self) -> SurrogateNutsSpec:
        """Of the surrogate."""
        return SurrogateNutsSpec(self.n_chains, self.n_warmup, self.n_draws, self.target_accept)


@dataclass(frozen=True)
class SampledPosterior:
    """What sampling leaves.

    Attributes
    ----------
    draws : of the posterior; those of a surrogate are weighted and resampled into four pseudo-chains.
    chains : of the surrogate; None for samplers of the exact density.
    surrogate : as refined.
    proposals : draws of the surrogate that were evaluated exactly, in the order of their weights.
    """

    draws: Draws
    chains: Draws | None
    surrogate: SurrogatePosterior
    proposals: Float[np.ndarray, "exact par"] | None = None


def sample_with_exact_weights(
    key: Array,
    counts: BatchedCounts,
    surrogate: SurrogatePosterior,
    start: Mixture,
    spec: ExactWeightsSpec,
    progress: Say | None = None,
) -> SampledPosterior:
    """Sample the surrogate, refine it where it errs, and weight its draws exactly.

    Parameters
    ----------
    key : Array
        Random key.
    counts : BatchedCounts
        The model on all halo batches.
    surrogate : SurrogatePosterior
        Of the posterior.
    start : Mixture
        Where chains begin.
    spec : ExactWeightsSpec
        Sizes.
    progress : Say or None
        Called with (exact evaluations, expected ones, text).
    """
    say = progress or (lambda *_: None)

    def towards(expected: int) -> Callable[[int], None]:
        return lambda done: say(done, expected, "exact weights")

    refined, before = 0, np.inf
    while True:
        chain_key, pick_key, resample_key = jax.random.split(jax.random.fold_in(key, refined), 3)
        chains = surrogate_nuts(chain_key, surrogate.density, start, spec.chains)
        weighted = _WeightedDraws.of_chains(pick_key, chains, surrogate)
        weighted = weighted.evaluate_more(counts, FIRST_LOOK, towards(int(spec.min_ess)))
        beyond = surrogate.density.beyond(chains.u)
        fine = weighted.error <= MAX_ERROR and beyond <= MAX_BEYOND
        helped = weighted.error < _HELPED * before or beyond > MAX_BEYOND
        if fine or not helped or refined == MAX_REFINEMENTS or surrogate.room < FIRST_LOOK:
            break
        assert weighted.evaluated is not None
        new = weighted.evaluated
        if beyond > MAX_BEYOND:
            new = evaluate(counts, spread_out(new.points, chains.u.mean(axis=(0, 1)), _FARTHER))
        surrogate, refined, before = surrogate.with_nodes(new), refined + 1, weighted.error
    limit, together = min(spec.max_evaluations, len(weighted.queue)), counts.n_together
    while not weighted.are_worth(spec.min_ess) and len(weighted.u) < limit:
        # k-hat of a few hundred weights is known to 0.15 only: more of them tell whether it is too large
        more = spec.min_ess / max(weighted.ess, 1.0) if weighted.ess < spec.min_ess else _MORE
        wanted = more * len(weighted.u)
        step = together * int(np.ceil(np.clip(1.02 * wanted - len(weighted.u), together, 100) / together))
        step = min(step, limit - len(weighted.u))
        weighted = weighted.evaluate_more(counts, step, towards(round(wanted)))
    draws = _resample(resample_key, weighted, spec)
    draws.attrs["n_refinements"] = refined
    return SampledPosterior(draws, chains, surrogate, weighted.u)


@dataclass(frozen=True)
class _WeightedDraws:
    """Draws of the surrogate's chains in random order, the first of them evaluated exactly.

    Attributes
    ----------
    surrogate : whose draws they are.
    queue : all draws.
    log_q : their log-density by the surrogate.
    evaluated : exact log-counts of those evaluated, None at first.
    log_p : their exact log-densities.
    """

    surrogate: SurrogatePosterior
    queue: Float[np.ndarray, "draw par"]
    log_q: Float[np.ndarray, "draw"]
    evaluated: Evaluated | None
    log_p: Float[np.ndarray, "exact"]

    @classmethod
    def of_chains(cls, key: Array, chains: Draws, surrogate: SurrogatePosterior) -> "_WeightedDraws":
        """Nothing evaluated yet."""
        order = np.asarray(jax.random.permutation(key, chains.u[..., 0].size))
        queue = chains.u.reshape(-1, chains.u.shape[-1])[order]
        return cls(surrogate, queue, chains.stats["lp"].ravel()[order], None, np.empty(0))

    @property
    def u(self) -> Float[np.ndarray, "exact par"]:
        """Draws that were evaluated."""
        return self.queue[: len(self.log_p)]

    def evaluate_more(self, counts: BatchedCounts, n: int, say: Callable[[int], None]) -> "_WeightedDraws":
        """Evaluate the next n draws exactly."""
        done = len(self.log_p)
        new = evaluate(counts, self.queue[done : done + n], lambda more: say(done + more))
        log_p = self.surrogate.likelihood.log_posteriors(new.values, new.points)
        evaluated = new if self.evaluated is None else self.evaluated.joined(new)
        return replace(self, evaluated=evaluated, log_p=np.concatenate([self.log_p, log_p]))

    @property
    def log_weight(self) -> Float[np.ndarray, "exact"]:
        """Log of p over q; NaN where the model gives no number."""
        return self.log_p - self.log_q[: len(self.log_p)]

    @property
    def error(self) -> float:
        """Spread of the log weights [nat]."""
        finite = self.log_weight[np.isfinite(self.log_weight)]
        return float(np.std(finite)) if finite.size > 1 else np.inf

    def are_worth(self, min_ess: float) -> bool:
        """Whether the weights are worth enough draws and their tail can be trusted."""
        smoothed, pareto_k = pareto_smooth(self.log_weight)
        finite = self.log_weight[np.isfinite(self.log_weight)]
        even = kish_size(finite) >= EVEN * len(self.log_weight)
        return kish_size(smoothed) >= min_ess and (even or pareto_k < MAX_PARETO_K)

    @property
    def ess(self) -> float:
        """Effective number of independent draws that the weights are worth."""
        return kish_size(pareto_smooth(self.log_weight)[0])


def _resample(key: Array, weighted: _WeightedDraws, spec: ExactWeightsSpec) -> Draws:
    """Draws picked in proportion to their smoothed weights, as four pseudo-chains."""
    log_weight, pareto_k = pareto_smooth(weighted.log_weight)
    # without any weight the gate refuses the draws; there must be some to be refused
    weights = np.exp(log_weight) if np.isfinite(log_weight).any() else np.ones(len(log_weight))
    picked = shuffled_systematic(key, weights, 4 * (spec.n_kept // 4))
    attrs = {
        "sampler": "nuts",
        "pareto_k": pareto_k,
        "importance_ess": weighted.ess,
        "surrogate_error": weighted.error,
        "left_out_error": weighted.surrogate.left_out_error,
        "n_nodes": len(weighted.surrogate.nodes.points),
        "density_evaluations": len(weighted.u),
        "undefined_fraction": float(np.mean(~np.isfinite(weighted.log_p))),
        "log_weight": weighted.log_weight,
    }
    stats = {"lp": weighted.log_p[picked].reshape(4, -1)}
    return Draws(weighted.u[picked].reshape(4, -1, weighted.u.shape[1]), stats, attrs)
