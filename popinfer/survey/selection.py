"""Which galaxies the survey keeps: soft magnitude limits, cuts along combinations of bands, completeness.

A hard cut's probability of selection falls from one to zero over `width` magnitudes, so that the likelihood
stays differentiable when galaxies cross it:

    magnitude limit   sigmoid((faint - m) / width) sigmoid((m - bright) / width)
    linear cut        sigmoid((sum_b c_b m_b - threshold) / width): a color cut has coefficients 1 and -1
    completeness      a table against one band's magnitude, monotone cubic interpolation (Fritsch & Carlson
                      1980, SIAM J. Numer. Anal. 17, 238), constant beyond its ends

Probabilities of several selections multiply. `sharp` is what the survey really does, width zero: it decides
which observed galaxies belong to the sample and which galaxies a mock lists.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator

from popinfer.records import Arr


class Cut(eqx.Module):
    """One selection on measured magnitudes."""

    @abstractmethod
    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy is in the sample, differentiable."""

    @abstractmethod
    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness."""


class MagnitudeLimit(Cut):
    """Keep galaxies between two magnitudes in one band.

    Attributes
    ----------
    band_index : column of the limiting band.
    bright, faint : limits [AB mag]; infinite where there is none.
    width : softness of the limits [mag]; small against the kernel bandwidth.
    """

    band_index: int = eqx.field(static=True)
    bright: float
    faint: float
    width: float = 0.02

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        m = mag[..., self.band_index]
        return jax.nn.sigmoid((self.faint - m) / self.width) * jax.nn.sigmoid((m - self.bright) / self.width)

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness."""
        m = mag[..., self.band_index]
        return ((m >= self.bright) & (m <= self.faint)).astype(float)


class LinearCut(Cut):
    """Keep galaxies on one side of a plane in magnitudes.

    Attributes
    ----------
    coefficients : c_b. threshold : least value of sum_b c_b m_b [mag]. width : softness [mag].
    """

    coefficients: tuple[float, ...] = eqx.field(static=True)
    threshold: float
    width: float = 0.02

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        value = mag @ jnp.asarray(self.coefficients, mag.dtype)
        return jax.nn.sigmoid((value - self.threshold) / self.width)

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness; bands that don't enter may be missing."""
        coefficients = np.asarray(self.coefficients)
        used = coefficients != 0
        return (mag[..., used] @ coefficients[used] >= self.threshold).astype(float)


class Completeness(Cut):
    """Keep galaxies with a probability that depends on the magnitude in one band.

    Attributes
    ----------
    band_index : column of the band.
    nodes : magnitudes of the table.
    cubic : coefficients of powers 3 to 0 of (m - node) between nodes.
    """

    band_index: int = eqx.field(static=True)
    nodes: Float[Arr, "node"]
    cubic: Float[Arr, "4 interval"]

    @classmethod
    def interpolate(
        cls, band_index: int, mag: Float[np.ndarray, "node"], probability: Float[np.ndarray, "node"]
    ) -> "Completeness":
        """Interpolate a table of probabilities at increasing magnitudes."""
        return cls(band_index, np.asarray(mag), np.asarray(PchipInterpolator(mag, probability).c))

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        nodes, cubic = jnp.asarray(self.nodes, mag.dtype), jnp.asarray(self.cubic, mag.dtype)
        m = jnp.clip(mag[..., self.band_index], nodes[0], nodes[-1])
        interval = jnp.clip(jnp.searchsorted(nodes, m, side="right") - 1, 0, len(nodes) - 2)
        x = m - nodes[interval]
        c3, c2, c1, c0 = cubic[:, interval]
        return c0 + x * (c1 + x * (c2 + x * c3))

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same: a survey's completeness isn't a cut."""
        return np.asarray(self(jnp.asarray(mag)), float)


class Selection(Cut):
    """All selections together."""

    cuts: tuple[Cut, ...]

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        kept = jnp.ones(mag.shape[:-1], mag.dtype)
        for cut in self.cuts:
            kept = kept * cut(mag)
        return kept

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness."""
        kept = np.ones(mag.shape[:-1])
        for cut in self.cuts:
            kept = kept * cut.sharp(mag)
        return kept
