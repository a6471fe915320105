"""Which galaxies the survey keeps: soft magnitude limits.

The probability of selection falls from one to zero over `width` magnitudes around the limit, so that the
likelihood stays differentiable when galaxies cross it.
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float


class MagnitudeLimit(eqx.Module):
    """Keep galaxies between two magnitudes in one band.

    Attributes
    ----------
    band_index : column of the limiting band.
    bright, faint : limits [AB mag].
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
