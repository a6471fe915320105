"""Points where a run met no number, evaluated once more, so that a person can see why.

A run's ``posterior.nc`` holds them as ``undefined`` in its group ``unconstrained``: nodes of the surrogate
and exactly evaluated draws where the model's log-density was NaN or infinite.
"""

from pathlib import Path

import numpy as np

from popinfer.config import load_config
from popinfer.errors import InputError
from popinfer.infer.counts import log_counts_and_jacobian
from popinfer.inference_data import read_group
from popinfer.run.folder import RunFolder
from popinfer.run.posterior import from_netcdf
from popinfer.run.prepare import Population, Run, load_population, made_ready
from popinfer.storage import read_sealed

MOST = 20  # points that are shown


def replay(file: Path) -> str:
    """Evaluate the points of a run at which the model gave no number; what it gives now, a line a point.

    Parameters
    ----------
    file : Path
        A run's ``posterior.nc``, beside its ``run.yaml`` and ``halos.h5``.

    Raises
    ------
    InputError
        The file is no run's, or the run's halos or data aren't there.
    """
    stored = read_sealed(file, "posterior", "sample")
    idata, folder = from_netcdf(stored.content), RunFolder(file.parent)
    if "undefined" not in read_group(idata, "unconstrained"):
        raise InputError(f"{file}: this sampler keeps no points without a number; sample.kind nuts does")
    points = np.asarray(read_group(idata, "unconstrained")["undefined"].values, float)
    if len(points) == 0:
        return f"{file}: the model gave a number wherever it was evaluated"
    read_sealed(folder.config, "config", "sample", stored.identity)
    run = made_ready(load_config(folder.config), folder)
    population = load_population(run)
    lines = [f"{file}: no number at {len(points)} points"]
    return "\n".join(lines + [_line(run, population, u) for u in points[:MOST]])


def _line(run: Run, population: Population, u: np.ndarray) -> str:
    """A point's physical values, and how many of its counts and derivatives are no numbers."""
    log_m, jacobian = log_counts_and_jacobian(population.counts, u)
    values = ", ".join(f"{name} = {float(x):.17g}" for name, x in run.physical(u).items())
    bad = [name for i, name in enumerate(run.model.space.names) if not np.isfinite(jacobian[:, i]).all()]
    return f"{values}: {int(np.sum(~np.isfinite(log_m)))} of {log_m.size} counts are no numbers" + (
        f", and derivatives with {', '.join(bad)}" if bad else ""
    )
