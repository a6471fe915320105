"""Does a finished run's model describe its galaxies, those of other slices, and what is known beyond them?

    python benchmarks/description.py results/sdss --held-out 0.03 0.05 --held-out 0.15 0.18 [--json FILE]

For some posterior draws the run's population is seen as the survey lists it, on halos of its own:

- medians and half widths (of the middle 68 %) of every color, model minus data;
- shares of blue, green-valley and red galaxies, divided in u-r at 2.0 and 2.35;
- counts in bins of the selection's magnitude, in standard deviations of the data's Poisson noise, the
  model's total set to the data's, and chi-square of these counts for the shape of the luminosity function of
  Blanton et al. (2003), also if the survey's magnitudes are 0.2 mag brighter than its Petrosian ones;
- medians once more with the model's galaxies weighted to the observed counts;

in the run's slices and in those held out. And what neither colors nor abundances say directly:

- the scatter of log10 M* at a halo mass of 10^12.2 Msun (Cao et al. 2020, MNRAS 498, 5080: 0.34 +- 0.04);
- how much more massive the halos of quenched central galaxies of 10^10.7 Msun are than those of star-forming
  ones (Mandelbaum et al. 2016, MNRAS 457, 3200: twice or more);
- luminosity densities in the SDSS bands shifted to z = 0.1 (Blanton et al. 2003, ApJ 592, 819).

Last, each free parameter with its prior and posterior, and what it moves: colors, the share of red galaxies
and the number of listed ones when it alone rises by a standard deviation of its prior from the posterior's
mean.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from popinfer import precision

U_R = (2.0, 2.35)
BIN_MAG = 0.4
CAO20, AT_HALO, HALF_BIN = (0.34, 0.04), 12.2, 0.1
MANDELBAUM16, AT_MSTAR = 2.0, 10.7
DENSITIES = {"u": -14.10, "g": -15.18, "r": -15.90, "i": -16.24, "z": -16.56}  # + 5 log10 h, AB mag per Mpc^3
Z_SHIFT, LGM_DENSITY = 0.1, 10.5
SHIFTS = (0.0, 0.2)  # mag
QUANTILES = (0.16, 0.5, 0.84)


def quantiles(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted quantiles of one feature."""
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order]) - 0.5 * weight[order]
    return np.interp(QUANTILES, cumulative / weight.sum(), values[order])


def shares(u_r: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Shares of blue, valley and red galaxies."""
    return np.histogram(u_r, [-np.inf, *U_R, np.inf], weights=weight)[0] / weight.sum()


def appearance(
    mag: np.ndarray, weight: np.ndarray, bands: Sequence[str], edges: np.ndarray, band: int
) -> dict:
    """Numbers of one slice's galaxies, mag [galaxy, band]."""
    listed = (weight > 0) & np.isfinite(mag).all(axis=1)
    mag, weight = mag[listed], weight[listed]
    colors = {
        f"{a}-{b}": quantiles(mag[:, i] - mag[:, i + 1], weight)
        for i, (a, b) in enumerate(itertools.pairwise(bands))
    }
    u_r = mag[:, bands.index("u")] - mag[:, bands.index("r")]
    counts = np.histogram(mag[:, band], edges, weights=weight)[0]
    return {"colors": colors, "shares": shares(u_r, weight), "counts": counts / weight.sum()}


def as_counted(mag: np.ndarray, weight: np.ndarray, seen: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Weights of model galaxies whose counts in bins of one magnitude are the observed ones."""
    expected = np.histogram(mag, edges, weights=weight)[0]
    ratio = np.histogram(seen, edges)[0] / np.maximum(expected, 1e-300)
    place = np.searchsorted(edges, mag) - 1
    inside = (place >= 0) & (place < len(ratio)) & (weight > 0)
    return np.where(inside, weight * ratio[np.clip(place, 0, len(ratio) - 1)], 0.0)


def luminosity_function(run: Any, limits: tuple, galaxies: tuple, edges: np.ndarray) -> list[float]:
    """Chi-square of counts in bins for the shape of a luminosity function, for each of `SHIFTS`."""
    from popinfer.data.filters import load_filters
    from popinfer.data.published import BLANTON03, listed_density, typical_color
    from popinfer.run.simulation import cosmology_of
    from popinfer.sps.band_nodes import pivot_wavelength

    filters, selection = load_filters(run.survey.filters), run.config.catalog.selection
    curves = zip(filters.wave, filters.trans, strict=True)
    wave = np.array([pivot_wavelength(np.asarray(w), np.asarray(t)) for w, t in curves])
    band = run.survey.bands.index(selection.band)
    z, mag = galaxies
    color = typical_color(BLANTON03, z, mag, wave, band)
    number, cosmology, found = np.histogram(mag[:, band], edges)[0], cosmology_of(run.config), []
    for shift in SHIFTS:
        bins = [
            listed_density(BLANTON03, limits, (a + shift, b + shift), color, cosmology)
            for a, b in itertools.pairwise(edges)
        ]
        expected = np.array(bins) / np.sum(bins) * number.sum()
        found.append(float(np.sum((number - expected) ** 2 / expected)))
    return found


def averaged(each: list[dict]) -> dict:
    """Mean over draws of every number."""
    return jax.tree.map(lambda *x: np.mean(x, axis=0), *each)


def compare_slices(finished: Any, held_out: list, n_draws: int, n_halos: int, seed: int) -> list[dict]:
    """Model and data in the fitted slices and those held out."""
    from popinfer.config import RunConfig
    from popinfer.model import HaloSpec
    from popinfer.random import root_key, stream
    from popinfer.run.prepare import prepare

    said = finished.config.model_dump(mode="json", by_alias=True)
    lgm_min = np.min(said["halos"]["lgm_min"])
    slices = [*said["slices"], *held_out]
    # kernels aren't looked at: as few as slices of few galaxies can have
    kernels = said["kernels"] | {"n_centers": 20}
    halos = said["halos"] | {"lgm_min": float(lgm_min)}
    changed = said | {"slices": slices, "joint": [], "halos": halos, "kernels": kernels}
    run = prepare(RunConfig.model_validate(changed))
    survey, selection = run.survey, finished.config.catalog.selection
    band = survey.bands.index(selection.band)
    edges = np.arange(selection.faint_mag, selection.bright_mag, -BIN_MAG)[::-1]
    key = stream(root_key(seed), "description")
    spec = HaloSpec(n_batch=1, n_halo=n_halos, lgm_min=float(lgm_min))
    predicted = finished.predict(key, survey, n_draws, spec)
    draws = [
        (np.asarray(x.mag), np.asarray(x.weight)) for x in map(predicted.galaxies, range(len(predicted)))
    ]
    rows, z, mag = [], np.asarray(run.catalog.z), np.asarray(run.catalog.mag)
    inside = selection.bright_mag, selection.faint_mag
    for i, (low, high) in enumerate(slices):
        chosen = (z >= low) & (z < high) & (mag[:, band] > inside[0]) & (mag[:, band] < inside[1])
        data = appearance(mag[chosen], np.ones(chosen.sum()), survey.bands, edges, band)
        plain, counted = [], []
        for m, w in ((m[i], w[i]) for m, w in draws):
            plain.append(appearance(m, w, survey.bands, edges, band))
            as_seen = as_counted(m[:, band], w, mag[chosen, band], edges)
            counted.append(appearance(m, as_seen, survey.bands, edges, band))
        model, weighted = averaged(plain), averaged(counted)
        number = data["counts"] * chosen.sum()
        expected = model["counts"] * chosen.sum()
        rows.append(
            {
                "slice": [low, high],
                "held_out": i >= len(said["slices"]),
                "n_galaxies": int(chosen.sum()),
                "medians": {c: float((model["colors"][c] - data["colors"][c])[1]) for c in data["colors"]},
                "widths": {
                    c: float(0.5 * np.diff((model["colors"][c] - data["colors"][c])[[0, 2]])[0])
                    for c in data["colors"]
                },
                "shares": (model["shares"] - data["shares"]).tolist(),
                "shares_observed": data["shares"].tolist(),
                "counts_sigma": ((expected - number) / np.sqrt(np.maximum(expected, 1))).tolist(),
                "edges": edges.tolist(),
                "medians_as_counted": {
                    c: float((weighted["colors"][c] - data["colors"][c])[1]) for c in data["colors"]
                },
                "luminosity_function_chi2": luminosity_function(
                    run, (low, high), (z[chosen], mag[chosen]), edges
                ),
            }
        )
    return rows


def beyond(finished: Any, n_draws: int, n_halos: int, seed: int) -> dict:
    """Scatter of stellar masses, halos of quenched centrals, and luminosity densities."""
    from popinfer.cosmology import distance_modulus
    from popinfer.model import HaloSpec, PlannedSurvey
    from popinfer.random import root_key, stream

    shell = (Z_SHIFT - 0.01, Z_SHIFT + 0.01)
    survey = PlannedSurvey.of({band: f"sdss_{band}0" for band in DENSITIES}, [shell])
    spec = HaloSpec(n_batch=1, n_halo=n_halos, lgm_min=LGM_DENSITY)
    predicted = finished.predict(stream(root_key(seed), "beyond"), survey, n_draws, spec)
    scatter, ratio, densities = [], [], []
    h = finished.model.cosmology.h
    for table in predicted.tables():
        weight, central = table["weight_all"].to_numpy(), table["central"].to_numpy()
        lgm, lg_mstar = table["lg_mhalo"].to_numpy(), table["lg_mstar"].to_numpy()
        near = central & (np.abs(lgm - AT_HALO) < HALF_BIN)
        trend = np.polynomial.Polynomial.fit(lgm[near], lg_mstar[near], 1, w=np.sqrt(weight[near]))
        low, _, high = quantiles(lg_mstar[near] - trend(lgm[near]), weight[near])
        scatter.append(0.5 * (high - low))
        at_mass = central & (np.abs(lg_mstar - AT_MSTAR) < HALF_BIN)
        quenched = table["lg_ssfr"].to_numpy() < -11
        mean = [
            np.average(10 ** lgm[at_mass & q], weights=weight[at_mass & q]) for q in (quenched, ~quenched)
        ]
        ratio.append(mean[0] / mean[1])
        modulus = np.asarray(distance_modulus(finished.model.cosmology, table["redshift"].to_numpy()))
        # at z = 0.1 the bands are those shifted to it, and K is -2.5 log10(1 + z) for all galaxies
        absolute = {
            band: table[f"mag_true_{band}"] - modulus + 2.5 * np.log10(1 + table["redshift"])
            for band in DENSITIES
        }
        total = {band: -2.5 * np.log10(np.sum(weight * 10 ** (-0.4 * m))) for band, m in absolute.items()}
        # per Mpc^3 -> per (Mpc/h)^3 is +7.5 log10 h, and M -> M - 5 log10 h
        densities.append({band: m + 7.5 * np.log10(h) - 5 * np.log10(h) for band, m in total.items()})
    density = averaged(densities)
    return {
        "lg_mstar_scatter": float(np.mean(scatter)),
        "halo_mass_ratio": float(np.mean(ratio)),
        "luminosity_densities": {band: float(m) for band, m in density.items()},
        "luminosity_densities_off": {band: float(m - DENSITIES[band]) for band, m in density.items()},
    }


def parameters(finished: Any, n_halos: int, seed: int) -> dict[str, dict]:
    """Prior, posterior, and what an upward step of each parameter does to the listed galaxies."""
    from popinfer import predict
    from popinfer.model import HaloSpec
    from popinfer.random import root_key, stream

    run = finished.run
    free, draws = run.model.space.free, finished.vectors()
    middle = draws.mean(axis=0)
    points = np.concatenate([middle[None], middle + np.eye(len(free))])
    spec = HaloSpec(n_batch=1, n_halo=n_halos, lgm_min=float(np.min(finished.config.halos.lgm_min)))
    predicted = predict(stream(root_key(seed), "moved"), finished, points, run.survey, spec)
    bands, edges = run.survey.bands, np.array([0.0, 99.0])
    seen = []
    for point in range(len(points)):
        galaxies = predicted.galaxies(point)
        mag, weight = (np.asarray(x) for x in (galaxies.mag, galaxies.weight))
        each = [appearance(m, w, bands, edges, 0) for m, w in zip(mag, weight, strict=True)]
        together = averaged(each)
        medians = {color: values[1] for color, values in together["colors"].items()}
        number = {"lg_number": float(np.mean(np.log10(weight.sum(axis=1))))}
        seen.append(medians | {"red share": together["shares"][2]} | number)
    physical = run.physical(draws)
    rows = {}
    for i, parameter in enumerate(free):
        values = physical[parameter.name]
        rows[parameter.name] = {
            "unit": parameter.unit,
            "prior": str(parameter.prior),
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)),
            "moves": {name: float(seen[1 + i][name] - seen[0][name]) for name in seen[0]},
        }
    return rows


def told(rows: list[dict], other: dict, free: dict[str, dict]) -> str:
    """All of it as text."""
    lines = []
    for row in rows:
        low, high = row["slice"]
        kind = "held out" if row["held_out"] else "fitted"
        lines.append(f"{low:g} < z < {high:g}, {kind}, {row['n_galaxies']} galaxies; model minus data")
        for name in ("medians", "widths"):
            values = "  ".join(f"{color} {value:+.3f}" for color, value in row[name].items())
            lines.append(f"  {name:8s} {values}")
        for name, value, seen in zip(
            ("blue", "valley", "red"), row["shares"], row["shares_observed"], strict=True
        ):
            lines.append(f"  share of {name:6s} {value:+.3f} (observed {seen:.3f})")
        values = "  ".join(f"{color} {value:+.3f}" for color, value in row["medians_as_counted"].items())
        lines.append(f"  medians with the observed counts: {values}")
        chi2 = ", ".join(f"{x:.0f}" for x in row["luminosity_function_chi2"])
        lines.append(f"  counts, chi2 of Blanton+03's shape, and 0.2 mag brighter: {chi2}")
        bins = zip(row["edges"], row["edges"][1:], row["counts_sigma"], strict=False)
        lines.append("  counts   " + "  ".join(f"{a:.1f}-{b:.1f}: {x:+.1f}" for a, b, x in bins) + " sigma")
    lines.append(
        f"scatter of log10 M* at 10^{AT_HALO} Msun: {other['lg_mstar_scatter']:.2f} "
        f"(Cao+20: {CAO20[0]} +- {CAO20[1]})"
    )
    lines.append(
        f"halos of quenched over star-forming centrals of 10^{AT_MSTAR} Msun: {other['halo_mass_ratio']:.1f} "
        f"(Mandelbaum+16: {MANDELBAUM16:g} or more)"
    )
    lines.append(
        "luminosity densities minus Blanton+03 [mag]: "
        + "  ".join(f"{band} {off:+.2f}" for band, off in other["luminosity_densities_off"].items())
    )
    for name, row in free.items():
        moves = "  ".join(f"{what} {by:+.3f}" for what, by in row["moves"].items())
        lines.append(f"{name:28s} {row['prior']:32s} {row['mean']:+.3f} +- {row['sd']:.3f}   {moves}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    from popinfer import open_run

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--held-out", nargs=2, type=float, action="append", default=[], metavar=("LOW", "HIGH")
    )
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--n-halos", type=int, default=16384, help="of a slice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    precision.start()
    finished = open_run(options.folder)
    if not {"u", "r"} <= set(finished.config.catalog.bands):
        raise SystemExit(
            f"{options.folder}: galaxies are divided in u-r, and the run lacks one of these bands"
        )
    size = options.draws, options.n_halos, options.seed
    rows = compare_slices(finished, [tuple(limits) for limits in options.held_out], *size)
    other = beyond(finished, *size)
    free = parameters(finished, options.n_halos, options.seed)
    print(told(rows, other, free))
    if options.json is not None:
        found = {"slices": rows, "beyond": other, "parameters": free, "folder": options.folder.name}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
