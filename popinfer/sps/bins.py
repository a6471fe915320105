"""The bins of DSPS: each SSP node stands for an interval around it.

The lower edge of node i lies half its spacing d_i below it, d_i = (x_(i+1) - x_(i-1)) / 2, as in DSPS (Hearin
et al. 2023, arXiv:2112.06830); on an uneven grid that is not halfway between nodes. The end bins are open.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .units import Arr


def inner_edges(nodes: Float[Arr, "node"]) -> Float[Array, "edge"]:
    """Edges between the bins of two neighbouring nodes, one fewer than there are nodes."""
    nodes = jnp.asarray(nodes)
    spacing = 0.5 * (nodes[2:] - nodes[:-2])
    last = 0.5 * (spacing[-1] + nodes[-1] - nodes[-2])
    return nodes[1:] - 0.5 * jnp.append(spacing, last)
