"""Thinned halos count what all candidates do, with as little noise as any choice allows."""

import dataclasses

import jax
import numpy as np
import pytest
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS

from popinfer.halos.thinning import MIN_SHARE, inclusion, thin
from popinfer.random import root_key
from popinfer.records import Halos

N_CANDIDATE, N_KEPT = 600, 60
RNG = np.random.default_rng(0)


def candidates(n=N_CANDIDATE):
    """Weighted candidates that know their number by `z_obs`."""
    fields = {field.name: RNG.uniform(1, 2, n) for field in dataclasses.fields(Halos)}
    fields["mah_params"] = jax.tree.map(lambda x: np.full(n, x), DEFAULT_MAH_PARAMS)
    fields["logmp0"] = RNG.uniform(11, 15, n)
    fields["weight"] = RNG.lognormal(0, 1, n)
    fields["is_central"] = (RNG.random(n) < 0.7).astype(float)
    fields["z_obs"], fields["normals"] = np.arange(n, dtype=float), RNG.standard_normal((n, 2))
    return Halos(**fields)


@pytest.fixture(scope="module")
def all_halos():
    return candidates()


def shares(kind):
    return {
        "smooth": 1 / (1 + np.exp(-2 * np.random.default_rng(1).normal(-2, 1.5, N_CANDIDATE))),
        "even": np.full(N_CANDIDATE, 0.3),
        "wrong": np.random.default_rng(2).uniform(0, 1, N_CANDIDATE),
        "invisible": np.where(np.arange(N_CANDIDATE) < 500, 0.0, 0.5),
    }[kind]


def kept_of(all_halos, share, seed):
    """Numbers and weights of the halos that are kept."""
    kept = thin(root_key(seed), all_halos, share, N_KEPT)
    return kept.z_obs.astype(int), kept.weight


@pytest.mark.parametrize("kind", ["smooth", "even", "wrong", "invisible"])
def test_sums_over_kept_halos_have_no_bias_whatever_the_shares(all_halos, kind):
    g = np.random.default_rng(3).random(N_CANDIDATE) * shares("smooth")
    found = []
    for seed in range(400):
        number, weight = kept_of(all_halos, shares(kind), seed)
        assert len(number) == N_KEPT
        found.append(weight @ g[number])
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(all_halos.weight @ g, abs=4 * error)


def test_kept_halos_are_whole_and_their_weights_are_over_their_probability(all_halos):
    share = shares("smooth")
    number, weight = kept_of(all_halos, share, 5)
    kept = thin(root_key(5), all_halos, share, N_KEPT)
    np.testing.assert_array_equal(kept.logmp0, all_halos.logmp0[number])
    probability = inclusion(all_halos.weight * np.sqrt(np.maximum(share, MIN_SHARE)), N_KEPT)
    np.testing.assert_allclose(weight, (all_halos.weight / probability)[number])
    assert len(np.unique(number[probability[number] < 1])) == np.sum(probability[number] < 1)


def test_noise_is_least_near_the_square_root_of_the_share(all_halos):
    """A galaxy is seen or not: independent choices by powers of the share, and the one that is used."""
    share, w, rng = shares("smooth"), all_halos.weight, np.random.default_rng(6)
    powers, variances = (0.0, 0.25, 0.5, 0.75, 1.0), []
    for power in powers:
        probability = inclusion(w * np.maximum(share, MIN_SHARE) ** power, N_KEPT)
        chosen = rng.random((4000, N_CANDIDATE)) < probability
        seen = rng.random((4000, N_CANDIDATE)) < share
        variances.append(np.var((chosen * seen) @ (w / probability) - seen @ w))
    assert powers[int(np.argmin(variances))] == 0.5
    assert variances[0] > 1.2 * variances[2]
    assert variances[-1] > 1.2 * variances[2]


@pytest.mark.parametrize("n", [1, 60, 599, 600])
def test_probabilities_are_at_most_one_and_sum_to_the_number_kept(n):
    size = np.random.default_rng(7).lognormal(0, 3, N_CANDIDATE)
    probability = inclusion(size, n)
    assert probability.max() <= 1.0
    assert probability.sum() == pytest.approx(n)
    below = probability < 1
    np.testing.assert_allclose(probability[below] / size[below], (probability[below] / size[below])[:1].sum())


def test_halos_kept_for_sure_are_in_every_choice():
    some = candidates(100)
    heavy = dataclasses.replace(some, weight=np.where(np.arange(100) < 3, 1e4, some.weight))
    for seed in range(20):
        kept = thin(root_key(seed), heavy, np.full(100, 0.5), 10)
        number = list(kept.z_obs.astype(int))
        assert [number.count(i) for i in range(3)] == [1, 1, 1]
        np.testing.assert_allclose(kept.weight[kept.z_obs < 3], 1e4)


def test_kept_masses_follow_those_of_the_candidates(all_halos):
    """Strata in mass: the weighted number above a mass scatters far less than by independent choices."""
    share, heavy = np.full(N_CANDIDATE, 0.3), all_halos.logmp0 > 13
    probability = inclusion(all_halos.weight, N_KEPT)
    independent = np.sum((all_halos.weight**2 * (1 - probability) / probability)[heavy])
    found = []
    for seed in range(200):
        number, weight = kept_of(all_halos, share, seed)
        found.append(weight @ heavy[number])
    assert np.var(found) < 0.3 * independent
