"""Star formation flickers: recent fluctuations of a galaxy's SFR about its smooth history.

diffstar histories vary over Gyr. Observed galaxies also scatter about the star-forming sequence on the time
scales that blue light remembers, with a correlation time of about 200 Myr and a scatter of 0.2 to 0.4 dex
(Caplar & Tacchella 2019, MNRAS 487, 3845; Iyer et al. 2020, MNRAS 498, 430). One log-normal number a galaxy
multiplies its recent SFR,

    SFR(t) -> SFR(t) 10^(x - ln(10) x_sd^2 / 2),   x = scatter eps e^(-t_lookback / timescale),

with x_sd the standard deviation of x, so that the mean SFR of the population stays the same at every time.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.sps.units import LN10, exp10


class BurstinessParams(NamedTuple):
    """Parameters of `Burstiness`.

    Attributes
    ----------
    scatter : standard deviation of log10 SFR now, about the smooth history [dex].
    lg_timescale_gyr : log10 of how long a fluctuation lasts [Gyr].
    """

    scatter: float | Array = 0.3
    lg_timescale_gyr: float | Array = -0.7


class Burstiness(eqx.Module):
    """Factor on the SFR of one galaxy."""

    Params: ClassVar = BurstinessParams
    fiducial: ClassVar[BurstinessParams] = BurstinessParams()

    def __call__(
        self, params: BurstinessParams, lookback_gyr: Float[Array, "node"], normal: Float[Array, ""]
    ) -> Float[Array, "node"]:
        """Factor at each lookback time.

        Parameters
        ----------
        params : see `BurstinessParams`.
        lookback_gyr : lookback times from the galaxy's observation [Gyr].
        normal : the galaxy's standard normal number.
        """
        sd = params.scatter * jnp.exp(-lookback_gyr / exp10(params.lg_timescale_gyr))
        return exp10(sd * normal - 0.5 * LN10 * sd**2)
