"""What weighted draws are worth."""

import numpy as np
import pytest
from scipy.signal import lfilter

from popinfer.resampling import independent_size, kish_size, pareto_smooth


def test_kish_size_of_known_weights():
    # half of the draws carry no weight at all
    log_weight = np.zeros(2000)
    log_weight[::2] = -np.inf
    assert kish_size(pareto_smooth(log_weight)[0]) == pytest.approx(1000, rel=0.01)


CORRELATION, N_CHAIN, N_PICKED, SD = 0.9, 6000, 1000, 0.7  # of the chain and of log weights
CHAIN_ESS = N_CHAIN * (1 - CORRELATION) / (1 + CORRELATION)


def means_of_weighted_picks(n_trial, weigh):
    """Weighted means of picks from chains of variance one, and the mean of what they are said to be worth."""
    rng = np.random.default_rng(0)
    means, worth = [], []
    for _ in range(n_trial):
        noise = rng.normal(size=N_CHAIN) * np.sqrt(1 - CORRELATION**2)
        noise[0] = rng.normal()
        chain = lfilter([1.0], [1.0, -CORRELATION], noise)
        picked = rng.permutation(N_CHAIN)[:N_PICKED]
        log_weight = weigh(rng, N_CHAIN)[picked]
        weight = np.exp(log_weight)
        means.append(weight @ chain[picked] / weight.sum())
        worth.append(independent_size(log_weight, N_CHAIN, CHAIN_ESS))
    return np.array(means), np.mean(worth)


def test_picks_from_chains_are_worth_what_is_said():
    """Where weights are as different between neighbours as between others."""
    means, worth = means_of_weighted_picks(3000, lambda rng, n: SD * rng.normal(size=n))
    # the weights alone would be worth 610, the chain alone 316
    assert worth == pytest.approx(218, rel=0.03)
    assert 1 / np.var(means) == pytest.approx(worth, rel=0.1)


def test_weights_as_slow_as_the_chain_are_worth_a_little_less():
    """They are said to be worth more than they are by less than their own efficiency."""

    def slow(rng, n):
        noise = rng.normal(size=n) * np.sqrt(1 - CORRELATION**2)
        return SD * lfilter([1.0], [1.0, -CORRELATION], noise)

    means, worth = means_of_weighted_picks(3000, slow)
    assert 0.65 * worth < 1 / np.var(means) < worth


@pytest.mark.parametrize("chain_ess", [0.0, np.nan])
def test_chains_worth_nothing_make_weights_worth_nothing(chain_ess):
    assert independent_size(np.zeros(500), 1000, chain_ess) == 0


def test_antithetic_chains_are_worth_no_more_than_independent_ones():
    assert independent_size(np.zeros(500), 1000, 3000.0) == pytest.approx(500)
