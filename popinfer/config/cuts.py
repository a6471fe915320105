"""The run file's sections on selections besides the main magnitude limit."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from popinfer.config.section import Name, Section

# Apparent AB magnitudes that limits can have. The brightest galaxies of the sky, the Milky Way's companions,
# have about 0; the deepest fields end between 31 and 32.
BrightMagnitude = Annotated[float, Field(ge=0, le=32)]
# a sample that ends before 8 has a dozen galaxies at most
FaintMagnitude = Annotated[float, Field(ge=8, le=33)]
_EXTREMES = (0.0, 33.0)
EdgeWidth = Annotated[
    float,
    Field(ge=1e-4, le=1, description="Width over which the chance of being listed falls at the limits."),
]


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("is no name that a Python function can have")
    return text


class MagnitudeCutConfig(Section):
    """Further magnitude limits, in another band."""

    kind: Literal["magnitude"] = Field(description="Limits of one band's magnitude.")
    band: str = Field(description="Band whose magnitude is limited.")
    bright_mag: BrightMagnitude | None = Field(
        default=None, description="Brightest AB magnitude, after zero point and extinction."
    )
    faint_mag: FaintMagnitude | None = Field(
        default=None, description="Faintest AB magnitude, after zero point and extinction."
    )
    width_mag: EdgeWidth = 0.02

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return {self.band}

    @model_validator(mode="after")
    def _limits(self) -> "MagnitudeCutConfig":
        given = [x for x in (self.bright_mag, self.faint_mag) if x is not None]
        if not given or given != sorted(given):
            raise ValueError("a magnitude cut needs bright_mag, faint_mag or both, the bright one smaller")
        return self


class LinearCutConfig(Section):
    """Galaxies on one side of a plane in magnitudes."""

    kind: Literal["linear"] = Field(description="A plane in magnitudes.")
    coefficients: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        min_length=1, description="Coefficient of each band's magnitude."
    )
    threshold_mag: FiniteFloat = Field(
        description="Galaxies are kept whose sum of coefficient x magnitude is this at least."
    )
    width_mag: EdgeWidth = 0.02

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.coefficients)

    @model_validator(mode="after")
    def _divides(self) -> "LinearCutConfig":
        ends = [sorted((c * _EXTREMES[0], c * _EXTREMES[1])) for c in self.coefficients.values()]
        low, high = sum(a for a, _ in ends), sum(b for _, b in ends)
        if not low < self.threshold_mag < high:
            raise ValueError(
                f"threshold_mag: {self.threshold_mag:g} divides no galaxies: with these coefficients and "
                f"magnitudes from {_EXTREMES[0]:g} to {_EXTREMES[1]:g} the sum is {low:g} to {high:g}"
            )
        return self


class CompletenessConfig(Section):
    """Share of galaxies in the sample against the magnitude in one band: a file of two columns."""

    kind: Literal["completeness"] = Field(description="A table of completeness.")
    band: str = Field(description="Band whose magnitude the completeness depends on.")
    path: str = Field(
        description="File of two columns: magnitude, and the share of galaxies that are in the sample."
    )

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return {self.band}


class FunctionCutConfig(Section):
    """Galaxies for which a Python function of magnitudes is a half at least.

    It takes JAX arrays and gives each galaxy's probability, which falls smoothly from 1 to 0 at the cut.
    """

    kind: Literal["function"] = Field(description="A Python function.")
    path: str = Field(description="Python file that holds the function.")
    name: Annotated[Name, AfterValidator(_identifier)] = Field(description="Name of the function.")
    bands: list[str] = Field(
        min_length=1, description="Bands whose magnitudes the function takes, in this order."
    )

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.bands)


class OwnCutConfig(Section):
    """A selection of the user's own."""

    kind: Literal["own"] = Field(
        description="A class of your own: write kind: module:Class, and its settings beside."
    )
    component: str = Field(description="The class, as module:Class or file.py:Class.")
    bands: list[str] = Field(
        min_length=1, description="Bands whose magnitudes the class takes, in this order."
    )
    settings: dict[str, Any] = Field(default={}, description="Values of the class' fields.")

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.bands)


CutConfig = Annotated[
    MagnitudeCutConfig | LinearCutConfig | FunctionCutConfig | CompletenessConfig | OwnCutConfig,
    Field(discriminator="kind"),
]
