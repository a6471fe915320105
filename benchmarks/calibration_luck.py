"""How much of a calibration's squared distance is the luck of its surveys?

    python benchmarks/calibration_luck.py FILE FOLDER --seed 20261207 [--n 40] [--part I N] [--out FILE]

FOLDER is that of `popinfer calibrate FILE --seed ... --out FOLDER`. Each of its surveys is simulated once
more, and estimated in one step from the truth instead of fitted: with J, P and the residual r of the counts
there,

    F = J^T P J,    C = (F + 1)^-1,    u - u_true = C (J^T P r - u_true),    d2 = |C^(-1/2) (u - u_true)|^2.

If the covariance of the counts is right, d2 has the mean tr(C F) + u_true^T C u_true over surveys of that
truth; what it differs by is luck. The analysis' own distance has nearly the same luck, since both see the
same galaxies and errors: without it (a control variate) its mean is known better. The truths' luck, by which
the mean above differs from the number of parameters, is told too.

The errors drawn for the model make most of the noise, and are known. Without them what is left of r is that
of counting galaxies and halos alone: `noise` is |F^(-1/2) J^T P r|^2 of it, to be compared with the mean that
the covariances of both imply.

Surveys that were done are kept in FOLDER/luck.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import parts

from popinfer import precision
from popinfer.infer.likelihood import information
from popinfer.infer.monte_carlo import centered
from popinfer.infer.optimise import Compiled
from popinfer.run.build import build_problem
from popinfer.run.calibrate import drawn
from popinfer.run.folder import cache_folder, code_hash, write_text
from popinfer.run.observed import patterns_of_slices
from popinfer.run.pilot import tuned_halos
from popinfer.run.prepare import Run, prepare
from popinfer.run.progress import Silent
from popinfer.run.simulated import observing


def one_step(run: Run, seed: int, index: int) -> dict[str, float]:
    """Squared distances of a one-step estimate from the truth, and their means over surveys of this truth."""
    truth, own_seed, rng = drawn(run, seed, index)
    trial = observing(run, truth, own_seed, rng)
    halos, *others = tuned_halos(trial.config, trial.setup, trial.survey, own_seed, Silent()).samples
    problem = centered(build_problem(trial.setup, trial.survey, halos, others), truth)
    info = information(problem, truth, Compiled(problem).jacobian)
    cov = np.linalg.inv(info.fisher + np.eye(len(truth)))
    pull = info.gradient - truth
    estimator = np.linalg.solve(info.fisher, info.jacobian.T @ info.precision)
    away = estimator @ (info.residual - model_errors(trial))
    to_modes = estimator @ np.linalg.pinv(info.modes.T)
    noise = info.cov + info.cov_mc - info.modes.T @ problem.model_cov @ info.modes
    return {
        "distance2": float(pull @ cov @ pull),
        "expected": float(np.trace(cov @ info.fisher) + truth @ cov @ truth),
        "noise": float(away @ info.fisher @ away),
        "noise_expected": float(np.trace(to_modes @ noise @ to_modes.T @ info.fisher)),
    }


def model_errors(trial: Run) -> np.ndarray:
    """What the errors drawn for the model added to the logarithms of a simulated survey's counts."""
    survey = trial.survey
    patterns = patterns_of_slices(trial.config, trial.catalog, survey.detection)
    galaxies = survey.kernels.counting(survey.features, patterns)
    used = np.asarray(survey.kernels.mask).ravel() > 0
    with_errors, without = (np.asarray(one.observed).ravel()[used] for one in (survey.kernels, galaxies))
    errors = np.zeros(used.size)
    errors[used] = np.log(with_errors / without)
    n_other = sum(len(one.observed) for one in survey.effective_counts())
    return np.concatenate([errors, np.zeros(n_other)])


def error_of(x: np.ndarray) -> float:
    return float(x.std(ddof=1) / np.sqrt(len(x)))


def summarise(calibration: np.ndarray, steps: list[dict[str, float]], n_par: int) -> dict[str, float]:
    """Distances over the number of parameters, each with its error."""
    rows = {key: np.array([one[key] for one in steps]) / n_par for key in steps[0]}
    rows |= {"luck": rows["distance2"] - rows["expected"], "calibration": calibration / n_par}
    slope = float(np.polyfit(rows["luck"], rows["calibration"], 1)[0])
    rows["calibration_without_luck"] = rows["calibration"] - slope * rows["luck"]
    means = {name: float(x.mean()) for name, x in rows.items()}
    return means | {f"{name}_error": error_of(x) for name, x in rows.items()} | {"n_surveys": len(steps)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="run file")
    parser.add_argument("folder", type=Path, help="of its calibration")
    parser.add_argument("--seed", type=int, required=True, help="of the calibration")
    parser.add_argument("--n", type=int, default=40, help="surveys, the first ones")
    parser.add_argument("--part", type=int, nargs=2, help="only every N-th survey from the I-th, no table")
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    args = parser.parse_args()
    first, step = parts.take(args.part)
    precision.start(cache_dir=str(cache_folder()))
    run, folder = prepare(args.file, args.folder), args.folder / "luck"
    folder.mkdir(parents=True, exist_ok=True)
    steps, calibration = [], []
    for index in range(first, args.n, step):
        trial = json.loads((args.folder / "trials" / f"{index:04d}.json").read_text())
        if "failed" in trial:
            continue
        if trial["seed"] != drawn(run, args.seed, index)[1]:
            parser.error(f"--seed {args.seed}: {args.folder} is a calibration with another seed")
        path = folder / f"{code_hash()}_{index:04d}.json"
        if not path.is_file():
            write_text(path, json.dumps(one_step(run, args.seed, index)))
        steps.append(json.loads(path.read_text()))
        calibration.append(trial["distance2"])
        print(f"survey {index}: calibration {calibration[-1]:.1f}, {steps[-1]}", flush=True)
    if args.part:
        return
    found = summarise(np.array(calibration), steps, run.setup.space.size)
    print(json.dumps(found, indent=1))
    if args.out:
        write_text(args.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
