"""Gaussian kernels at points, and their expectation over noise that the points don't hold.

A kernel of width h at c_k is phi_k(x) = exp(-|x - c_k|^2 / 2 h^2). If a galaxy's features have normal errors
of covariance S (see `Scatter`), then with A = (1 + S/h^2)^-1

    E[phi_k] = |A|^(1/2) exp(-(c_k - x)^T A (c_k - x) / 2 h^2).

The exponent is linear in c c^T, in c and in 1, so that all points and kernels are one matmul.

The same noise decides whether the survey keeps the galaxy, s(m) for the magnitude m that is limited. With v
its variance and q its covariance with the features, m is normal again for galaxies that kernel k sees,

    E[phi_k s] = E[phi_k] E[s(m_k + v_k^(1/2) n)],   m_k = m + t.(c_k - x),   v_k = v - t.q,   t = A q / h^2,

exactly. E[phi_k] E[s] would miss that galaxies which noise brings across the limit are brighter in their
features too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.records import Arr
from popinfer.survey.integrated_noise import Scatter


def log_kernel_matrix(
    x: Float[Arr, "point feature"], centers: Float[Arr, "kernel feature"], bandwidth: float | Float[Arr, ""]
) -> Float[Array, "point kernel"]:
    """Gaussian log-kernels -|x - c|^2 / (2 h^2) of whitened points."""
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(centers**2, axis=1)[None, :]
    distance2 = jnp.maximum(squares - 2 * jnp.asarray(x) @ centers.T, 0.0)
    return -distance2 / (2 * bandwidth**2)


def expected_log_kernels(
    x: Float[Array, "point feature"], scatter: Scatter, bandwidth: float | Float[Arr, ""]
) -> Callable[[Float[Array, "kernel feature"]], Float[Array, "point kernel"]]:
    """Logarithm of E[phi_k s] / E[s] as a function of kernel centers; E[s] is in the galaxies' weights.

    Parameters
    ----------
    x : Float[Array, "point feature"]
        Whitened features without the noise.
    scatter : Scatter
        The noise, with whitened features.
    bandwidth : float or Float[Arr, ""]
        H.
    """
    x, to_features = x / bandwidth, scatter.features / bandwidth
    n_feature, sigma = x.shape[1], scatter.sigma
    by_band = jnp.einsum("bc,bf,cg->bcfg", scatter.correlation, to_features, to_features)
    pairs = _pairs_of_bands(sigma)
    # points on the last axis: XLA loops slowly over many small matrices
    noise = (pairs @ by_band.reshape(pairs.shape[1], -1)).T.reshape(n_feature, n_feature, -1)
    inverse, log_det = invert(jnp.eye(n_feature, dtype=x.dtype)[..., None] + noise)
    pulled = _times(inverse, x)
    constant = jnp.sum(pulled * x, axis=1) + log_det
    products = inverse.reshape(n_feature**2, -1).T
    terms = jnp.concatenate([products, -2 * pulled, constant[:, None]], axis=1)

    def log_kernels(centers: Float[Array, "kernel feature"]) -> Float[Array, "point kernel"]:
        c = centers / bandwidth
        products = (c[:, :, None] * c[:, None]).reshape(len(c), -1)
        powers = jnp.concatenate([products, c, jnp.ones((len(c), 1), c.dtype)], axis=1)
        log_phi = -0.5 * jnp.maximum(terms @ powers.T, log_det[:, None])
        return log_phi if scatter.limit is None else log_phi + log_tilt(c)

    def log_tilt(c: Float[Array, "kernel feature"]) -> Float[Array, "point kernel"]:
        limit = scatter.limit
        assert limit is not None
        with_limited = _covariance_with(limit.band_index, scatter)
        together = with_limited @ to_features
        t, variance = _times(inverse, together), with_limited[:, limit.band_index]
        left = jnp.maximum(variance - jnp.sum(t * together, axis=1), 0.0)
        mag = (scatter.mag - jnp.sum(t * x, axis=1))[:, None] + t @ c.T
        return _once(limit.log_change((scatter.mag, variance), (mag, left[:, None])))

    return log_kernels


def expected_log_marginals(
    x: Float[Array, "point feature"], scatter: Scatter | None, bandwidth: float | Float[Arr, ""]
) -> Callable[[Float[Array, "kernel _"]], Float[Array, "point kernel"]]:
    """The same for kernels along one direction d of feature space, exp(-(d.x - c)^2 / 2 h^2).

    Parameters
    ----------
    x : Float[Array, "point feature"]
        Features; without the noise that `scatter` describes.
    scatter : Scatter or None
        The noise, with features as `x`; None where the points hold it.
    bandwidth : float or Float[Arr, ""]
        H.

    Returns
    -------
    Callable
        Takes rows (d, c) to logarithms of E[phi_k s] / E[s].
    """
    n_feature = x.shape[1]

    def log_kernels(rows: Float[Array, "kernel _"]) -> Float[Array, "point kernel"]:
        along, centers = rows[:, :n_feature] / bandwidth, rows[:, n_feature] / bandwidth
        offset = centers - x @ along.T
        if scatter is None:
            return -0.5 * offset**2
        sigma, to_rows = scatter.sigma, scatter.features @ along.T
        by_band = scatter.correlation[..., None] * to_rows[:, None] * to_rows[None]
        pairs = _pairs_of_bands(sigma)
        narrowed = 1 / (1 + pairs @ by_band.reshape(pairs.shape[1], -1))
        log_phi = 0.5 * (jnp.log(narrowed) - narrowed * offset**2)
        limit = scatter.limit
        if limit is None:
            return log_phi
        with_limited = _covariance_with(limit.band_index, scatter)
        together, variance = with_limited @ to_rows, with_limited[:, limit.band_index]
        t = narrowed * together
        left = jnp.maximum(variance[:, None] - t * together, 0.0)
        mag = scatter.mag[:, None] + t * offset
        return log_phi + _once(limit.log_change((scatter.mag, variance), (mag, left)))

    return log_kernels


def _pairs_of_bands(sigma: Float[Array, "point band"]) -> Float[Array, "point pair"]:
    """Products of every two bands' errors."""
    return (sigma[:, :, None] * sigma[:, None]).reshape(len(sigma), -1)


def _covariance_with(band: int, scatter: Scatter) -> Float[Array, "point band"]:
    """Covariance of one band's noise with that of each."""
    return scatter.correlation[band] * scatter.sigma[:, band, None] * scatter.sigma


def _times(
    matrix: Float[Array, "row side point"], x: Float[Array, "point side"]
) -> Float[Array, "point row"]:
    return jnp.sum(matrix * x.T, axis=1).T


# else XLA computes an intermediate array anew in each loop that uses it
_once = jax.lax.optimization_barrier


@jax.custom_jvp
def invert(
    matrix: Float[Array, "side side point"],
) -> tuple[Float[Array, "side side point"], Float[Array, "point"]]:
    """Inverse and log-determinant of symmetric positive definite matrices, by sweeps (Beaton 1964).

    Not by LAPACK: called from XLA's own threads for many matrices, it can lock up where cores are few.
    """
    log_det, swept = jnp.zeros(matrix.shape[2:], matrix.dtype), np.eye(len(matrix), dtype=bool)
    for k, row in enumerate(swept):
        pivot, scaled = matrix[k, k], matrix[k] / matrix[k, k]
        rest = matrix - matrix[k][:, None] * scaled[None]
        rest = jnp.where(row[None, :, None], scaled[:, None], rest)
        rest = jnp.where(row[:, None, None], scaled[None], rest)
        matrix = jnp.where(np.outer(row, row)[..., None], -1 / pivot, rest)
        log_det = log_det + jnp.log(pivot)
    return -matrix, log_det


@invert.defjvp
def _invert_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple, tuple]:
    """Derivatives of an inverse, - A^-1 dA A^-1, and of a log-determinant, tr(A^-1 dA)."""
    inverse, log_det = invert(*primals)
    change = tangents[0]
    moved = jnp.sum(inverse[:, :, None] * change[None], axis=1)
    trace = jnp.sum(inverse * change, axis=(0, 1))
    return (inverse, log_det), (-jnp.sum(moved[:, :, None] * inverse[None], axis=1), trace)
