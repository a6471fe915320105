"""Photometric noise of a survey: the median error of each band as a function of magnitude.

ln sigma(m) is a quadratic in m, fitted to the catalog's own errors; outside the range of the catalog's
magnitudes it continues from the edge as a straight line. Model magnitudes get sigma(m) times a fixed standard
normal number, so the noise is differentiable and the same in every evaluation:

    m_measured = m + diag(sigma(m)) L x,   L L^T = the correlation matrix between bands,

which is the identity unless the user gives another: forced photometry in shared apertures, or a common
calibration or background, correlates bands.
"""

from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.errors import InputError
from popinfer.records import Catalog

_MIN_GALAXIES = 30
_FAINTEST = 100.0  # mag: nothing lies beyond


class MagnitudeErrors(eqx.Module):
    """How large errors of magnitudes are; derive errors of your own from it."""

    @abstractmethod
    def sigma(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n band"]:
        """1-sigma error [mag] of galaxies with these true magnitudes, differentiable."""


class QuadraticErrors(MagnitudeErrors):
    """Errors whose logarithm is a quadratic in the magnitude, see the module's text.

    Attributes
    ----------
    pivot, m_min, m_max : pivot magnitude and the range that the fit covers.
    coef : ln sigma = coef[0] + coef[1] (m - pivot) + coef[2] (m - pivot)^2.
    """

    pivot: Float[Array | np.ndarray, "band"]
    m_min: Float[Array | np.ndarray, "band"]
    m_max: Float[Array | np.ndarray, "band"]
    coef: Float[Array | np.ndarray, "band 3"]

    @classmethod
    def fit(cls, catalog: Catalog) -> "QuadraticErrors":
        """Fit the catalog's errors, at least 30 positive ones a band; InputError where there are fewer."""
        columns = []
        for i, band in enumerate(catalog.bands):
            mag, err = np.asarray(catalog.mag[:, i]), np.asarray(catalog.mag_err[:, i])
            good = np.isfinite(mag) & np.isfinite(err) & (err > 0)
            if good.sum() < _MIN_GALAXIES:
                raise InputError(
                    f"band {band}: {good.sum()} galaxies have an error > 0, "
                    f"at least {_MIN_GALAXIES} are needed"
                )
            mag, lnerr = mag[good], np.log(err[good])
            low, high = np.percentile(mag, [0.5, 99.5])
            pivot = float(np.median(mag))
            inside = (mag >= low) & (mag <= high)
            columns.append((pivot, low, high, _quadratic_medians(mag[inside] - pivot, lnerr[inside])))
        return cls(*(np.array(column) for column in zip(*columns, strict=True)))

    def sigma(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n band"]:
        """1-sigma error [mag] of galaxies with these magnitudes."""
        inside = jnp.clip(mag, self.m_min, self.m_max)
        x = inside - self.pivot
        c0, c1, c2 = self.coef[:, 0], self.coef[:, 1], self.coef[:, 2]
        slope = c1 + 2 * c2 * x
        ln_sigma = c0 + x * (c1 + c2 * x) + slope * jnp.clip(mag - inside, -3, 3)
        return jnp.exp(ln_sigma)


class NoiseModel(eqx.Module):
    """Errors of magnitudes and their correlation between bands.

    Attributes
    ----------
    errors : their size.
    factor : L, the Cholesky factor of the correlation matrix.
    """

    errors: MagnitudeErrors
    factor: Float[Array | np.ndarray, "band band"]

    @classmethod
    def of(cls, errors: MagnitudeErrors, correlation: Float[np.ndarray, "band band"] | int) -> "NoiseModel":
        """Errors with a correlation matrix, positive definite; a number of bands means independent ones."""
        matrix = np.eye(correlation) if isinstance(correlation, int) else correlation
        return cls(errors, np.linalg.cholesky(matrix))

    @classmethod
    def of_depths(cls, depths: Sequence[float]) -> "NoiseModel":
        """Errors of sky-limited photometry: sigma = 10^(0.4 (m - depth)) / 5 x 2.5 / ln 10, independent.

        Parameters
        ----------
        depths : Sequence[float]
            Magnitude of a point at five standard deviations of the sky, one a band [AB mag].

        Examples
        --------
        >>> noise = NoiseModel.of_depths([25.0, 24.0])
        >>> [round(x, 3) for x in noise.sigma(jnp.array([25.0, 24.0])).tolist()]
        [0.217, 0.217]
        """
        n, per_mag = len(depths), 0.4 * np.log(10)
        coef = np.tile([-np.log(5 * per_mag), per_mag, 0.0], (n, 1))
        ends = np.full(n, _FAINTEST)
        return cls.of(QuadraticErrors(np.array(depths, float), -ends, ends, coef), n)

    @classmethod
    def none(cls, n_band: int) -> "NoiseModel":
        """No errors in any band."""
        coef = np.tile([-np.inf, 0.0, 0.0], (n_band, 1))
        zeros, ends = np.zeros(n_band), np.full(n_band, _FAINTEST)
        return cls.of(QuadraticErrors(zeros, -ends, ends, coef), n_band)

    def __call__(
        self, mag: Float[Array, "*n band"], normals: Float[Array, "*n band"]
    ) -> Float[Array, "*n band"]:
        """Measured magnitudes of galaxies with true ones `mag`, from standard normal numbers."""
        return mag + self.sigma(mag) * (normals @ jnp.asarray(self.factor, mag.dtype).T)

    def sigma(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n band"]:
        """1-sigma error [mag] of galaxies with these magnitudes."""
        return self.errors.sigma(mag)


def _quadratic_medians(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Quadratic through running medians: outlying errors don't pull it."""
    order = np.argsort(x)
    chunks = np.array_split(order, min(20, max(4, len(x) // 10)))
    xm = np.array([np.median(x[c]) for c in chunks])
    ym = np.array([np.median(y[c]) for c in chunks])
    return np.polynomial.polynomial.polyfit(xm, ym, 2)
