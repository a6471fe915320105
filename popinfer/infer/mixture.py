"""A posterior with one or several maxima, as a mixture of Gaussians N(mean_k, cov_k) with weights w_k.

It says where the posterior has mass: nodes of the surrogate fill it, and chains start from it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from popinfer.infer.laplace import Laplace
from popinfer.random import sobol
from popinfer.resampling import systematic


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

    def widened(self, factor: float) -> "Mixture":
        """The same with standard deviations times a factor."""
        return Mixture(tuple(Laplace(one.mean, factor**2 * one.cov) for one in self.components), self.weights)

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

    def missed(self, u: Float[np.ndarray, "draw par"]) -> float:
        """Weight of the components that no draw is near, inside the radius that holds nearly all of each."""
        lost, reach = 0.0, np.sqrt(u.shape[1]) + 2.0
        for one, weight in zip(self.components, self.weights, strict=True):
            z = solve_triangular(one.factor, (u - one.mean).T, lower=True)
            if np.sqrt(np.sum(z**2, axis=0)).min() > reach:
                lost += float(weight)
        return lost / float(self.weights.sum())
