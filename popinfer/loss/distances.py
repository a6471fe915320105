"""Three distances between weighted points, as losses that an optimiser can follow from far away.

With x_i the model's points and shares w_i, y_j the observed galaxies and their shares v_j, in whitened
coordinates of d features:

`EnergyDistance` (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249, eq. 2.4),

    D = 2 sum w_i v_j rho(x_i - y_j) - sum w_i w_k rho(x_i - x_k) - sum v_j v_l rho(y_j - y_l),

with rho(r) = (|r|^2 + e^2)^(1/2), e = 0.05, in place of |r|: it has a gradient at zero and is, like |r|,
conditionally negative definite, so that D is zero for equal distributions only. Far away D grows like |r|.

`SlicedWasserstein` (Bonneel et al. 2015, J. Math. Imaging Vis. 51, 22, eq. 10): the mean over directions of
the squared distance between quantiles at equal cumulative weight,

    D = (1/n) sum_t int_0^1 (X_t(p) - Y_t(p))^2 dp,

with X_t(p) and Y_t(p) the quantile functions of the projections on direction t. Far away D grows like |r|^2.

`CharacteristicDistance` (Ansari, Scarlett & Soh 2020, CVPR, eq. 6; a random-feature maximum mean discrepancy,
Rahimi & Recht 2008): the mean squared difference of empirical characteristic functions,

    D = (1/n) sum_t |sum_i w_i e^(i t.x_i) - sum_j v_j e^(i t.y_j)|^2,

at frequencies t drawn once from a multivariate Student distribution of scale s. With one degree of freedom
its expectation is the discrepancy of the kernel e^(-s |r|), with infinitely many that of e^(-s^2 |r|^2 / 2):
the former still pulls at points some 1/s away, and few frequencies see no further. For s to zero it is the
energy distance.

Sums of pairs run over equal points too (V-statistics): D is never negative and is zero for equal samples, but
at the truth its mean is of the order of 1/N + sum w_i^2, and it favours models whose points share the weight.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.loss.base import Loss, Observed, in_tiles, in_units
from popinfer.records import Arr

SMOOTHING = 0.05  # standard deviations: e of the module's equations
FLOOR = 0.03  # mag


class EnergyDistance(Loss):
    """Energy distance; see the module's equations.

    Attributes
    ----------
    observed, unit : see `Loss`. own : the sum over pairs of observed galaxies.
    """

    observed: Observed
    unit: Float[Arr, "slice"]
    own: Float[Arr, "slice"]

    @classmethod
    def build(cls, features: list[np.ndarray], floor: float = FLOOR) -> "EnergyDistance":
        """From observed features; see `Observed.build` for arguments and errors."""
        observed = Observed.build(features, floor)
        ones = np.ones(len(features))
        points, weight = jnp.asarray(observed.points), jnp.asarray(observed.weight)
        own = np.asarray(eqx.filter_jit(_mean_distances)(points, weight, points, weight))
        return in_units(cls(observed, ones, own))

    def distances(
        self, y: Float[Array, "slice point feature"], share: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """D of each slice."""
        points, weight = (jnp.asarray(a, y.dtype) for a in (self.observed.points, self.observed.weight))
        across = _mean_distances(y, share, points, weight)
        return 2 * across - _mean_distances(y, share, y, share) - jnp.asarray(self.own)


def _mean_distances(
    x: Float[Array, "slice point feature"],
    w: Float[Array, "slice point"],
    y: Float[Array, "slice other feature"],
    v: Float[Array, "slice other"],
) -> Float[Array, "slice"]:
    """Sum over pairs of w_i v_j rho(x_i - y_j), in float64 where that is enabled."""

    def one(slice_: tuple[Array, ...]) -> Array:
        x, w, y, v = slice_
        squares = jnp.sum(x**2, axis=1)

        def tile(some: Array) -> Array:
            distance2 = squares + jnp.sum(some**2, axis=1)[:, None] - 2 * some @ x.T
            return jnp.sqrt(jnp.maximum(distance2, 0.0) + SMOOTHING**2) @ w

        wide = jnp.result_type(float)
        return in_tiles(tile, y, len(x)).astype(wide) @ v.astype(wide)

    return jax.lax.map(one, (x, w, y, v))  # not vmap: tiles of one slice at a time


class SlicedWasserstein(Loss):
    """Sliced Wasserstein distance; see the module's equations.

    Attributes
    ----------
    observed, unit : see `Loss`. directions : unit vectors.
    projected : the galaxies' projections, ascending. levels : their cumulated weights.
    """

    observed: Observed
    unit: Float[Arr, "slice"]
    directions: Float[Arr, "direction feature"]
    projected: Float[Arr, "slice direction gal"]
    levels: Float[Arr, "slice direction gal"]

    @classmethod
    def build(
        cls, features: list[np.ndarray], floor: float = FLOOR, *, n_directions: int = 64, seed: int = 0
    ) -> "SlicedWasserstein":
        """From observed features; see `Observed.build` for arguments and errors.

        Directions are the columns of random rotations, so that all are looked at alike.
        """
        if n_directions < 1:
            raise InputError(f"n_directions {n_directions}: has to be 1 or more")
        observed = Observed.build(features, floor)
        n_feature, rng = observed.mean.shape[1], np.random.default_rng(seed)
        rotations = [
            np.linalg.qr(rng.standard_normal((n_feature, n_feature)))[0]
            for _ in range(-(-n_directions // n_feature))
        ]
        directions = np.concatenate([one.T for one in rotations])[:n_directions]
        projected = np.einsum("sgf,df->sdg", np.asarray(observed.points), directions)
        order = np.argsort(projected, axis=-1)
        levels = np.cumsum(np.take_along_axis(np.asarray(observed.weight)[:, None], order, -1), axis=-1)
        projected = np.take_along_axis(projected, order, axis=-1)
        return in_units(cls(observed, np.ones(len(features)), directions, projected, levels))

    def distances(
        self, y: Float[Array, "slice point feature"], share: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """D of each slice."""
        projected, levels, directions = (
            jnp.asarray(a, y.dtype) for a in (self.projected, self.levels, self.directions)
        )
        along = jnp.einsum("spf,df->sdp", y, directions)
        by_direction = jax.vmap(_quantile_distance, in_axes=(0, None, 0, 0))
        return jnp.mean(jax.vmap(by_direction)(along, share, projected, levels), axis=1)


def _quantile_distance(
    x: Float[Array, "point"], w: Float[Array, "point"], y: Float[Array, "gal"], levels: Float[Array, "gal"]
) -> Float[Array, ""]:
    """Integral over p of the squared difference of two quantile functions, y sorted already.

    Both are constant between neighbours among all cumulated weights; in each such interval, as many points of
    a sample are passed as levels of its own lie below.
    """
    order = jnp.argsort(x)
    x, own = x[order], jnp.cumsum(w[order])
    both = jnp.concatenate([own, levels])
    sequence = jnp.argsort(both)
    width = jnp.diff(both[sequence], prepend=0.0)
    from_x = sequence < len(x)
    passed = jnp.cumsum(from_x) - from_x
    i = jnp.minimum(passed, len(x) - 1)
    j = jnp.minimum(jnp.arange(len(both)) - passed, len(y) - 1)
    return jnp.sum(width * (x[i] - y[j]) ** 2).astype(jnp.result_type(float))


class CharacteristicDistance(Loss):
    """Distance of characteristic functions; see the module's equations.

    Small widths lead back from far away. With few degrees of freedom a few high frequencies make the loss
    rough, and an optimiser may stop on the way.

    Attributes
    ----------
    observed, unit : see `Loss`.
    waves : frequencies, and a phase: one row with 0 and one with pi/2 for each frequency.
    own : the observed galaxies' mean of cos(t.y - phase).
    """

    observed: Observed
    unit: Float[Arr, "slice"]
    waves: Float[Arr, "wave column"]
    own: Float[Arr, "slice wave"]

    @classmethod
    def build(
        cls,
        features: list[np.ndarray],
        floor: float = FLOOR,
        *,
        n_frequencies: int = 256,
        width: float = 0.3,
        dof: float = np.inf,
        seed: int = 0,
    ) -> "CharacteristicDistance":
        """From observed features; see `Observed.build` for the first arguments and errors.

        Parameters
        ----------
        n_frequencies : how many. width : s, in inverse standard deviations of the observed galaxies.
        dof : degrees of freedom; infinity for Gaussian frequencies.
        seed : of their draw.
        """
        if n_frequencies < 1 or not width > 0 or not dof > 0:
            raise InputError(
                f"n_frequencies {n_frequencies} (>= 1), width {width} (> 0), dof {dof} (> 0): out of range"
            )
        observed = Observed.build(features, floor)
        rng = np.random.default_rng(seed)
        frequency = width * rng.standard_normal((n_frequencies, observed.mean.shape[1]))
        if np.isfinite(dof):
            frequency /= np.sqrt(rng.chisquare(dof, (n_frequencies, 1)) / dof)
        phase = np.repeat([0.0, np.pi / 2], n_frequencies)[:, None]
        waves = np.concatenate([np.tile(frequency, (2, 1)), phase], axis=1)
        points, weight = jnp.asarray(observed.points), jnp.asarray(observed.weight)
        own = np.asarray(eqx.filter_jit(_mean_waves)(points, weight, jnp.asarray(waves)))
        return in_units(cls(observed, np.ones(len(features)), waves, own))

    def distances(
        self, y: Float[Array, "slice point feature"], share: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """D of each slice."""
        means = _mean_waves(y, share, jnp.asarray(self.waves, y.dtype))
        return 2 * jnp.mean((means - jnp.asarray(self.own)) ** 2, axis=1)  # of cosine and sine together


def _mean_waves(
    x: Float[Array, "slice point feature"],
    w: Float[Array, "slice point"],
    waves: Float[Array, "wave column"],
) -> Float[Array, "slice wave"]:
    """Weighted mean of cos(t.x - phase) for every wave, in float64 where that is enabled."""

    def one(slice_: tuple[Array, Array]) -> Array:
        x, w = slice_

        def tile(some: Array) -> Array:
            return jnp.cos(some[:, :-1] @ x.T - some[:, -1:]) @ w

        return in_tiles(tile, waves, len(x)).astype(jnp.result_type(float))

    return jax.lax.map(one, (x, w))
