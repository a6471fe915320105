"""The run file's sections on the survey: catalog, bands, selection. See `popinfer.config`."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator, model_validator

from popinfer.config.section import Section


class FilterConfig(Section):
    """A filter curve in a file, of which more has to be said than its path.

    ``columns`` are the names or numbers (from 1) of wavelength and transmission where there are more than 2;
    ``unit`` is that of the wavelengths, as in ``nm`` or ``micron``. ``counts`` is ``photon`` for a chance of
    detection, ``energy`` for a response to energy.
    """

    path: str
    columns: tuple[str | int, str | int] | None = None
    unit: str | None = None
    counts: Literal["photon", "energy"] | None = None


Unit = Literal["mag", "mmag", "luptitude", "maggy", "nmgy", "Jy", "mJy", "uJy", "nJy", "cgs"]
Magnitude = Annotated[float, Field(ge=-5, le=40)]  # an apparent magnitude that a limit can have


class BandConfig(Section):
    """One band of the catalog: which filter (a name, a file, or a mapping), which columns, in which unit.

    ``error`` is a column or one number for all rows, in the unit of the values; ``error_unit`` is that of the
    errors where it is another one. Units that the file itself states are used, and must not contradict these.
    ``unit: luptitude`` is an asinh magnitude of softening ``softening`` [maggies]; ``system: vega`` a
    magnitude relative to Vega. ``extinction`` is a column [mag] that is subtracted from the magnitudes.
    ``bright_mag`` and ``faint_mag`` leave out galaxies beyond them, in model and data alike; like all limits
    they are AB magnitudes after zero points and extinction.
    With ``missing_bands: keep``, values fainter than ``detection_mag`` [AB] count as not detected;
    ``observed_fraction`` is the share of galaxies that the band was observed for at all. Without
    ``detection_mag`` both are fitted to the catalog's own missing values.
    """

    filter: str | FilterConfig
    value: str
    error: str | FiniteFloat
    unit: Unit | None = None
    error_unit: Unit | None = None
    system: Literal["ab", "vega"] = "ab"
    softening: float | None = Field(default=None, ge=1e-14, le=1e-3)
    error_kind: Literal["sigma", "ivar"] = "sigma"
    extinction: str | None = None
    zero_point_mag: float = Field(default=0.0, ge=-2, le=2)
    error_floor_mag: float = Field(default=0.0, ge=0, le=1)
    bright_mag: Magnitude | None = None
    faint_mag: Magnitude | None = None
    detection_mag: Magnitude | None = None
    detection_width_mag: float = Field(default=0.05, ge=1e-4, le=1)
    observed_fraction: float = Field(default=1.0, gt=0, le=1)

    @property
    def filter_name(self) -> str:
        """The filter's name or path."""
        return self.filter if isinstance(self.filter, str) else self.filter.path

    @model_validator(mode="after")
    def _columns(self) -> "BandConfig":
        if self.error == self.value:
            raise ValueError(f"error: column '{self.value}' is the value's; name the column of its error")
        if isinstance(self.error, float) and not self.error > 0:
            raise ValueError(f"error: {self.error:g} has to be above 0")
        if isinstance(self.error, float) and self.error_kind == "ivar":
            raise ValueError(
                f"error: {self.error:g} is a number for all rows: give it as a sigma, not an ivar"
            )
        if self.softening is not None and self.unit != "luptitude":
            raise ValueError("softening belongs to asinh magnitudes: set unit: luptitude, or leave it out")
        if self.system == "vega" and self.unit not in (None, "mag", "mmag"):
            raise ValueError(f"system: vega is of magnitudes; unit is {self.unit}")
        if self.bright_mag is not None and self.faint_mag is not None and self.bright_mag >= self.faint_mag:
            raise ValueError(f"bright_mag {self.bright_mag:g} has to be below faint_mag {self.faint_mag:g}")
        return self


class SelectionConfig(Section):
    """Magnitude limits that define the sample, in AB magnitudes of one band after zero point and
    extinction.
    """

    band: str
    bright_mag: Magnitude
    faint_mag: Magnitude
    width_mag: float = Field(default=0.02, ge=1e-4, le=1)

    @model_validator(mode="after")
    def _limits(self) -> "SelectionConfig":
        if self.bright_mag >= self.faint_mag:
            raise ValueError(f"bright_mag {self.bright_mag:g} has to be below faint_mag {self.faint_mag:g}")
        return self


class MagnitudeCutConfig(Section):
    """Further magnitude limits, in another band."""

    kind: Literal["magnitude"]
    band: str
    bright_mag: Magnitude | None = None
    faint_mag: Magnitude | None = None
    width_mag: float = Field(default=0.02, ge=1e-4, le=1)

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
    """Galaxies with sum over bands of coefficient x magnitude at least ``threshold_mag``."""

    kind: Literal["linear"]
    coefficients: dict[str, FiniteFloat] = Field(min_length=1)
    threshold_mag: FiniteFloat
    width_mag: float = Field(default=0.02, ge=1e-4, le=1)

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.coefficients)


class CompletenessConfig(Section):
    """Share of galaxies in the sample against the magnitude in one band: a file of two columns."""

    kind: Literal["completeness"]
    band: str
    path: str

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return {self.band}


class FunctionCutConfig(Section):
    """Galaxies for which a Python function of magnitudes in some bands, in this order, is a half at least.

    It takes JAX arrays and gives each galaxy's probability, which falls smoothly from 1 to 0 at the cut.
    """

    kind: Literal["function"]
    path: str
    name: str
    bands: list[str] = Field(min_length=1)

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.bands)


CutConfig = Annotated[
    MagnitudeCutConfig | LinearCutConfig | FunctionCutConfig | CompletenessConfig, Field(discriminator="kind")
]


class PhotozConfig(Section):
    """The redshift column is photometric: scatter and bias of (z_p - z) / (1 + z), and outliers.

    Halos are drawn for these values; ``photoz.scatter``, ``photoz.bias`` and ``photoz.outlier_fraction`` may
    be freed around them. Outliers' redshifts lie anywhere in ``outlier_range``.
    """

    scatter: float = Field(ge=1e-5, lt=0.3)
    bias: float = Field(default=0.0, gt=-0.3, lt=0.3)
    outlier_fraction: float = Field(default=0.0, ge=0, lt=1)
    outlier_range: tuple[FiniteFloat, FiniteFloat] | None = None

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

    ``sampling`` is the share of the galaxies inside the cuts that the catalog lists. The scatter of numbers
    with the field (cosmic variance) follows from the matter power spectrum and the galaxies' ``bias``.
    """

    area_deg2: float = Field(ge=1e-6, le=41253)
    sampling: float = Field(default=1.0, ge=1e-6, le=1)
    bias: float = Field(default=1.2, ge=0.001, le=20)  # L* galaxies, Zehavi et al. 2011 (ApJ 736, 59)


class MassFunctionConfig(Section):
    """A published stellar mass function, compared with the slice that contains its redshift.

    ``scatter_dex`` is the error of the published masses, for a Kroupa IMF and the stars alive.
    """

    kind: Literal["mass_function"]
    path: str
    redshift: FiniteFloat
    covariance: str | None = None
    scatter_dex: float = Field(default=0.1, ge=0.01, le=2)


class CatalogConfig(Section):
    """The observed catalog: a file, or ``sdss_mgs`` for the embedded SDSS main sample.

    ``missing_bands`` says what becomes of galaxies that lack some bands: ``drop`` leaves them out, which is
    unbiased if they are a random share; ``keep`` counts them in the features that they have. ``cuts`` are
    selections besides the main magnitude limit; probabilities multiply. ``noise_correlation`` holds the
    correlation coefficients of pairs of bands' errors, ``g-r: 0.3``; others are independent. ``noise`` says
    whether model galaxies get random errors (``drawn``) or the kernels average over them (``analytic``).

    ``table`` chooses one of several tables in a file: name or number of a FITS HDU, path of an HDF5 group.
    ``id`` is a column of the galaxies' names. ``where`` holds conditions on rows, a column of true and false
    or ``column < number``, all of which must be met. ``missing`` adds values and words that mean "not
    measured" to the usual ones (-9999, -999, -99, 99, 999). ``duplicates: allow`` accepts galaxies that are
    listed several times, ``implausible: warn`` medians, errors and repeated values that no survey has.
    ``file_units: ignore`` passes over what the file says of its columns' units and magnitude systems, where
    that is wrong.
    """

    path: str
    redshift: str
    table: str | int | None = None
    id: str | None = None
    where: list[str] = Field(default=[])
    bands: dict[str, BandConfig]
    selection: SelectionConfig
    cuts: list[CutConfig] = Field(default=[])
    format: Literal["auto", "parquet", "fits", "hdf5", "csv", "ecsv"] = "auto"
    missing: list[FiniteFloat | str] = Field(default=[])
    duplicates: Literal["refuse", "allow"] = "refuse"
    implausible: Literal["refuse", "warn"] = "refuse"
    file_units: Literal["believe", "ignore"] = "believe"
    missing_bands: Literal["drop", "keep"] = "drop"
    noise_correlation: dict[str, FiniteFloat] = Field(default={})
    noise: Literal["drawn", "analytic"] = "drawn"
    photoz: PhotozConfig | None = None
    number_density: NumberDensityConfig | None = None

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

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
    def _correlation(self) -> "CatalogConfig":
        for pair in self.noise_correlation:
            names = pair.split("-")
            if len(names) != 2 or len(set(names)) != 2 or not set(names) <= set(self.bands):
                raise ValueError(
                    f"noise_correlation: '{pair}' has to be two of {sorted(self.bands)}, like 'g-r'"
                )
        if np.linalg.eigvalsh(self.correlation_matrix()).min() <= 1e-6:
            raise ValueError(
                "noise_correlation: no errors can be correlated like this (not positive definite)"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogConfig":
        bands = sorted(self.bands)
        if self.selection.band not in self.bands:
            raise ValueError(f"selection.band: '{self.selection.band}' is not one of {bands}")
        for i, cut in enumerate(self.cuts):
            unknown = cut.uses - set(self.bands)
            if unknown:
                raise ValueError(f"cuts.{i}: '{min(unknown)}' is not one of {bands}")
        for name, band in self.bands.items():
            if self.missing_bands == "drop" and (band.detection_mag, band.observed_fraction) != (None, 1):
                raise ValueError(f"bands.{name}: detection limits need 'missing_bands: keep'")
            if band.detection_mag is None and band.observed_fraction != 1:
                raise ValueError(f"bands.{name}.observed_fraction needs a detection_mag")
        return self
