"""How many starts of the guide reach its best optimum, with and without a schedule of bandwidths.

    python benchmarks/starts.py FILE [--n 20] [--out FOLDER] [--schedule 3,1.7,1]... [--sd 1,3]
        [--json FILE]

FILE is a run file; its search and its halos are made once and kept in FOLDER (default:
results/starts-<name>), so that a second call starts at once. As in a search, the guide sees a few batches of
halos. Starts are draws of the prior, and draws moved out to 3 prior standard deviations
as a whole (|u| = 3 sqrt(number of parameters)). A start has arrived when its end's log-density is within 0.5
of the best end of all schedules. Other ends are listed by how far below the best they are, and how far away.
--json stores the table.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from popinfer import precision
from popinfer.environment import cache_folder
from popinfer.infer.optimise import Fit
from popinfer.random import fixed_key, numpy_generator
from popinfer.run.guides import Guide, build_guide
from popinfer.run.prepare import Population, Run, load_population, prepare
from popinfer.run.progress import Terminal
from popinfer.run.search import SEARCH_BATCHES, read_region
from popinfer.run.stages import halos, search

ARRIVED = 0.5  # in log-density


@dataclass(frozen=True)
class Row:
    """All climbs of one schedule from starts of one width."""

    schedule: tuple[float, ...]
    sd: float
    ends: list[Fit]
    seconds: float


def starts(n: int, size: int, sd: float) -> np.ndarray:
    """Draws of the prior, or of the sphere of `sd` prior standard deviations."""
    u = numpy_generator(fixed_key("starts")).standard_normal((n, size))
    return u if sd == 1 else sd * np.sqrt(size) * u / np.linalg.norm(u, axis=1, keepdims=True)


def guide_of(run: Run, population: Population, u: np.ndarray, schedule: tuple[float, ...]) -> Guide:
    fit = run.config.fit.model_copy(update={"bandwidths": list(schedule)})
    guide = build_guide(replace(run, config=run.config.model_copy(update={"fit": fit})), population, u)
    for level in guide.levels:  # compile before anything is timed
        level.value(jnp.asarray(u))
    return guide


def climb_all(guide: Guide, schedule: tuple[float, ...], sd: float, begin: np.ndarray) -> Row:
    start = time.perf_counter()
    return Row(schedule, sd, [guide.climb(u) for u in begin], time.perf_counter() - start)


def best_of(rows: list[Row]) -> Fit:
    return max((end for row in rows for end in row.ends), key=lambda end: end.log_density)


def stored(rows: list[Row]) -> list[dict[str, object]]:
    best = best_of(rows).log_density
    return [
        {
            "bandwidths": row.schedule,
            "sd": row.sd,
            "n_starts": len(row.ends),
            "n_arrived": sum(best - end.log_density < ARRIVED for end in row.ends),
            "behind": sorted(best - end.log_density for end in row.ends),
            "n_stopped": sum(not end.converged for end in row.ends),
            "steps_median": float(np.median([end.n_steps for end in row.ends])),
        }
        for row in rows
    ]


def table(rows: list[Row]) -> str:
    best = best_of(rows)
    lines = [f"best end: {best.log_density:.2f} at u = {np.round(best.u, 2)}", ""]
    lines += ["| bandwidths | starts | arrived | steps, median | s a start | others: log-density, distance |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        behind = np.array([best.log_density - end.log_density for end in row.ends])
        far = [float(np.linalg.norm(end.u - best.u)) for end in row.ends]
        ended = ["" if end.converged else " (stopped)" for end in row.ends]
        others = [
            f"-{behind[i]:.1f} at {far[i]:.1f}{ended[i]}" for i in np.argsort(behind) if behind[i] >= ARRIVED
        ]
        steps = np.median([end.n_steps for end in row.ends])
        lines.append(
            f"| {', '.join(f'{x:g}' for x in row.schedule)} | {row.sd:g} sd | {np.sum(behind < ARRIVED)} of "
            f"{len(behind)} | {steps:.0f} | {row.seconds / len(behind):.1f} | {'; '.join(others)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--schedule", action="append", help="bandwidths, comma-separated; may be repeated")
    parser.add_argument("--json", type=Path, help="file for the table")
    parser.add_argument("--sd", default="1,3", help="how far out starts are, comma-separated")
    options = parser.parse_args()
    precision.start(cache_dir=cache_folder())
    run = prepare(options.file, options.out or Path("results") / f"starts-{options.file.stem}", Terminal())
    found = run.folder.search.is_file()
    region = read_region(run) if found else search(run, Terminal())
    drawn = run.folder.halos.is_file()
    population = load_population(run) if drawn else halos(run, Terminal(), region)
    population = replace(population, counts=population.counts.first(SEARCH_BATCHES))
    answer = region.mixture.main.mean
    rows = []
    for text in options.schedule or ["1", "1.7,1", "3,1.7,1"]:
        schedule = tuple(float(x) for x in text.split(","))
        guide = guide_of(run, population, answer, schedule)
        for sd in (float(x) for x in options.sd.split(",")):
            begin = starts(options.n, run.model.space.size, sd)
            rows.append(climb_all(guide, schedule, sd, begin))
            print(table(rows), flush=True)
    if options.json:
        options.json.write_text(json.dumps(stored(rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
