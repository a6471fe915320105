"""Time popinfer's photometry against dsps and, where installed, bagpipes.

    python benchmarks/photometry.py [--n 10000] [--repeats 9] [--ssp FILE] [--bagpipes PYTHON] [--scaling]

Codes take turns inside every repeat, so that a machine busy with other work slows all of them; medians and
ratios are reported, never asserted. The last line is one JSON object. Work: six LSST bands at z = 0.3 of
galaxies with tabulated SFHs (100 nodes), lognormal metallicities, and Salim+18 dust with its own slope and
A_V each. dsps gets magnitudes of its SSPs precomputed at that redshift, and dust at one effective wavelength
a band; popinfer applies dust at as many wavelengths a band as its accuracy needs. bagpipes computes stellar
photometry of one galaxy at a time, without dust.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popinfer import precision
from popinfer.cosmology import PLANCK15, age
from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_ssp
from popinfer.sps import (
    Attenuation,
    BandTable,
    Salim18,
    Stars,
    band_matrix,
    population_magnitudes,
    population_seds,
)

Z, SCATTER, N_T = 0.3, 0.2, 100
T_OBS = float(age(PLANCK15, jnp.asarray(Z)))
T_TABLE = np.linspace(0.05, 13.8, N_T)
BANDS = [f"lsst_baseline_{b}" for b in "ugrizy"]


def draw(n: int, dtype: Any) -> tuple[jax.Array, ...]:
    """SFH tables, lgmet, A_V and dust slope of n galaxies."""
    rng = np.random.default_rng(1)
    rise, fall = rng.uniform(0.2, 3, (n, 1)), rng.uniform(0.5, 8, (n, 1))
    sfr = (T_TABLE / rise) * np.exp(-T_TABLE / fall) * rng.uniform(0.7, 1.3, (n, N_T))
    rest = rng.uniform(-2.3, -1.5, n), rng.uniform(0, 2, n), rng.uniform(-0.5, 0.2, n)
    return tuple(jnp.asarray(x, dtype) for x in (sfr, *rest))


def popinfer_magnitudes(table: BandTable) -> Callable[..., jax.Array]:
    def run(sfr: jax.Array, lgmet: jax.Array, av: jax.Array, delta: jax.Array) -> jax.Array:
        dust = Attenuation(Salim18(), Salim18.Params(delta), av)
        return population_magnitudes(table, Stars(T_TABLE, sfr, lgmet, SCATTER), dust, Z, T_OBS)

    return run


def dsps_magnitudes(ssp: Any, table: BandTable) -> Callable[..., jax.Array]:
    """dsps' own weights and attenuation curve over precomputed SSP fluxes."""
    with precision.keep_precision():
        from dsps.dust.att_curves import _frac_transmission_from_k_lambda, sbl18_k_lambda
        from dsps.sed.ssp_weights import calc_ssp_weights_sfh_table_lognormal_mdf
        from dsps.sed.stellar_age_weights import _calc_logsm_table_from_sfh_table
    filters = load_filters(BANDS)
    flux = jnp.asarray(np.asarray(ssp.ssp_flux) @ band_matrix(ssp.ssp_wave, filters, Z))
    micron = jnp.asarray(table.wave_eff_band[0]) * 1e-4

    def one(sfr: jax.Array, lgmet: jax.Array, av: jax.Array, delta: jax.Array) -> jax.Array:
        weights = calc_ssp_weights_sfh_table_lognormal_mdf(
            T_TABLE, sfr, lgmet, SCATTER, ssp.ssp_lgmet, ssp.ssp_lg_age_gyr, T_OBS
        ).weights
        lgmass = _calc_logsm_table_from_sfh_table(T_TABLE, sfr, 1e-14)
        mass = 10 ** jnp.interp(jnp.log10(T_OBS), jnp.log10(T_TABLE), lgmass)
        light = mass * jnp.sum(weights[..., None] * flux, axis=(0, 1))
        k = sbl18_k_lambda(micron, 0.85 - 1.9 * delta, delta)
        return -2.5 * jnp.log10(light * _frac_transmission_from_k_lambda(k, av))

    return jax.vmap(one)


def popinfer_seds(ssp: Any) -> Callable[..., jax.Array]:
    def run(sfr: jax.Array, lgmet: jax.Array) -> jax.Array:
        return population_seds(ssp, Stars(T_TABLE, sfr, lgmet, SCATTER), None, T_OBS)

    return run


def dsps_seds(ssp: Any) -> Callable[..., jax.Array]:
    with precision.keep_precision():
        from dsps import calc_rest_sed_sfh_table_lognormal_mdf

    grid = (ssp.ssp_lgmet, ssp.ssp_lg_age_gyr, ssp.ssp_flux)

    def one(sfr: jax.Array, lgmet: jax.Array) -> jax.Array:
        return calc_rest_sed_sfh_table_lognormal_mdf(T_TABLE, sfr, lgmet, SCATTER, *grid, T_OBS).rest_sed

    return jax.vmap(one)


def gradient(magnitudes: Callable[..., jax.Array]) -> Callable[..., Any]:
    return jax.value_and_grad(lambda *args: jnp.sum(magnitudes(*args)), argnums=(0, 1, 2, 3))


def interleave(runs: dict[str, tuple[Callable[..., Any], tuple]], repeats: int) -> dict[str, float]:
    """Median seconds of each run; the runs take turns."""
    compiled = {name: (jax.jit(f), args) for name, (f, args) in runs.items()}
    for f, args in compiled.values():
        jax.block_until_ready(f(*args))
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(repeats):
        for name, (f, args) in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(f(*args))
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(t)) for name, t in times.items()}


def scaling(table: BandTable) -> dict[str, float]:
    """Seconds for 1e4 to 1e6 galaxies in float32, the log-slope, and the peak memory [GB]."""
    seconds = {}
    run = jax.jit(popinfer_magnitudes(table))
    for n in (10_000, 100_000, 1_000_000):
        args = draw_large(n, np.float32)
        jax.block_until_ready(run(*args))
        times = []
        for _ in range(max(3, 300_000 // n)):
            begin = time.perf_counter()
            jax.block_until_ready(run(*args))
            times.append(time.perf_counter() - begin)
        seconds[f"{n:.0e}"] = float(np.median(times))
    slope = np.polyfit([4, 5, 6], np.log10(list(seconds.values())), 1)[0]
    return seconds | {"slope": float(slope), "peak_gb": peak_gb()}


def peak_gb() -> float:
    """Largest resident memory of this process; ru_maxrss would count the parent's, from before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS counts bytes


def draw_large(n: int, dtype: Any) -> tuple[jax.Array, ...]:
    """At most 10,000 galaxies, or those over and over: no intermediates that would count as memory."""
    few = draw(min(n, 10_000), dtype)
    return tuple(jnp.tile(x, (max(n // 10_000, 1),) + (1,) * (x.ndim - 1)) for x in few)


_BAGPIPES = """
import json, sys, time
import numpy as np
import bagpipes as pipes
curves = json.load(open(sys.argv[1]))
names = []
for name, (wave, trans) in curves.items():
    np.savetxt(name + ".txt", np.c_[wave, trans]); names.append(name + ".txt")
def components(i):
    return {"redshift": 0.3, "delayed": {"massformed": 10.0, "metallicity": 0.5 + 0.001 * i, "age": 5.0,
    "tau": 1.0}}
model = pipes.model_galaxy(components(0), filt_list=names)
times = []
for i in range(150):
    begin = time.perf_counter(); model.update(components(i)); times.append(time.perf_counter() - begin)
print(json.dumps(float(np.median(times))))
"""


def bagpipes_seconds(python: str, folder: Path) -> float:
    """Median seconds a galaxy."""
    filters = load_filters(BANDS)
    triples = zip(filters.names, filters.wave, filters.trans, strict=True)
    curves = {n: (np.asarray(w).tolist(), np.asarray(t).tolist()) for n, w, t in triples}
    (folder / "curves.json").write_text(json.dumps(curves))
    command = [python, "-c", _BAGPIPES, "curves.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(n: int, repeats: int, grid: str | None, bagpipes: str | None, folder: Path) -> dict[str, Any]:
    ssp, filters = load_ssp(grid), load_filters(BANDS)
    table = BandTable.build(ssp, filters, np.array([Z]))
    ours, theirs = popinfer_magnitudes(table), dsps_magnitudes(ssp, table)
    double, single = draw(n, np.float64), draw(n, np.float32)
    few = tuple(x[:100] for x in double[:2])
    many, many_single = (tuple(x[:2000] for x in some[:2]) for some in (double, single))
    seconds = interleave(
        {
            "popinfer_float32": (ours, single),
            "popinfer_float64": (ours, double),
            "dsps": (theirs, double),
            "popinfer_float32_grad": (gradient(ours), single),
            "popinfer_float64_grad": (gradient(ours), double),
            "dsps_grad": (gradient(theirs), double),
            "popinfer_float32_sed_2000": (popinfer_seds(ssp), many_single),
            "popinfer_float64_sed_2000": (popinfer_seds(ssp), many),
            "dsps_sed_100": (dsps_seds(ssp), few),
        },
        repeats,
    )
    result: dict[str, Any] = {
        "device": str(jax.devices()[0]),
        "n": n,
        "ssp_shape": list(np.shape(ssp.ssp_flux)),
        "parts": len(table.band_index),
        "seconds": seconds,
    }
    result["ratio"] = {
        "forward_float32": seconds["dsps"] / seconds["popinfer_float32"],
        "forward_float64": seconds["dsps"] / seconds["popinfer_float64"],
        "gradient_float32": seconds["dsps_grad"] / seconds["popinfer_float32_grad"],
        "gradient_float64": seconds["dsps_grad"] / seconds["popinfer_float64_grad"],
        "sed_float32": 20 * seconds["dsps_sed_100"] / seconds["popinfer_float32_sed_2000"],
        "sed_float64": 20 * seconds["dsps_sed_100"] / seconds["popinfer_float64_sed_2000"],
    }
    clear = (double[0], double[1], 0 * double[2], double[3])
    difference = jnp.abs(ours(*clear) - theirs(*clear))
    result["difference_mag_without_dust"] = {
        k: float(f(difference)) for k, f in (("median", jnp.median), ("max", jnp.max))
    }
    result["table_error_mag"] = float(np.abs(table.check(ssp, filters)).max())
    if bagpipes:
        one = bagpipes_seconds(bagpipes, folder)
        result["ratio"] |= {
            "bagpipes_table_float32": one * n / seconds["popinfer_float32"],
            "bagpipes_sed_float32": one * 2000 / seconds["popinfer_float32_sed_2000"],
            "bagpipes_sed_float64": one * 2000 / seconds["popinfer_float64_sed_2000"],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--ssp", help="SSP grid in the DSPS layout, for both codes; default: embedded")
    parser.add_argument("--bagpipes", help="a Python that can import bagpipes")
    parser.add_argument("--scaling", action="store_true", help="only the 1e4-1e6 scaling, in this process")
    args = parser.parse_args()
    precision.start()
    if args.scaling:
        table = BandTable.build(load_ssp(), load_filters(BANDS), np.array([Z]))
        print(json.dumps(scaling(table)))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args.n, args.repeats, args.ssp, args.bagpipes, Path(folder))
    command = [sys.executable, __file__, "--scaling"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    result["scaling_float32"] = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
