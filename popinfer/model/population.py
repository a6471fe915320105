"""The population model: parameters, the chain from halos to galaxies, and light in a survey's bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from popinfer.components import NoParams
from popinfer.cosmology import Cosmology
from popinfer.errors import InputError
from popinfer.params import Declaration, FreeParam, ParamSpace, Prior
from popinfer.population.forward import ForwardModel, Observe, SliceTables, build_tables
from popinfer.population.parameters import (
    ModelParams,
    declared_parameters,
    fiducial_params,
    unknown_name,
    with_values,
)
from popinfer.records import SSP, Filters, Galaxies, Halos, NebularGrid
from popinfer.sps.nebular import add_nebular
from popinfer.survey.redshift import Photoz

Z_NODES = 4  # redshifts at which each slice's band table is computed, at least
Z_SPACING = 0.035  # between them, at most: magnitudes to 0.01 at z < 1
OUTLIER_NODES = 8  # further ones for outliers of photometric redshifts


@dataclass(frozen=True)
class Light:
    """What stellar populations emit and a survey's bands let through.

    Attributes
    ----------
    ssp : stellar populations, without nebular emission where `nebular` adds it.
    filters : curves of the bands.
    nebular : emission of the gas around young stars; None where there is none.
    """

    ssp: SSP
    filters: Filters
    nebular: NebularGrid | None = None

    @property
    def shining(self) -> SSP:
        """Stellar populations with gas in their spectra, as `add_nebular` adds it by default."""
        return self.ssp if self.nebular is None else add_nebular(self.ssp, self.nebular)


def free_space(free: Mapping[str, Prior | None], declared: Mapping[str, Declaration]) -> ParamSpace:
    """Free parameters by dotted name with their priors.

    Parameters
    ----------
    free : Mapping[str, Prior | None]
        Priors; None stands for the one that the parameter's component declares.
    declared : Mapping[str, Declaration]
        All parameters that there are, see `declared_parameters`.

    Returns
    -------
    ParamSpace
        The free parameters in the order of `free`, which is that of the axis of vectors u.

    Raises
    ------
    InputError
        There is no parameter of such a name, or it declares no prior and none is given.
    """
    parameters = []
    for name, given in free.items():
        wrong = unknown_name(name, declared)
        if wrong:
            raise InputError(wrong)
        prior = given or declared[name].prior
        if prior is None:
            raise InputError(f"{name}: has no default prior; give one")
        parameters.append(FreeParam(name, prior, declared[name].unit, declared[name].meaning))
    return ParamSpace(tuple(parameters))


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


def light_tables(light: Light, grids: Sequence[Float[np.ndarray, "z"]], forward: ForwardModel) -> SliceTables:
    """Tables of all slices, at the redshifts of each."""
    tables = [build_tables(light.ssp, light.filters, z, forward, light.nebular) for z in grids]
    n_young = max(table.light.inside.fractions.size for table in tables)
    tables = [SliceTables(table.light.with_young_nodes(n_young), table.mass) for table in tables]
    return jax.tree.map(lambda *x: np.stack(x), *tables)


class PopulationModel(eqx.Module):
    """The population's parameters and the chain from halos to galaxies.

    Attributes
    ----------
    space : free parameters and their priors.
    params : values of all parameters that aren't free.
    forward : the chain.
    tables : light of stellar populations in a survey's bands, with a leading axis of redshift slices.
    """

    space: ParamSpace = eqx.field(static=True)
    params: ModelParams
    forward: ForwardModel
    tables: SliceTables

    @property
    def cosmology(self) -> Cosmology:
        """Of ages, distances and volumes."""
        return self.forward.cosmology

    def params_at(self, u: Float[Array, "par"]) -> ModelParams:
        """All parameters, physical, where the free ones are at the unconstrained vector u."""
        return with_values(self.params, self.space.to_physical(u))

    def galaxies(self, params: ModelParams, halos: Halos, observe: Observe) -> Galaxies:
        """Galaxies of every slice (leading axis) as `observe` sees them, in the halos' precision."""

        def one_slice(halos: Halos, tables: SliceTables) -> Galaxies:
            return self.forward(params, halos, tables, observe)

        return jax.vmap(one_slice)(halos, self.tables)

    @classmethod
    def build(
        cls,
        light: Light,
        slices: Sequence[tuple[float, float]],
        free: Mapping[str, Prior | None],
        forward: ForwardModel | None = None,
        fixed: Mapping[str, float] | None = None,
        photoz: Photoz | None = None,
    ) -> "PopulationModel":
        """Tabulate stellar populations in a survey's bands, and set the chain up.

        Parameters
        ----------
        light : Light
            Stellar populations and bands.
        slices : Sequence[tuple[float, float]]
            Redshift limits of each slice.
        free : Mapping[str, Prior | None]
            Priors of the free parameters by dotted name; None stands for a parameter's default prior.
        forward : ForwardModel or None
            The chain's components; the defaults when absent.
        fixed : Mapping[str, float] or None
            Values of parameters by dotted name; others are the components' own.
        photoz : Photoz or None
            Errors of photometric redshifts; None where redshifts are spectroscopic.

        Raises
        ------
        InputError
            There is no parameter of some name, or a filter reaches beyond the redshifted SED.
        """
        forward = forward or ForwardModel()
        space = free_space(free, declared_parameters(forward.components))
        params = fiducial_params(forward.components)
        if photoz is not None:
            params = params._replace(photoz=photoz.expected)
        params = with_values(params, fixed or {})
        return cls(space, params, forward, light_tables(light, table_redshifts(slices, photoz), forward))

    def in_bands(
        self,
        light: Light,
        bands: Sequence[str],
        slices: Sequence[tuple[float, float]],
        photoz: Photoz | None = None,
    ) -> "PopulationModel":
        """The same population in other bands and slices, without parameters of surveys.

        Parameters
        ----------
        light : Light
            Stellar populations and curves of the bands.
        bands : Sequence[str]
            Names of the bands.
        slices, photoz : Sequence[tuple[float, float]], Photoz or None
            Redshift limits of each slice, and errors of photometric redshifts, as for `build`.
        """
        forward = self.forward.in_bands(tuple(bands))
        tables = light_tables(light, table_redshifts(slices, photoz), forward)
        return PopulationModel(self.space, self.for_survey(self.params, bands, photoz), forward, tables)

    def for_survey(
        self, params: ModelParams, bands: Sequence[str], photoz: Photoz | None = None
    ) -> ModelParams:
        """A population's parameters for another survey: no zero points, redshift errors as expected."""
        zero_point = self.forward.in_bands(tuple(bands)).zero_point
        params = params._replace(zero_point=NoParams() if zero_point is None else zero_point.fiducial)
        return params if photoz is None else params._replace(photoz=photoz.expected)
