"""Absolute abundances that a run file asks for: number of galaxies in each slice, stellar mass functions."""

import numpy as np

from popinfer.config import RunConfig
from popinfer.config.survey import MassFunctionConfig
from popinfer.data import read_mass_function
from popinfer.survey.abundance import Abundance, MassFunction, NumberCounts
from popinfer.survey.cosmic_variance import FULL_SKY_DEG2, comoving_volume, slice_variance
from popinfer.survey.redshift import Photoz


def build_abundances(
    config: RunConfig, numbers: tuple[int, ...], photoz: Photoz | None
) -> tuple[Abundance, ...]:
    """Abundances beside the soft counts.

    Parameters
    ----------
    config : the run file.
    numbers : observed galaxies in each slice.
    photoz : errors of photometric redshifts, or None.

    Raises
    ------
    InputError
        A table can't be read or can't be right.
    """
    ranges = [
        limits if photoz is None else photoz.true_range(index) for index, limits in enumerate(config.slices)
    ]
    tables = tuple(_mass_function(config, table, ranges) for table in config.joint)
    section = config.catalog.number_density
    if section is None:
        return tables
    share = section.area_deg2 / FULL_SKY_DEG2 * section.sampling
    volume = np.array([share * comoving_volume(limits) for limits in ranges])
    variance = [slice_variance(section.area_deg2, limits, section.bias) for limits in config.slices]
    names = tuple(f"galaxies at {low:g} < z < {high:g}" for low, high in config.slices)
    return (NumberCounts.build(np.array(numbers, float), volume, np.array(variance), names), *tables)


def _mass_function(
    config: RunConfig, section: MassFunctionConfig, ranges: list[tuple[float, float]]
) -> MassFunction:
    """The slice at the table's redshift; of a lightcone for photometric redshifts, only the slice itself."""
    index = next(i for i, (low, high) in enumerate(config.slices) if low <= section.redshift < high)
    table, limits = (
        read_mass_function(section.path, section.covariance, section.redshift),
        config.slices[index],
    )
    rescale = comoving_volume(ranges[index]) / comoving_volume(limits)
    return MassFunction(
        table.phi,
        table.cov,
        (index,) * len(table.phi),
        tuple(
            f"log M* {a:g} to {b:g} at z = {section.redshift:g} [1/Mpc3/dex]"
            for a, b in zip(table.low, table.high, strict=True)
        ),
        table.low,
        table.high,
        section.scatter_dex,
        limits,
        rescale,
    )
