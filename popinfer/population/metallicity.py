"""Stellar metallicity of a galaxy: the mass-metallicity relation.

Median relation of Gallazzi et al. (2005, MNRAS 362, 41, Table 2; Z_sun = 0.02), which

    log10(Z / Z_sun) = a + b tanh((log10 M* - c) / d),   a = -0.26, b = 0.38, c = 10.11, d = 0.46

describes to 0.04 dex, plus an offset of quenched against star-forming galaxies, evolution with redshift, and
log-normal scatter between galaxies.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.population.roles import GalaxyProperties, MetallicityRelation, StellarMetallicity, quiescence
from popinfer.sps.units import Scalar

LGZ_SUN_GALLAZZI = -1.69897  # Z = 0.02


class MassMetallicityParams(NamedTuple):
    """Parameters of `MassMetallicity`.

    Attributes
    ----------
    zero_point : shift of the whole relation [dex].
    quenched_offset : additional metallicity of quenched galaxies [dex].
    slope : additional slope d lgmet / d log10 M* about 10^10.5 Msun.
    quenched_slope : what is added to it in quenched galaxies.
    evolution : d lgmet / dz [dex].
    scatter : scatter between galaxies [dex].
    mdf_scatter : width of the metallicity distribution of the stars in one galaxy [dex].
    """

    # stellar populations are tabulated over 3 dex in Z
    zero_point: Annotated[
        Scalar,
        Declaration(
            "dex",
            "mass-metallicity relation, shift",
            -3,
            3,
            prior=Prior("normal", 0.0, 0.15),
            source="Gallazzi et al. (2005, MNRAS 362, 41); calibrations differ by 0.15 dex",
        ),
    ] = 0.0
    # at one mass quenched galaxies are never the poorer ones
    quenched_offset: Annotated[
        Scalar,
        Declaration(
            "dex",
            "metallicity of quenched relative to star-forming galaxies",
            -3,
            3,
            prior=Prior("truncnormal", 0.15, 0.15, 0.0, 0.6),
            source="0 to 0.4 dex: Peng et al. (2015, Nature 521, 192), Trussler et al. (2020)",
        ),
    ] = 0.0
    slope: Annotated[
        Scalar,
        Declaration(
            "dex/dex",
            "extra slope of the mass-metallicity relation",
            -5,
            5,
            prior=Prior("normal", 0.0, 0.2),
            source="Gallazzi et al. (2005, MNRAS 362, 41); the width is a choice",
        ),
    ] = 0.0
    quenched_slope: Annotated[
        Scalar,
        Declaration(
            "dex/dex",
            "slope of the mass-metallicity relation, quenched relative to star-forming galaxies",
            -5,
            5,
            prior=Prior("normal", 0.0, 0.3),
            source="flatter by about 0.3 dex a dex: Peng et al. (2015, Nature 521, 192)",
        ),
    ] = 0.0
    evolution: Annotated[
        Scalar,
        Declaration(
            "dex",
            "change of metallicity per unit redshift",
            -3,
            3,
            prior=Prior("normal", -0.1, 0.2),
            source="a choice; at z = 0.7 by 0.1 dex: Gallazzi et al. (2014, ApJ 788, 72)",
        ),
    ] = -0.1
    scatter: Annotated[
        Scalar,
        Declaration(
            "dex",
            "scatter of metallicity between galaxies",
            0,
            2,
            "scatter is never negative",
            Prior("lognormal", 0.12, 0.4),
            source="a choice; spreads in Gallazzi et al. (2005) are larger, and hold errors",
        ),
    ] = 0.12
    # a delta function falls between the nodes of the SSP grid
    mdf_scatter: Annotated[
        Scalar,
        Declaration(
            "dex",
            "width of the metallicity distribution in a galaxy",
            0.01,
            2,
            "a width is positive",
            Prior("lognormal", 0.2, 0.4),
            source="as in the solar neighborhood: Nordstrom et al. (2004, A&A 418, 989)",
        ),
    ] = 0.2


class MassMetallicity(MetallicityRelation):
    """Gallazzi+05 mass-metallicity relation with offsets."""

    Params: ClassVar = MassMetallicityParams
    n_normal: ClassVar[int] = 1

    def __call__(
        self, params: MassMetallicityParams, galaxy: GalaxyProperties, normals: Float[Array, "1"]
    ) -> StellarMetallicity:
        """Metallicities of one galaxy's stars; see `MetallicityRelation`."""
        median = -0.26 + 0.38 * jnp.tanh((galaxy.lg_mstar - 10.11) / 0.46)
        quenched = quiescence(galaxy.lg_ssfr)
        lgmet = LGZ_SUN_GALLAZZI + median + params.zero_point + params.quenched_offset * quenched
        slope = params.slope + params.quenched_slope * quenched
        lgmet = lgmet + slope * (galaxy.lg_mstar - 10.5) + params.evolution * galaxy.z
        return StellarMetallicity(lgmet + params.scatter * normals[0], jnp.asarray(params.mdf_scatter))
