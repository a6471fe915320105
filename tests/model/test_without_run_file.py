"""From a catalog to a log-density of the population, without a run file or a folder."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.data import BandColumns, CatalogSpec, load_catalog, load_filters, load_ssp
from popinfer.errors import InputError
from popinfer.halos.lightcone import LightconeSpec, draw_slices
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.search import likelihood_at
from popinfer.loss.kernel_counts import KernelSpec
from popinfer.model import (
    Design,
    HaloCounts,
    Light,
    PopulationModel,
    Survey,
    SurveyModel,
    free_space,
    survey_data,
)
from popinfer.params import Prior
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import declared_parameters
from popinfer.random import root_key
from popinfer.survey.selection import MagnitudeLimit, Selection

SLICES = [(0.06, 0.09)]
FREE = {"dust.lg_av": Prior("normal", -0.4, 0.3), "metallicity.zero_point": Prior("normal", 0.0, 0.15)}


def catalog(n=None):
    """Galaxies of the embedded sample, the first n."""
    bands = {b: BandColumns(filter=f"sdss_{b}0", value=b, error=f"e{b}") for b in "gr"}
    spec = CatalogSpec(
        path="sdss_mgs", bands=bands, redshift="zs", z_min=0.06, z_max=0.09, selection_band="r"
    )
    found = load_catalog(spec)
    return jax.tree.map(lambda x: x[:n], found)


def built(galaxies):
    """Survey, its model and data, and counts on four batches."""
    selection = Selection((MagnitudeLimit(1, 14.0, 17.5, 0.05),))
    design = Design(kernels=KernelSpec(n_centers=30, floor=0.05))
    survey = Survey.from_catalog(root_key(1), galaxies, SLICES, ["g-r", "r"], selection, design)
    light = Light(load_ssp(), load_filters(["sdss_g0", "sdss_r0"]))
    model = PopulationModel.build(light, SLICES, FREE)
    spec = LightconeSpec(0.06, 0.09, 256, 11.0, model.forward.n_normals(2))
    halos = jax.tree.map(lambda *x: np.stack(x), *[draw_slices(root_key(i), [spec]) for i in range(4)])
    return survey, HaloCounts.of(halos, SurveyModel.of(model, survey)), survey_data(survey, 0.1)


@pytest.fixture(scope="module")
def problem():
    return built(catalog())


@pytest.fixture(scope="module")
def density(problem):
    _, counts, data = problem
    return LogDensity.of(counts, likelihood_at(counts, data, np.zeros(2)))


def test_a_density_works_with_jit_grad_and_vmap(density):
    u = jnp.asarray([[0.1, -0.2], [0.3, 0.4]])
    values = jax.jit(jax.vmap(density))(u)
    np.testing.assert_allclose(values, [float(density(one)) for one in u], rtol=1e-9)
    slope = np.asarray(jax.jit(jax.grad(density.__call__))(u[0]))
    for i, step in enumerate(1e-5 * np.eye(2)):
        numeric = (float(density(u[0] + step)) - float(density(u[0] - step))) / 2e-5
        assert slope[i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_every_product_is_exact_on_accelerators_too(density):
    """No product in the program may be left to a default of TF32 or bfloat16."""
    program = jax.jit(jax.value_and_grad(density.__call__)).lower(jnp.zeros(2)).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) > 10
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_a_density_is_on_the_device(density):
    """NumPy's arrays would go there at every call."""
    assert not any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(density))


def test_features_are_those_of_the_catalog(problem):
    survey, _, _ = problem
    galaxies = catalog()
    (inside,) = survey.members(galaxies.z)
    mag = np.asarray(galaxies.mag)[inside]
    np.testing.assert_allclose(survey.features[0], np.stack([mag[:, 0] - mag[:, 1], mag[:, 1]], axis=1))
    np.testing.assert_allclose(survey.features_of(jnp.asarray(mag)), survey.features[0])


def test_another_catalog_and_another_model_compile_nothing_again(density):
    """Arrays are arguments of compiled programs, whoever made them."""
    traced = []

    @eqx.filter_jit
    def value(density, u):
        traced.append(u)
        return density(u)

    first = value(density, jnp.zeros(2))
    _, counts, data = built(catalog(1000))
    other = LogDensity.of(counts, likelihood_at(counts, data, np.zeros(2)))
    second = value(other, jnp.zeros(2))
    assert len(traced) == 1
    assert first != second


def test_unknown_bands_and_parameters_are_named():
    selection = Selection((MagnitudeLimit(1, 14.0, 17.5, 0.05),))
    with pytest.raises(InputError, match=r"feature g-i: there is no band i; use g, r"):
        Survey.from_catalog(root_key(1), catalog(200), SLICES, ["g-i"], selection)
    with pytest.raises(InputError, match=r"dust\.lg_aw"):
        free_space({"dust.lg_aw": Prior("normal")}, declared_parameters(ForwardModel().components))
