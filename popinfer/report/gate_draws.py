"""Are draws what they claim to be? Checks that believe numbers only, no word that was stored beside them.

The group ``unconstrained`` holds the vectors u of draws, chains, proposals, nodes and maxima. From it and the
weights the gate computes again what the sampler has said:

* every draw is a number, and enough of them differ;
* no chain is a copy of another, exact, in another order or with noise added: the distributions of two
  independent chains differ by sampling noise, those of copies by less;
* draws and vectors are the same: with F the distribution of the prior's draws, F(x) = Phi(u), u being
  standard normal in the prior, to within what so many draws of the prior tell;
* a surrogate's draws are its proposals, each as often as its exact weight asks for (systematic resampling
  picks an item floor(n w) or ceil(n w) times), and its proposals are draws of its chains;
* hardly any draw of a surrogate's chains lies beyond all of its nodes, in the nodes' own standard deviations;
* every maximum that the search found has a draw near it, and no draw is far above the best fit;
* the halo sample's noise is but a part of the variance.
"""

import numpy as np
import xarray as xr
from scipy.special import ndtr
from scipy.stats import ks_2samp

from popinfer.errors import percent
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.report.checks import MIN_ESS, Check, list_names, not_stored
from popinfer.resampling import pareto_smooth

MIN_KEPT = 100  # different draws that quantiles are taken from
MAX_SHARED = 0.01  # of a chain's draws may be another's
ALIKE = 0.1  # (n / 2)^(1/2) times the distance of two chains' distributions; independent ones are farther
TOGETHER = 0.9  # correlation of two chains, draw by draw, that copies with noise have
MAX_BEYOND_NODES = 0.01  # of the draws
MAX_MISSED = 0.05  # of the posterior's mass
MAX_ABOVE_FIT = 2.0  # nat; a maximum is known to less
# of all variance along one direction. Of simulated surveys (results/README.md) posteriors with a tenth hold
# their truths, and those with a third and more are off by more than they say: noise of few halos isn't normal
MAX_HALO_NOISE = 0.3
FARTHEST = 20.0  # standard deviations of the prior: no posterior is there
_MIN_PRIOR = 500  # draws of the prior
_DISTANCE = 3.0  # times n^(-1/2): further than n draws of the prior are ever off (3e-8)


def check_distinct(u: np.ndarray, least: float, title: str = "Distinct draws") -> Check:
    """Different draws among vectors (chain, draw, par)."""
    n = len(np.unique(u.reshape(-1, u.shape[-1]), axis=0))
    return Check(
        title,
        f"{n:,}",
        f">= {least:.0f}",
        n >= least,
        f"Only {n:,} of the draws differ from each other, not {least:.0f}: the rest are repetitions.",
    )


def check_separate(u: np.ndarray) -> Check:
    """Chains (chain, draw, par) that are copies of others."""
    chains = [np.unique(chain, axis=0) for chain in u]
    copies = set()
    for i in range(len(u)):
        for j in range(i):
            together = len(np.unique(np.concatenate([chains[i], chains[j]]), axis=0))
            shared = len(chains[i]) + len(chains[j]) - together
            if shared > MAX_SHARED * u.shape[1] or _alike(u[i], u[j]):
                copies.add((j, i))
    which = ", ".join(f"{j} and {i}" for j, i in sorted(copies))
    return Check(
        "Separate chains",
        f"{len(copies)} copies",
        "0",
        not copies,
        f"Chains {which} are copies of each other: they say no more than one of them.",
    )


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the distributions of all parameters agree better than two independent chains could."""
    if len(one) < MIN_KEPT or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return False
    # of draws of equal number the distance is a multiple of one over it
    limit, pairs = max(ALIKE / np.sqrt(len(one) / 2), 2.5 / len(one)), list(zip(one.T, other.T, strict=True))
    if any(np.ptp(a) == 0 or np.ptp(b) == 0 for a, b in pairs):
        return False  # frozen, which another check sees
    same = all(float(ks_2samp(a, b, method="asymp").statistic) < limit for a, b in pairs)
    return same or all(abs(np.corrcoef(a, b)[0, 1]) > TOGETHER for a, b in pairs)


def check_coordinates(
    draws: dict[str, np.ndarray], u: np.ndarray, prior: dict[str, np.ndarray], title: str = "Coordinates"
) -> Check:
    """Physical values against vectors, by the prior's draws.

    Parameters
    ----------
    draws : dict[str, np.ndarray]
        By parameter, (chain, draw).
    u : np.ndarray
        The same as vectors, (chain, draw, par).
    prior : dict[str, np.ndarray]
        Draws of the prior by parameter.
    title : str
        Of the check.
    """
    bad = [
        name
        for i, (name, values) in enumerate(draws.items())
        if not (name in prior and _agree(values.ravel(), u[..., i].ravel(), np.sort(prior[name].ravel())))
    ]
    return Check(
        title,
        f"{len(bad)} off" if bad else "agree",
        "agree",
        not bad,
        f"Values of {list_names(bad)} aren't where their coordinates and the prior say: they were changed.",
    )


def _agree(values: np.ndarray, u: np.ndarray, prior: np.ndarray) -> bool:
    near = np.isfinite(values).all() and np.all(np.abs(u) < FARTHEST)
    if values.shape != u.shape or len(prior) < _MIN_PRIOR or not near:
        return False
    step = np.diff(values[np.argsort(u, kind="stable")])
    below = np.searchsorted(prior, values, side="right") / len(prior)
    grows = np.all(step >= -1e-9 * max(np.ptp(prior), 1e-300))
    return bool(grows and np.all(np.abs(below - ndtr(u)) <= _DISTANCE / np.sqrt(len(prior))))


def surrogate_checks(unconstrained: xr.Dataset, log_weight: np.ndarray) -> list[Check]:
    """Draws against proposals and weights, proposals against chains, and chains against nodes."""
    missing = [name for name in ("chains", "proposals", "nodes") if name not in unconstrained]
    if missing:
        return [not_stored("draws of a surrogate", name) for name in missing]
    posterior, chains, proposals = (
        vectors(unconstrained, name) for name in ("posterior", "chains", "proposals")
    )
    return [
        _check_weighted(posterior, proposals, log_weight),
        _check_from(proposals, chains),
        _check_nodes(chains, vectors(unconstrained, "nodes")),
    ]


def vectors(unconstrained: xr.Dataset, name: str) -> np.ndarray:
    """Vectors of one kind, the last axis that of parameters."""
    return np.asarray(unconstrained[name].values, dtype=float)


def _check_weighted(posterior: np.ndarray, proposals: np.ndarray, log_weight: np.ndarray) -> Check:
    """Is every draw a proposal, as often as its weight asks for?"""
    wrong = posterior[..., 0].size
    if len(log_weight) == len(proposals) and np.isfinite(log_weight).any():
        draws = posterior.reshape(-1, posterior.shape[-1])
        _, which = np.unique(np.concatenate([proposals, draws]), axis=0, return_inverse=True)
        of_proposal, of_draw = np.split(which.ravel(), [len(proposals)])
        n = which.max() + 1
        weight = np.bincount(of_proposal, np.exp(pareto_smooth(log_weight)[0]), n)
        times, picked = np.bincount(of_proposal, minlength=n), np.bincount(of_draw, minlength=n)
        expected = len(draws) * weight / weight.sum()
        off = np.abs(picked - expected) > times + 1e-6 * len(draws)
        wrong = int(np.maximum(picked[off], 1).sum())
    return Check(
        "Weighted draws",
        f"{wrong} others",
        "0",
        wrong == 0,
        f"{wrong} draws aren't what the exact weights make of the proposals: weights and draws are not of "
        "one run.",
    )


def _check_from(proposals: np.ndarray, chains: np.ndarray) -> Check:
    """Are all proposals draws of the chains?"""
    flat = np.unique(chains.reshape(-1, chains.shape[-1]), axis=0)
    strange = len(np.unique(np.concatenate([flat, proposals]), axis=0)) - len(flat)
    return Check(
        "Proposals",
        f"{strange} others",
        "0",
        strange == 0,
        f"{strange} of the exactly evaluated draws are none of the surrogate's chains.",
    )


def _check_nodes(chains: np.ndarray, nodes: np.ndarray) -> Check:
    """Chains that press against the edge of the nodes' region."""
    center, cov = nodes.mean(axis=0), np.atleast_2d(np.cov(nodes, rowvar=False))
    beyond = 1.0
    if np.isfinite(cov).all() and np.linalg.matrix_rank(cov) == len(cov):
        inverse = np.linalg.inv(np.linalg.cholesky(cov))
        reach = np.linalg.norm((nodes - center) @ inverse.T, axis=1).max()
        away = np.linalg.norm((chains - center) @ inverse.T, axis=-1)
        beyond = float(np.mean(~(away <= reach * (1 + 1e-9))))
    return Check(
        "Region of the nodes",
        f"{percent(beyond)} of the draws outside",
        f"<= {percent(MAX_BEYOND_NODES)}",
        beyond <= MAX_BEYOND_NODES,
        f"{percent(beyond)} of the chains' draws lie beyond the surrogate's nodes: part of the posterior "
        "may be missing.",
    )


def region_checks(stats: xr.Dataset, unconstrained: xr.Dataset, tried: np.ndarray) -> list[Check]:
    """Checks of the fit that draws were made around.

    Whether the search settled, halos are enough, no draw is far above the best fit, and each maximum that was
    found is near some vector that was tried.
    """
    settled = stats.attrs.get("region_settled")
    first = Check(
        "Settled fit",
        "settled" if settled == 1 else "still moving",
        "settled",
        bool(settled == 1),
        "The fit didn't settle: the likelihood's covariance was taken where the posterior isn't.",
    )
    names = ("maximum_mean", "maximum_cov", "maximum_weight")
    missing = [name for name in names if name not in unconstrained]
    second = not_stored("Maxima visited", missing[0]) if missing else _check_maxima(unconstrained, tried)
    settled_fit = first if settled is not None else not_stored("Settled fit", "region_settled")
    return [settled_fit, _check_halos(stats), *_check_best_fit(stats), second]


def _number(value: object) -> float:
    """An attribute; NaN, which passes no check, where it is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan


def _check_halos(stats: xr.Dataset) -> Check:
    """Whether the data, not the halo sample, decide along every direction that the data measure."""
    if "halo_share" not in stats.attrs:
        return not_stored("Halo noise", "halo_share")
    share = _number(stats.attrs["halo_share"])
    return Check(
        "Halo noise",
        f"{percent(share)} of the variance",
        f"<= {percent(MAX_HALO_NOISE)}",
        share <= MAX_HALO_NOISE,
        f"Noise of the halo sample makes {percent(share)} of all variance along a direction that the data "
        f"measure, more than {percent(MAX_HALO_NOISE)}: another sample would give another posterior.",
    )


def _check_best_fit(stats: xr.Dataset) -> list[Check]:
    """Whether a draw is far above the best fit; a sampler of the user's may not store densities."""
    if "lp" not in stats:
        return []
    if "best_fit_lp" not in stats.attrs:
        return [not_stored("Best fit", "best_fit_lp")]
    lp = np.asarray(stats["lp"].values, dtype=float)
    above = float(np.max(lp[np.isfinite(lp)], initial=-np.inf)) - _number(stats.attrs["best_fit_lp"])
    return [
        Check(
            "Best fit",
            f"{max(above, 0.0):.1f} nat below a draw",
            f"<= {MAX_ABOVE_FIT:g} nat",
            above <= MAX_ABOVE_FIT,
            f"A draw's log-density is {above:.1f} above the best fit's, more than {MAX_ABOVE_FIT:g}: "
            "the search missed the maximum, and goodness of fit is judged at another point.",
        )
    ]


def _check_maxima(unconstrained: xr.Dataset, tried: np.ndarray) -> Check:
    means, covs, weights = (vectors(unconstrained, f"maximum_{x}") for x in ("mean", "cov", "weight"))
    missed = 1.0
    if all(np.isfinite(x).all() for x in (means, covs, weights, tried)) and weights.sum() > 0:
        mixture = Mixture(tuple(map(Laplace, means, covs)), weights)
        missed = mixture.weight_missed_by(tried.reshape(-1, tried.shape[-1]))
    return Check(
        "Maxima visited",
        f"{100 * missed:.0f} % of the mass missed",
        f"<= {100 * MAX_MISSED:.0f} %",
        missed <= MAX_MISSED,
        f"No draw is near maxima that hold about {100 * missed:.0f} % of the posterior's mass.",
    )


def least_distinct(*, weighted: bool) -> float:
    """How many draws have to differ: fewer than an effective size of them can't be worth as many."""
    return float(MIN_KEPT) if weighted else MIN_ESS
