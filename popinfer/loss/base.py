"""What losses share: observed features in whitened coordinates, units, and tiles.

Each redshift slice's features are whitened with the covariance of its observed galaxies, to which a floor is
added in quadrature. A loss is the mean over slices, with their shares of the galaxies, of a distance between
the weighted model points and the observed ones,

    loss = sum_s (N_s / N) D_s / unit_s,    unit_s = mean_a D_s(observed + a e_a, observed) / a^2,

e_a the unit vectors of whitened coordinates and a = 0.3. In these units a small shift of all galaxies by
delta standard deviations costs delta^2 on average over directions, whatever the distance.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import Arr

TILE_SIZE = 2**23  # values of a pair of points held at once (32 MB in single precision)
MIN_GALAXIES = 20  # of a slice, for a covariance
SHIFT = 0.3  # standard deviations: a of the module's equations


def whitening_matrix(
    x: Float[np.ndarray, "gal feature"], floor: float
) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature feature"]]:
    """Mean and matrix W of galaxies: (x - mean) @ W has unit covariance, but for a floor [mag]."""
    cov = np.cov(x.T).reshape(x.shape[1], -1) + floor**2 * np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(cov)
    return x.mean(axis=0), vectors / np.sqrt(values)


def in_tiles(
    function: Callable[[Array], Array], rows: Float[Array, "row column"], n_points: int
) -> Float[Array, "row"]:
    """Apply a function of rows, one number a row, to few of them at a time.

    Its intermediate arrays, a number for each row and point, are forgotten, also by the gradient.
    """
    n, size = len(rows), max(1, TILE_SIZE // n_points)
    if n <= size:
        return function(rows)
    padded = jnp.concatenate([rows, jnp.repeat(rows[-1:], -n % size, axis=0)])
    tiles = padded.reshape(-1, size, rows.shape[1])
    return jax.lax.map(jax.checkpoint(function), tiles).ravel()[:n]


class Observed(eqx.Module):
    """Observed galaxies of every slice in whitened coordinates, padded to one number.

    Attributes
    ----------
    mean, whiten : whitened coordinates are (x - mean) @ whiten.
    points : of the galaxies; zero where padded.
    weight : one over the number of galaxies, zero where padded.
    fraction : of each slice in the number of galaxies.
    """

    mean: Float[Arr, "slice feature"]
    whiten: Float[Arr, "slice feature feature"]
    points: Float[Arr, "slice gal feature"]
    weight: Float[Arr, "slice gal"]
    fraction: Float[Arr, "slice"]

    @classmethod
    def build(cls, features: list[np.ndarray], floor: float) -> "Observed":
        """Whiten the galaxies.

        Parameters
        ----------
        features : list[np.ndarray]
            One array [galaxy, feature] a slice, without missing values.
        floor : float
            Added in quadrature to every feature's scatter before whitening [mag].

        Raises
        ------
        InputError
            When a slice has too few galaxies, or values are missing.
        """
        for index, x in enumerate(features):
            if len(x) < MIN_GALAXIES:
                raise InputError(
                    f"redshift slice {index} has {len(x)} galaxies with all features: "
                    f"a distance between galaxies needs at least {MIN_GALAXIES}"
                )
            if not np.isfinite(x).all():
                raise InputError(f"redshift slice {index}: a distance needs galaxies that have all features")
        number = np.array([len(x) for x in features])
        mean, whiten = (
            np.stack(a) for a in zip(*(whitening_matrix(x, floor) for x in features), strict=True)
        )
        points = np.zeros((len(features), number.max(), mean.shape[1]))
        for i, x in enumerate(features):
            points[i, : len(x)] = (x - mean[i]) @ whiten[i]
        weight = (np.arange(number.max()) < number[:, None]) / number[:, None]
        return cls(mean, whiten, points, weight, number / number.sum())

    def whiten_features(self, x: Float[Array, "slice point feature"]) -> Float[Array, "slice point feature"]:
        """Model features in whitened coordinates."""
        mean, whiten = (jnp.asarray(a, x.dtype) for a in (self.mean, self.whiten))
        return jnp.einsum("spf,sfg->spg", x - mean[:, None, :], whiten)


class Loss(eqx.Module):
    """How far weighted model galaxies are from the observed ones; see the module's equations.

    Attributes
    ----------
    observed : the galaxies.
    unit : unit_s of each slice.
    """

    observed: eqx.AbstractVar[Observed]
    unit: eqx.AbstractVar[Float[Arr, "slice"]]

    @classmethod
    @abstractmethod
    def build(cls, features: list[np.ndarray], floor: float) -> "Loss":
        """The loss to observed features.

        Parameters
        ----------
        features : list[np.ndarray]
            One array [galaxy, feature] a slice, without missing values; see `Observed.build`.
        floor : float
            Added in quadrature to every feature's scatter before whitening [mag].
        """

    @abstractmethod
    def distances(
        self, y: Float[Array, "slice point feature"], fraction: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """D_s of points in whitened coordinates, whose fractions add up to one in each slice."""

    def __call__(
        self, x: Float[Array, "slice point feature"], weight: Float[Array, "slice point"]
    ) -> Float[Array, ""]:
        """The loss, not negative but for rounding; zero where model and observed galaxies are the same.

        Parameters
        ----------
        x : Float[Array, "slice point feature"]
            Features of the model galaxies.
        weight : Float[Array, "slice point"]
            Their weights; only ratios within a slice matter.
        """
        total = jnp.sum(weight, axis=1, keepdims=True) + jnp.finfo(weight.dtype).tiny
        distances = self.distances(self.observed.whiten_features(x), weight / total)
        return jnp.sum(jnp.asarray(self.observed.fraction) * distances / jnp.asarray(self.unit))


LossT = TypeVar("LossT", bound=Loss)


def in_units(loss: LossT) -> LossT:
    """The loss in the module's units, from one with any."""
    points, weight = (jnp.asarray(a) for a in (loss.observed.points, loss.observed.weight))
    distances = eqx.filter_jit(type(loss).distances)
    shifted = [distances(loss, points + SHIFT * axis, weight) for axis in jnp.eye(points.shape[-1])]
    unit = np.mean([np.asarray(values) for values in shifted], axis=0) / SHIFT**2
    return eqx.tree_at(lambda loss: loss.unit, loss, unit)
