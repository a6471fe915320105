"""What each part of a fitted model is worth: fits with one part taken out at a time.

    python benchmarks/without.py results/sdss [--batches 16] [--json FILE]

A part's parameters go to their components' defaults, and the others climb to the posterior's maximum again,
from the run's best fit and from the prior's center, on the same halos and with the covariance that the run
settled on. The cost is 2 (log density of all free - log density without the part): what chi-square and the
prior's sum of squares rise by together. Parts are worth their parameters when the cost is well above two
times their number.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from popinfer import precision

PARTS = {
    "template error of quenched galaxies": ("template.old_3550", "template.old_4700"),
    "template error of all galaxies": ("template.4300", "template.8300"),
    "efficiency against mass, slopes": ("sfh.low_mass_slope", "sfh.high_mass_slope"),
    "halo mass of peak efficiency": ("sfh.critical_mass",),
    "efficiency against time": ("sfh.efficiency_tilt",),
    "scatter of histories": ("sfh.lg_scatter",),
    "quenched fraction against mass, slope and curvature": ("sfh.quenching_slope", "sfh.quenching_curvature"),
    "halo mass of quenching": ("sfh.quenching_mass",),
    "depth of quenching": ("sfh.quenching_depth",),
    "time of quenching and its slope with mass": ("sfh.quenching_time", "sfh.quenching_time_slope"),
    "fluctuations of star formation": ("burstiness.scatter",),
    "metallicities of quenched galaxies": ("metallicity.quenched_offset", "metallicity.quenched_slope"),
    "mass-metallicity relation": ("metallicity.zero_point", "metallicity.slope"),
    "dust against mass and sSFR": ("dust.slope_mass", "dust.slope_ssfr"),
    "scatter of dust in quenched galaxies": ("dust.quenched_scatter",),
    "slope of the attenuation curve": ("dust_law.delta",),
    "ionisation parameter": ("nebular.logu",),
}


@dataclass(frozen=True)
class Climbed:
    """Where a fit ended: log density, chi-square of the run's statistics, steps, ends of its starts."""

    log_density: float
    chi2: float
    prior: float
    n_steps: int
    ends: tuple[float, ...]


def without(said: dict[str, Any], names: Sequence[str]) -> Any:
    """The run file with parameters at their components' defaults."""
    from popinfer.config import RunConfig

    free = {name: prior for name, prior in said["free"].items() if name not in names}
    return RunConfig.model_validate(said | {"free": free})


def climb(run: Any, halos: Any, likelihood: Any, starts: Sequence[np.ndarray]) -> Climbed:
    """The best of the ends of climbs from some starts."""
    from popinfer.infer.optimise import levenberg_marquardt
    from popinfer.infer.search import GivenCovariance

    objective = GivenCovariance(run.counts(halos), likelihood)
    fits = [levenberg_marquardt(objective, u) for u in starts]
    best = max(fits, key=lambda fit: fit.log_density)
    prior = float(np.sum(best.u**2))
    return Climbed(
        best.log_density,
        2 * (likelihood.log_peak - best.log_density) - prior,
        prior,
        sum(fit.n_steps for fit in fits),
        tuple(fit.log_density for fit in fits),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    from popinfer.config import load_config
    from popinfer.run.fitting import read_fit
    from popinfer.run.folder import RunFolder
    from popinfer.run.prepare import load_population, made_ready

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", type=int, default=16, help="of the run's halos")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    precision.start()
    folder = RunFolder(options.folder)
    run = made_ready(load_config(folder.config), folder)
    population = load_population(run)
    fit = read_fit(run, population.data)
    halos = jax.tree.map(lambda x: x[: options.batches], population.halos)
    best = np.asarray(fit.approx.mean)
    names = [parameter.name for parameter in run.model.space.free]
    said = run.config.model_dump(mode="json", by_alias=True)
    whole = climb(run, halos, fit.surrogate.likelihood, [best])
    print(f"all {len(names)} free: chi2 {whole.chi2:.1f}, prior {whole.prior:.1f}", flush=True)
    rows = [{"part": "", "n_par": 0, "cost": 0.0, "chi2": whole.chi2, "prior": whole.prior}]
    for part, left_out in PARTS.items():
        if not set(left_out) & set(names):
            continue
        begin = time.perf_counter()
        kept = [i for i, name in enumerate(names) if name not in left_out]
        other = made_ready(without(said, left_out), RunFolder(Path("unused")))
        found = climb(other, halos, fit.surrogate.likelihood, [best[kept], np.zeros(len(kept))])
        n_par, cost = len(names) - len(kept), 2 * (whole.log_density - found.log_density)
        rows.append(
            {
                "part": part,
                "parameters": [name for name in left_out if name in names],
                "n_par": n_par,
                "cost": cost,
                "chi2": found.chi2,
                "prior": found.prior,
                "ends": [2 * (whole.log_density - end) for end in found.ends],
            }
        )
        print(
            f"without {part:52s} {n_par} parameters: cost {cost:+7.1f} "
            f"(chi2 {found.chi2 - whole.chi2:+.1f}), {found.n_steps} steps, "
            f"{time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
