"""What an accelerator gives: galaxies a second, exact log-densities a second, and agreement with the CPU.

    python benchmarks/gpu.py [--sizes 1e5,1e6,1e7] [--run configs/sdss.yaml] [--nuts-exact] [--json FILE]

JAX's default device is measured; where that is the CPU, it says so and compares the CPU with itself. Printed,
and written as JSON with the device, all versions and the command, are

- galaxies: magnitudes from SFH tables, and their value and gradient, the work of `photometry.py`, for samples
  of several sizes in calls of ``--at-once``; and the ratio to the standard, dsps with precomputed magnitudes
  on this machine's CPU;
- log-densities: exact ones of the run file's catalog, and their value and gradient, ``--points`` at once, on
  as many halos as the run file asks for (drawn without regard to what the survey sees);
- agreement: largest differences of magnitudes and log-densities from those of the CPU in double precision,
  and how much of them the CPU has too when it computes in the same precision;
- the whole run with ``sample.kind: nuts_exact``, unless ``--no-nuts-exact``; on a CPU only if asked for. Its
  time includes that of compiling what popinfer's cache doesn't hold.

Medians of repeats are reported, never asserted.
"""

import argparse
import dataclasses
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from photometry import (
    BANDS,
    Z,
    draw,
    draw_large,
    dsps_magnitudes,
    gradient,
    interleave,
    popinfer_magnitudes,
)

from popinfer import RunConfig, load_config, precision, prepare, run_all
from popinfer.config.inference import NutsExactConfig
from popinfer.data.filters import load_filters
from popinfer.data.ssp import load_ssp
from popinfer.environment import cache_folder
from popinfer.halos.lightcone import draw_slice_batches
from popinfer.infer.likelihood import LogDensity
from popinfer.infer.search import likelihood_at
from popinfer.random import numpy_generator, root_key, stream
from popinfer.run.batches import batch_shape
from popinfer.run.build import lightcones
from popinfer.run.progress import Terminal
from popinfer.run.provenance import code_hash, versions
from popinfer.sps import BandTable

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"single": np.float32, "double": np.float64}
N_COMPARED = 10_000  # galaxies, at most, whose magnitudes are compared, and that the standard is timed with
SPREAD = 0.3  # prior standard deviations, of the points where log-densities are compared


def cpu() -> jax.Device:
    """The processor, whatever the default device is."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        chosen = jax.config.jax_platforms
        raise SystemExit(f"JAX_PLATFORMS={chosen} hides the CPU; use JAX_PLATFORMS={chosen},cpu") from None


def described(device: jax.Device) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "number": jax.local_device_count(),
        "host": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, compiled beforehand."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def band_table() -> BandTable:
    return BandTable.build(load_ssp(), load_filters(BANDS), np.array([Z]))


def galaxy_rates(sizes: Sequence[int], at_once: int, dtype: Any, repeats: int) -> dict[str, dict[str, float]]:
    """Galaxies a second of the default device, by size of the sample and work."""
    magnitudes = popinfer_magnitudes(band_table())
    programs = {"forward": jax.jit(magnitudes), "gradient": jax.jit(gradient(magnitudes))}
    rates: dict[str, dict[str, float]] = {}
    for size in sizes:
        together = min(size, at_once)
        galaxies = draw_large(together, dtype)

        def sample(program: Callable[..., Any], galaxies: tuple = galaxies, n: int = size // together) -> Any:
            # each call waits for the one before: memory holds the results of one
            return [jax.block_until_ready(program(*galaxies)) for _ in range(n)][-1]

        rates[str(size)] = {
            name: size / median_seconds(lambda program=program: sample(program), repeats)
            for name, program in programs.items()
        }
    return rates


def standard_rates(n: int, repeats: int) -> dict[str, float]:
    """Galaxies a second of dsps on the CPU, in double precision as it computes."""
    with jax.default_device(cpu()):
        magnitudes, galaxies = dsps_magnitudes(load_ssp(), band_table()), draw(n, np.float64)
        works = {"forward": (magnitudes, galaxies), "gradient": (gradient(magnitudes), galaxies)}
        return {name: n / seconds for name, seconds in interleave(works, repeats).items()}


def compared(device: Any, same: Any, double: Any) -> dict[str, float]:
    """Largest differences from the CPU's numbers in double precision."""
    reference = np.asarray(double, float)
    return {
        "device": float(np.abs(np.asarray(device, float) - reference).max()),
        "cpu_in_same_precision": float(np.abs(np.asarray(same, float) - reference).max()),
    }


def magnitude_agreement(n: int, dtype: Any) -> dict[str, float]:
    """Differences of magnitudes [mag]."""
    program = jax.jit(popinfer_magnitudes(band_table()))
    on_device = program(*draw(n, dtype))
    with jax.default_device(cpu()):
        same, double = (program(*draw(n, kind)) for kind in (dtype, np.float64))
    return compared(on_device, same, double)


def density_of(config: RunConfig, folder: Path) -> LogDensity:
    """The exact log-density of a run file's catalog, its covariance taken at the prior's center."""
    run = prepare(config, folder)
    n_batch, n_halo = batch_shape(config.halos.n_per_slice)
    specs = [dataclasses.replace(spec, n_halo=n_halo) for spec in lightcones(config)]
    counts = run.counts(draw_slice_batches([stream(run.key, "batch", i) for i in range(n_batch)], specs))
    return LogDensity.of(counts, likelihood_at(counts, run.data(), np.zeros(run.model.space.size)))


@eqx.filter_jit
def values(density: LogDensity, points: jax.Array) -> jax.Array:
    return jax.vmap(density)(points)


@eqx.filter_jit
def values_and_gradients(density: LogDensity, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(jax.value_and_grad(density.__call__))(points)


def in_double(density: LogDensity) -> LogDensity:
    """The same density, of the same halos, in double precision."""
    batches = jax.tree.map(lambda x: x.astype(jnp.float64), density.counts.batches)
    return eqx.tree_at(lambda d: d.counts.batches, density, batches)


def density_figures(config: RunConfig, folder: Path, n_points: int, repeats: int) -> dict[str, Any]:
    """Log-densities a second of the default device, and differences from the CPU [nat]."""
    density = density_of(config, folder)
    n_par = len(config.free)
    points = SPREAD * numpy_generator(stream(root_key(1), "points")).standard_normal((n_points, n_par))
    u = jnp.asarray(points)
    rates = {
        "value": n_points / median_seconds(lambda: values(density, u), repeats),
        "gradient": n_points / median_seconds(lambda: values_and_gradients(density, u), repeats),
    }
    # arrays that are bound to a device have programs of their own: on a CPU these would be compiled again
    there = (density, u) if jax.default_backend() == "cpu" else jax.device_put((density, u), cpu())
    same, double = values(*there), values(in_double(there[0]), there[1])
    return {
        "n_halos": sum(int(batches.weight.size) for batches in density.counts.batches),
        "n_parameters": n_par,
        "points_at_once": n_points,
        "per_second": rates,
        "difference_nat": compared(values(density, u), same, double),
    }


def exact_run(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Wall time of the run with NUTS on the exact density [s]."""
    exact = config.model_copy(update={"sample": NutsExactConfig(kind="nuts_exact")})
    begin = time.perf_counter()
    run = prepare(exact, folder, Terminal())
    outcome = run_all(run, Terminal())
    total = time.perf_counter() - begin
    posterior = az.from_netcdf(str(run.folder.posterior), engine="h5netcdf").posterior
    return {
        "wall_time_s": total,
        "sampling_s": float(posterior.attrs["sampling_s"]),
        "draws": int(posterior.sizes["chain"] * posterior.sizes["draw"]),
        "outcome": str(outcome),
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    device, dtype = jax.devices()[0], DTYPES[options.precision]
    config = load_config(options.run).model_copy(update={"precision": options.precision})
    if options.n_per_slice is not None:
        halos = config.halos.model_copy(update={"n_per_slice": options.n_per_slice})
        config = config.model_copy(update={"halos": halos})
    few = min(N_COMPARED, *options.sizes)
    rates = galaxy_rates(options.sizes, options.at_once, dtype, options.repeats)
    standard = standard_rates(few, options.repeats)
    result = {
        "command": options.command,
        "device": described(device),
        "versions": versions(),
        "code": code_hash(),
        "precision": options.precision,
        "galaxies_per_second": rates,
        "standard_sps_cpu_galaxies_per_second": standard,
        "ratio_to_standard_sps_cpu": {
            size: {work: rate[work] / standard[work] for work in rate} for size, rate in rates.items()
        },
        "magnitude_difference": magnitude_agreement(few, dtype),
        "run_file": str(options.run),
        "log_density": density_figures(config, folder / "density", options.points, options.repeats),
        "nuts_exact": None,
    }
    if options.nuts_exact:
        result["nuts_exact"] = exact_run(config, options.out or folder / "exact")
    return result


def report(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    device, density = result["device"], result["log_density"]
    lines = [f"device: {device['kind']} ({device['platform']}), {result['precision']} precision"]
    if device["platform"] == "cpu":
        lines.append("no accelerator: the CPU is compared with itself")
    lines += ["", "| galaxies | forward [1/s] | gradient [1/s] | times dsps on the CPU, forward | gradient |"]
    lines += ["|---|---|---|---|---|"]
    for size, rate in result["galaxies_per_second"].items():
        ratio = result["ratio_to_standard_sps_cpu"][size]
        lines.append(
            f"| {size} | {rate['forward']:.3g} | {rate['gradient']:.3g} | {ratio['forward']:.3g} | "
            f"{ratio['gradient']:.3g} |"
        )
    speed = density["per_second"]
    lines += [
        "",
        f"exact log-densities ({density['n_halos']:,} halos, {density['points_at_once']} at once): "
        f"{speed['value']:.3g} /s, with gradients {speed['gradient']:.3g} /s",
    ]
    for what, difference, unit in (
        ("magnitudes", result["magnitude_difference"], "mag"),
        ("log-densities", density["difference_nat"], "nat"),
    ):
        lines.append(
            f"{what}: within {difference['device']:.2g} {unit} of the CPU in double precision; the CPU in "
            f"{result['precision']} precision {difference['cpu_in_same_precision']:.2g} {unit}"
        )
    if result["nuts_exact"] is not None:
        exact = result["nuts_exact"]
        lines.append(
            f"{result['run_file']} with nuts_exact: {exact['wall_time_s']:.0f} s, {exact['outcome']}, "
            f"{exact['draws']} draws in {exact['sampling_s']:.0f} s"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="galaxies, comma-separated")
    parser.add_argument("--at-once", type=float, default=1e6, help="galaxies of a call; memory grows with it")
    parser.add_argument("--precision", choices=DTYPES, default="single")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run", type=Path, default=ROOT / "configs" / "sdss.yaml", help="run file")
    parser.add_argument("--n-per-slice", type=int, help="halos of a slice, in place of the run file's")
    parser.add_argument("--points", type=int, default=4, help="log-densities at once, as chains are on a GPU")
    parser.add_argument("--nuts-exact", action=argparse.BooleanOptionalAction, help="the whole run too")
    parser.add_argument("--out", type=Path, help="folder of the whole run; a temporary one when absent")
    parser.add_argument("--json", type=Path, default=Path("results") / "gpu.json")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    options.command = shlex.join(["python", "benchmarks/gpu.py", *given])
    options.sizes, options.at_once = [int(float(x)) for x in options.sizes.split(",")], int(options.at_once)
    for size in options.sizes:
        together = min(size, options.at_once)
        if size % together or (together > N_COMPARED and together % N_COMPARED):
            parser.error(f"--sizes {size}: not a multiple of --at-once {together}, or that of {N_COMPARED}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    precision.start(cache_dir=cache_folder())
    if options.nuts_exact is None:
        options.nuts_exact = jax.default_backend() != "cpu"
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(report(result))


if __name__ == "__main__":
    main()
