"""Would a run file run? Everything that can be told within seconds, and what it would do; nothing is written.

Checked are the run file, the columns of the catalog and their values, files of filters, stellar populations,
tables, halos and code, memory, and the folder of results. What takes compiled programs is left to the run:
whether colors are plausible, whether kernels suit the galaxies, whether the model makes galaxies at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from popinfer.config import ReadRunFile, RunConfig, examine
from popinfer.config.errors import Problem
from popinfer.data.tables.request import quoted
from popinfer.errors import InputError
from popinfer.population.parameters import declared_parameters
from popinfer.records import Catalog
from popinfer.run.batches import batch_shape
from popinfer.run.catalog import build_catalog
from popinfer.run.duration import estimated_seconds, exact_evaluations, expected_nodes
from popinfer.run.file_checks import file_problems, named_columns, problems_of
from popinfer.run.folder import RunFolder, check_writable
from popinfer.run.memory import check_memory, needed_bytes
from popinfer.run.plausible import reading_table
from popinfer.run.truth import read_truth
from popinfer.survey.features import slice_members

_GIB = 2.0**30


@dataclass(frozen=True)
class Plan:
    """A run file that can be run.

    Attributes
    ----------
    file : of the run.
    config : what it says.
    catalog : the galaxies that would be used.
    folder : where results would go.
    """

    file: str
    config: RunConfig
    catalog: Catalog
    folder: RunFolder

    def lines(self) -> list[str]:
        """What would run, for a person."""
        return [
            f"{self.file}: can be run",
            *self._galaxies(),
            f"features   {', '.join(self.config.features)}; bands {', '.join(self.config.catalog.bands)}",
            *self._parameters(),
            *self._halos(),
            *self._work(),
            f"results    {self.folder.path}{' (there are some)' if self.folder.search.exists() else ''}",
        ]

    def _galaxies(self) -> Iterator[str]:
        catalog = self.catalog
        numbers = slice_sizes(self.config, catalog)
        yield f"galaxies   {sum(numbers):,} of {self.config.catalog.path}"
        for line in (*reading_table(self.config, catalog), *(f"  {text}" for text in catalog.warnings)):
            yield f"         {line}"
        yield "           whether such colors are plausible is told when the run starts"

    def _parameters(self) -> Iterator[str]:
        config = self.config
        components = config.model.components(tuple(config.catalog.bands))
        declared = declared_parameters(components)
        kinds = (f"{role} {type(part).__name__}" for role, part in components.items() if part is not None)
        yield f"model      {', '.join(kinds)}"
        yield f"free       {len(config.free)} parameter{'s' if len(config.free) > 1 else ''}"
        for name, section in config.free.items():
            prior, unit = section.prior_of() or declared[name].prior, declared[name].unit
            yield f"           {name}  {prior}{f' [{unit}]' if unit else ''}  {declared[name].meaning}"

    def _halos(self) -> Iterator[str]:
        config = self.config
        n_batch, n_halo = batch_shape(config.halos.n_per_slice)
        lowest = ", ".join(f"{config.lgm_min_of(i):g}" for i in range(len(config.slices)))
        yield (
            f"halos      {len(config.slices)} x {config.halos.n_per_slice:,} above 10^({lowest}) Msun, in "
            f"{n_batch} batches of {n_halo:,}; source {config.halos.source.kind}"
        )

    def _work(self) -> Iterator[str]:
        config = self.config
        evaluations, seconds = exact_evaluations(config), estimated_seconds(config)
        yield f"sampler    {config.sample.kind}" + (
            ""
            if evaluations is None
            else f": about {evaluations} evaluations of the model, {expected_nodes(len(config.free))} "
            "of them nodes of the surrogate"
        )
        yield "time       " + (
            "not estimated for this sampler"
            if seconds is None
            else f"about {_duration(seconds)}, by the reference runs on two CPU cores"
        )
        yield f"memory     {_size(sum(needed_bytes(config).values()))} for arrays, beside the program's own"


def check_run_file(file: str | Path, out: str | Path | None = None) -> Plan:
    """Check a run file and all that it names.

    Parameters
    ----------
    file : str or Path
        The run file.
    out : str or Path or None
        Folder of results, ``results/<name>`` when absent.

    Raises
    ------
    InputError
        All that is wrong, one line a problem: file, line, key, and what would be right.
    """
    read = examine(file)
    problems, config = file_problems(read), read.config
    if config is None:
        raise read.error(problems)
    folder = RunFolder(Path(out) if out is not None else Path("results") / config.name)
    problems += _of_the_machine(config, folder, "" if out is None else f"--out {out}")
    in_catalog = any(problem.path[:1] == ("catalog",) for problem in problems)
    catalog = None
    if not in_catalog:
        try:
            catalog = build_catalog(config)
            problems += _of_slices(config, catalog)
        except InputError as error:
            problems += _of_catalog(read, error)
    if problems or catalog is None:
        raise read.error(problems)
    return Plan(str(file), config, catalog, folder)


def _of_the_machine(config: RunConfig, folder: RunFolder, what: str) -> Iterator[Problem]:
    """Too little memory, a folder that can't be written, a broken file of true values."""
    checks = (
        (("halos",), lambda: check_memory(config)),
        (("name",), lambda: check_writable(folder.path, what)),
        (("catalog", "path"), lambda: read_truth(config.catalog.path, tuple(config.free))),
    )
    for place, check in checks:
        try:
            check()
        except InputError as error:
            yield from problems_of(error, place)


def _of_catalog(read: ReadRunFile, error: InputError) -> Iterator[Problem]:
    """What reading the catalog came to, a problem a line, at the column or band that it speaks of."""
    places = {f"column {quoted(column)}": keys for keys, column in named_columns(read).items()}
    for band in read.given.described.bands:
        places |= dict.fromkeys((f": band {band} ", f": band {band}:"), ("catalog", "bands", band))
    for line in error.lines:
        place = next((keys for words, keys in places.items() if words in line), ("catalog", "path"))
        yield from problems_of(InputError(line), place)


def _of_slices(config: RunConfig, catalog: Catalog) -> Iterator[Problem]:
    """Slices with fewer galaxies than kernels are laid on, and so none to count."""
    needed = config.kernels.n_centers + config.kernels.min_count
    for i, number in enumerate(slice_sizes(config, catalog)):
        low, high = config.slices[i]
        if number < needed:
            yield Problem(
                ("slices", i),
                f"slices: [{low:g}, {high:g}] holds {number} galaxies; kernels.n_centers takes "
                f"{config.kernels.n_centers} of them as centers, which count the others: use fewer "
                "centers or wider slices",
            )


def slice_sizes(config: RunConfig, catalog: Catalog) -> list[int]:
    """Galaxies of each slice."""
    return [int(inside.sum()) for inside in slice_members(config.slices, np.asarray(catalog.z))]


def _size(bytes_: float) -> str:
    """An amount of memory as a person says it."""
    return f"{bytes_ / _GIB:.1f} GiB" if bytes_ > _GIB else f"{bytes_ / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{round(seconds, -1):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
