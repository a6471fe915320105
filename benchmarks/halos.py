"""Halos a second: reading a simulation, fitting histories (and diffmah's own fitter), painting galaxies.

    python benchmarks/halos.py [--largest 1000000] [--parts fitting reading painting]

Times are of the wall clock and of all threads together: on a busy machine the second is the one to compare.
Memory is the largest that a process of its own took to keep a sample of N halos of a Parquet table.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "support")]

from popinfer import precision  # noqa: E402

N_FIT, N_PEER, N_STEP, N_TURNS = 20_000, 40, 60, 4
BANDS = "ugriz"


def timed(work, *arguments):
    """Result, wall and process seconds of a function's second call; the first compiles."""
    work(*arguments)
    return seconds_of(work, *arguments)


def seconds_of(work, *arguments):
    """Result, wall and process seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def fitting() -> dict[str, float]:
    """Fits a second, ours and diffmah's in turns, on some of the same histories."""
    from diffmah.diffmah_kernels import DiffmahParams, mah_halopop
    from diffmah.fitting_helpers.diffmah_fitter_helpers import diffmah_fitter

    from popinfer.cosmology import PLANCK15, age
    from popinfer.halos.table import Branches
    from popinfer.halos.trees import fit_histories

    rng = np.random.default_rng(1)
    scales = np.linspace(0.1, 1.0, N_STEP)
    late = rng.uniform(0.15, 1.5, N_FIT)
    early = late + rng.uniform(0.5, 4, N_FIT)
    mah = DiffmahParams(
        rng.uniform(11, 14, N_FIT), rng.uniform(-0.1, 0.6, N_FIT), early, late, rng.uniform(6, 14, N_FIT)
    )
    t = np.asarray(age(PLANCK15, 1 / scales - 1))
    lg_mass = np.array(mah_halopop(mah, t, float(np.log10(t[-1])))[1]) + rng.normal(0, 0.05, (N_FIT, N_STEP))

    def ours() -> np.ndarray:
        return fit_histories(Branches(scales, lg_mass), PLANCK15).rms

    def theirs(rows: np.ndarray) -> list[float]:
        fits = [diffmah_fitter(t, 10 ** np.maximum.accumulate(row), lgm_min=5) for row in rows]
        return [float(np.sqrt(fit.loss_best)) for fit in fits]

    ours(), theirs(lg_mass[:1])  # compile
    seconds, rms_of_peer = np.zeros((2, 2)), []
    for rows in np.array_split(lg_mass[:N_PEER], N_TURNS):
        rms, *spent = seconds_of(ours)
        seconds[0] += spent
        peer, *spent = seconds_of(theirs, rows)
        seconds[1] += spent
        rms_of_peer += peer
    return {
        "fits_per_s": N_TURNS * N_FIT / seconds[0, 0],
        "fits_per_cpu_s": N_TURNS * N_FIT / seconds[0, 1],
        "diffmah_fits_per_s": N_PEER / seconds[1, 0],
        "diffmah_fits_per_cpu_s": N_PEER / seconds[1, 1],
        "rms_median_dex": float(np.median(rms[:N_PEER])),
        "diffmah_rms_median_dex": float(np.median(rms_of_peer)),
    }


def write_halos(path: Path, n: int) -> dict:
    """A Parquet table of n halos of diffhalos' masses, and the run file's section on it."""
    from popinfer.halos.lightcone import LightconeSpec, draw_halos
    from popinfer.random import root_key

    pool = draw_halos(root_key(1), LightconeSpec(0.0745, 0.0755, 1 << 14, 11.0, 1))
    density = float(np.asarray(pool.weight).sum())
    side = (n / density) ** (1 / 3)
    rng = np.random.default_rng(1)
    probability = np.asarray(pool.weight) / density
    parts, size = [], 1 << 20
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for first in range(0, n, size):
        m = min(size, n - first)
        rows = rng.choice(len(probability), m, p=probability)
        frame = pd.DataFrame({"id": np.arange(first, first + m), "mass": 10 ** np.asarray(pool.logmp0)[rows]})
        for axis in "xyz":
            frame[axis] = rng.uniform(0, side, m)
        for name, values in zip(pool.mah_params._fields, pool.mah_params, strict=True):
            frame[name] = np.asarray(values)[rows]
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        parts.append(m)
    if writer is not None:
        writer.close()
    names = {name: name for name in ("id", "mass", "x", "y", "z", *pool.mah_params._fields)}
    return {
        "kind": "catalog",
        "path": str(path),
        "geometry": {"kind": "box", "redshift": 0.075, "side_mpc": side},
        "columns": names,
        "units": {"mass": "Msun", "length": "Mpc"},
        "mass_function": "ignore",
    }


def config_of(source: dict) -> dict:
    """A run file's content: five bands of SDSS."""
    from popinfer.cosmology import PLANCK15

    return {
        "name": "benchmark",
        "cosmology": {"H0": 100 * PLANCK15.h, "Om0": PLANCK15.om0},
        "catalog": {
            "path": "sdss_mgs",
            "redshift": "zs",
            "bands": {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in BANDS},
            "selection": {"band": "r", "bright_mag": 14.0, "faint_mag": 17.5, "width_mag": 0.05},
        },
        "slices": [[0.06, 0.09]],
        "features": ["g-r", "r"],
        "halos": {"n_per_slice": 4096, "lgm_min": 11.0, "source": source},
        "free": {"dust.lg_av": {"loc": -0.4, "scale": 0.2}},
    }


def reading(content: dict) -> dict[str, float]:
    """Seconds and memory of reading a sample, in this process."""
    from popinfer.config import RunConfig
    from popinfer.run.simulation import halo_source

    precision.start()
    sample, wall, cpu = seconds_of(halo_source, RunConfig.model_validate(content))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"n": sample.n_read, "wall_s": wall, "cpu_s": cpu, "memory_gib": memory}


def painting(file: Path, out: Path) -> dict[str, float]:
    """Halos painted a second, five bands, written as Parquet."""
    from popinfer.run.paint import PaintSpec, _plan_of, _write
    from popinfer.run.progress import Silent

    plan = _plan_of(file, PaintSpec(values={"dust.lg_av": -0.3}), Silent())
    made, wall, cpu = timed(_write, plan, out, "parquet", Silent())
    return {"painted_per_s": made.n_halos / wall, "painted_per_cpu_s": made.n_halos / cpu}


def main() -> None:
    """Measure all of it and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--parts", nargs="+", default=["fitting", "reading", "painting"])
    options = parser.parse_args()
    precision.start(cache_dir=Path.home() / ".cache" / "popinfer" / "jax")
    result: dict = {"fitting": fitting()} if "fitting" in options.parts else {}
    print(result, file=sys.stderr, flush=True)  # each part when it is there
    with tempfile.TemporaryDirectory() as folder:
        sizes = [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if n <= options.largest]
        for n in sizes if "reading" in options.parts else []:
            content = config_of(write_halos(Path(folder) / f"{n}.parquet", n))
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory of a process of its own
                result.setdefault("reading", []).append(pool.apply(reading, (content,)))
            print(result["reading"][-1], file=sys.stderr, flush=True)
        if "painting" in options.parts:
            file, source = Path(folder) / "run.yaml", write_halos(Path(folder) / "paint.parquet", 200_000)
            file.write_text(yaml.safe_dump(config_of(source)), encoding="utf-8")
            result["painting"] = painting(file, Path(folder) / "out.parquet")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
