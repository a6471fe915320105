import numpy as np

from popinfer.infer.goodness import HaloNoise
from popinfer.infer.prediction_bins import N_BINS, Bins, observed_bins, predict_bins

FEATURES = ("u-g", "g-r", "r")


def galaxies(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal([1.5, 0.7, 16.5], [0.3, 0.2, 0.6], size=(n, 3))


def test_bins_hold_nearly_all_observed_galaxies():
    x = galaxies(0, 5_000)
    bins = Bins.around(FEATURES, [x[:2_000], x[2_000:]])
    assert bins.pair_names == ["g-r|u-g"]
    assert np.all(bins.histograms(x).sum(axis=1) > 0.98 * 5_000)
    assert bins.planes(x).sum() > 0.97 * 5_000


def test_weights_stand_for_repetition():
    x = galaxies(1, 500)
    bins = Bins.around(FEATURES, [x])
    np.testing.assert_allclose(
        bins.histograms(x, np.full(500, 2.0)), bins.histograms(np.repeat(x, 2, axis=0))
    )
    np.testing.assert_allclose(bins.planes(x, np.full(500, 2.0)), bins.planes(np.repeat(x, 2, axis=0)))


def test_predictions_match_data_of_the_same_population():
    data = [galaxies(2, 3_000), galaxies(3, 1_000)]
    bins = Bins.around(FEATURES, data)
    model = np.stack([galaxies(4, 20_000), galaxies(5, 20_000)])
    steps = []

    def predictor(index):
        return model, np.ones((2, 20_000)), np.full((2, 7), index + 1.0)

    noise = HaloNoise(np.zeros((2, 3, N_BINS)))
    found = predict_bins(
        2, predictor, bins, [3_000, 1_000], noise, lambda done, total: steps.append((done, total))
    )
    seen = observed_bins(bins, data, np.array([[0.1, 0.2], [0.2, 0.3]]), np.ones((2, 7)), np.ones((2, 7)))
    assert steps == [(1, 2), (2, 2)]
    assert found["hist"].shape == (1, 2, 2, 3, N_BINS)
    np.testing.assert_array_equal(found["soft_counts"].values[0, :, 0, 0], [1.0, 2.0])
    pull = (seen["hist"] - found["hist"][0, 0]) / np.sqrt(found["hist"][0, 0] + 1)
    assert 0.7 < float(np.sqrt((pull**2).mean())) < 1.2
    assert np.isclose(float(found["pair"][0].sum()), float(seen["pair"][0].sum()), rtol=0.03)


def test_halo_noise_of_the_histograms_is_stored_beside_them():
    """Four batches of 500 galaxies joined: the error of the histograms is as large as said."""
    bins, weight = Bins.around(FEATURES, [galaxies(7, 4_000)]), np.ones((1, 500))
    truth = bins.expected_histograms(galaxies(8, 400_000)[None], np.ones((1, 400_000)), [4_000])
    batches = [galaxies(20 + i, 500)[None] for i in range(16)]
    noise = HaloNoise.of(np.stack([bins.expected_histograms(one, weight, [4_000]) for one in batches]), 4)
    joined = np.concatenate(batches[:4], axis=1)

    def predictor(_u):
        return joined, np.ones((1, 2000)), np.ones((1, 7))

    found = predict_bins(1, predictor, bins, [4_000], noise, lambda _done, _total: None)
    filled = truth > 40
    error = (found["hist"].values[0, 0] - truth)[filled]
    assert 0.7 < np.sqrt(((error / found["hist_halo_sd"].values[filled]) ** 2).mean()) < 1.3


def test_one_color_has_no_plane():
    x = galaxies(6, 400)[:, 1:]
    bins = Bins.around(("g-r", "r"), [x])
    seen = observed_bins(bins, [x], np.array([[0.1, 0.2]]), np.ones((1, 4)), np.ones((1, 4)))
    assert "pair" not in seen
