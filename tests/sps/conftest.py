import numpy as np
import pytest

from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_nebular, load_ssp


@pytest.fixture(scope="session")
def ssp():
    return load_ssp()


@pytest.fixture(scope="session")
def nebular():
    return load_nebular()


@pytest.fixture(scope="session")
def sdss():
    return load_filters([f"sdss_{band}0" for band in "ugriz"])


@pytest.fixture(scope="session")
def sfh():
    """A smooth history, finely tabulated: cosmic time [Gyr] and SFR [Msun/yr]."""
    t = np.linspace(0.01, 13.7, 400)
    return t, 5.0 * t * np.exp(-t / 2.0)


def central_difference(f, x, step):
    return (f(x + step) - f(x - step)) / (2 * step)
