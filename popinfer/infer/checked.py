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

import arviz as az
import jax
import numpy as np
from jaxtyping import Array, Float

from popinfer.infer.counts import BatchedCounts, Evaluated, evaluate
from popinfer.infer.emulate import Emulation
from popinfer.infer.mixture import Mixture
from popinfer.infer.sample.draws import Draws, systematic_resample
from popinfer.infer.sample.surrogate_chains import Chains, ChainSpec, run_chains
from popinfer.resampling import EVEN, MAX_PARETO_K, kish_size

MAX_ERROR = 0.5  # nat; above it the weights' efficiency is below about 0.6
MAX_BEYOND = 0.01  # of the draws; a posterior that the nodes cover has hardly any beyond all of them
MAX_REFINEMENTS = 4
_FARTHER = 2.0  # spread of new nodes in units of the draws', where these press against the region's edge
_MORE = 1.25  # times as many evaluations, where the weights' tail can't be trusted yet
FIRST_LOOK = 32  # exact evaluations, a multiple of what is evaluated at once

Say = Callable[[int, int, str], None]


@dataclass(frozen=True)
class CheckedSpec:
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
    max_evaluations: int = 1500
    n_kept: int = 1000

    @property
    def n_steps(self) -> int:
        """Exact evaluations to expect at least."""
        return int(self.min_ess)

    @property
    def chains(self) -> ChainSpec:
        """Of the surrogate."""
        return ChainSpec(self.n_chains, self.n_warmup, self.n_draws, self.target_accept)


@dataclass(frozen=True)
class Sampled:
    """What sampling leaves.

    Attributes
    ----------
    draws : of the posterior; those of a surrogate are weighted and resampled into four pseudo-chains.
    chains : of the surrogate; None for samplers of the exact density.
    emulation : the surrogate as refined.
    """

    draws: Draws
    chains: Chains | None
    emulation: Emulation


def sample_checked(
    key: Array,
    counts: BatchedCounts,
    emulation: Emulation,
    start: Mixture,
    spec: CheckedSpec,
    progress: Say | None = None,
) -> Sampled:
    """Sample the surrogate, refine it where it errs, and weight its draws exactly.

    Parameters
    ----------
    key : random key.
    counts : the model on all halo batches.
    emulation : surrogate and likelihood.
    start : where chains begin.
    spec : sizes.
    progress : called with (exact evaluations, expected ones, text).
    """
    say = progress or (lambda *_: None)

    def towards(expected: int) -> Callable[[int], None]:
        return lambda done: say(done, expected, "exact weights")

    refined = 0
    while True:
        chain_key, pick_key, resample_key = jax.random.split(jax.random.fold_in(key, refined), 3)
        chains = run_chains(chain_key, emulation.density, start, spec.chains)
        exact = _Exact.ordered(pick_key, chains, emulation)
        exact = exact.more(counts, FIRST_LOOK, towards(int(spec.min_ess)))
        beyond = emulation.density.beyond(chains.u)
        fine = exact.error <= MAX_ERROR and beyond <= MAX_BEYOND
        if fine or refined == MAX_REFINEMENTS or emulation.room < FIRST_LOOK:
            break
        assert exact.seen is not None
        new = exact.seen
        if beyond > MAX_BEYOND:
            center = chains.u.mean(axis=(0, 1))
            new = evaluate(counts, center + _FARTHER * (new.points - center))
        emulation, refined = emulation.with_nodes(new), refined + 1
    limit, together = min(spec.max_evaluations, len(exact.queue)), counts.n_together
    while not exact.suffices(spec.min_ess) and len(exact.u) < limit:
        # k-hat of a few hundred weights is known to 0.15 only: more of them tell whether it is too large
        more = spec.min_ess / max(exact.ess, 1.0) if exact.ess < spec.min_ess else _MORE
        wanted = more * len(exact.u)
        step = together * int(np.ceil(np.clip(1.02 * wanted - len(exact.u), together, 100) / together))
        step = min(step, limit - len(exact.u))
        exact = exact.more(counts, step, towards(round(wanted)))
    draws = _resampled(resample_key, exact, spec)
    draws.attrs["n_refinements"], draws.attrs["beyond_nodes"] = refined, beyond
    return Sampled(draws, chains, emulation)


@dataclass(frozen=True)
class _Exact:
    """Draws of the surrogate's chains in random order, the first of them evaluated exactly.

    Attributes
    ----------
    queue : all draws. log_q : their log-density by the surrogate.
    seen : exact log-counts of those evaluated, None at first.
    log_p : their exact log-densities.
    """

    emulation: Emulation
    queue: Float[np.ndarray, "draw par"]
    log_q: Float[np.ndarray, "draw"]
    seen: Evaluated | None
    log_p: Float[np.ndarray, "exact"]

    @classmethod
    def ordered(cls, key: Array, chains: Chains, emulation: Emulation) -> "_Exact":
        """Nothing evaluated yet."""
        order = np.asarray(jax.random.permutation(key, chains.u[..., 0].size))
        queue = chains.u.reshape(-1, chains.u.shape[-1])[order]
        return cls(emulation, queue, chains.stats["lp"].ravel()[order], None, np.empty(0))

    @property
    def u(self) -> Float[np.ndarray, "exact par"]:
        """Draws that were evaluated."""
        return self.queue[: len(self.log_p)]

    def more(self, counts: BatchedCounts, n: int, say: Callable[[int], None]) -> "_Exact":
        """Evaluate the next n draws exactly."""
        done = len(self.log_p)
        new = evaluate(counts, self.queue[done : done + n], lambda more: say(done + more))
        log_p = self.emulation.likelihood.log_posteriors(new.values, new.points)
        seen = new if self.seen is None else self.seen.joined(new)
        return replace(self, seen=seen, log_p=np.concatenate([self.log_p, log_p]))

    @property
    def log_weight(self) -> Float[np.ndarray, "exact"]:
        """Log of p over q; NaN where the model gives no number."""
        return self.log_p - self.log_q[: len(self.log_p)]

    @property
    def error(self) -> float:
        """Spread of the log weights [nat]."""
        good = self.log_weight[np.isfinite(self.log_weight)]
        return float(np.std(good)) if good.size > 1 else np.inf

    @property
    def smoothed(self) -> tuple[Float[np.ndarray, "exact"], float]:
        """Pareto-smoothed weights that add up to one, and k-hat."""
        log_weight = np.where(np.isfinite(self.log_weight), self.log_weight, -np.inf)
        if not np.isfinite(log_weight.max()):
            return np.full(len(log_weight), 1 / len(log_weight)), np.inf
        log_smoothed, pareto_k = az.psislw(log_weight - log_weight.max())
        weights = np.exp(np.asarray(log_smoothed))
        return weights / weights.sum(), float(pareto_k)

    def suffices(self, min_ess: float) -> bool:
        """Whether the weights are worth enough draws and their tail can be trusted."""
        good = self.log_weight[np.isfinite(self.log_weight)]
        even = kish_size(good) >= EVEN * len(self.log_weight)
        return self.ess >= min_ess and (even or self.smoothed[1] < MAX_PARETO_K)

    @property
    def ess(self) -> float:
        """Effective number of independent draws that the weights are worth."""
        return float(1 / np.sum(self.smoothed[0] ** 2))


def _resampled(key: Array, exact: _Exact, spec: CheckedSpec) -> Draws:
    """Draws picked in proportion to their smoothed weights, as four pseudo-chains."""
    weights, pareto_k = exact.smoothed
    picked = systematic_resample(key, weights, 4 * (spec.n_kept // 4))
    attrs = {
        "sampler": "nuts",
        "pareto_k": pareto_k,
        "importance_ess": exact.ess,
        "surrogate_error": exact.error,
        "left_out_error": exact.emulation.left_out_error,
        "n_nodes": len(exact.emulation.nodes.points),
        "density_evaluations": len(exact.u),
        "undefined_fraction": float(np.mean(~np.isfinite(exact.log_p))),
        "log_weight": exact.log_weight,
    }
    stats = {"lp": exact.log_p[picked].reshape(4, -1)}
    return Draws(exact.u[picked].reshape(4, -1, exact.u.shape[1]), stats, attrs)
