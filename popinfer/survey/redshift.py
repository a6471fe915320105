"""Photometric redshifts: how galaxies of true redshift z spread over slices of measured redshift.

A galaxy's photometric redshift z_p is drawn from a Gaussian core or, as a catastrophic outlier, from anywhere
in a range (e.g. Ma, Hu & Huterer 2006, ApJ 636, 21; Hildebrandt et al. 2010, A&A 523, A31):

    p(z_p | z) = (1 - f) N(z_p; z + b (1+z), s (1+z)) + f U(z_p; outlier range),

with scatter s, bias b and outlier fraction f. The probability that it falls into the slice lo <= z_p < hi,

    P(slice | z) = (1 - f) [Phi((hi - z - b(1+z)) / s(1+z)) - Phi((lo - z - b(1+z)) / s(1+z))]
                   + f (hi - lo) / (length of the range),

multiplies the weight of a model galaxy: galaxies move between slices smoothly as s, b and f change. Each
slice has a lightcone of its own, wide enough in true redshift for all galaxies that may end up in it.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import ndtr, ndtri

from popinfer.cosmology import PLANCK15, Cosmology, comoving_volume_per_z
from popinfer.population.parameters import PhotozParams
from popinfer.random import numpy_generator
from popinfer.records import Arr

REACH = 4.0  # core standard deviations that a lightcone covers on both sides
WIDEN = 1.5  # lightcones allow for a scatter this much larger than expected
Z_FLOOR = 0.005
_OUTLIER_HALOS = 0.2  # share of a slice's halos drawn for outliers, where there are any
_MIN_SCATTER = 1e-4


@dataclass(frozen=True)
class Photoz:
    """Slices of photometric redshift.

    Attributes
    ----------
    slices : limits (lo, hi) of each.
    expected : parameters that the lightcones are made for.
    outlier_range : photometric and true redshifts of outliers; None without outliers.
    """

    slices: tuple[tuple[float, float], ...]
    expected: PhotozParams
    outlier_range: tuple[float, float] | None = None

    def membership(self, params: PhotozParams, z: Float[Array, "slice point"]) -> Float[Array, "slice point"]:
        """P(slice | z) of each slice's own points."""
        limits = jnp.asarray(self.slices, z.dtype)
        scatter = jnp.maximum(params.scatter, _MIN_SCATTER) * (1 + z)  # a prior may reach below zero
        center = z + params.bias * (1 + z)
        high, low = ((limits[:, i, None] - center) / scatter for i in (1, 0))
        core = norm.cdf(high) - norm.cdf(low)
        if self.outlier_range is None:
            return core
        f = jnp.clip(params.outlier_fraction, 0, 1)
        return (1 - f) * core + f * self._outlier_share()[:, None].astype(z.dtype)

    def _outlier_share(self) -> Float[np.ndarray, "slice"]:
        if self.outlier_range is None:
            return np.zeros(len(self.slices))
        return np.diff(self.slices, axis=1)[:, 0] / (self.outlier_range[1] - self.outlier_range[0])

    def core_range(self, index: int) -> tuple[float, float]:
        """True redshifts from which the Gaussian core reaches a slice."""
        low, high = self.slices[index]
        reach, bias = REACH * WIDEN * float(self.expected.scatter), float(self.expected.bias)
        low = (low - bias - reach) / (1 + bias + reach)
        high = (high - bias + reach) / (1 + bias - reach)
        return max(low, Z_FLOOR), high

    def true_range(self, index: int) -> tuple[float, float]:
        """True redshifts of galaxies that may end up in a slice."""
        low, high = self.core_range(index)
        if self.outlier_range is None:
            return low, high
        return max(min(low, self.outlier_range[0]), Z_FLOOR), max(high, self.outlier_range[1])

    def proposal(
        self, index: int, cosmology: Cosmology = PLANCK15
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Redshifts and density at which to draw a slice's halos: where its galaxies come from."""
        z = np.union1d(np.linspace(*self.core_range(index), 300), np.linspace(*self.true_range(index), 300))
        scatter = float(self.expected.scatter) * WIDEN * (1 + z)
        center = z + float(self.expected.bias) * (1 + z)
        low, high = self.slices[index]
        core = ndtr((high - center) / scatter) - ndtr((low - center) / scatter)
        density = np.asarray(comoving_volume_per_z(cosmology, z)) * core
        density = density / np.trapezoid(density, z)
        if self.outlier_range is not None:
            density = (1 - _OUTLIER_HALOS) * density + _OUTLIER_HALOS / (z[-1] - z[0])
        return tuple(z.tolist()), tuple(density.tolist())

    def nodes(self, index: int, n_core: int, n_outlier: int) -> Float[np.ndarray, "node"]:
        """Redshifts at which to tabulate a slice's light: finely in the core, coarsely for outliers."""
        low, high = self.core_range(index)
        core = np.linspace(low, high, n_core)
        z_min, z_max = self.true_range(index)
        if self.outlier_range is None:
            return core
        below, above = low - z_min, z_max - high
        n_below = 0 if below <= 0 else int(np.clip(round(n_outlier * below / (below + above)), 1, n_outlier))
        n_below -= int(above > 0 and n_below == n_outlier)
        return np.concatenate(
            [
                np.linspace(z_min, low, n_below + 1)[:-1],
                core,
                np.linspace(high, max(z_max, high + 0.01), n_outlier - n_below + 1)[1:],
            ]
        )

    def draw(
        self, key: PRNGKeyArray, params: PhotozParams, z: Float[Arr, "gal"], index: int
    ) -> Float[np.ndarray, "gal"]:
        """Photometric redshifts of galaxies known to lie in a slice."""
        rng, z, (low, high) = numpy_generator(key), np.asarray(z, float), self.slices[index]
        f = float(np.clip(params.outlier_fraction, 0, 1))
        scatter, center = float(params.scatter) * (1 + z), z + float(params.bias) * (1 + z)
        a, b = ndtr((low - center) / scatter), ndtr((high - center) / scatter)
        outlier = f * self._outlier_share()[index]
        is_outlier = rng.random(z.shape) * (outlier + (1 - f) * (b - a)) < outlier
        core = center + scatter * ndtri(a + (b - a) * rng.random(z.shape))
        drawn = np.where(is_outlier, rng.uniform(low, high, z.shape), core)
        return np.clip(drawn, low, np.nextafter(high, low))
