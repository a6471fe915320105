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

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from popinfer.infer.counts import BatchedCounts, Evaluated, evaluate
from popinfer.infer.draws import Draws
from popinfer.infer.laplace import Mixture
from popinfer.infer.nuts import SurrogateChains, SurrogateNutsSpec
from popinfer.infer.sizes import CHAIN_ESS, MAX_EXTENSIONS
from popinfer.infer.surrogate_posterior import MAX_ERROR, SurrogatePosterior, spread_out
from popinfer.resampling import (
    EVEN,
    MAX_PARETO_K,
    independent_size,
    kish_size,
    pareto_smooth,
    shuffled_systematic,
)

# of the first draws; a posterior that the nodes cover has hardly any beyond all of them. A fifth of what the
# convergence gate passes: few draws don't tell a share well
MAX_BEYOND = 0.002
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
    n_chains, n_warmup, target_accept : of the chains on the surrogate.
    n_draws : of each chain, and of each of its extensions, until all are worth several times `min_ess`.
    min_ess : number of independent draws that the weighted draws have to be worth.
    max_evaluations : exact evaluations at most, refinements not counted.
    n_kept : draws that are kept, resampled by weight.
    """

    n_chains: int = 4
    n_warmup: int = 500
    n_draws: int = 1000
    target_accept: float = 0.95
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
        keys = jax.random.split(jax.random.fold_in(key, refined), 4)
        chain_key, look_key, pick_key, resample_key = keys
        chains = SurrogateChains.start(chain_key, surrogate.density, start, spec.chains)
        weighted = _WeightedDraws.of(chains.draws, surrogate).shuffled(look_key)
        weighted = weighted.evaluate_more(counts, FIRST_LOOK, towards(int(spec.min_ess)))
        beyond = surrogate.density.beyond(chains.draws.u)
        leaves = beyond > max(MAX_BEYOND, 1 / chains.draws.stats["lp"].size)  # not by a single draw
        fine = weighted.error <= MAX_ERROR and not leaves
        helped = weighted.error < _HELPED * before or leaves
        if fine or not helped or refined == MAX_REFINEMENTS or surrogate.room < FIRST_LOOK:
            break
        assert weighted.evaluated is not None
        new = weighted.evaluated
        if leaves:
            new = evaluate(counts, spread_out(new.points, chains.draws.u.mean(axis=(0, 1)), _FARTHER))
        surrogate, refined, before = surrogate.with_nodes(new), refined + 1, weighted.error
    chains = _long_enough(chains, spec, say)
    weighted = replace(weighted, chains=chains.draws).shuffled(pick_key)
    min_ess, chain_ess = spec.min_ess, chains.draws.smallest_ess
    if chain_ess <= min_ess:  # no weights make more of chains than these are worth
        min_ess = 0.5 * chain_ess
    limit, together = min(spec.max_evaluations, len(weighted.order)), counts.n_together
    while not weighted.are_worth(min_ess) and weighted.n < limit:
        # k-hat of a few hundred weights is known to 0.15 only: more of them tell whether it is too large
        more = min_ess / max(weighted.ess, 1.0) if weighted.ess < min_ess else _MORE
        wanted = more * weighted.n
        step = together * int(np.ceil(np.clip(1.02 * wanted - weighted.n, together, 100) / together))
        step = min(step, limit - weighted.n)
        weighted = weighted.evaluate_more(counts, step, towards(round(wanted)))
    draws = _resample(resample_key, weighted, spec)
    draws.attrs["n_refinements"] = refined
    return SampledPosterior(draws, chains.draws, surrogate, weighted.u)


def _long_enough(chains: SurrogateChains, spec: ExactWeightsSpec, say: Say) -> SurrogateChains:
    """Chains that go on until they are worth several times the draws that are asked for.

    They don't where no length that is allowed would make them worth as many as are asked for.
    """
    wanted = CHAIN_ESS * spec.min_ess
    for done in range(1, MAX_EXTENSIONS + 1):
        # antithetic chains are worth more draws than they have
        ess = min(chains.draws.smallest_ess, chains.draws.stats["lp"].size)
        if ess >= wanted or ess * (MAX_EXTENSIONS + 1) / done < spec.min_ess:
            break
        say(FIRST_LOOK, int(spec.min_ess), f"chains worth {ess:.0f} draws")
        chains = chains.extended()
    return chains


@dataclass(frozen=True)
class _WeightedDraws:
    """Draws of the surrogate's chains in random order, the first of them evaluated exactly.

    Attributes
    ----------
    chains : all draws.
    surrogate : whose draws they are.
    order : numbers of the draws; draws that chains get later have higher ones.
    evaluated : exact log-counts of those evaluated, None at first.
    log_p : their exact log-densities.
    """

    chains: Draws
    surrogate: SurrogatePosterior
    order: Int[np.ndarray, "draw"]
    evaluated: Evaluated | None
    log_p: Float[np.ndarray, "exact"]

    @classmethod
    def of(cls, chains: Draws, surrogate: SurrogatePosterior) -> "_WeightedDraws":
        """Nothing evaluated yet."""
        return cls(chains, surrogate, np.empty(0, int), None, np.empty(0))

    def shuffled(self, key: Array) -> "_WeightedDraws":
        """The same with a random order of all draws that haven't been evaluated, new ones among them."""
        done = self.order[: self.n]
        rest = np.setdiff1d(np.arange(self.chains.stats["lp"].size), done)
        return replace(self, order=np.append(done, np.asarray(jax.random.permutation(key, rest))))

    @property
    def n(self) -> int:
        """How many were evaluated."""
        return len(self.log_p)

    def _points(self, picked: Int[np.ndarray, "picked"]) -> Float[np.ndarray, "picked par"]:
        n_chain = len(self.chains.u)
        return self.chains.u[picked % n_chain, picked // n_chain]

    @property
    def u(self) -> Float[np.ndarray, "exact par"]:
        """Draws that were evaluated."""
        return self._points(self.order[: self.n])

    def evaluate_more(self, counts: BatchedCounts, n: int, say: Callable[[int], None]) -> "_WeightedDraws":
        """Evaluate the next n draws exactly."""
        points = self._points(self.order[self.n : self.n + n])
        new = evaluate(counts, points, lambda more: say(self.n + more))
        log_p = self.surrogate.likelihood.log_posteriors(new.values, new.points)
        evaluated = new if self.evaluated is None else self.evaluated.joined(new)
        return replace(self, evaluated=evaluated, log_p=np.concatenate([self.log_p, log_p]))

    @property
    def log_weight(self) -> Float[np.ndarray, "exact"]:
        """Log of p over q; NaN where the model gives no number."""
        log_q = self.chains.stats["lp"].T.ravel()
        return self.log_p - log_q[self.order[: self.n]]

    @property
    def error(self) -> float:
        """Spread of the log weights [nat]."""
        finite = self.log_weight[np.isfinite(self.log_weight)]
        return float(np.std(finite)) if finite.size > 1 else np.inf

    @functools.cached_property
    def smoothed(self) -> tuple[Float[np.ndarray, "exact"], float]:
        """Pareto-smoothed log weights, and k-hat."""
        return pareto_smooth(self.log_weight)

    def are_worth(self, min_ess: float) -> bool:
        """Whether the weighted draws are worth enough and the weights' tail can be trusted."""
        finite = self.log_weight[np.isfinite(self.log_weight)]
        even = kish_size(finite) >= EVEN * self.n
        return self.ess >= min_ess and (even or self.smoothed[1] < MAX_PARETO_K)

    @property
    def ess(self) -> float:
        """Effective number of independent draws that the weighted draws are worth."""
        return independent_size(self.smoothed[0], self.chains.stats["lp"].size, self.chains.smallest_ess)


def _resample(key: Array, weighted: _WeightedDraws, spec: ExactWeightsSpec) -> Draws:
    """Draws picked in proportion to their smoothed weights, as four pseudo-chains."""
    log_weight, pareto_k = weighted.smoothed
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
