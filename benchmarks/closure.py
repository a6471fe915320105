"""Closure: mock surveys at known parameters, fitted like the real one; are the truths covered?

    python benchmarks/closure.py configs/sdss_quick.yaml --n 5 --out results/closure

Truths are drawn from the prior with half its width around the pilot values, mocks have independent halos and
noise, and each is fitted from the prior's centre without knowing the truth. Prints one line a mock, and one
JSON object as its last line: the share of truths inside the 68 % and 99.7 % intervals, and all z-scores.
"""

import argparse
import json
from pathlib import Path

import arviz as az
import numpy as np
import yaml

from popinfer import precision

precision.start(cache_dir=str(Path.home() / ".cache" / "popinfer" / "jax"))

from popinfer.config import RunConfig, load_config  # noqa: E402
from popinfer.population.parameters import ParamNames  # noqa: E402
from popinfer.run.build import build_space  # noqa: E402
from popinfer.run.mock import MockSpec, make_mock  # noqa: E402
from popinfer.run.prepare import prepare  # noqa: E402
from popinfer.run.stages import fit, halos, sample  # noqa: E402


def draw_truth(config: RunConfig, seed: int, width: float = 0.5) -> dict[str, float]:
    names = ParamNames(tuple(config.catalog.bands), tuple(config.model.template_knots_angstrom))
    space = build_space(config, names)
    pilot = {k: v for k, v in config.halos.pilot.items() if k in space.names}
    u = space.to_unconstrained(pilot) + width * np.random.default_rng(seed).normal(size=space.size)
    return {name: float(x) for name, x in space.to_physical(u).items()}


def one_mock(config: RunConfig, out: Path, seed: int) -> dict:
    truth = draw_truth(config, seed)
    catalog = out / f"mock_{seed}.parquet"
    make_mock(config, catalog, MockSpec(truth, None, seed))
    settings = yaml.safe_load((out / f"mock_{seed}.yaml").read_text())
    settings["name"] = f"closure_{seed}"
    settings["seed"] = config.seed + 11 * seed
    run = prepare(RunConfig.model_validate(settings), out / f"run_{seed}")
    population = halos(run)
    best = fit(run, population=population)
    verdict = sample(run, population=population, result=best)
    idata = az.from_netcdf(run.folder.posterior)
    row = {}
    for name, value in truth.items():
        draws = np.asarray(idata.posterior[name]).ravel()
        rank = float(np.mean(draws < value))
        row[name] = {"truth": value, "z": float((np.mean(draws) - value) / np.std(draws)), "rank": rank}
    attrs = idata.sample_stats.attrs
    return {
        "seed": seed,
        "params": row,
        "converged": verdict.converged,
        "pareto_k": attrs.get("pareto_k"),
        "ess": attrs.get("importance_ess"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/closure"))
    parser.add_argument("--halos", type=int, help="halos a slice, instead of the run file's")
    arguments = parser.parse_args()
    config = load_config(arguments.file)
    if arguments.halos:
        config = config.model_copy(
            update={"halos": config.halos.model_copy(update={"n_per_slice": arguments.halos})}
        )
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"n_prior_starts": 2})})
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(1, arguments.n + 1):
        rows.append(one_mock(config, arguments.out, seed))
        z = [p["z"] for p in rows[-1]["params"].values()]
        print(seed, rows[-1]["pareto_k"], rows[-1]["ess"], np.round(z, 2).tolist(), flush=True)
    z = np.array([[p["z"] for p in row["params"].values()] for row in rows])
    rank = np.array([[p["rank"] for p in row["params"].values()] for row in rows])
    result = {
        "n_mocks": len(rows),
        "inside_68": float(np.mean(np.abs(rank - 0.5) < 0.34)),
        "inside_997": float(np.mean(np.abs(rank - 0.5) < 0.4985)),
        "chi2_per_parameter": float(np.mean(z**2)),
        "worst_z": float(np.max(np.abs(z))),
        "mocks": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
