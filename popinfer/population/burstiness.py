"""Star formation flickers: recent fluctuations of a galaxy's SFR about its smooth history.

diffstar histories vary over Gyr. Observed galaxies also scatter about the star-forming sequence on the time
scales that blue light remembers, with a correlation time of about 200 Myr and a scatter of 0.2 to 0.4 dex
(Caplar & Tacchella 2019, MNRAS 487, 3845; Iyer et al. 2020, MNRAS 498, 430). One log-normal number a galaxy
multiplies its recent SFR,

    SFR(t) -> SFR(t) 10^(x - ln(10) x_sd^2 / 2),   x = scatter eps e^(-t_lookback / timescale),

with x_sd the standard deviation of x, so that the mean SFR of the population stays the same at every time.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.population.roles import GalaxyProperties, SfrFluctuation
from popinfer.sps.units import LN10, Scalar, exp10


class BurstinessParams(NamedTuple):
    """Parameters of `Burstiness`.

    Attributes
    ----------
    scatter : standard deviation of log10 SFR now, about the smooth history [dex].
    lg_timescale_gyr : log10 of how long a fluctuation lasts [Gyr].
    """

    scatter: Annotated[
        Scalar,
        Declaration(
            "dex",
            "scatter of recent star formation about the smooth history",
            0,
            2,
            "scatter is never negative",
            Prior("lognormal", 0.3, 0.35),
            source="0.2 to 0.4 dex: Caplar & Tacchella (2019, MNRAS 487, 3845), Iyer et al. (2020)",
        ),
    ] = 0.3
    # from 100,000 years to the age of the universe
    lg_timescale_gyr: Annotated[
        Scalar,
        Declaration(
            "dex",
            "log10 of how long such fluctuations last [Gyr]",
            -4,
            1.2,
            prior=Prior("normal", -0.7, 0.3),
            source="about 200 Myr: Caplar & Tacchella (2019, MNRAS 487, 3845)",
        ),
    ] = -0.7


class Burstiness(SfrFluctuation):
    """Factor on the SFR of one galaxy."""

    Params: ClassVar = BurstinessParams
    n_normal: ClassVar[int] = 1

    def __call__(
        self,
        params: BurstinessParams,
        galaxy: GalaxyProperties,
        lookback_gyr: Float[Array, "node"],
        normals: Float[Array, "1"],
    ) -> Float[Array, "node"]:
        """Factor at each lookback time; see `SfrFluctuation`."""
        sd = params.scatter * jnp.exp(-lookback_gyr / exp10(params.lg_timescale_gyr))
        return exp10(sd * normals[0] - 0.5 * LN10 * sd**2)
