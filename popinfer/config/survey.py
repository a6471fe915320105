"""The run file's sections on the survey: catalog, bands, selection. See `popinfer.config`."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from popinfer.config.section import Section

UnitName = Literal["mag", "luptitude", "maggies", "nmgy", "Jy", "mJy", "uJy", "nJy", "cgs"]
# apparent magnitudes: the Magellanic Clouds have 0 to 2, the faintest galaxies of any survey 31
Magnitude = Annotated[float, Field(ge=-5, le=35)]
# softness of a limit: narrower ones give the model no gradient, wider ones are none
Width = Annotated[float, Field(ge=1e-4, le=1)]
_LARGEST_ZERO_POINT = (
    2.0  # mag; corrections of photometry are below 0.1, Vega's AB magnitudes in J, H, K 0.9 to 1.9
)


def _check_order(bright: float | None, faint: float | None) -> None:
    """Refuse limits that leave nothing between them."""
    if bright is not None and faint is not None and not bright < faint:
        raise ValueError(f"bright_mag: {bright:g} has to be below faint_mag {faint:g}")


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


class BandConfig(Section):
    """One band of the catalog: which filter (a name, a file, or a mapping), which columns, in which unit.

    ``error`` is a column, or a number: the same error for all, in ``unit``. Without ``unit`` the file's own
    counts, and AB magnitudes where it states none; a ``unit`` that contradicts the file is refused.
    ``luptitude`` are asinh magnitudes, with their ``softening``, known for SDSS' filters. ``ab_of_unit_mag``
    is for fluxes in another unit: the AB magnitude of one (22.5 for nmgy, 25 in EAZY's catalogs).
    ``error_unit`` is for an error in another unit than the value. ``system: vega`` is for magnitudes
    relative to Vega. ``extinction`` is a column of A in this band [mag], which is subtracted: leave it out
    where magnitudes are corrected already. ``bright_mag`` and ``faint_mag`` limit the sample in this band,
    for the model's galaxies alike; like all limits they apply to AB magnitudes after zero point and
    extinction.

    With ``missing_bands: keep``, values fainter than ``detection_mag`` [AB] count as not detected;
    ``observed_fraction`` is the share of galaxies that the band was observed for at all. Without
    ``detection_mag`` both are fitted to the catalog's own missing values.
    """

    filter: str | FilterConfig
    value: str = Field(min_length=1)
    error: Annotated[str, Field(min_length=1)] | Annotated[float, Field(gt=0)]
    unit: UnitName | None = None
    ab_of_unit_mag: float | None = Field(default=None, ge=-60, le=60)
    error_unit: UnitName | None = None
    error_kind: Literal["sigma", "ivar"] = "sigma"
    system: Literal["ab", "vega"] | None = None
    softening: float | None = Field(default=None, gt=0, lt=1e-6)
    extinction: str | None = Field(default=None, min_length=1)
    zero_point_mag: float = 0.0
    error_floor_mag: float = Field(default=0.0, ge=0, le=1)
    bright_mag: Magnitude | None = None
    faint_mag: Magnitude | None = None
    detection_mag: Magnitude | None = None
    detection_width_mag: float = Field(default=0.05, ge=1e-4, le=5)
    observed_fraction: float = Field(default=1.0, gt=0, le=1)

    @property
    def filter_name(self) -> str:
        """The filter's name or path."""
        return self.filter if isinstance(self.filter, str) else self.filter.path

    @model_validator(mode="after")
    def _sensible(self) -> "BandConfig":
        if isinstance(self.error, str) and self.error == self.value:
            raise ValueError(f"error: column '{self.error}' is the value too; name the column of its error")
        if not isinstance(self.error, str) and self.error_kind == "ivar":
            raise ValueError(
                "error_kind: ivar is for a column; a number as the error is a standard deviation"
            )
        if abs(self.zero_point_mag) > _LARGEST_ZERO_POINT:
            raise ValueError(
                f"zero_point_mag: {self.zero_point_mag:g} is beyond +-{_LARGEST_ZERO_POINT:g} mag; the "
                "scale of fluxes "
                "is said with unit or ab_of_unit_mag, Vega magnitudes with system: vega"
            )
        if self.unit is not None and self.ab_of_unit_mag is not None:
            raise ValueError("unit: leave it out where ab_of_unit_mag says what a unit of flux is")
        _check_order(self.bright_mag, self.faint_mag)
        return self


class SelectionConfig(Section):
    """Magnitude limits that define the sample, in AB magnitudes of one band, after zero point and extinction.

    The model's limits are ``width_mag`` soft, so that the likelihood is smooth.
    """

    band: str
    bright_mag: Magnitude
    faint_mag: Magnitude
    width_mag: Width = 0.02

    @model_validator(mode="after")
    def _limits(self) -> "SelectionConfig":
        _check_order(self.bright_mag, self.faint_mag)
        return self


class MagnitudeCutConfig(Section):
    """Further magnitude limits, in another band."""

    kind: Literal["magnitude"]
    band: str
    bright_mag: Magnitude | None = None
    faint_mag: Magnitude | None = None
    width_mag: Width = 0.02

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return {self.band}

    @model_validator(mode="after")
    def _limits(self) -> "MagnitudeCutConfig":
        given = [x for x in (self.bright_mag, self.faint_mag) if x is not None]
        if not given or given != sorted(set(given)):
            raise ValueError("a magnitude cut needs bright_mag, faint_mag or both, the bright one smaller")
        return self


class LinearCutConfig(Section):
    """Galaxies with sum over bands of coefficient x magnitude at least ``threshold_mag``."""

    kind: Literal["linear"]
    coefficients: dict[str, FiniteFloat] = Field(min_length=1)
    threshold_mag: FiniteFloat
    width_mag: Width = 0.02

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

    ``table`` chooses one of several in a file: name or number of a FITS HDU, path in an HDF5 file. ``id`` is
    a column that names the galaxies. ``missing`` lists numbers and words that stand for "not measured",
    besides -9999, -999, -99, 99 and 999. ``where`` chooses rows: a column of true and false, ``not`` and
    such a column, or ``column < number`` (<, <=, >, >=, ==, !=); of a list all have to hold. The model isn't
    cut by it: what it leaves must be a fair sample within the magnitude limits. ``duplicates: allow``
    accepts copies of galaxies, ``plausibility: warn`` accepts columns that hardly can be what they are
    called, ``file_units: ignore`` is for a file that states wrong units.
    """

    path: str
    redshift: str = Field(min_length=1)
    bands: dict[str, BandConfig]
    selection: SelectionConfig
    cuts: list[CutConfig] = Field(default=[])
    format: Literal["auto", "parquet", "fits", "hdf5", "csv", "ecsv"] = "auto"
    table: str | int | None = None
    id: str | None = Field(default=None, min_length=1)
    missing: list[float | str] = Field(default=[])
    where: str | list[str] = Field(default=[])
    duplicates: Literal["refuse", "allow"] = "refuse"
    plausibility: Literal["refuse", "warn"] = "refuse"
    file_units: Literal["believe", "ignore"] = "believe"
    missing_bands: Literal["drop", "keep"] = "drop"
    noise_correlation: dict[str, FiniteFloat] = Field(default={})
    noise: Literal["drawn", "analytic"] = "drawn"
    photoz: PhotozConfig | None = None
    number_density: NumberDensityConfig | None = None

    @property
    def all_cuts(self) -> list[CutConfig]:
        """Selections besides the main magnitude limit: limits of bands, then ``cuts``."""
        limits: list[CutConfig] = [
            MagnitudeCutConfig(
                kind="magnitude", band=name, bright_mag=band.bright_mag, faint_mag=band.faint_mag
            )
            for name, band in self.bands.items()
            if (band.bright_mag, band.faint_mag) != (None, None)
        ]
        return [*limits, *self.cuts]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions on rows, as many as there are."""
        return (self.where,) if isinstance(self.where, str) else tuple(self.where)

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
    def _columns(self) -> "CatalogConfig":
        roles = {self.redshift: "redshift"}
        for name, band in self.bands.items():
            for key, column in (("value", band.value), ("extinction", band.extinction)):
                if column is None:
                    continue
                if column in roles:
                    raise ValueError(f"bands.{name}.{key}: column '{column}' is {roles[column]} already")
                roles[column] = f"bands.{name}.{key}"
        for name, band in self.bands.items():
            if isinstance(band.error, str) and band.error in roles:
                raise ValueError(f"bands.{name}.error: column '{band.error}' is {roles[band.error]} already")
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
        limits = self.bands[self.selection.band]
        if (limits.bright_mag, limits.faint_mag) != (None, None):
            raise ValueError(
                f"bands.{self.selection.band}: limits of the selection's band belong to "
                "selection.bright_mag and "
                "selection.faint_mag"
            )
        for name, band in self.bands.items():
            if self.missing_bands == "drop" and (band.detection_mag, band.observed_fraction) != (None, 1):
                raise ValueError(f"bands.{name}: detection limits need 'missing_bands: keep'")
            if band.detection_mag is None and band.observed_fraction != 1:
                raise ValueError(f"bands.{name}.observed_fraction needs a detection_mag")
        return self
