"""Halo samples: how they are divided, stored, and drawn without bias."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.halos.lightcone import draw_slices
from popinfer.infer.counts import evaluate
from popinfer.infer.laplace import Laplace, Mixture
from popinfer.model import predict_galaxies
from popinfer.random import root_key
from popinfer.run.batches import batch_shape
from popinfer.run.build import in_precision, lightcones
from popinfer.run.folder import RunFolder, read_halos, write_halos
from popinfer.run.prepare import prepare
from popinfer.run.search import draw_batches, points_around

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once


@pytest.mark.parametrize(
    ("n", "shape"),
    [
        (64, (16, 4)),
        (512, (16, 32)),
        (1000, (31, 32)),
        (4096, (64, 64)),
        (16_384, (64, 256)),
        (262_144, (64, 4096)),
        (262_145, (65, 4033)),
        (300_000, (74, 4054)),
        (10**8, (24_415, 4095)),
    ],
)
def test_shape_of_batches(n, shape):
    assert batch_shape(n) == shape


def test_batches_are_many_and_small_and_hold_the_sample():
    for n in (*range(64, 3000, 7), *range(60_000, 80_000, 113), 10**6, 12_345_678):
        n_batch, n_halo = batch_shape(n)
        assert n_batch >= 16 and 1 <= n_halo <= 4096
        assert n - n_batch < n_batch * n_halo <= n


@pytest.fixture(scope="module")
def batches(run):
    around = Mixture.single(Laplace(np.zeros(2), 0.3**2 * np.eye(2)))
    points, heard = points_around(root_key(6), run, around), []
    drawn = draw_batches(root_key(5), run, points, (8, 64), lambda done, _: heard.append(done))
    assert heard == sorted(heard) and heard[-1] == 8
    return drawn


def test_batches_survive_storage(batches, tmp_path):
    folder = RunFolder(tmp_path)
    write_halos(folder, batches, "mine", 12.5)
    again, seconds = read_halos(folder, "mine")
    assert seconds == 12.5
    stored = jax.tree_util.tree_leaves_with_path(again)
    for (path, value), expected in zip(stored, jax.tree.leaves(batches), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=str(path))
    np.testing.assert_array_equal(again.weight, batches.weight)  # in double precision
    with pytest.raises(InputError, match="run 'popinfer halos' again"):
        read_halos(folder, "another's")
    folder.halos.write_bytes(folder.halos.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"halos.h5: damaged.*; run 'popinfer halos' again"):
        read_halos(folder, "mine")


def test_batches_share_no_halos(batches):
    each = [set(np.asarray(mass).ravel().tolist()) for mass in batches.logmp0]
    assert len(set.union(*each)) == sum(len(one) for one in each)


def seen(run, halos):
    """Number of galaxies in the sample that halos of the slice make, and their mean color."""
    params = run.model.params_at(jnp.asarray([0.2, -0.1]))
    galaxies = predict_galaxies(run.survey_model, params, in_precision(run.config, halos))
    weight, color = (
        np.asarray(galaxies.weight, float)[0],
        np.asarray(run.survey.features_of(galaxies.mag))[0, :, 0],
    )
    return weight.sum(), np.average(color, weights=weight)


def test_chosen_halos_make_the_galaxies_of_all_halos(run, batches):
    """Halos are kept for what they make near one point; another's prediction is still unbiased."""
    chosen = np.array([seen(run, jax.tree.map(lambda x, i=i: x[i], batches)) for i in range(8)])
    specs = [dataclasses.replace(spec, n_halo=512) for spec in lightcones(run.config)]
    plain = np.array([seen(run, draw_slices(root_key(100 + i), specs)) for i in range(16)])
    error = np.hypot(chosen.std(axis=0, ddof=1) / np.sqrt(8), plain.std(axis=0, ddof=1) / np.sqrt(16))
    assert np.all(np.abs(chosen.mean(axis=0) - plain.mean(axis=0)) < 4 * error)
    assert error[0] < 0.15 * plain[:, 0].mean()


@pytest.mark.slow
def test_chosen_halos_are_quieter_than_as_many_others(tiny_config, tmp_path):
    """Where most halos are too small for the survey, counts of the chosen ones scatter far less."""
    halos = tiny_config["halos"] | {"lgm_min": 10.4}
    run = prepare(RunConfig.model_validate(tiny_config | {"halos": halos}), tmp_path)
    center = [run.model.params_at(jnp.zeros(2))]
    chosen = draw_batches(root_key(5), run, center, (12, 64), lambda *_: None)
    specs = [dataclasses.replace(spec, n_halo=64) for spec in lightcones(run.config)]
    plain = jax.tree.map(lambda *x: np.stack(x), *[draw_slices(root_key(200 + i), specs) for i in range(12)])
    noise = [np.diag(evaluate(run.counts(halos), np.zeros((1, 2))).halo_cov) for halos in (chosen, plain)]
    used = noise[1] > 0
    assert used.sum() > 20
    assert np.median(noise[0][used] / noise[1][used]) < 0.4
