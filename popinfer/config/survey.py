"""The run file's sections on the survey: catalog, bands, selection. See `popinfer.config`."""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator, model_validator

from popinfer.config.cuts import BrightMagnitude, CutConfig, EdgeWidth, FaintMagnitude, MagnitudeCutConfig
from popinfer.config.errors import Problem, ProblemsError
from popinfer.config.section import ComponentConfig, Name, Section, own_component
from popinfer.data.wavelengths import length
from popinfer.errors import InputError

ColumnNumber = Annotated[int, Field(ge=1)]


class FilterConfig(Section):
    """A filter curve in a file, of which more has to be said than its path."""

    path: str = Field(description="File of the curve: text, ECSV, FITS, VOTable or HDF5.")
    columns: tuple[Name | ColumnNumber, Name | ColumnNumber] | None = Field(
        default=None,
        description=(
            "Names, or numbers from 1, of wavelength and transmission, where the file has more than two "
            "columns."
        ),
    )
    unit: Name | None = Field(
        default=None,
        description=(
            "Unit of the file's wavelengths, such as angstrom, nm or micron; the file's own when absent."
        ),
    )
    counts: Literal["photon", "energy"] | None = Field(
        default=None,
        description="What the curve is: a chance of detection (photon) or a response to energy (energy).",
    )

    @field_validator("unit")
    @classmethod
    def _length(cls, unit: str | None) -> str | None:
        if unit is not None:
            try:
                length("", unit)
            except InputError:
                raise ValueError("is no length; angstrom, nm or micron would be") from None
        return unit

    @model_validator(mode="after")
    def _two(self) -> "FilterConfig":
        if self.columns is not None and self.columns[0] == self.columns[1]:
            raise ValueError(f"columns: wavelength and transmission are both '{self.columns[0]}'")
        return self


Unit = Literal["mag", "mmag", "luptitude", "maggy", "nmgy", "Jy", "mJy", "uJy", "nJy", "cgs"]
_OF_MAGNITUDES = ("mag", "mmag", "luptitude")
_MAX_ERROR = 3.0  # mag; a value with such an error is no measurement


class BandConfig(Section):
    """One band of the catalog: which filter, which columns, in which unit.

    Units that the file itself states are used, and must not contradict these.
    """

    filter: str | FilterConfig = Field(
        description=(
            "Filter curve: a name that popinfer filters lists, a file, or a mapping that describes a file."
        )
    )
    value: Name = Field(
        description="Column of the magnitude or flux; name[i] is an element of a column of vectors."
    )
    error: Name | FiniteFloat = Field(
        description=(
            "Column of the error, or one number for all rows, in the unit of the values or of error_unit."
        )
    )
    unit: Unit | None = Field(
        default=None,
        description=(
            "Unit of the values; the file's own when absent, and magnitudes where it says none. "
            "luptitude is an asinh magnitude, cgs is erg/s/cm2/Hz."
        ),
    )
    error_unit: Unit | None = Field(
        default=None, description="Unit of the errors where it isn't that of the values."
    )
    system: Literal["ab", "vega"] = Field(
        default="ab", description="What magnitudes are relative to: AB, or Vega."
    )
    softening: float | None = Field(
        default=None,
        ge=1e-14,
        le=1e-3,
        description="Softening of asinh magnitudes; SDSS' own for its filters when absent.",
        json_schema_extra={"unit": "maggies"},
    )
    error_kind: Literal["sigma", "ivar"] = Field(
        default="sigma",
        description="Whether the errors are standard deviations (sigma) or inverse variances (ivar).",
    )
    extinction: Name | None = Field(
        default=None,
        description="Column of the Galactic extinction [mag], which is subtracted from the magnitudes.",
    )
    zero_point_mag: float = Field(
        default=0.0, ge=-2, le=2, description="Added to the magnitudes to make them AB."
    )
    error_floor_mag: float = Field(
        default=0.0, ge=0, le=1, description="Error that is added to each galaxy's in quadrature."
    )
    bright_mag: BrightMagnitude | None = Field(
        default=None,
        description="Galaxies brighter than this AB magnitude are left out, in model and data alike.",
    )
    faint_mag: FaintMagnitude | None = Field(
        default=None,
        description="Galaxies fainter than this AB magnitude are left out, in model and data alike.",
    )
    detection_mag: FaintMagnitude | None = Field(
        default=None,
        description=(
            "With missing_bands: keep, values fainter than this AB magnitude count as not detected; "
            "fitted to the catalog's gaps when absent."
        ),
    )
    detection_width_mag: float = Field(
        default=0.05, ge=1e-4, le=1, description="Width over which the chance of a detection falls."
    )
    observed_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the galaxies that the band was observed for at all; needs detection_mag.",
    )

    @property
    def filter_name(self) -> str:
        """The filter's name or path."""
        return self.filter if isinstance(self.filter, str) else self.filter.path

    @model_validator(mode="after")
    def _possible(self) -> "BandConfig":
        _raise([*self._error_problems(), *self._unit_problems()])
        return self

    def _error_problems(self) -> Iterator[Problem]:
        if self.error == self.value:
            yield _problem("error", f"column '{self.value}' is the value's; name the column of its error")
        if self.extinction in (self.value, self.error):
            yield _problem("extinction", f"column '{self.extinction}' is that of the value or its error")
        if isinstance(self.error, str):
            if self.error.strip().lower().lstrip("+-.") in ("nan", "inf", "infinity"):
                yield _problem("error", f"'{self.error}' is no error; name a column, or a number above 0")
            return
        if not self.error > 0:
            yield _problem("error", f"{self.error:g} has to be above 0")
        elif self.error_kind == "ivar":
            yield _problem(
                "error", f"{self.error:g} is a number for all rows: give it as a sigma, not an ivar"
            )
        elif self.error > _MAX_ERROR and (self.error_unit or self.unit) in ("mag", "luptitude"):
            yield _problem(
                "error",
                f"{self.error:g} mag for all rows; values with errors above {_MAX_ERROR:g} mag are no "
                "measurements",
            )

    def _unit_problems(self) -> Iterator[Problem]:
        if self.softening is not None and self.unit != "luptitude":
            yield _problem("softening", "belongs to asinh magnitudes: set unit: luptitude, or leave it out")
        if self.system == "vega" and self.unit not in (None, "mag", "mmag"):
            yield _problem("system", f"vega is of magnitudes; unit is {self.unit}")
        units = [unit for unit in (self.unit, self.error_unit) if unit is not None]
        if len(units) == 2 and len({unit in _OF_MAGNITUDES for unit in units}) == 2:
            yield _problem(
                "error_unit", f"{units[1]}, and values are in {units[0]}: both have to be of one kind"
            )
        if self.bright_mag is not None and self.faint_mag is not None and self.bright_mag >= self.faint_mag:
            yield _problem("bright_mag", f"{self.bright_mag:g} has to be below faint_mag {self.faint_mag:g}")


def _problem(key: str, text: str) -> Problem:
    """What is wrong with a key of a section, ``a`` or ``a.b``."""
    return Problem(tuple(int(part) if part.isdigit() else part for part in key.split(".")), f"{key}: {text}")


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ProblemsError(problems)


class SelectionConfig(Section):
    """Limits that define the sample, AB magnitudes of one band after zero point and extinction."""

    band: str = Field(description="Band whose magnitude defines the sample.")
    bright_mag: BrightMagnitude = Field(
        description="Brightest AB magnitude of the sample, after zero point and extinction."
    )
    faint_mag: FaintMagnitude = Field(
        description="Faintest AB magnitude of the sample, after zero point and extinction."
    )
    width_mag: EdgeWidth = 0.02

    @model_validator(mode="after")
    def _limits(self) -> "SelectionConfig":
        if self.bright_mag >= self.faint_mag:
            raise ValueError(f"bright_mag {self.bright_mag:g} has to be below faint_mag {self.faint_mag:g}")
        return self


class PhotozConfig(Section):
    """The redshift column is photometric: scatter and bias of (z_p - z) / (1 + z), and outliers.

    Halos are drawn for these values; ``photoz.scatter``, ``photoz.bias`` and ``photoz.outlier_fraction`` may
    be freed around them.
    """

    scatter: float = Field(ge=1e-5, lt=0.3, description="Standard deviation of (z_p - z) / (1 + z).")
    bias: float = Field(default=0.0, gt=-0.3, lt=0.3, description="Mean of (z_p - z) / (1 + z).")
    outlier_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of galaxies whose redshift is wrong altogether; needs outlier_range.",
    )
    outlier_range: tuple[FiniteFloat, FiniteFloat] | None = Field(
        default=None,
        description=(
            "Low and high end of the redshifts that outliers are given, any of which is as frequent."
        ),
    )

    @model_validator(mode="after")
    def _range(self) -> "PhotozConfig":
        if self.outlier_range is None:
            if self.outlier_fraction > 0:
                raise ValueError("outlier_fraction needs an outlier_range")
        elif not 0 <= self.outlier_range[0] < self.outlier_range[1]:
            raise ValueError("outlier_range: [low, high] must satisfy 0 <= low < high")
        return self


class NumberDensityConfig(Section):
    """The survey's solid angle is known: the number of galaxies in each slice is compared too.

    The scatter of numbers with the field (cosmic variance) follows from the matter power spectrum.
    """

    area_deg2: float = Field(ge=1e-6, le=41253, description="Solid angle of the survey.")
    sampling: float = Field(
        default=1.0,
        ge=1e-6,
        le=1,
        description="Share of the galaxies inside the cuts that the catalog lists.",
    )
    bias: float = Field(
        default=1.2,
        ge=0.001,
        le=20,
        description="Galaxies' bias, which makes cosmic variance of the matter's power spectrum.",
    )


def is_pair(text: str, bands: Collection[str]) -> bool:
    """Whether a text names two different bands, such as g-r."""
    names = text.split("-")
    return len(names) == 2 and len(set(names)) == 2 and set(names) <= set(bands)


class CatalogConfig(Section):
    """The observed catalog: a file and what its columns are, or the embedded SDSS main sample."""

    path: str = Field(
        description="File or folder of Parquet files, or sdss_mgs, the embedded sample of SDSS."
    )
    redshift: Name = Field(description="Column of the redshift.")
    table: Name | int | None = Field(
        default=None,
        description=(
            "Which of several tables in a file: name or number of a FITS HDU, path of an HDF5 group."
        ),
    )
    id: Name | None = Field(default=None, description="Column of the galaxies' names.")
    where: list[str] = Field(
        default=[],
        description=(
            "Conditions on rows, all of which must be met: a column of true and false, or column < number."
        ),
    )
    bands: dict[str, BandConfig] = Field(min_length=1, description="The survey's bands by name.")
    selection: SelectionConfig = Field(description="Magnitude limits that define the sample.")
    cuts: list[CutConfig] = Field(
        default=[], description="Selections besides the main magnitude limit; probabilities multiply."
    )
    format: Literal["auto", "parquet", "fits", "hdf5", "csv", "ecsv"] = Field(
        default="auto", description="How to read the file; auto goes by its suffix and first bytes."
    )
    missing: list[FiniteFloat | Name] = Field(
        default=[],
        description='Values and words that mean "not measured", besides -9999, -999, -99, 99 and 999.',
    )
    duplicates: Literal["refuse", "allow"] = Field(
        default="refuse", description="Whether galaxies that are listed several times are refused."
    )
    implausible: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="Whether medians, errors and repeated values that no survey has are refused.",
    )
    file_units: Literal["believe", "ignore"] = Field(
        default="believe",
        description="Whether to believe what the file says of its columns' units and magnitude systems.",
    )
    missing_bands: Literal["drop", "keep"] = Field(
        default="drop",
        description=(
            "Galaxies that lack bands are left out (drop: unbiased if they are a random share), or "
            "counted in the features that they have (keep)."
        ),
    )
    noise_correlation: dict[str, Annotated[float, Field(gt=-1, lt=1)]] = Field(
        default={},
        description="Correlation coefficients of pairs of bands' errors, such as g-r: 0.3; others are 0.",
    )
    noise: Literal["drawn", "analytic"] = Field(
        default="drawn",
        description=(
            "Whether model galaxies get random errors (drawn) or the kernels average over them (analytic)."
        ),
    )
    errors: ComponentConfig = Field(
        default=ComponentConfig(kind="fitted"),
        description=(
            "How large model galaxies' errors are: fitted to the catalog's, or a class of your own, "
            "module:Class."
        ),
    )
    photoz: PhotozConfig | None = Field(default=None, description="Redshifts are photometric: their errors.")
    number_density: NumberDensityConfig | None = Field(
        default=None, description="The survey's solid angle is known: numbers of galaxies are compared."
    )

    @field_validator("where", "missing", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return [given] if isinstance(given, str | float | int) else given

    @field_validator("cuts", mode="before")
    @classmethod
    def _own_cuts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        return [own_component(cut, with_settings=True, beside=("bands",)) for cut in content]

    @property
    def all_cuts(self) -> "list[CutConfig]":
        """The cuts, and the bands' own magnitude limits as such."""
        limits = [
            MagnitudeCutConfig(
                kind="magnitude", band=name, bright_mag=band.bright_mag, faint_mag=band.faint_mag
            )
            for name, band in self.bands.items()
            if (band.bright_mag, band.faint_mag) != (None, None)
        ]
        return [*self.cuts, *limits]

    def correlation_matrix(self) -> np.ndarray:
        """Correlation of the bands' errors, [band, band]."""
        bands = list(self.bands)
        matrix = np.eye(len(bands))
        for pair, value in self.noise_correlation.items():
            i, j = (bands.index(name) for name in pair.split("-"))
            matrix[i, j] = matrix[j, i] = value
        return matrix

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogConfig":
        _raise([*self._correlation_problems(), *self._detection_problems(), *self._limit_problems()])
        return self

    def _correlation_problems(self) -> Iterator[Problem]:
        if not all(is_pair(pair, self.bands) for pair in self.noise_correlation):
            return  # told by the checks across sections
        if np.linalg.eigvalsh(self.correlation_matrix()).min() <= 1e-6:
            yield _problem(
                "noise_correlation", "no errors can be correlated like this (not positive definite)"
            )

    def _detection_problems(self) -> Iterator[Problem]:
        """Keys of bands that need another one."""
        for name, band in self.bands.items():
            if self.missing_bands == "drop" and (band.detection_mag, band.observed_fraction) != (None, 1):
                yield _problem(f"bands.{name}", "detection limits need 'missing_bands: keep'")
            elif band.detection_mag is None and band.observed_fraction != 1:
                yield _problem(f"bands.{name}", "observed_fraction needs a detection_mag")

    def _limit_problems(self) -> Iterator[Problem]:
        """Magnitude limits of one band that exclude each other."""
        main = self.selection
        for cut in self.all_cuts:
            if not isinstance(cut, MagnitudeCutConfig) or cut.band != main.band:
                continue
            if (cut.faint_mag or np.inf) <= main.bright_mag or (cut.bright_mag or 0) >= main.faint_mag:
                yield _problem(
                    "selection",
                    f"{main.band} = {main.bright_mag:g} to {main.faint_mag:g} excludes all galaxies within "
                    f"the further limits of {main.band}",
                )
        band = self.bands.get(main.band)
        if band is not None and band.detection_mag is not None and band.detection_mag <= main.bright_mag:
            yield _problem(
                "selection.bright_mag",
                f"{main.bright_mag:g}: nothing so faint is detected, bands.{main.band}.detection_mag is "
                f"{band.detection_mag:g}",
            )
