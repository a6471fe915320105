"""The run file's sections on the survey: catalog, bands, selection. See `popinfer.config`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BandConfig(Section):
    """One band of the catalog: which filter, which columns, in which unit.

    With ``missing_bands: keep``, values fainter than ``detection_mag`` [AB] count as not detected;
    ``observed_fraction`` is the share of galaxies that the band was observed for at all. Without
    ``detection_mag`` both are fitted to the catalog's own missing values.
    """

    filter: str
    value: str
    error: str
    unit: Literal["mag", "nmgy", "Jy", "uJy", "nJy", "cgs"] = "mag"
    error_kind: Literal["sigma", "ivar"] = "sigma"
    extinction: str | None = None
    zero_point_mag: float = 0.0
    error_floor_mag: float = Field(default=0.0, ge=0)
    detection_mag: float | None = None
    detection_width_mag: float = Field(default=0.05, gt=0)
    observed_fraction: float = Field(default=1.0, gt=0, le=1)


class SelectionConfig(Section):
    """Magnitude limits that define the sample, in AB magnitudes of one band."""

    band: str
    bright_mag: float
    faint_mag: float
    width_mag: float = Field(default=0.02, gt=0)


class CatalogConfig(Section):
    """The observed catalog: a file, or ``sdss_mgs`` for the embedded SDSS main sample.

    ``missing_bands`` says what becomes of galaxies that lack some bands: ``drop`` leaves them out, which is
    unbiased if they are a random share; ``keep`` counts them in the features that they have.
    """

    path: str
    redshift: str
    bands: dict[str, BandConfig]
    selection: SelectionConfig
    format: Literal["auto", "parquet", "fits", "hdf5", "csv", "ecsv"] = "auto"
    missing: list[float] = [-9999.0, -999.0, -99.0, 99.0, 999.0]  # values that stand for "not measured"
    missing_bands: Literal["drop", "keep"] = "drop"

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogConfig":
        bands = sorted(self.bands)
        if self.selection.band not in self.bands:
            raise ValueError(f"selection.band: '{self.selection.band}' is not one of {bands}")
        for name, band in self.bands.items():
            if self.missing_bands == "drop" and (band.detection_mag, band.observed_fraction) != (None, 1):
                raise ValueError(f"bands.{name}: detection limits need 'missing_bands: keep'")
            if band.detection_mag is None and band.observed_fraction != 1:
                raise ValueError(f"bands.{name}.observed_fraction needs a detection_mag")
        return self
