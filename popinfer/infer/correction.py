"""What takes the halo sample's Monte Carlo noise out of log-counts: a smooth function of the parameters."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# points at which all halo samples are evaluated: with 3 a parameter, counts in the posterior's tails were so
# noisy that the density there was too low by half a nat to three
NODES_PER_PARAMETER, MIN_NODES = 8, 16
FEW = 3  # nodes a parameter for a first look


def n_nodes(n_par: int, per_parameter: int = NODES_PER_PARAMETER) -> int:
    """Points at which the counts of all halo samples are compared."""
    return max(per_parameter * n_par, MIN_NODES)


class Correction(eqx.Module):
    """What is added to log-counts, a function of z = whiten (u - center); see `popinfer.infer.monte_carlo`:

    offset + slope @ z + sum_j weights_j exp(-|z - nodes_j|^2 / (2 length^2)).
    """

    center: Float[Array | np.ndarray, "par"]
    whiten: Float[Array | np.ndarray, "par par"]
    offset: Float[Array | np.ndarray, "stat"]
    slope: Float[Array | np.ndarray, "stat par"]
    nodes: Float[Array | np.ndarray, "node par"]
    weights: Float[Array | np.ndarray, "node stat"]
    length: Float[Array | np.ndarray, ""]

    @classmethod
    def constant(cls, offset: Float[np.ndarray, "stat"], n_par: int) -> "Correction":
        """The same numbers added everywhere."""
        n_stat, n_node = len(offset), n_nodes(n_par)
        return cls(
            np.zeros(n_par),
            np.eye(n_par),
            offset,
            np.zeros((n_stat, n_par)),
            np.zeros((n_node, n_par)),
            np.zeros((n_node, n_stat)),
            np.ones(()),
        )

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Correction at u."""
        z = jnp.asarray(self.whiten) @ (u - jnp.asarray(self.center))
        distance2 = jnp.sum((z - jnp.asarray(self.nodes)) ** 2, axis=1)
        near = jnp.exp(-0.5 * distance2 / jnp.asarray(self.length) ** 2)
        return jnp.asarray(self.offset) + jnp.asarray(self.slope) @ z + near @ jnp.asarray(self.weights)
