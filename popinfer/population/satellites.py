"""Which subhalos host galaxies."""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.population.roles import SatelliteOccupation
from popinfer.records import Halos
from popinfer.sps.units import Scalar


class SatelliteSurvivalParams(NamedTuple):
    """Parameters of `SatelliteSurvival`.

    Attributes
    ----------
    survival : share of all subhalos ever accreted (diffhalos counts them by peak mass, merged ones included)
        that still host a galaxy. 0.4 gives a quarter of all galaxies above 10^11 Msun in subhalos, as N-body
        catalogs find.
    """

    survival: Annotated[
        Scalar,
        Declaration(
            "",
            "share of accreted subhalos that still host a galaxy",
            0,
            1,
            "it is a fraction",
            Prior("lognormal", 0.35, 0.3),
            source="a quarter of galaxies above 10^11 Msun in subhalos, as N-body catalogs find",
        ),
    ] = 0.4


class SatelliteSurvival(SatelliteOccupation):
    """Every central hosts a galaxy, and one share of all subhalos."""

    Params: ClassVar = SatelliteSurvivalParams

    def __call__(self, params: SatelliteSurvivalParams, halo: Halos) -> Float[Array, ""]:
        """Expected number of galaxies; see `SatelliteOccupation`."""
        return jnp.where(jnp.asarray(halo.is_central) > 0.5, 1.0, params.survival)
