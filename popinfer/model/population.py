"""The population model: parameters, the chain from halos to galaxies, and light in a survey's bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.params import FreeParam, ParamSpace, Prior
from popinfer.population.burstiness import Burstiness
from popinfer.population.dust import DustPopulation
from popinfer.population.forward import ForwardModel, Observe, SliceTables, build_tables
from popinfer.population.metallicity import MassMetallicity
from popinfer.population.parameters import (
    ModelParams,
    ParamNames,
    check_names,
    fiducial_params,
    meaning,
    with_values,
)
from popinfer.records import SSP, Filters, Galaxies, Halos
from popinfer.sps.dust import DustLaw, KriekConroy13
from popinfer.survey.redshift import Photoz

Z_NODES = 4  # redshifts at which each slice's band table is computed, at least
Z_SPACING = 0.035  # between them, at most: magnitudes to 0.01 at z < 1
OUTLIER_NODES = 8  # further ones for outliers of photometric redshifts


@dataclass(frozen=True)
class Components:
    """What the chain is made of.

    Attributes
    ----------
    dust_law : attenuation against wavelength.
    metallicity, dust, burstiness : relations of galaxies to their mass and star formation.
    sfh_calibration : of the star formation histories' hyper-parameters.
    knots : rest-frame wavelengths of the template error [Angstrom].
    cosmology : of ages, distances and volumes.
    fixed : values of parameters by dotted name; others are the calibration's and the relations' own.
    """

    dust_law: DustLaw = field(default_factory=KriekConroy13)
    metallicity: MassMetallicity = field(default_factory=MassMetallicity)
    dust: DustPopulation = field(default_factory=DustPopulation)
    burstiness: Burstiness = field(default_factory=Burstiness)
    sfh_calibration: str = "smdpl_dr1"
    knots: tuple[float, ...] = ()
    cosmology: Cosmology = PLANCK15
    fixed: Mapping[str, float] = field(default_factory=dict)


def free_space(free: Mapping[str, Prior], names: ParamNames) -> ParamSpace:
    """Free parameters by dotted name with their priors.

    Raises
    ------
    InputError
        There is no parameter of such a name.
    """
    check_names(free, names)
    return ParamSpace(tuple(FreeParam(name, prior, *meaning(name)) for name, prior in free.items()))


def table_redshifts(
    slices: Sequence[tuple[float, float]], photoz: Photoz | None = None
) -> list[Float[np.ndarray, "z"]]:
    """Redshifts at which each slice's light is tabulated: as many in each slice."""
    ranges = slices if photoz is None else [photoz.core_range(i) for i in range(len(slices))]
    widest = max(high - low for low, high in ranges)
    n = max(Z_NODES, int(np.ceil(widest / Z_SPACING)) + 1)
    if photoz is None:
        return [np.linspace(*limits, n) for limits in ranges]
    return [photoz.nodes(i, n, OUTLIER_NODES) for i in range(len(slices))]


def light_tables(
    filters: Filters,
    ssp: SSP,
    grids: Sequence[Float[np.ndarray, "z"]],
    cosmology: Cosmology,
    knots: tuple[float, ...],
) -> SliceTables:
    """Tables of all slices, at the redshifts of each."""
    tables = [build_tables(ssp, filters, z, cosmology, knots) for z in grids]
    return jax.tree.map(lambda *x: np.stack(x), *tables)


class PopulationModel(eqx.Module):
    """The population's parameters and the chain from halos to galaxies.

    Attributes
    ----------
    space : free parameters and their priors.
    names : what the components of array-valued parameters are called.
    params : values of all parameters that aren't free.
    forward : the chain.
    tables : light of stellar populations in a survey's bands, with a leading axis of redshift slices.
    """

    space: ParamSpace = eqx.field(static=True)
    names: ParamNames = eqx.field(static=True)
    params: ModelParams
    forward: ForwardModel
    tables: SliceTables

    @property
    def cosmology(self) -> Cosmology:
        """Of ages, distances and volumes."""
        return self.forward.cosmology

    def params_at(self, u: Float[Array, "par"]) -> ModelParams:
        """All parameters, physical, where the free ones are at the unconstrained vector u."""
        return with_values(self.params, self.space.to_physical(u), self.names)

    def galaxies(self, params: ModelParams, halos: Halos, observe: Observe) -> Galaxies:
        """Galaxies of every slice (leading axis) as `observe` sees them, in the halos' precision."""

        def one_slice(halos: Halos, tables: SliceTables) -> Galaxies:
            return self.forward(params, halos, tables, observe)

        return jax.vmap(one_slice)(halos, self.tables)

    @classmethod
    def build(
        cls,
        filters: Filters,
        ssp: SSP,
        bands: Sequence[str],
        slices: Sequence[tuple[float, float]],
        space: ParamSpace,
        components: Components | None = None,
        photoz: Photoz | None = None,
    ) -> "PopulationModel":
        """Tabulate stellar populations in a survey's bands, and set the chain up.

        Parameters
        ----------
        filters : curves of the bands.
        ssp : stellar populations, with nebular emission and birth clouds where wanted.
        bands : their names, as parameters and features call them.
        slices : redshift limits of each slice.
        space : free parameters, see `free_space`.
        components : dust law, relations, calibration; the defaults when absent.
        photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
        """
        parts = components or Components()
        names = ParamNames(tuple(bands), parts.knots)
        params = fiducial_params(parts.sfh_calibration, names)
        if photoz is not None:
            params = params._replace(photoz=photoz.expected)
        params = with_values(params, parts.fixed, names)
        tables = light_tables(filters, ssp, table_redshifts(slices, photoz), parts.cosmology, parts.knots)
        forward = ForwardModel(
            parts.cosmology, parts.dust_law, parts.metallicity, parts.dust, parts.burstiness
        )
        return cls(space, names, params, forward, tables)

    def in_bands(
        self,
        filters: Filters,
        ssp: SSP,
        bands: Sequence[str],
        slices: Sequence[tuple[float, float]],
        photoz: Photoz | None = None,
    ) -> "PopulationModel":
        """The same population in other bands and slices, without parameters of surveys; see `build`."""
        grids = table_redshifts(slices, photoz)
        tables = light_tables(filters, ssp, grids, self.cosmology, self.names.knots)
        names = self.names._replace(bands=tuple(bands))
        params = self.for_survey(self.params, bands, photoz)
        return PopulationModel(self.space, names, params, self.forward, tables)

    @staticmethod
    def for_survey(params: ModelParams, bands: Sequence[str], photoz: Photoz | None = None) -> ModelParams:
        """A population's parameters for another survey: no zero points, redshift errors as expected."""
        params = params._replace(zero_point=np.zeros(len(bands)))
        return params if photoz is None else params._replace(photoz=photoz.expected)
