"""Gaussian approximations of the posterior: N(mean, cov) at one maximum, and a mixture of several.

With weights w_k for components N(mean_k, cov_k) the mixture says where the posterior has mass: nodes of the
surrogate fill it, and chains start from it. Where a profile of the density doesn't rise as the Gaussian's
does, the approximation is told to be wrong.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from popinfer.errors import NotConvergedError
from popinfer.random import sobol
from popinfer.resampling import systematic

_LEAST_VARIANCE = 1e-10  # of the largest, along a direction where rounding has left none
FLAT_FRACTION = 1 / 3  # a profile that rises less than this share of the expected 4.5 nats is flat


@dataclass(frozen=True)
class Laplace:
    """Gaussian approximation N(mean, cov) in the unconstrained vector; ``factor @ factor.T = cov``.

    Attributes
    ----------
    mean : center [par].
    cov : covariance [par, par].
    """

    mean: np.ndarray
    cov: np.ndarray

    @property
    def factor(self) -> np.ndarray:
        """Square root of the covariance: u = mean + factor @ z whitens the posterior.

        Directions in which the covariance isn't positive, as rounding leaves them, get a small width.

        Raises
        ------
        NotConvergedError
            The covariance is no number, or positive nowhere.
        """
        finite = bool(np.isfinite(self.cov).all())
        with contextlib.suppress(np.linalg.LinAlgError):
            if finite:
                return np.linalg.cholesky(self.cov)
        values, vectors = np.linalg.eigh(self.cov) if finite else (np.zeros(1), np.eye(1))
        if not values[-1] > 0:
            raise NotConvergedError(
                "the posterior's width at a maximum isn't positive: look at the priors, which may reach "
                "where the model can't be evaluated"
            )
        mended = (vectors * np.maximum(values, _LEAST_VARIANCE * values[-1])) @ vectors.T
        return np.linalg.cholesky(0.5 * (mended + mended.T))


@dataclass(frozen=True)
class Mixture:
    """Gaussian components and their weights.

    Attributes
    ----------
    components : the Gaussians.
    weights : share of the mass that each holds [component]; they add up to one.
    """

    components: tuple[Laplace, ...]
    weights: Float[np.ndarray, "component"]

    @classmethod
    def single(cls, component: Laplace) -> "Mixture":
        """A mixture of one component."""
        return cls((component,), np.ones(1))

    @property
    def main(self) -> Laplace:
        """The component of largest weight."""
        return self.components[int(np.argmax(self.weights))]

    def with_widths_times(self, factor: float) -> "Mixture":
        """The same with standard deviations times a factor."""
        components = tuple(Laplace(part.mean, factor**2 * part.cov) for part in self.components)
        return Mixture(components, self.weights)

    def fill(self, key: PRNGKeyArray, n: int) -> Float[np.ndarray, "n par"]:
        """Points that fill the mixture evenly: Sobol points, components in proportion to their weights."""
        return self.points_at(self.component_of_each(n), ndtri(sobol(key, n, len(self.components[0].mean))))

    def component_of_each(self, n: int) -> Int[np.ndarray, "n"]:
        """A component for each of n points, in proportion to the weights."""
        return systematic(self.weights, n, 0.5)

    def points_at(
        self, component: Int[np.ndarray, "n"], z: Float[np.ndarray, "n par"]
    ) -> Float[np.ndarray, "n par"]:
        """Points with these whitened coordinates, each in its component's."""
        pairs = zip(component, z, strict=True)
        return np.stack([self.components[k].mean + self.components[k].factor @ x for k, x in pairs])

    def weight_missed_by(self, u: Float[np.ndarray, "draw par"]) -> float:
        """Weight of the components that no draw is near, inside the radius that holds nearly all of each."""
        lost, reach = 0.0, np.sqrt(u.shape[1]) + 2.0
        for component, weight in zip(self.components, self.weights, strict=True):
            z = solve_triangular(component.factor, (u - component.mean).T, lower=True)
            if np.sqrt(np.sum(z**2, axis=0)).min() > reach:
                lost += float(weight)
        return lost / float(self.weights.sum())


def flat_parameters(
    log_density: Callable[[Array], Array], names: tuple[str, ...], approx: Laplace, *, n_sigma: float = 3.0
) -> list[str]:
    """Names of parameters along which the density rises much less than Laplace says at +- n_sigma.

    The path follows the conditional mean of the other parameters, the profile of the Gaussian. The density
    includes the prior: a parameter that the data say nothing about isn't flat, its shrinkage is zero.
    """
    best = float(log_density(jnp.asarray(approx.mean)))

    def rise(i: int, side: int) -> float:
        direction = approx.cov[:, i] / np.sqrt(approx.cov[i, i])
        return best - float(log_density(jnp.asarray(approx.mean + side * n_sigma * direction)))

    def is_flat(rise: float) -> bool:
        return not np.isfinite(rise) or rise < FLAT_FRACTION * 0.5 * n_sigma**2

    return sorted(name for i, name in enumerate(names) if is_flat(rise(i, -1)) or is_flat(rise(i, 1)))
