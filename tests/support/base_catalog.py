"""2,000 galaxies of the embedded SDSS sample, and the ways to write them to a file with their units."""

from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table

from popinfer.data import BandColumns, CatalogSpec
from popinfer.data.embedded import asset_path

FORMATS = ("fits", "ecsv", "hdf5", "parquet")  # that keep units


def base_catalog(rows: int = 2000) -> pd.DataFrame:
    """Galaxies at 0.06 < zs < 0.12 brighter than r = 17.5, with native SDSS magnitudes and errors."""
    frame = pd.read_parquet(asset_path("sdss_mgs"))
    inside = (frame.zs > 0.06) & (frame.zs < 0.12) & (frame.r < 17.5)
    return frame[inside].head(rows).reset_index(drop=True)


def with_fluxes(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns f_u ... and s_u ...: nanomaggies and their errors."""
    frame = frame.copy()
    for band in "ugriz":
        frame[f"f_{band}"] = 10 ** (-0.4 * (frame[band] - 22.5))
        frame[f"s_{band}"] = frame[f"f_{band}"] * frame[f"e{band}"] * np.log(10) / 2.5
    return frame


def write(path: Path, frame: pd.DataFrame, units: dict[str, str] | None = None) -> Path:
    """Write a table with the units of its columns, in the format of the suffix, as astropy writes it."""
    table = Table.from_pandas(frame)
    for name, unit in (units or {}).items():
        table[name].unit = unit
    if path.suffix == ".hdf5":
        table.write(path, format="hdf5", path="table", serialize_meta=True, overwrite=True)
    elif path.suffix == ".ecsv":
        table.write(path, format="ascii.ecsv", overwrite=True)
    elif path.suffix == ".fits":
        for name in units or {}:
            table[name].unit = None
        table.write(path, overwrite=True)
        for name, unit in (units or {}).items():  # by hand: astropy leaves out what FITS doesn't define
            fits.setval(path, f"TUNIT{table.colnames.index(name) + 1}", value=unit, ext=1)
    else:
        table.write(path, overwrite=True)
    return path


def spec_of(path, bands, **changes) -> CatalogSpec:
    """Description of a file whose bands are given as name -> (value, error, further keys)."""
    described = {
        name: BandColumns(f"sdss_{name}0", value, error, **keys)
        for name, (value, error, keys) in bands.items()
    }
    return CatalogSpec(**{"path": path, "bands": described, "redshift": "zs", **changes})
