"""What takes the halo sample's Monte Carlo noise out of log-counts: smooth functions of the parameters."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# points at which all halo samples are evaluated: with 3 a parameter, counts in the posterior's tails were so
# noisy that the density there was too low by half a nat to three
NODES_PER_PARAMETER, MIN_NODES = 8, 16
FEW = 3  # nodes a parameter for a first look
REACH = 4.0  # length of the kernel that says how well nodes know a point, in units of a mode's size
NUGGET = 1e-6  # variance of white noise relative to a kernel's; keeps long kernels' matrices regular


def n_nodes(n_par: int, per_parameter: int = NODES_PER_PARAMETER) -> int:
    """Points at which the counts of all halo samples are compared."""
    return max(per_parameter * n_par, MIN_NODES)


class Correction(eqx.Module):
    """From the log-counts of the run's halos to those of all samples; see `popinfer.infer.monte_carlo`.

    With z = whiten (u - center) and k_j = exp(-|z - nodes_j|^2 / (2 length^2)),

        log m(u) = S(u) + rho(u) (log m_0(u) - S_0(u)),    S(u) = offset + slope @ z + sum_j weights_j k_j,
        rho(u) = follow + (1 - follow) v(u),

    where S_0 interpolates log m_0, and v is the variance of a Gaussian process that is known at the nodes
    (kernel of length `REACH`), relative to what it is far from them all: one minus k^T known k. Offset, slope
    and weights are those of S and of S_0.
    """

    center: Float[Array | np.ndarray, "par"]
    whiten: Float[Array | np.ndarray, "par par"]
    offset: Float[Array | np.ndarray, "2 stat"]
    slope: Float[Array | np.ndarray, "2 stat par"]
    nodes: Float[Array | np.ndarray, "node par"]
    weights: Float[Array | np.ndarray, "2 node stat"]
    length: Float[Array | np.ndarray, ""]
    follow: Float[Array | np.ndarray, ""]
    known: Float[Array | np.ndarray, "node node"]

    @classmethod
    def constant(cls, offset: Float[np.ndarray, "stat"], n_par: int) -> "Correction":
        """The same numbers added everywhere."""
        n_stat, n_node = len(offset), n_nodes(n_par)
        return cls(
            np.zeros(n_par),
            np.eye(n_par),
            np.stack([offset, np.zeros(n_stat)]),
            np.zeros((2, n_stat, n_par)),
            np.zeros((n_node, n_par)),
            np.zeros((2, n_node, n_stat)),
            np.ones(()),
            np.ones(()),
            np.zeros((n_node, n_node)),
        )

    def __call__(self, own: Float[Array, "stat"], u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Log-counts of all samples at u, given those of the run's halos."""
        z = jnp.asarray(self.whiten) @ (u - jnp.asarray(self.center))
        distance2 = jnp.sum((z - jnp.asarray(self.nodes)) ** 2, axis=1)
        near = jnp.exp(-0.5 * distance2 / jnp.asarray(self.length) ** 2)
        everyone, smooth = self.offset + jnp.asarray(self.slope) @ z + near @ jnp.asarray(self.weights)
        reached = jnp.exp(-0.5 * distance2 / REACH**2)
        unknown = jnp.clip(1 - reached @ jnp.asarray(self.known) @ reached, 0.0, 1.0)
        return everyone + (self.follow + (1 - self.follow) * unknown) * (own - smooth)
