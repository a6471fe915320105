"""A Gaussian process in place of the model's log-counts, between nodes where they are known exactly.

With y_s(u) the logarithm of count s and H(u) = (1, u), each count is a linear trend and a Gaussian process,

    y_s(u) = H(u) beta_s + f_s(u),    cov[f_s(u), f_s(v)] = sigma_s^2 (k(u, v) + white delta_uv),
    k(u, v) = exp(-1/2 sum_i (u_i - v_i)^2 / length_i^2).

All counts share the kernel; only the amplitude sigma_s is a count's own. Lengths belong to the coordinates of
u, whose prior is standard normal: the model's curvature follows single parameters, and coordinates that mix
them need more nodes. The white part is the halo sample's roughness in u. With K = k + white over
the nodes and

    P = K^-1 - K^-1 H (H^T K^-1 H)^-1 H^T K^-1,

the restricted marginal likelihood, amplitudes at their best values, is (Rasmussen & Williams 2006, section
2.7; Stein 1999, section 6.4)

    log L = -S/2 (log |K| + log |H^T K^-1 H|) - (n - p)/2 sum_s log(y_s^T P y_s),

and its derivative needs d(log |K| + log |H^T K^-1 H|) = tr(P dK) only. A node's error when it is predicted
from all others is (P y)_j / P_jj.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

# log of lengths, in standard deviations of the prior, and of the white variance; below the shortest a node
# says nothing of its neighbours, above the longest the kernel is a parabola whatever the length
_LOG_LENGTH, _LOG_WHITE = (np.log(0.1), np.log(30.0)), (np.log(1e-8), np.log(1.0))
_FIRST_LENGTH, _FIRST_WHITE = 3.0, 1e-4
_TINY = np.finfo(float).tiny


class Surrogate(eqx.Module):
    """Log-counts, or linear combinations of them, as a smooth function of u; see the module's equations.

    Rows of `nodes` beyond the last node have zero `weights`, so that surrogates of different numbers of nodes
    share compiled programs.

    Attributes
    ----------
    nodes : where the exact values are known.
    inverse_lengths : one over the kernel's lengths.
    trend : beta, constant first.
    weights : K^-1 (y - H beta).
    """

    nodes: Float[Array | np.ndarray, "node par"]
    inverse_lengths: Float[Array | np.ndarray, "par"]
    trend: Float[Array | np.ndarray, "trend stat"]
    weights: Float[Array | np.ndarray, "node stat"]

    def __call__(self, u: Float[Array, "par"]) -> Float[Array, "stat"]:
        """Predicted values at u."""
        scaled = (u - jnp.asarray(self.nodes)) * jnp.asarray(self.inverse_lengths)
        near = jnp.exp(-0.5 * jnp.sum(scaled**2, axis=1))
        trend = jnp.asarray(self.trend)
        return trend[0] + u @ trend[1:] + near @ jnp.asarray(self.weights)

    def combined(self, matrix: Float[np.ndarray, "new stat"]) -> "Surrogate":
        """Surrogate of linear combinations of the values, a row of the matrix each."""
        trend, weights = np.asarray(self.trend) @ matrix.T, np.asarray(self.weights) @ matrix.T
        return Surrogate(self.nodes, self.inverse_lengths, trend, weights)

    def padded(self, n_node: int) -> "Surrogate":
        """The same with rows added that change nothing, up to `n_node` nodes."""
        missing = n_node - len(self.nodes)
        nodes = np.pad(np.asarray(self.nodes), ((0, missing), (0, 0)))
        return Surrogate(
            nodes, self.inverse_lengths, self.trend, np.pad(np.asarray(self.weights), ((0, missing), (0, 0)))
        )


@dataclass(frozen=True)
class SurrogateFit:
    """A surrogate and how well it predicts.

    Attributes
    ----------
    surrogate : of the values that were given.
    lengths : of the kernel, in standard deviations of the prior.
    white : variance of the white part relative to the kernel's.
    left_out : error of each node's values when predicted from all other nodes, [node, stat].
    """

    surrogate: Surrogate
    lengths: Float[np.ndarray, "par"]
    white: float
    left_out: Float[np.ndarray, "node stat"]


def fit_surrogate(
    nodes: Float[np.ndarray, "node par"],
    values: Float[np.ndarray, "node stat"],
    combine: Float[np.ndarray, "mode stat"],
    start: tuple[Float[np.ndarray, "par"], float] | None = None,
    *,
    fixed: bool = False,
) -> SurrogateFit:
    """Fit the kernel by its marginal likelihood and condition on the nodes.

    Parameters
    ----------
    nodes : ndarray, shape (node, par)
        Unconstrained vectors.
    values : ndarray, shape (node, stat)
        Exact values there.
    combine : ndarray, shape (mode, stat)
        Linear combinations of the values whose marginal likelihood chooses the kernel: the likelihood's own
        residuals, in units of their errors. Values that don't enter the likelihood then have no say.
    start : tuple, optional
        Lengths and white variance to start from, such as those of a fit with fewer nodes.
    fixed : bool
        Take the kernel as it is in `start`.

    Returns
    -------
    SurrogateFit
        The surrogate of all values.
    """
    n_par = nodes.shape[1]
    trend = np.column_stack([np.ones(len(nodes)), nodes])
    modes = values @ combine.T
    lengths, white = start or (np.full(n_par, _FIRST_LENGTH), _FIRST_WHITE)
    if not fixed:
        result = minimize(
            lambda x: _negative_log_marginal(x, nodes, trend, modes),
            np.append(np.log(lengths), np.log(white)),
            jac=True,
            method="L-BFGS-B",
            bounds=[_LOG_LENGTH] * n_par + [_LOG_WHITE],
        )
        lengths, white = np.exp(result.x[:-1]), float(np.exp(result.x[-1]))
    factor = cho_factor(_kernel(nodes, lengths) + white * np.eye(len(nodes)), lower=True)
    projector, gls = _projector(factor, trend)
    beta, weights = gls @ values, projector @ values
    left_out = weights / np.diag(projector)[:, None]
    return SurrogateFit(Surrogate(nodes, 1 / lengths, beta, weights), lengths, white, left_out)


def _kernel(nodes: Float[np.ndarray, "node par"], lengths: np.ndarray) -> np.ndarray:
    """Squared-exponential kernel between nodes."""
    return np.exp(-0.5 * cdist(nodes / lengths, nodes / lengths, "sqeuclidean"))


def _projector(factor: tuple, trend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P of the module's equations, and the matrix that takes values to beta."""
    inverse = cho_solve(factor, np.eye(len(trend)))
    solved = inverse @ trend
    gls = np.linalg.solve(trend.T @ solved, solved.T)
    return inverse - solved @ gls, gls


def _negative_log_marginal(
    x: np.ndarray, nodes: np.ndarray, trend: np.ndarray, modes: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus the restricted log marginal likelihood and its gradient, in log lengths and log white."""
    lengths, white = np.exp(x[:-1]), np.exp(x[-1])
    kernel = _kernel(nodes, lengths)
    factor = cho_factor(kernel + white * np.eye(len(trend)), lower=True)
    projector, _ = _projector(factor, trend)
    solved = cho_solve(factor, trend)
    log_det = 2 * np.log(np.diag(factor[0])).sum() + np.linalg.slogdet(trend.T @ solved)[1]
    weights = projector @ modes
    size = np.maximum(np.sum(modes * weights, axis=0), _TINY)
    n_mode, degrees = modes.shape[1], len(trend) - trend.shape[1]
    value = 0.5 * n_mode * log_det + 0.5 * degrees * np.log(size).sum()
    slope = 0.5 * n_mode * projector - 0.5 * degrees * (weights / size) @ weights.T
    # sum_ij A_ij (u_i - u_j)^2 of each parameter, A symmetric, without an array [node, node, par]
    pairs = slope * kernel
    by_length = 2 * (pairs.sum(axis=1) @ nodes**2 - np.sum(nodes * (pairs @ nodes), axis=0)) / lengths**2
    return float(value), np.append(by_length, white * np.trace(slope))
