"""Are MLZ's two files of SDSS galaxies random subsets of the main galaxy sample?

    python benchmarks/fair_sample.py [--source FOLDER] [--json FILE]

The package is downloaded unless a folder holds it. Numbers of galaxies in cells of r and redshift are
compared with those of the luminosity function of Blanton et al. (2003, ApJ 592, 819), which was measured from
the whole sample: its Schechter function in the r band shifted to z = 0.1, with its evolution, and a K
correction of z - 0.1 for all galaxies. The number at each redshift, which large-scale structure changes, is
fitted, and cells with less than two expected galaxies are left out. The function is of Petrosian magnitudes,
which are 0.08 mag fainter than these in the median of SDSS galaxies that have both. Colors aren't looked at;
shares of blue galaxies (u - r < 2.0) follow as a second opinion.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

EDGES_R = np.arange(14.0, 17.3, 0.4)
EDGES_Z = np.array([0.02, 0.035, 0.05, 0.065, 0.08, 0.095, 0.11, 0.13, 0.15, 0.18, 0.22])
# median of Petrosian minus model magnitude, 14 < r < 17.5, in gst_tests_small.fits of kcorrect 5.1.9
PETROSIAN = 0.08
FEWEST = 2.0  # expected galaxies of a cell
BLUE, SLICES = 2.0, ((0.05, 0.08), (0.08, 0.11), (0.11, 0.15))


def expected() -> np.ndarray:
    """Galaxies in cells [r, z] as the luminosity function has them, up to a constant."""
    from astropy.cosmology import Planck15

    from popinfer.data.published import BLANTON03

    edges = np.linspace(EDGES_Z[0], EDGES_Z[-1], 401)
    z = 0.5 * (edges[1:] + edges[:-1])
    shift = PETROSIAN - Planck15.distmod(z).value + 2.5 * np.log10(1.1) - (z - 0.1)
    limits = itertools.pairwise(EDGES_R)
    density = [BLANTON03.density(z, (bright + shift, faint + shift), Planck15.h) for bright, faint in limits]
    number = np.array(density) * np.diff(Planck15.comoving_volume(edges).value)
    return np.stack([np.histogram(z, EDGES_Z, weights=row)[0] for row in number])


def compared(z: np.ndarray, r: np.ndarray, u: np.ndarray) -> dict:
    """Chi-square of the cells, observed over expected numbers along r and z, and shares of blue galaxies."""
    cells = np.histogram2d(r, z, bins=[EDGES_R, EDGES_Z])[0]
    model = expected()
    whole = model * cells.sum() / model.sum()
    model = whole * cells.sum(axis=0) / whole.sum(axis=0)
    used = model >= FEWEST
    blue = [
        float(np.mean((u - r)[(z >= low) & (z < high) & (r < EDGES_R[-1])] < BLUE)) for low, high in SLICES
    ]
    return {
        "n": int(cells.sum()),
        "cells": int(used.sum()),
        "chi2": float(np.sum((cells - model)[used] ** 2 / model[used])),
        "along_r": (cells.sum(axis=1) / model.sum(axis=1)).tolist(),
        "along_z": (cells.sum(axis=0) / whole.sum(axis=0)).tolist(),
        "blue": blue,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    from popinfer.data.sources import MLZ, SDSS_SAMPLE, SourceFile, obtain

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="folder with MLZ's files or source distribution")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    other = SourceFile(
        "SDSS_MGS.test", "037f4fa18d298c4d3077bea5665161e2006240413e52e51a7aa7a18509274103", MLZ
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            file.name: np.loadtxt(
                obtain(file, options.source, Path(folder)), usecols=(0, 1, 3), encoding="utf-8"
            )
            for file in (SDSS_SAMPLE, other)
        }
    for name, rows in tables.items():
        row = found[name] = compared(rows[:, 0], rows[:, 2], rows[:, 1])
        print(f"{name}: {row['n']} galaxies, chi2 {row['chi2']:.0f} for {row['cells']} cells")
        for axis, edges in (("r", EDGES_R), ("z", EDGES_Z)):
            ratios = "  ".join(f"{a:g}: {x:.2f}" for a, x in zip(edges, row[f"along_{axis}"], strict=False))
            print(f"  observed over expected from {axis} = {ratios}")
        shares = "  ".join(
            f"{low:g} to {high:g}: {x:.3f}" for (low, high), x in zip(SLICES, row["blue"], strict=True)
        )
        print(f"  share of blue galaxies at z = {shares}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
