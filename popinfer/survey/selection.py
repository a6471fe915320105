"""Which galaxies the survey keeps: soft magnitude limits, cuts along combinations of bands, completeness.

A hard cut's probability of selection falls from one to zero over `width` magnitudes, so that the likelihood
stays differentiable when galaxies cross it:

    magnitude limit   sigmoid((faint - m) / width) sigmoid((m - bright) / width)
    linear cut        sigmoid((sum_b c_b m_b - threshold) / width): a color cut has coefficients 1 and -1
    function          any smooth function of magnitudes that the user gives
    completeness      a table against one band's magnitude, monotone cubic interpolation (Fritsch & Carlson
                      1980, SIAM J. Numer. Anal. 17, 238), constant beyond its ends

Where noise of a magnitude is integrated over instead of drawn, measured magnitudes m + v^(1/2) x, x standard
normal, are kept with a mean probability. The logistic function is a mixture of three normal distribution
functions to 4e-5 (Monahan & Stefanski 1992, in Handbook of the Logistic Distribution, ch. 14), so

    E[sigmoid((faint - m) / width)] = sum_k p_k Phi(s_k (faint - m) / sqrt(width^2 + s_k^2 v)).

Probabilities of several selections multiply. `sharp` is what the survey really does, width zero: it decides
which observed galaxies belong to the sample and which galaxies a mock lists.
"""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, ndtr
from jaxtyping import Array, Float

from popinfer.records import Arr

_MIXTURE = (
    (0.25220450805, 0.90792881305),
    (0.58522348565, 0.57778607028),
    (0.16257200630, 0.36403733267),
)  # (p_k, s_k); largest error of the mixture 4.4e-5


_UNSEEN = 1e-6  # probability below which the limit is left as it is: such galaxies don't count


def _fast_ndtr(x: Array) -> Array:
    """Normal distribution function without relative precision in the tail: half the cost."""
    return 0.5 * (1 + erf(x * 0.5**0.5))


class Cut(eqx.Module):
    """One selection on measured magnitudes; derive a selection of your own from it."""

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

    def expected_probability(self, m: Float[Array, "*n"], variance: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Mean probability of galaxies whose measured magnitudes are normal with this mean and variance.

        The limits are further apart than the noise reaches: it moves no galaxy across both.
        """
        bright, faint = self._mean_sigmoid(m - self.bright, variance), self.faint - m
        return bright * self._mean_sigmoid(faint, variance)

    def log_change(
        self, before: tuple[Float[Array, "n"], Float[Array, "n"]], after: tuple[Array, Array]
    ) -> Float[Array, "n _"]:
        """Logarithm of the ratio of mean probabilities after and before, at the nearer of the limits.

        Parameters
        ----------
        before : tuple[Float[Array, "n"], Float[Array, "n"]]
            Mean and variance of the measured magnitudes.
        after : tuple[Array, Array]
            The same, [n, _] or [n, 1].
        """
        m, variance = (x[:, None] for x in before)
        near_faint = m > 0.5 * (self.bright + self.faint)
        sign = jnp.where(near_faint, 1.0, -1.0).astype(m.dtype)
        edge = jnp.where(near_faint, self.faint, self.bright).astype(m.dtype)
        new, old = (
            self._mean_sigmoid(sign * (edge - m), v, cdf=_fast_ndtr) for m, v in (after, (m, variance))
        )
        return jnp.log(new + _UNSEEN) - jnp.log(old + _UNSEEN)

    def _mean_sigmoid(self, inside: Array, variance: Array, cdf: Callable[[Array], Array] = ndtr) -> Array:
        """Mean of sigmoid(inside / width) where `inside` has this variance."""
        return sum(
            (p * cdf(inside * (s / jnp.sqrt(self.width**2 + s**2 * variance))) for p, s in _MIXTURE),
            start=jnp.zeros((), inside.dtype),
        )

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness."""
        m = mag[..., self.band_index]
        return ((m >= self.bright) & (m <= self.faint)).astype(float)


class LinearCut(Cut):
    """Keep galaxies on one side of a plane in magnitudes.

    Attributes
    ----------
    coefficients : c_b.
    threshold : least value of sum_b c_b m_b [mag].
    width : softness [mag].
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


class FunctionCut(Cut):
    """Keep galaxies on one side of any surface in magnitudes.

    Attributes
    ----------
    columns : of the bands that enter.
    function : one array of magnitudes a band -> probability, falling from one to zero at the surface.
    """

    columns: tuple[int, ...] = eqx.field(static=True)
    function: Callable[..., Array] = eqx.field(static=True)

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        return jnp.asarray(self.function(*(mag[..., i] for i in self.columns)), mag.dtype)

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """One where the probability is a half at least; bands that don't enter may be missing."""
        return (np.asarray(self(jnp.asarray(mag))) >= 0.5).astype(float)


class CutOnBands(Cut):
    """A cut of the user's own, which takes the magnitudes of some bands only.

    Attributes
    ----------
    columns : of the bands that enter, in the order in which the cut takes them.
    cut : the user's.
    """

    columns: tuple[int, ...] = eqx.field(static=True)
    cut: Cut

    def __call__(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n"]:
        """Probability that a galaxy with these measured magnitudes is in the sample."""
        return jnp.asarray(self.cut(mag[..., self.columns]), mag.dtype)

    def sharp(self, mag: Float[np.ndarray, "*n band"]) -> Float[np.ndarray, "*n"]:
        """The same without softness; bands that don't enter may be missing."""
        return np.asarray(self.cut.sharp(mag[..., self.columns]), float)


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
        from scipy.interpolate import PchipInterpolator  # loads for a tenth of a second, and few need it

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
    """All selections together.

    Attributes
    ----------
    cuts : the parts, the survey's magnitude limit first; their probabilities are multiplied.
    """

    cuts: tuple[Cut, ...]

    @property
    def main(self) -> MagnitudeLimit:
        """The survey's magnitude limit."""
        assert isinstance(self.cuts[0], MagnitudeLimit)
        return self.cuts[0]

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
