"""The run file's sections on published abundances, which are compared beside the survey's colors."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, FiniteFloat, model_validator

from popinfer.config.section import Section


class MassFunctionConfig(Section):
    """A stellar mass function: either a table or a published fit."""

    kind: Literal["mass_function"] = Field(
        description="Stellar mass function, compared with the slice that contains its redshift."
    )
    path: str | None = Field(
        default=None, description="Table of the mass function; either this or published."
    )
    published: Literal["baldry12"] | None = Field(
        default=None, description="Published fit: Baldry et al. (2012), in bins of 0.2 dex."
    )
    redshift: FiniteFloat = Field(description="Redshift of the mass function.")
    covariance: str | None = Field(
        default=None, description="File of the table's covariance matrix; independent errors when absent."
    )
    lgm_range: tuple[FiniteFloat, FiniteFloat] = Field(
        default=(9.5, 11.5), description="Lowest and highest stellar mass of the published fit's bins."
    )
    error_dex: float = Field(
        default=0.08, ge=0.005, le=1, description="Standard deviation of each bin of the published fit."
    )
    scatter_dex: float = Field(
        default=0.1,
        ge=0.01,
        le=2,
        description="Error of single masses, for a Kroupa initial mass function and the stars alive.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "MassFunctionConfig":
        if (self.path is None) == (self.published is None):
            raise ValueError("give either path, a table, or published: baldry12")
        if self.path is None and self.covariance is not None:
            raise ValueError("covariance belongs to a table, path")
        if not 8 <= self.lgm_range[0] <= self.lgm_range[1] - 0.2 <= 12.3:
            raise ValueError("lgm_range: [low, high] in log10 Msun, within 8 to 12.5 and 0.2 apart at least")
        return self

    @property
    def files(self) -> list[str]:
        """Files that are read."""
        return [path for path in (self.path, self.covariance) if path is not None]


class LuminosityFunctionConfig(Section):
    """A luminosity function says how many galaxies per volume each slice should list.

    For catalogs whose solid angle isn't known.
    """

    kind: Literal["luminosity_function"] = Field(
        description="Luminosity function, which tells how many galaxies per volume each slice should list."
    )
    published: Literal["blanton03"] = Field(
        default="blanton03", description="Which one: Blanton et al. (2003)."
    )
    error_dex: float = Field(
        default=0.043,
        ge=0.005,
        le=1,
        description="Standard deviation of all slices' density together, as the normalisation's.",
    )
    fainter_mag: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="How much fainter the function's magnitudes are than the survey's of the same galaxies: "
        "Petrosian ones (Blanton et al. 2003) lose light of early types [mag].",
    )
    files: ClassVar[list[str]] = []


class SfrDensityConfig(Section):
    """The cosmic star formation rate density."""

    kind: Literal["sfr_density"] = Field(description="Cosmic star formation rate density.")
    published: Literal["madau14"] = Field(
        default="madau14", description="Which one: Madau & Dickinson (2014)."
    )
    redshifts: list[Annotated[float, Field(ge=0, le=6)]] = Field(
        default=[0.0, 0.25, 0.5, 1.0, 1.5, 2.0],
        min_length=1,
        max_length=50,
        description="Redshifts at which it is compared.",
    )
    error_dex: float = Field(default=0.15, ge=0.005, le=1, description="Standard deviation at each redshift.")
    files: ClassVar[list[str]] = []


class MainSequenceConfig(Section):
    """Star formation rates of star-forming galaxies at fixed stellar mass."""

    kind: Literal["main_sequence"] = Field(
        description="Star formation rates of star-forming galaxies at fixed stellar mass, compared with the "
        "slice that contains its redshift."
    )
    published: Literal["bauer13"] = Field(
        default="bauer13", description="Which: Bauer et al. (2013), in bins of 0.5 dex."
    )
    redshift: FiniteFloat = Field(
        ge=0.05,
        le=0.32,
        description="Redshift at which the model is compared; where the paper's galaxies are.",
    )
    lgm_range: tuple[FiniteFloat, FiniteFloat] = Field(
        default=(9.25, 11.25),
        description="Lowest and highest stellar mass [log10 Msun], each one of 8.75, 9.25, ..., 11.25, where "
        "bins end.",
    )
    error_dex: float = Field(
        default=0.15,
        ge=0.005,
        le=1,
        description="Standard deviation in each bin; half of the variance is common to all bins, as the "
        "calibration of star formation rates is.",
    )
    scatter_dex: float = Field(default=0.1, ge=0.01, le=2, description="Error of single masses.")
    files: ClassVar[list[str]] = []

    @model_validator(mode="after")
    def _whole_bins(self) -> "MainSequenceConfig":
        places = [(lgm - 8.75) / 0.5 for lgm in self.lgm_range]
        whole = all(abs(place - round(place)) < 1e-6 for place in places)
        if not (whole and 0 <= round(places[0]) < round(places[1]) <= 5):
            raise ValueError("lgm_range: [low, high] in log10 Msun, each one of 8.75, 9.25, ..., 11.25")
        return self


AbundanceConfig = Annotated[
    MassFunctionConfig | LuminosityFunctionConfig | SfrDensityConfig | MainSequenceConfig,
    Field(discriminator="kind"),
]
