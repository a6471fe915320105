"""Photometric noise that is integrated over where a closed form exists, and drawn elsewhere.

With R = G G^T the correlation of the bands' errors, measured magnitudes are m + diag(sigma(m)) G x, with x
standard normal numbers. An orthogonal change of x leaves this noise as it is, so G may be the Cholesky
factor with the bands in any order. Bands D that a cut or a detection limit uses come first:

    G = (G_D, G_I),    G_I = 0 in the bands D.

The part of G_D is drawn: whatever depends on the measured magnitudes in D is exact. The part of G_I is left
to the kernels (`popinfer.loss.kernels`), which know its expectation. The main magnitude limit has a closed
form too, so its band needn't be in D.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from popinfer.records import Arr
from popinfer.survey.noise import NoiseModel
from popinfer.survey.selection import MagnitudeLimit, Selection


class Scatter(eqx.Module):
    """Noise of model galaxies that is integrated over; of covariance diag(sigma) C diag(sigma) in magnitudes.

    Attributes
    ----------
    sigma : errors of each band [mag].
    mag : the magnitude that ``limit`` applies to, without this noise.
    correlation : C; zero in bands without such noise.
    features : M; features are magnitudes @ M.
    limit : the survey's; None where the galaxies' weights hold its noise already.
    """

    sigma: Float[Array, "*n band"]
    mag: Float[Array, "*n"]
    correlation: Float[Array, "band band"]
    features: Float[Array, "band feature"]
    limit: MagnitudeLimit | None = None


class IntegratedNoise(eqx.Module):
    """Noise of which a part is drawn, and the selection that galaxies undergo with it.

    Attributes
    ----------
    model : errors in each band.
    selection : of the sample.
    drawn, left : G_D and G_I of the module's equations.
    drawn_bands : D.
    """

    model: NoiseModel
    selection: Selection
    drawn: Float[Arr, "band drawn"]
    left: Float[Arr, "band left"]
    drawn_bands: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def split(
        cls, model: NoiseModel, selection: Selection, drawn_bands: tuple[int, ...]
    ) -> "IntegratedNoise":
        """Draw the noise of some bands, and what others have in common with it.

        Parameters
        ----------
        model, selection : NoiseModel, Selection
            Noise and selection, as for noise that is drawn.
        drawn_bands : tuple[int, ...]
            At least those that cuts beyond the main magnitude limit use.
        """
        factor = np.asarray(model.factor)
        order = [*drawn_bands, *(b for b in range(len(factor)) if b not in drawn_bands)]
        reordered = np.zeros_like(factor)
        reordered[order] = np.linalg.cholesky((factor @ factor.T)[np.ix_(order, order)])
        n_drawn = len(drawn_bands)
        return cls(model, selection, reordered[:, :n_drawn], reordered[:, n_drawn:], drawn_bands)

    @property
    def open_limit(self) -> MagnitudeLimit | None:
        """The main magnitude limit, if noise of its band is integrated over."""
        limit = self.selection.main
        return None if limit.band_index in self.drawn_bands else limit

    def sigma(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n band"]:
        """1-sigma errors [mag] in the precision of the magnitudes."""
        return jax.tree.map(lambda x: jnp.asarray(x, mag.dtype), self.model).sigma(mag)

    def observe(
        self, mag: Float[Array, "*n band"], normals: Float[Array, "*n band"]
    ) -> tuple[Float[Array, "*n band"], Float[Array, "*n"]]:
        """Magnitudes with the noise that is drawn, and the expected probability to be in the sample.

        Parameters
        ----------
        mag : Float[Array, "*n band"]
            True magnitudes [AB].
        normals : Float[Array, "*n band"]
            Standard normal numbers.
        """
        normals = normals[..., : len(self.drawn_bands)]
        measured = mag + self.sigma(mag) * (normals @ jnp.asarray(self.drawn, mag.dtype).T)
        limit = self.open_limit
        if limit is None:
            return measured, self.selection(measured)
        left_variance = jnp.sum(jnp.asarray(self.left, mag.dtype)[limit.band_index] ** 2)
        variance = left_variance * self.sigma(mag)[..., limit.band_index] ** 2
        kept = limit.expected_probability(measured[..., limit.band_index], variance)
        return measured, kept * Selection(self.selection.cuts[1:])(measured)

    def scatter(
        self,
        mag: Float[Array, "*n band"],
        mag_true: Float[Array, "*n band"],
        matrix: Float[Arr, "band feature"],
    ) -> Scatter:
        """What is left to integrate over.

        Parameters
        ----------
        mag : Float[Array, "*n band"]
            Magnitudes with the noise that is drawn [AB].
        mag_true : Float[Array, "*n band"]
            Magnitudes without it [AB].
        matrix : Float[Arr, "band feature"]
            Takes magnitudes to features.
        """
        correlation, features = (jnp.asarray(x, mag.dtype) for x in (self.left @ self.left.T, matrix))
        limited = mag[..., self.selection.main.band_index]
        return Scatter(self.sigma(mag_true), limited, correlation, features, self.open_limit)
