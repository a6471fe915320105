"""What the components of the population model have to give: one abstract class a role.

Each works on one galaxy or one halo; the forward model vmaps them. All parameters are declared by the class
itself (`popinfer.components`), all random numbers come in as standard normals, ``n_normal`` of them a galaxy.
"""

import abc
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from popinfer.components import Component
from popinfer.cosmology import Cosmology
from popinfer.records import Halos
from popinfer.sps.light_table import Gas

LG_SSFR_DIVIDE = -11.0  # log10 1/yr, between star-forming and quenched
_SSFR_WIDTH = 0.3  # dex


class GalaxyProperties(NamedTuple):
    """One model galaxy, as far as relations may depend on it.

    Attributes
    ----------
    lg_mstar : log10 stellar mass formed and surviving [Msun].
    lg_ssfr : log10 specific SFR of the smooth history [1/yr].
    z : redshift.
    t_obs : cosmic time of observation [Gyr].
    lg_mhalo : log10 of today's peak halo mass [Msun].
    is_central : 1 for centrals, 0 for satellites.
    is_quenched : 1 for the halo's quenched branch, 0 for its main-sequence one.
    """

    lg_mstar: Float[Array, "..."]
    lg_ssfr: Float[Array, "..."]
    z: Float[Array, "..."]
    t_obs: Float[Array, "..."]
    lg_mhalo: Float[Array, "..."]
    is_central: Float[Array, "..."]
    is_quenched: Float[Array, "..."]


def quiescence(lg_ssfr: Float[Array, "..."]) -> Float[Array, "..."]:
    """How much a galaxy counts as quenched, from 0 to 1: half at a specific SFR of 10^-11 / yr."""
    return jax.nn.sigmoid((LG_SSFR_DIVIDE - lg_ssfr) / _SSFR_WIDTH)


class Histories(NamedTuple):
    """What a halo's galaxy may have been.

    Attributes
    ----------
    sfr : star formation rates [Msun/yr] of its main-sequence and its quenched branch.
    frac_quenched : probability of the quenched one.
    """

    sfr: Float[Array, "2 time"]
    frac_quenched: Float[Array, ""]


class StellarMetallicity(NamedTuple):
    """Metallicities of the stars in one galaxy, log-normal.

    Attributes
    ----------
    lgmet : mean log10 Z.
    scatter : standard deviation of log10 Z [dex].
    """

    lgmet: Float[Array, "..."]
    scatter: Float[Array, "..."]


class DustAmount(NamedTuple):
    """How much dust is in front of a galaxy.

    Attributes
    ----------
    av : V-band attenuation [mag].
    f_unobscured : fraction of the light that meets none.
    """

    av: Float[Array, "..."]
    f_unobscured: Float[Array, "..."]


class SfhModel(Component):
    """Star formation histories of a halo's galaxy."""

    @abc.abstractmethod
    def __call__(
        self,
        params: Any,
        halo: Halos,
        t: Float[Array, "time"],
        cosmology: Cosmology,
        normals: Float[Array, "normal"],
    ) -> Histories:
        """Histories of both branches, and the probability of the quenched one.

        Parameters
        ----------
        params : Any
            Of the component.
        halo : Halos
            One halo, scalars in the fields of `Halos`.
        t : Float[Array, "time"]
            Cosmic times [Gyr], positive.
        cosmology : Cosmology
            Cosmology for today's cosmic time and the baryon fraction.
        normals : Float[Array, "normal"]
            Standard normal numbers of the galaxy.
        """


class MetallicityRelation(Component):
    """Stellar metallicity of a galaxy."""

    @abc.abstractmethod
    def __call__(
        self, params: Any, galaxy: GalaxyProperties, normals: Float[Array, "normal"]
    ) -> StellarMetallicity:
        """Metallicities of one galaxy's stars, from its properties and its standard normal numbers."""


class DustRelation(Component):
    """Amount of dust of a galaxy."""

    @abc.abstractmethod
    def __call__(self, params: Any, galaxy: GalaxyProperties, normals: Float[Array, "normal"]) -> DustAmount:
        """Dust of one galaxy, from its properties and its standard normal numbers."""


class SfrFluctuation(Component):
    """Recent star formation about the smooth history."""

    @abc.abstractmethod
    def __call__(
        self,
        params: Any,
        galaxy: GalaxyProperties,
        lookback_gyr: Float[Array, "node"],
        normals: Float[Array, "normal"],
    ) -> Float[Array, "node"]:
        """Factor on the SFR of one galaxy at lookback times [Gyr] from its observation."""


class GasRelation(Component):
    """Gas around young stars; one state for the population."""

    @abc.abstractmethod
    def __call__(self, params: Any) -> Gas:
        """State of the gas."""


class SatelliteOccupation(Component):
    """Whether subhalos host galaxies."""

    @abc.abstractmethod
    def __call__(self, params: Any, halo: Halos) -> Float[Array, ""]:
        """Expected number of galaxies of one halo, scalars in the fields of `Halos`."""


class TemplateOffset(Component):
    """Errors of stellar population synthesis in the rest frame."""

    @abc.abstractmethod
    def __call__(
        self, params: Any, wave: Float[Array, "band"], galaxy: GalaxyProperties
    ) -> Float[Array, "band"]:
        """Magnitudes that one galaxy's light is fainter than the templates say.

        Parameters
        ----------
        params : Any
            Of the component.
        wave : Float[Array, "band"]
            Rest-frame pivot wavelengths of the bands [Angstrom].
        galaxy : GalaxyProperties
            Its properties.
        """


class ZeroPointModel(Component):
    """Errors of a survey's photometric zero points."""

    @abc.abstractmethod
    def __call__(self, params: Any) -> Float[Array, "band"]:
        """Offset of each band, model minus data [mag]."""
