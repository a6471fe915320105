"""The energy distance between weighted points: a loss that an optimiser can follow from far away.

It is the worked example of a loss of one's own: a final class of `popinfer.loss.base.Loss` that says how far
two weighted samples are from each other. With x_i the model's points and shares w_i, y_j the observed
galaxies and their shares v_j, in whitened coordinates, it is (Szekely & Rizzo 2013, J. Stat. Plan. Inference
143, 1249, eq. 2.4)

    D = 2 sum w_i v_j rho(x_i - y_j) - sum w_i w_k rho(x_i - x_k) - sum v_j v_l rho(y_j - y_l),

with rho(r) = (|r|^2 + e^2)^(1/2), e = 0.05, in place of |r|: it has a gradient at zero and is, like |r|,
conditionally negative definite, so that D is zero for equal distributions only. Far away D grows like |r|.

Sums of pairs run over equal points too (V-statistics): D is never negative and is zero for equal samples, but
at the truth its mean is of the order of 1/N + sum w_i^2, and it favours models whose points share the weight.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.loss.base import Loss, Observed, in_tiles, in_units
from popinfer.records import Arr

SMOOTHING = 0.05  # standard deviations: e of the module's equations
FLOOR = 0.03  # mag


class EnergyDistance(Loss):
    """Energy distance; see the module's equations.

    Attributes
    ----------
    observed, unit : see `Loss`.
    among_observed : the sum over pairs of observed galaxies.
    """

    observed: Observed
    unit: Float[Arr, "slice"]
    among_observed: Float[Arr, "slice"]

    @classmethod
    def build(cls, features: list[np.ndarray], floor: float = FLOOR) -> "EnergyDistance":
        """From observed features; see `Observed.build` for arguments and errors."""
        observed = Observed.build(features, floor)
        ones = np.ones(len(features))
        points, weight = jnp.asarray(observed.points), jnp.asarray(observed.weight)
        among_observed = np.asarray(eqx.filter_jit(_mean_distances)(points, weight, points, weight))
        return in_units(cls(observed, ones, among_observed))

    def distances(
        self, y: Float[Array, "slice point feature"], fraction: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """D of each slice."""
        points, weight = (jnp.asarray(a, y.dtype) for a in (self.observed.points, self.observed.weight))
        across = _mean_distances(y, fraction, points, weight)
        return 2 * across - _mean_distances(y, fraction, y, fraction) - jnp.asarray(self.among_observed)


def _mean_distances(
    x: Float[Array, "slice point feature"],
    w: Float[Array, "slice point"],
    y: Float[Array, "slice other feature"],
    v: Float[Array, "slice other"],
) -> Float[Array, "slice"]:
    """Sum over pairs of w_i v_j rho(x_i - y_j), in float64 where that is enabled."""

    def of_slice(slice_: tuple[Array, ...]) -> Array:
        x, w, y, v = slice_
        squares = jnp.sum(x**2, axis=1)

        def tile(some: Array) -> Array:
            distance2 = squares + jnp.sum(some**2, axis=1)[:, None] - 2 * some @ x.T
            return jnp.sqrt(jnp.maximum(distance2, 0.0) + SMOOTHING**2) @ w

        wide = jnp.result_type(float)
        return in_tiles(tile, y, len(x)).astype(wide) @ v.astype(wide)

    return jax.lax.map(of_slice, (x, w, y, v))  # not vmap: tiles of one slice at a time
