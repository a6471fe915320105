"""What the tests of the readers share."""

import pandas as pd
import pytest

from popinfer.data import load_catalog
from popinfer.errors import InputError
from tests.support.base_catalog import base_catalog, spec_of, with_fluxes, write


@pytest.fixture(scope="module")
def base() -> pd.DataFrame:
    return with_fluxes(base_catalog())


@pytest.fixture
def load(tmp_path):
    """Write a frame with units and read its bands, named by (value, error) and further keys of each."""

    def read(frame, suffix="parquet", units=None, bands=None, **changes):
        path = write(tmp_path / f"b.{suffix}", frame, units)
        return load_catalog(spec_of(path, bands or {"r": ("r", "er", {})}, **changes))

    return read


@pytest.fixture
def refused(load):
    """The message that reading is refused with."""

    def read(*args, **keys) -> str:
        with pytest.raises(InputError) as caught:
            load(*args, **keys)
        lines = caught.value.lines
        assert str(caught.value) == "\n".join(lines)
        assert all("\n" not in line and "b." in line for line in lines)
        return str(caught.value)

    return read
