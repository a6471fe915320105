"""No two uses of random numbers in a run and its calibration share a stream."""

import jax
import numpy as np
import pytest
from recorded_streams import Recorded, bits

from popinfer.halos.lightcone import LightconeSpec, draw_halos, draw_slices
from popinfer.random import numpy_generator, root_key, stream

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once

N_TRIALS = 50


def replayed(roots, paths):
    """Keys of all paths below each root, [root x path, word]."""
    below = {(): roots}
    nodes = {path[:n] for path in paths for n in range(1, len(path) + 1)}
    for node in sorted(nodes, key=len):
        below[node] = jax.vmap(lambda key, name=node[-1]: stream(key, name))(below[node[:-1]])
    return np.concatenate([np.asarray(jax.random.key_data(below[path])) for path in paths])


def test_a_run_uses_every_stream_once(tiny_run, run_streams):
    assert tiny_run[2] in (0, 4)
    assert run_streams.repeated() == []
    assert run_streams.generated.count(bits(root_key(3))) == 1  # the kernels' centers
    stages = {path[0] for path in run_streams.below()}
    assert stages == {"search", "halos", "fit", "sample", "prior", "checks", "relations"}
    assert ("halos", "candidates", 15) in run_streams.below()  # of the last batch
    assert ("search", "batches", "candidates", 7) in run_streams.below()


def test_a_trial_uses_every_stream_once(trial, trial_streams):
    assert "failed" not in trial
    assert trial_streams.repeated() == []
    streams = trial_streams.below("trial", 0)
    assert {path[0] for path in streams if path} == {
        "truth",
        "survey",
        "model_error",
        "abundances",
        "analysis",
        "comparison",
    }
    assert {path[1] for path in streams if path[:1] == ("analysis",) and len(path) > 1} == {
        "search",
        "halos",
        "fit",
        "sample",
        "prior",
    }
    # all that a trial draws hangs on its own name
    assert all(path[:2] == ("trial", 0) for path in trial_streams.below())


def test_a_run_its_neighbours_and_fifty_trials_share_no_stream(tiny_run, run_streams, trial, trial_streams):
    """Seeds 17 apart, and the run's own, had streams in common while numbers were added to seeds."""
    assert tiny_run[2] in (0, 4) and "failed" not in trial
    seeds = (3, 2, 4, 20, 1_000_006)
    runs = replayed(_stacked([root_key(seed) for seed in seeds]), run_streams.below())
    tails = [path for path in trial_streams.below("trial", 0) if path]
    roots = [stream(root_key(seed), "trial", i) for seed in (3, 4) for i in range(N_TRIALS)]
    trials = replayed(_stacked(roots), tails)
    assert len(runs) > 100 * len(seeds) and len(trials) > 100 * len(roots)
    keys = np.concatenate([runs, trials])
    assert len(np.unique(keys, axis=0)) == len(keys)
    recorded = {path: key for key, path in run_streams.paths.items()}
    first = run_streams.below()[0]
    assert tuple(runs[0].tolist()) == recorded[first]  # what is replayed is what was run


def _stacked(keys):
    return jax.random.wrap_key_data(np.stack([np.asarray(jax.random.key_data(key)) for key in keys]))


def test_satellites_of_a_trial_are_no_centrals_of_another():
    spec = LightconeSpec(0.06, 0.09, n_halo=500)
    drawn = [draw_halos(stream(root_key(1), "trial", i), spec).normals for i in range(5)]
    first = np.concatenate([x[[0, 400], 0] for x in drawn])  # of centrals and of satellites
    assert len(np.unique(first)) == len(first)


def test_slices_have_streams_of_their_own():
    spec = LightconeSpec(0.06, 0.09, n_halo=64)
    halos = draw_slices(root_key(1), [spec, spec])
    assert not np.any(halos.normals[0] == halos.normals[1])


def test_two_sites_with_one_name_would_be_seen():
    recorded = Recorded()
    with recorded.recording():
        root = root_key(5)
        numpy_generator(stream(root, "a", 1))
        numpy_generator(stream(stream(root, "a"), 1))
    assert ("a", 1) in recorded.repeated()


@pytest.mark.parametrize("n", [1, 2])
def test_two_generators_of_one_key_would_be_seen(n):
    recorded = Recorded()
    with recorded.recording():
        key = stream(root_key(5), "a")
        for _ in range(n):
            numpy_generator(key)
    assert recorded.repeated() == [("a",)] * (n - 1)
