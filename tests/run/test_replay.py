"""Points at which the model gives no number are caught, kept, and evaluated again when a person asks."""

import dataclasses
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cli import main
from popinfer.infer import counts as counts_module
from popinfer.run import stages
from popinfer.run.folder import RunFolder
from popinfer.run.replay import MOST

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once
EDGE = -2.6  # of the second parameter, a standard deviation below the tiny run's posterior


@pytest.fixture(params=[np.nan, np.inf], ids=str)
def broken_model(monkeypatch, request):
    """The tiny run's model, with log-counts and derivatives that are no numbers beyond an edge."""
    evaluate = counts_module._over_batches

    def over_batches(program, counts, u):
        beyond = np.asarray(u)[..., 1] < EDGE

        def spoilt(x):
            return jnp.where(
                jnp.asarray(beyond).reshape(beyond.shape + (1,) * (x.ndim - beyond.ndim)), bad, x
            )

        results = evaluate(program, counts, u)
        return [tuple(map(spoilt, x)) if isinstance(x, tuple) else spoilt(x) for x in results]

    bad = request.param
    monkeypatch.setattr(counts_module, "_over_batches", over_batches)


@pytest.fixture
def unsampled(run, tiny_run, tmp_path):
    """The tiny run as its fit left it."""
    folder = RunFolder(tmp_path / "copy")
    shutil.copytree(tiny_run[1], folder.path)
    for path in (folder.posterior, folder.summary, folder.report):
        path.unlink()
    return dataclasses.replace(run, folder=folder)


def test_points_without_a_number_are_kept_and_replayed(broken_model, unsampled, monkeypatch, capsys):
    outcome = stages.sample(unsampled)
    assert not outcome.converged and "no number" in " ".join(outcome.gate.failures)
    idata, _ = stages.read_results(unsampled.folder)
    points = idata["unconstrained"]["undefined"].values
    proposals = idata["unconstrained"]["proposals"].values
    lost = proposals[proposals[:, 1] < EDGE]
    assert 0.02 < len(lost) / len(proposals) < 0.5
    np.testing.assert_array_equal(points[-len(lost) :], lost)  # those before were to be nodes
    assert (points[:, 1] < EDGE).all()
    assert np.isfinite(idata["posterior"]["dust.lg_av"].values).all()
    assert main(["doctor", "--replay", str(unsampled.folder.posterior)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith(f"posterior.nc: no number at {len(points)} points")
    assert len(lines) == min(len(points), MOST)
    for u, line in zip(points, lines, strict=False):
        assert re.search(r": (\d+) of \1 counts are no numbers, and derivatives with dust.lg_av, met", line)
        for name, x in unsampled.physical(u).items():
            assert f"{name} = {float(x):.17g}" in line  # all digits: the same point
    monkeypatch.undo()
    assert main(["doctor", "--replay", str(unsampled.folder.posterior)]) == 0  # the model is mended
    assert re.search(r": 0 of \d+ counts are no numbers$", capsys.readouterr().out.splitlines()[1])


def test_a_sound_run_has_nothing_to_replay(tiny_run, capsys):
    assert main(["doctor", "--replay", str(tiny_run[1] / "posterior.nc")]) == 0
    assert "the model gave a number wherever it was evaluated" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "says"), [("none.nc", "not there yet"), ("halos.h5", "holds 'halos'")])
def test_other_files_are_refused(tiny_run, capsys, name, says):
    assert main(["doctor", "--replay", str(tiny_run[1] / name)]) == 2
    assert says in capsys.readouterr().err
