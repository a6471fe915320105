"""Gas around young stars with one ionisation parameter for all galaxies.

Its metallicity is that of the stars, plus an offset; see `popinfer.sps.nebular` for the emission.
"""

from typing import Annotated, ClassVar, NamedTuple

from popinfer.params import Declaration, Prior
from popinfer.population.roles import GasRelation
from popinfer.sps.light_table import Gas
from popinfer.sps.units import Scalar


class UniformGasParams(NamedTuple):
    """Parameters of `UniformGas`.

    Attributes
    ----------
    logu : log10 of the ionisation parameter.
    lgmet_offset : metallicity of the gas relative to the stars [dex].
    f_esc : escape fraction of ionising photons.
    """

    # what the grid of photoionisation models holds
    logu: Annotated[
        Scalar,
        Declaration(
            "dex",
            "log10 of the ionisation parameter",
            -4,
            0,
            prior=Prior("truncnormal", -3, 0.5, -4, 0),
            source="SDSS galaxies have -3.5 to -2.5: Kewley et al. (2019, ARA&A 57, 511)",
        ),
    ] = -2.5
    lgmet_offset: Annotated[
        Scalar,
        Declaration(
            "dex",
            "metallicity of the gas relative to the stars",
            -2,
            2,
            prior=Prior("normal", 0, 0.2),
            source="a choice: stars and the gas that they formed of differ by some tenths of a dex",
        ),
    ] = 0.0
    f_esc: Annotated[
        Scalar,
        Declaration(
            "",
            "escape fraction of ionising photons",
            0,
            1,
            "it is a fraction",
            Prior("truncnormal", 0.0, 0.1, 0.0, 1.0),
            source="a choice: few nearby galaxies leak more than some percent",
        ),
    ] = 0.0


class UniformGas(GasRelation):
    """The same gas in all galaxies."""

    Params: ClassVar = UniformGasParams

    def __call__(self, params: UniformGasParams) -> Gas:
        """State of the gas; see `GasRelation`."""
        return Gas(params.logu, params.lgmet_offset, params.f_esc)
