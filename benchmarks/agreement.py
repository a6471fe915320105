"""Do two samplers agree on the same fit?

    python benchmarks/agreement.py REFERENCE.nc OTHER.nc [--out FILE]

Prints, for every parameter, the difference of the means in units of the reference's posterior standard
deviation and the ratio of the standard deviations, with their Monte Carlo errors; --out stores
the same as JSON.
"""

import argparse
import json
from pathlib import Path

import arviz as az
import numpy as np


def compare(reference: az.InferenceData, other: az.InferenceData) -> list[tuple[str, float, float, float]]:
    """Name, shift of the mean, ratio of standard deviations, error of the shift, of every parameter."""
    rows = []
    for name in reference.posterior.data_vars:
        a, b = (one.posterior[name].values for one in (reference, other))
        ess = float(az.ess(a))
        weight = other.sample_stats.attrs.get("importance_ess", az.ess(b))
        error = float(np.sqrt(1 / ess + 1 / float(weight)))
        rows.append((str(name), (b.mean() - a.mean()) / a.std(), b.std() / a.std(), error))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference")
    parser.add_argument("other")
    parser.add_argument("--out", type=Path)
    files = parser.parse_args()
    reference, other = (az.from_netcdf(x, engine="h5netcdf") for x in (files.reference, files.other))
    found = compare(reference, other)
    print(f"{'parameter':28}  mean shift [sd]  ratio of sd")
    for name, shift, ratio, error in found:
        print(f"{name:28}  {shift:+6.3f} +- {error:.3f}  {ratio:6.3f} +- {error / np.sqrt(2):.3f}")
    if files.out:
        keys = ("mean_shift_sd", "sd_ratio", "mean_shift_error")
        rows = {name: dict(zip(keys, map(float, row), strict=True)) for name, *row in found}
        ess = {
            kind: {str(name): float(x) for name, x in az.ess(reference, method=kind).data_vars.items()}
            for kind in ("bulk", "tail")
        }
        files.out.write_text(json.dumps({"parameters": rows, "reference_ess": ess}, indent=1) + "\n")
