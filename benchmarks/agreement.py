"""Do two samplers agree on the same fit?  python benchmarks/agreement.py REFERENCE.nc OTHER.nc

Prints, for every parameter, the difference of the means in units of the reference's posterior standard
deviation and the ratio of the standard deviations, with their Monte Carlo errors.
"""

import argparse

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference")
    parser.add_argument("other")
    files = parser.parse_args()
    found = compare(*(az.from_netcdf(x, engine="h5netcdf") for x in (files.reference, files.other)))
    print(f"{'parameter':28}  mean shift [sd]  ratio of sd")
    for name, shift, ratio, error in found:
        print(f"{name:28}  {shift:+6.3f} +- {error:.3f}  {ratio:6.3f} +- {error / np.sqrt(2):.3f}")
