"""The run file's sections on the survey: catalog, bands, selection. See `popinfer.config`."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, FiniteFloat, field_validator, model_validator

from popinfer.config.errors import Problem, ProblemsError
from popinfer.config.section import ComponentConfig, Section, own_component
from popinfer.data.wavelengths import length
from popinfer.errors import InputError


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; a name is needed")
    return text


Name = Annotated[str, AfterValidator(_said)]  # of a column, a table, or anything else that has a name


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("is no name that a Python function can have")
    return text


ColumnNumber = Annotated[int, Field(ge=1)]


class FilterConfig(Section):
    """A filter curve in a file, of which more has to be said than its path.

    ``columns`` are the names or numbers (from 1) of wavelength and transmission where there are more than 2;
    ``unit`` is that of the wavelengths, as in ``nm`` or ``micron``. ``counts`` is ``photon`` for a chance of
    detection, ``energy`` for a response to energy.
    """

    path: str
    columns: tuple[Name | ColumnNumber, Name | ColumnNumber] | None = None
    unit: Name | None = None
    counts: Literal["photon", "energy"] | None = None

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
# Apparent AB magnitudes that limits can have. The brightest galaxies of the sky, the Milky Way's companions,
# have about 0; the deepest fields end between 31 and 32.
BrightMagnitude = Annotated[float, Field(ge=0, le=32)]
# a sample that ends before 8 has a dozen galaxies at most
FaintMagnitude = Annotated[float, Field(ge=8, le=33)]
_EXTREMES = (0.0, 33.0)
_MAX_ERROR = 3.0  # mag; a value with such an error is no measurement


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
    value: Name
    error: Name | FiniteFloat
    unit: Unit | None = None
    error_unit: Unit | None = None
    system: Literal["ab", "vega"] = "ab"
    softening: float | None = Field(default=None, ge=1e-14, le=1e-3)
    error_kind: Literal["sigma", "ivar"] = "sigma"
    extinction: Name | None = None
    zero_point_mag: float = Field(default=0.0, ge=-2, le=2)
    error_floor_mag: float = Field(default=0.0, ge=0, le=1)
    bright_mag: BrightMagnitude | None = None
    faint_mag: FaintMagnitude | None = None
    detection_mag: FaintMagnitude | None = None
    detection_width_mag: float = Field(default=0.05, ge=1e-4, le=1)
    observed_fraction: float = Field(default=1.0, gt=0, le=1)

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
        if self.bright_mag is not None and self.faint_mag is not None and self.bright_mag >= self.faint_mag:
            yield _problem("bright_mag", f"{self.bright_mag:g} has to be below faint_mag {self.faint_mag:g}")


def _problem(key: str, text: str) -> Problem:
    """What is wrong with a key of a section, ``a`` or ``a.b``."""
    return Problem(tuple(int(part) if part.isdigit() else part for part in key.split(".")), f"{key}: {text}")


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ProblemsError(problems)


class SelectionConfig(Section):
    """Magnitude limits that define the sample, in AB magnitudes of one band after zero point and
    extinction.
    """

    band: str
    bright_mag: BrightMagnitude
    faint_mag: FaintMagnitude
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
    bright_mag: BrightMagnitude | None = None
    faint_mag: FaintMagnitude | None = None
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
    coefficients: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(min_length=1)
    threshold_mag: FiniteFloat
    width_mag: float = Field(default=0.02, ge=1e-4, le=1)

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
    name: Annotated[Name, AfterValidator(_identifier)]
    bands: list[str] = Field(min_length=1)

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.bands)


class OwnCutConfig(Section):
    """A selection of the user's own, ``kind: module:Class`` with its settings for short.

    It takes the magnitudes in ``bands``, in this order.
    """

    kind: Literal["own"]
    component: str
    bands: list[str] = Field(min_length=1)
    settings: dict[str, Any] = Field(default={})

    @property
    def uses(self) -> set[str]:
        """Bands that every galaxy needs for this cut."""
        return set(self.bands)


CutConfig = Annotated[
    MagnitudeCutConfig | LinearCutConfig | FunctionCutConfig | CompletenessConfig | OwnCutConfig,
    Field(discriminator="kind"),
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
    """A stellar mass function, compared with the slice that contains its redshift.

    Either a table, ``path``, or a ``published`` fit in bins of 0.2 dex within ``lgm_range``, each uncertain
    by ``error_dex``. ``scatter_dex`` is the error of single masses, for a Kroupa IMF and the stars alive.
    """

    kind: Literal["mass_function"]
    path: str | None = None
    published: Literal["baldry12"] | None = None
    redshift: FiniteFloat
    covariance: str | None = None
    lgm_range: tuple[FiniteFloat, FiniteFloat] = (9.5, 11.5)
    error_dex: float = Field(default=0.08, ge=0.005, le=1)
    scatter_dex: float = Field(default=0.1, ge=0.01, le=2)

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

    For catalogs whose solid angle isn't known. ``error_dex`` holds for all slices together, as the
    normalisation's does.
    """

    kind: Literal["luminosity_function"]
    published: Literal["blanton03"] = "blanton03"
    error_dex: float = Field(default=0.043, ge=0.005, le=1)
    files: ClassVar[list[str]] = []


class SfrDensityConfig(Section):
    """The cosmic star formation rate density, each redshift's uncertain by ``error_dex``."""

    kind: Literal["sfr_density"]
    published: Literal["madau14"] = "madau14"
    redshifts: list[Annotated[float, Field(ge=0, le=6)]] = Field(
        default=[0.0, 0.25, 0.5, 1.0, 1.5, 2.0], min_length=1, max_length=50
    )
    error_dex: float = Field(default=0.15, ge=0.005, le=1)
    files: ClassVar[list[str]] = []


AbundanceConfig = Annotated[
    MassFunctionConfig | LuminosityFunctionConfig | SfrDensityConfig, Field(discriminator="kind")
]


class CatalogConfig(Section):
    """The observed catalog: a file, or ``sdss_mgs`` for the embedded SDSS main sample.

    ``missing_bands`` says what becomes of galaxies that lack some bands: ``drop`` leaves them out, which is
    unbiased if they are a random share; ``keep`` counts them in the features that they have. ``cuts`` are
    selections besides the main magnitude limit; probabilities multiply. ``noise_correlation`` holds the
    correlation coefficients of pairs of bands' errors, ``g-r: 0.3``; others are independent. ``noise`` says
    whether model galaxies get random errors (``drawn``) or the kernels average over them (``analytic``).
    ``errors`` says how large they are: ``fitted`` to the catalog's, or a class of the user's own.

    ``table`` chooses one of several tables in a file: name or number of a FITS HDU, path of an HDF5 group.
    ``id`` is a column of the galaxies' names. ``where`` holds conditions on rows, a column of true and false
    or ``column < number``, all of which must be met. ``missing`` adds values and words that mean "not
    measured" to the usual ones (-9999, -999, -99, 99, 999). ``duplicates: allow`` accepts galaxies that are
    listed several times, ``implausible: warn`` medians, errors and repeated values that no survey has.
    ``file_units: ignore`` passes over what the file says of its columns' units and magnitude systems, where
    that is wrong.
    """

    path: str
    redshift: Name
    table: Name | int | None = None
    id: Name | None = None
    where: list[str] = Field(default=[])
    bands: dict[str, BandConfig] = Field(min_length=1)
    selection: SelectionConfig
    cuts: list[CutConfig] = Field(default=[])
    format: Literal["auto", "parquet", "fits", "hdf5", "csv", "ecsv"] = "auto"
    missing: list[FiniteFloat | Name] = Field(default=[])
    duplicates: Literal["refuse", "allow"] = "refuse"
    implausible: Literal["refuse", "warn"] = "refuse"
    file_units: Literal["believe", "ignore"] = "believe"
    missing_bands: Literal["drop", "keep"] = "drop"
    noise_correlation: dict[str, Annotated[float, Field(gt=-1, lt=1)]] = Field(default={})
    noise: Literal["drawn", "analytic"] = "drawn"
    errors: ComponentConfig = ComponentConfig(kind="fitted")
    photoz: PhotozConfig | None = None
    number_density: NumberDensityConfig | None = None

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
        wrong_pairs = list(self._pair_problems())
        limits = [] if wrong_pairs else self._correlation_problems()
        _raise([*wrong_pairs, *limits, *self._band_problems(), *self._limit_problems()])
        return self

    def _pair_problems(self) -> Iterator[Problem]:
        for pair in self.noise_correlation:
            names = pair.split("-")
            if len(names) != 2 or len(set(names)) != 2 or not set(names) <= set(self.bands):
                yield Problem(
                    ("noise_correlation", pair),
                    f"noise_correlation: '{pair}' has to be two of {sorted(self.bands)}, like 'g-r'",
                )

    def _correlation_problems(self) -> Iterator[Problem]:
        if np.linalg.eigvalsh(self.correlation_matrix()).min() <= 1e-6:
            yield _problem(
                "noise_correlation", "no errors can be correlated like this (not positive definite)"
            )

    def _band_problems(self) -> Iterator[Problem]:
        """Bands that aren't there, and keys that need another one."""
        bands = sorted(self.bands)
        if self.selection.band not in self.bands:
            yield _problem("selection.band", f"'{self.selection.band}' is not one of {bands}")
        for i, cut in enumerate(self.cuts):
            unknown = cut.uses - set(self.bands)
            if unknown:
                yield _problem(f"cuts.{i}", f"'{min(unknown)}' is not one of {bands}")
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
