"""2,000 galaxies of the embedded sample in magnitudes and fluxes, and reading them spoilt in some way."""

import functools

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.embedded import asset_path
from popinfer.errors import InputError

BANDS = "ugriz"
ROWS = 2000
NMGY = 3.631e-6  # Jy


@functools.cache
def _base():
    frame = pd.read_parquet(asset_path("sdss_mgs"))
    frame = frame[(frame.zs > 0.06) & (frame.zs < 0.12) & (frame.r < 17.5)].head(ROWS)
    frame = frame[["zs", *BANDS, *(f"e{b}" for b in BANDS)]].reset_index(drop=True)
    for b in BANDS:
        frame[f"F{b}"] = 10 ** (-0.4 * (frame[b] - 22.5))
        frame[f"S{b}"] = frame[f"F{b}"] * frame[f"e{b}"] * np.log(10) / 2.5
    return frame


def base():
    """The base catalog: zs; magnitudes u..z and errors eu..ez; fluxes Fu..Fz, errors Su..Sz [nanomaggies]."""
    return _base().copy()


def bands(value="{}", error="e{}", only=BANDS, **settings):
    """Columns of some bands."""
    return {b: BandColumns(f"sdss_{b}0", value.format(b), error.format(b), **settings) for b in only}


def fluxes(only=BANDS, **settings):
    """Flux columns of some bands."""
    return bands("F{}", "S{}", only, **settings)


def read(path, columns=None, **changes):
    """The catalog of a file with the base catalog's columns."""
    return load_catalog(
        CatalogSpec(**{"path": path, "bands": columns or bands(), "redshift": "zs", **changes})
    )


def refusal(path, columns=None, **changes):
    """The line that a file is refused with."""
    with pytest.raises(InputError) as caught:
        read(path, columns, **changes)
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    return message


def with_units(frame, **units):
    """A table whose columns have units; a key is the first letter of its columns' names."""
    table = Table.from_pandas(frame)
    for start, unit in units.items():
        for name in table.colnames:
            if name == start or (len(name) == 2 and name[0] == start and name != "zs"):
                table[name].unit = unit
    return table
