"""A tiny run on the embedded sample, shared by all tests that need a run's results."""

from pathlib import Path

import pytest
import yaml
from recorded_streams import Recorded

TINY = yaml.safe_load((Path(__file__).parents[2] / "benchmarks" / "tiny.yaml").read_text())


@pytest.fixture(scope="session")
def tiny_config() -> dict:
    """The tiny run file's content; not to be changed."""
    return TINY


@pytest.fixture
def write_config(tmp_path: Path):
    """Write a run file that differs from the tiny one in some sections; return its path."""

    def write(**changed) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**TINY, **changed}))
        return path

    return write


@pytest.fixture(scope="session")
def run_streams() -> Recorded:
    """The random streams of `tiny_run`."""
    return Recorded()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, run_streams: Recorded) -> tuple[Path, Path, int]:
    """Run file, folder of results and exit code of ``popinfer run`` on the tiny configuration."""
    from popinfer.cli import main

    folder = tmp_path_factory.mktemp("tiny")
    file, out = folder / "tiny.yaml", folder / "results"
    file.write_text(yaml.safe_dump(TINY))
    with run_streams.recording():
        code = main(["run", str(file), "--out", str(out), "--quiet"])
    return file, out, code


@pytest.fixture(scope="session")
def run(tiny_run):
    """The tiny run, ready to go on from its stored results."""
    from popinfer.run.prepare import prepare

    return prepare(tiny_run[0], tiny_run[1])


@pytest.fixture(scope="session")
def trial_run(tmp_path_factory: pytest.TempPathFactory):
    """The tiny run, ready to be calibrated, with a small error of the model."""
    from popinfer.config import RunConfig
    from popinfer.run.prepare import prepare

    # draws enough for R-hat of chains that are right to stay below 1.01
    longer = {"sample": {**TINY["sample"], "n_draws": 1000}}
    # and halos enough for their noise not to decide
    halos = {**TINY["halos"], "n_per_slice": 2048}
    raw = {**TINY, "kernels": {**TINY["kernels"], "model_error": 0.05}, "halos": halos, **longer}
    return prepare(RunConfig.model_validate(raw), tmp_path_factory.mktemp("calibrate"))


@pytest.fixture(scope="session")
def trial_streams() -> Recorded:
    """The random streams of `trial`."""
    return Recorded()


@pytest.fixture(scope="session")
def trial(trial_run, trial_streams: Recorded) -> dict:
    """The first simulated survey of `trial_run`'s calibration, analysed."""
    from popinfer.run.calibrate import CalibrateSpec, run_trial

    with trial_streams.recording():
        return run_trial(trial_run, 0, CalibrateSpec())
