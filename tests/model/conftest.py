"""Small surveys of the embedded sample, and posteriors of them."""

import pytest

from popinfer.data import BandColumns, CatalogSpec, load_catalog, load_ssp
from popinfer.loss.kernel_counts import KernelSpec
from popinfer.model import Design, HaloSpec, ModelSpec, Posterior, Survey
from popinfer.params import Prior
from popinfer.random import root_key
from popinfer.survey.selection import MagnitudeLimit, Selection

FREE = {
    "dust.lg_av": Prior("normal", -0.4, 0.3),
    "blue.zero_point.g": Prior("normal", 0.0, 0.02),
    "zero_point.r": Prior("normal", 0.0, 0.03),
    "metallicity.zero_point": Prior("normal", 0.0, 0.15),
}


def survey(name, bands, limits, features):
    """Part of the embedded sample, in two bands and one slice."""
    columns = {b: BandColumns(filter=f"sdss_{b}0", value=b, error=f"e{b}") for b in bands}
    spec = CatalogSpec(
        "sdss_mgs", columns, "zs", z_min=limits[0], z_max=limits[1], selection_band="r", mag_faint=17.5
    )
    selection = Selection((MagnitudeLimit(bands.index("r"), 14.0, 17.5, 0.05),))
    design = Design(kernels=KernelSpec(n_centers=20, floor=0.05), name=name)
    return Survey.from_catalog(root_key(1), load_catalog(spec), [limits], features, selection, design)


@pytest.fixture(scope="session")
def surveys():
    """Two surveys of their own bands, slices and features."""
    return [
        survey("blue", "gr", (0.06, 0.09), ["g-r", "r"]),
        survey("red", "ri", (0.10, 0.13), ["r-i"]),
    ]


@pytest.fixture(scope="session")
def spec():
    """Models with an error, and one parameter that is held in one survey only."""
    return ModelSpec(load_ssp(), fixed={"red.zero_point.i": 0.01}, model_error=0.1)


@pytest.fixture(scope="session")
def posterior(surveys, spec):
    """Of both surveys."""
    sizes = [HaloSpec(4, 64), HaloSpec(4, 48)]
    return Posterior.build(root_key(2), surveys, FREE, spec, sizes)


@pytest.fixture(scope="session")
def single(surveys, spec):
    """Of the first survey alone."""
    free = {name: FREE[name] for name in ("dust.lg_av", "metallicity.zero_point")}
    return Posterior.build(
        root_key(2), surveys[:1], free, ModelSpec(spec.ssp, model_error=0.1), HaloSpec(4, 64)
    )
