"""A posterior with one or several modes, as a mixture of Gaussians N(mean_k, cov_k) with weights w_k.

It says where the posterior has mass: samplers start from it, halo samples are compared there. As a proposal
of importance sampling its components become Student-t distributions, whose tails don't end, and it adapts to
weighted draws by population Monte Carlo (Cappe et al. 2008, Statistics and Computing 18, 447): with the
probability rho_k(u) that u came from component k and normalised importance weights W,

    w_k = sum W rho_k,    mean_k = sum W rho_k u / w_k,
    cov_k = sum W rho_k (u - mean_k)(u - mean_k)^T / w_k.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp, ndtri

from popinfer.infer.laplace import Laplace
from popinfer.infer.systematic import systematic
from popinfer.random import sobol

DOF = 5.0  # of the Student-t proposals
_MIN_WEIGHT = 0.02  # of a component: it goes on proposing where it found nothing yet
_DRAWS_PER_PARAMETER = 10


@dataclass(frozen=True)
class Mixture:
    """Gaussian components and their weights, which add up to one."""

    components: tuple[Laplace, ...]
    weights: Float[np.ndarray, "component"]

    @classmethod
    def single(cls, one: Laplace) -> "Mixture":
        """A mixture of one component."""
        return cls((one,), np.ones(1))

    @property
    def main(self) -> Laplace:
        """The component of largest weight."""
        return self.components[int(np.argmax(self.weights))]

    def with_main(self, one: Laplace) -> "Mixture":
        """The same with another component in place of the one of largest weight."""
        main = int(np.argmax(self.weights))
        return Mixture((*self.components[:main], one, *self.components[main + 1 :]), self.weights)

    def widened(self, factor: float) -> "Mixture":
        """The same with standard deviations times a factor."""
        return Mixture(tuple(Laplace(one.mean, factor**2 * one.cov) for one in self.components), self.weights)

    def within(self) -> Laplace:
        """Mean of the whole, and the components' own covariance in the mean: what a mode's size is."""
        means = np.stack([one.mean for one in self.components])
        covs = np.stack([one.cov for one in self.components])
        return Laplace(self.weights @ means, np.einsum("k,kij->ij", self.weights, covs))

    def spread(self, key: PRNGKeyArray, n: int) -> Float[np.ndarray, "n par"]:
        """Points that fill the mixture evenly: Sobol points, components in proportion to their weights."""
        return self.placed(self.shared_out(n), ndtri(sobol(key, n, len(self.components[0].mean))))

    def shared_out(self, n: int) -> Int[np.ndarray, "n"]:
        """A component for each of n points, in proportion to the weights."""
        return systematic(self.weights, n, 0.5)

    def placed(
        self, which: Int[np.ndarray, "n"], z: Float[np.ndarray, "n par"]
    ) -> Float[np.ndarray, "n par"]:
        """Points with these whitened coordinates, each in its component's."""
        pairs = zip(which, z, strict=True)
        return np.stack([self.components[k].mean + self.components[k].factor @ x for k, x in pairs])

    def draw(self, rng: np.random.Generator, n: int, scale: float = 1.0) -> Float[np.ndarray, "n par"]:
        """Independent draws of the Student-t mixture, each component `scale` times as wide."""
        which = rng.choice(len(self.components), n, p=self.weights / self.weights.sum())
        z = rng.standard_normal((n, len(self.components[0].mean)))
        return self.placed(which, z * scale * np.sqrt(DOF / rng.chisquare(DOF, (n, 1))))

    def log_parts(
        self, u: Float[np.ndarray, "draw par"], scale: float = 1.0
    ) -> Float[np.ndarray, "component draw"]:
        """Log of weight times Student-t density of each component."""
        parts = []
        for one, weight in zip(self.components, self.weights, strict=True):
            z = solve_triangular(one.factor, (u - one.mean).T, lower=True).T / scale
            log_volume = np.log(scale * np.diag(one.factor)).sum()
            parts.append(_log_student_t(z) - log_volume + np.log(weight / self.weights.sum()))
        return np.stack(parts)

    def log_density(self, u: Float[np.ndarray, "draw par"], scale: float = 1.0) -> Float[np.ndarray, "draw"]:
        """Log density of the Student-t mixture."""
        return np.asarray(logsumexp(self.log_parts(u, scale), axis=0))

    def missed(self, u: Float[np.ndarray, "draw par"]) -> float:
        """Weight of the components that no draw is near, inside the radius that holds nearly all of each."""
        lost, reach = 0.0, np.sqrt(u.shape[1]) + 2.0
        for one, weight in zip(self.components, self.weights, strict=True):
            z = solve_triangular(one.factor, (u - one.mean).T, lower=True)
            if np.sqrt(np.sum(z**2, axis=0)).min() > reach:
                lost += float(weight)
        return lost / float(self.weights.sum())

    def adapted(self, u: Float[np.ndarray, "draw par"], weights: Float[np.ndarray, "draw"]) -> "Mixture":
        """The mixture moved towards weighted draws; see the module's equations.

        While a few draws carry all the weight, weights are flattened until `_DRAWS_PER_PARAMETER` draws a
        parameter count, and a component's own covariance is kept in with the weight of one draw a parameter:
        a proposal that is too wide costs less than one that is too narrow.
        """
        n_par = u.shape[1]
        weights = flattened(weights, min(_DRAWS_PER_PARAMETER * n_par, 0.5 * len(u)))
        log_parts = self.log_parts(u)
        shares = np.exp(log_parts - logsumexp(log_parts, axis=0)) * weights
        found = [_moved(one, u, share) for one, share in zip(self.components, shares, strict=True)]
        total = np.maximum(shares.sum(axis=1), _MIN_WEIGHT)
        return Mixture(tuple(found), total / total.sum())


def flattened(weights: Float[np.ndarray, "draw"], enough: float) -> Float[np.ndarray, "draw"]:
    """Weights raised to a power below one, until (sum w)^2 / sum w^2 is enough; they add up to one."""
    log_weights = np.log(np.maximum(weights, np.finfo(float).tiny))
    while 1 / np.sum(weights**2) < enough:
        log_weights = 0.8 * log_weights
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
    return weights


def _moved(one: Laplace, u: np.ndarray, share: np.ndarray) -> Laplace:
    """A component's weighted mean and covariance; itself where hardly any draw is its own."""
    (n_draw, n_par), total = u.shape, share.sum()
    effective = min(total**2 / max(np.sum(share**2), np.finfo(float).tiny), total * n_draw)
    if effective < n_par:
        return one
    mean = share @ u / total
    cov = ((u - mean) * share[:, None]).T @ (u - mean) / total
    return Laplace(mean, (effective * cov + n_par * one.cov) / (effective + n_par))


def _log_student_t(z: np.ndarray) -> np.ndarray:
    """Log density of a multivariate Student-t with unit scale."""
    n = z.shape[1]
    constant = gammaln(0.5 * (DOF + n)) - gammaln(0.5 * DOF) - 0.5 * n * np.log(DOF * np.pi)
    return constant - 0.5 * (DOF + n) * np.log1p(np.sum(z**2, axis=1) / DOF)
