"""Does a run fit into this machine's memory? Asked before anything is computed."""

from pathlib import Path

from popinfer.config import RunConfig
from popinfer.config.inference import NutsConfig, NutsExactConfig, SmcConfig
from popinfer.errors import InputError
from popinfer.infer.counts import batches_at_once
from popinfer.infer.sizes import CHAIN_ESS, MAX_EXTENSIONS, MAX_NODES_PER_PARAMETER, NODES_PER_PARAMETER
from popinfer.run.batches import CANDIDATES, batch_shape

# measured on the shipped run files: numbers that describe a halo, and working memory in single precision
# [bytes a halo of a batch] of the model with its derivatives, hardly less at `_POINTS` points at once, and of
# galaxies
_HALO_NUMBERS, _EVALUATION, _GALAXIES = 33, 34_000, 3_000
_POINTS = 8  # at once, of large batches; those of small ones take no more memory
_COPIES = 2  # of the halo sample: as drawn, and as the model has it
_STATISTICS_MATRICES = 6  # of covariance that are alive at once, and one for every `_POINTS` evaluations
_CHAIN_NUMBERS = 6  # that a sampler tells of each draw
_DRAWS_PER_EFFECTIVE = 40  # of chains that mix badly; those of the shipped run files have up to 27
_GIB = 2.0**30
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def needed_bytes(config: RunConfig) -> dict[str, float]:
    """Least memory that a run takes, by the key that asks for it [bytes].

    Parameters
    ----------
    config : RunConfig
        The run file. Halo samples are kept in double precision, numbers of all counts as well: of each batch
        at `_POINTS` points, of all batches at the surrogate's nodes and at the draws that are evaluated
        exactly. Few batches of halos at a time are evaluated (`batches_at_once`).
    """
    n_slices, n_par, settings = len(config.slices), len(config.free), config.sample
    n_batch, n_halo = batch_shape(config.halos.n_per_slice)
    sample, batch = float(n_slices * config.halos.n_per_slice), float(n_slices * n_halo)
    statistics, nodes = float(n_slices * config.kernels.n_centers), MAX_NODES_PER_PARAMETER * n_par
    working = max(_EVALUATION * batches_at_once(round(batch)), CANDIDATES * (_GALAXIES + 8 * _HALO_NUMBERS))
    matrices = _STATISTICS_MATRICES + NODES_PER_PARAMETER * n_par / 2 / _POINTS
    needs = {
        "halos.n_per_slice": 8 * _COPIES * _HALO_NUMBERS * sample
        + working * batch
        + 8 * n_batch * statistics * max(n_par, 2 * _POINTS),
        "kernels.n_centers": 8 * statistics * (matrices * statistics + 2 * nodes),
    }
    if isinstance(settings, NutsConfig | NutsExactConfig):
        n_draws = float(settings.n_chains) * settings.n_draws
        if isinstance(settings, NutsConfig):  # chains go on
            longest = min(n_draws * (1 + MAX_EXTENSIONS), _DRAWS_PER_EFFECTIVE * CHAIN_ESS * settings.min_ess)
            n_draws = max(n_draws, longest)
        needs["sample.n_chains"] = 8 * n_draws * (n_par + _CHAIN_NUMBERS)
    if isinstance(settings, NutsConfig):
        needs["sample.max_evaluations"] = 8 * float(settings.max_evaluations) * statistics
        needs["sample.n_kept"] = 8 * float(settings.n_kept) * n_par
    if isinstance(settings, SmcConfig):
        needs["sample.n_particles"] = 8 * float(settings.n_particles) * (n_par + statistics / 10)
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
    config : RunConfig
        The run file.
    available : float or None
        Memory [bytes]; this machine's when absent.
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
