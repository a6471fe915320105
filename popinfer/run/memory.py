"""Does a run fit into this machine's memory? Asked before anything is computed."""

from pathlib import Path

from popinfer.config import RunConfig
from popinfer.errors import InputError

# measured on the shipped run files: numbers that describe a halo, and working memory of one evaluation of the
# model with its derivatives [bytes a halo]
_HALO_NUMBERS, _EVALUATION = 33, 34_000
_STATISTICS_MATRICES = 6  # of covariance that are alive at once
_GIB = 2.0**30
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def needed_bytes(config: RunConfig) -> dict[str, float]:
    """Least memory that a run takes, by the key that asks for it [bytes].

    Parameters
    ----------
    config : the run file. Halo samples are kept in double precision, matrices of all counts as well.
    """
    halos, n_slices = config.halos, len(config.slices)
    sample = float(n_slices * halos.n_per_slice)
    statistics = float(n_slices * config.kernels.n_centers)
    needs = {
        "halos.n_per_slice": 8 * _HALO_NUMBERS * sample + _EVALUATION * min(sample, 4096 * n_slices),
        "kernels.n_centers": 8 * _STATISTICS_MATRICES * statistics**2,
    }
    settings, n_parameters = config.sample, len(config.free)
    for count, times in (("n_chains", "n_draws"), ("n_proposals", ""), ("n_particles", "")):
        if hasattr(settings, count):
            draws = float(getattr(settings, count)) * (getattr(settings, times) if times else 1)
            needs[f"sample.{count}"] = 8 * draws * (n_parameters + statistics / 10)
    # whose predictions of all kernels and of histograms are kept
    needs["predictive.n_draws"] = 8 * float(config.predictive.n_draws) * (statistics + 1000 * n_slices)
    return needs


def available_bytes() -> float | None:
    """Memory that can still be had: the machine's, or the container's when that is less; None if unknown."""
    limits: list[float] = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        amounts = [line.split()[1] for line in lines if line.startswith(("MemAvailable:", "SwapFree:"))]
        limits += [1024 * sum(map(float, amounts))] if amounts else []
    except (OSError, ValueError):  # another system
        pass
    for path in _CGROUP_LIMITS:
        try:
            limits.append(float(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # "max", or no such system
            continue
    return min(limits) if limits else None


def check_memory(config: RunConfig, available: float | None = None) -> None:
    """InputError when the run needs more memory than there is.

    Parameters
    ----------
    config : the run file.
    available : memory [bytes]; this machine's when absent.
    """
    available = available_bytes() if available is None else available
    if available is None:
        return
    needs = needed_bytes(config)
    key = max(needs, key=needs.__getitem__)
    if needs[key] > available:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        raise InputError(
            f"{key}: {value:,} needs about {needs[key] / _GIB:,.1f} GiB of memory, and this machine has "
            f"{available / _GIB:,.1f} GiB to give; use fewer"
        )
