"""From the run file's section on halos to a source of halos, and the cosmology of the whole run."""

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from popinfer.config import RunConfig
from popinfer.config.abundance import SfrDensityConfig
from popinfer.config.halos import BoxConfig, HalosConfig, LightconeHalosConfig, SimulationConfig
from popinfer.config.model import CosmologyConfig
from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.description import describe_sample
from popinfer.halos.filled import FilledHalos
from popinfer.halos.fitted_file import FittedFile
from popinfer.halos.fitted_file import fit_trees as write_fits
from popinfer.halos.formats import TREES, files_of, open_halos
from popinfer.halos.formats.plain import QUANTITIES
from popinfer.halos.formats.tree_table import TREE_QUANTITIES
from popinfer.halos.geometry import Geometry
from popinfer.halos.lightcone import other_cosmology
from popinfer.halos.sample import SampleSpec, SimulatedHalos, read_sample
from popinfer.halos.source import HaloSource, LightconeSource
from popinfer.halos.table import Asked, HaloHeader, HaloReader
from popinfer.halos.writing import kind_of_output
from popinfer.population.parameters import check_values, declared_parameters
from popinfer.population.satellites import SatelliteSurvivalParams
from popinfer.random import root_key, stream
from popinfer.run.folder import check_writable
from popinfer.run.progress import Reporter, Silent

SURVIVAL = "satellites.survival"  # of simulations, which list survivors only
_TREE_FITS = (
    256  # trees are fitted: so many of every stratum at least, and no more than a quarter of n_per_slice
)
_CAPACITY = 1024


def simulation_of(config: RunConfig) -> SimulationConfig | None:
    """The user's own simulation; None where halos are drawn."""
    source = config.halos.source
    return None if isinstance(source, LightconeHalosConfig) else source


def cosmology_of(config: RunConfig) -> Cosmology:
    """Cosmology of a run: the run file's, else that of its simulation, else Planck's."""
    source, given = simulation_of(config), as_cosmology(config.cosmology)
    if source is None:
        return PLANCK15 if given is None else given
    return _cosmology(source.model_dump_json(), given)


def as_cosmology(said: CosmologyConfig | None) -> Cosmology | None:
    """The cosmology of a run file's section; None where it has none."""
    if said is None:
        return None
    fb = PLANCK15.fb if said.Ob0 is None else said.Ob0 / said.Om0
    return Cosmology(om0=said.Om0, w0=said.w0, wa=said.wa, h=said.H0 / 100, fb=fb)


@functools.lru_cache(maxsize=8)
def _cosmology(source: str, given: Cosmology | None) -> Cosmology:
    config = HalosConfig.model_validate({"source": json.loads(source)})
    header = reader_of(config.source, given).header  # type: ignore[arg-type]
    return header.cosmology or PLANCK15


def reader_of(source: SimulationConfig, cosmology: Cosmology | None) -> HaloReader:
    """The halo files of a run file, which may give a cosmology.

    Raises
    ------
    InputError
        There are none, or the columns can't be.
    """
    known = (*QUANTITIES, *TREE_QUANTITIES)
    unknown = sorted(set(source.columns) - set(known))
    if unknown:
        raise InputError(
            f"halos.source.columns: '{unknown[0]}' is no quantity of a halo; there are {', '.join(known)}"
        )
    reader = open_halos(source.paths, source.format, asked_of(source, cosmology))
    if source.kind == "trees" and reader.header.format not in TREES:
        raise InputError(
            f"halos.source.kind: is trees, and {reader.header.source} ({reader.header.format}) has no mass "
            "histories; write catalog"
        )
    return reader


def asked_of(source: SimulationConfig, cosmology: Cosmology | None) -> Asked:
    """What a run file says of its halo files."""
    return Asked(
        tuple(source.columns.items()),
        source.units.mass,
        source.units.length,
        _geometry(source).redshifts,
        cosmology,
    )


def _geometry(source: SimulationConfig) -> Geometry:
    geometry = source.geometry
    if not isinstance(geometry, BoxConfig):
        return Geometry("lightcone", area_deg2=geometry.area_deg2)
    z = geometry.redshift
    redshifts = () if z is None else (z,) if isinstance(z, float | int) else tuple(z)
    return Geometry("box", side=geometry.side_mpc, redshifts=tuple(float(x) for x in redshifts))


def sample_spec(config: RunConfig, source: SimulationConfig, header: HaloHeader) -> SampleSpec:
    """What a run wants of its simulation."""
    lowest = resolution_limit(source, header)
    n, trees = config.halos.n_per_slice, source.kind == "trees"
    capacity = max(_TREE_FITS, n // 4) if trees else max(_CAPACITY, n)
    photoz = config.catalog.photoz
    slices = tuple((float(a), float(b)) for a, b in config.slices)
    if photoz is not None and not isinstance(source.geometry, BoxConfig):
        raise InputError(
            "halos.source.geometry: a lightcone can't serve photometric redshifts yet, which need halos "
            "beyond the slices; use a box"
        )
    return SampleSpec(
        slices,
        _geometry(source),
        tuple(max(config.lgm_min_of(i), lowest) for i in range(len(slices))),
        source.histories,
        source.satellites == "infall",
        capacity,
        source.mass_function == "ignore",
        getattr(source, "max_unfit", 1.0),
    )


def resolution_limit(source: SimulationConfig, header: HaloHeader) -> float:
    """Log10 of the lowest mass that a simulation resolves [Msun]; zero where that isn't known."""
    said = source.resolution
    if said is not None and said.lgm_min is not None:
        return said.lgm_min
    particle = header.particle_mass if said is None else said.particle_mass_msun or header.particle_mass
    number = 300 if said is None else said.min_particles
    return 0.0 if particle is None else float(np.log10(particle * number))


def halo_source(config: RunConfig, say: Reporter | None = None) -> HaloSource:
    """Where a run's halos come from, read and checked.

    Raises
    ------
    InputError
        One line that says what in the files, or in the run file, can't be used.
    """
    source, say = simulation_of(config), say or Silent()
    if source is None:
        drawn = LightconeSource(cosmology_of(config))
        for line in sentences_on(drawn):
            say.say(f"warning: {line}")
        return drawn
    with say.task("Reading the simulation's halos") as update:
        reader = reader_of(source, as_cosmology(config.cosmology))
        key = stream(root_key(config.seed), "simulation")
        sample = read_sample(key, reader, sample_spec(config, source, reader.header), say.say)
        update(1, f"{sample.n_read:,} halos")
    for line in (*sample.warnings, *drawn_beside(config)):
        say.say(f"warning: {line}")
    if source.below_resolution == "none":
        return sample
    if not resolution_limit(source, sample.header):
        raise InputError(
            f"halos.source.below_resolution: {sample.header.source} doesn't say which halos it resolves; "
            "give halos.source.resolution"
        )
    return FilledHalos(sample, survival_of_drawn(config))


def check_settings(values: Mapping[str, float], config: RunConfig) -> None:
    """InputError where values of parameters can't be those of the run file's model and halos."""
    check_values(values, declared_parameters(config.model.components(tuple(config.catalog.bands))))
    if simulation_of(config) is not None and values.get(SURVIVAL, 1.0) != 1.0:
        raise InputError(
            f"{SURVIVAL} has to be 1: a simulation lists the subhalos that are left (halos.source)"
        )


def survival_of_drawn(config: RunConfig) -> float:
    """Share of drawn subhalos that are left beside a simulation's, as in the model's own default.

    It is one where the model itself says how many galaxies a drawn halo hosts: where all halos are drawn, and
    with a component of the user's own, which doesn't know that share.
    """
    if simulation_of(config) is None:
        return 1.0
    declared = declared_parameters(config.model.components(tuple(config.catalog.bands)))
    return float(SatelliteSurvivalParams().survival) if SURVIVAL in declared else 1.0


def describe(config: RunConfig, say: Reporter | None = None) -> list[str]:
    """Lines on a run's simulation; see `popinfer.halos.description`."""
    source = simulation_of(config)
    if source is None:
        return []
    begin = time.perf_counter()
    sample = simulation_in(halo_source(config, say))
    if sample is None:
        return []
    unheard = say is None or isinstance(say, Silent)  # whoever reads along has seen the warnings
    resolution, seconds = resolution_limit(source, sample.header), time.perf_counter() - begin
    return describe_sample(sample, resolution, seconds, warnings=unheard)


def fit_tree_files(
    arguments: list[str],
    redshift: float | None,
    cosmology: tuple[float | None, float | None],
    say: Reporter,
) -> FittedFile:
    """Fit the branches of merger trees into a catalog.

    Parameters
    ----------
    arguments : list[str]
        Files or patterns, and last the file to write.
    redshift : float or None
        Of the snapshot; the last when None.
    cosmology : tuple[float | None, float | None]
        H0 [km/s/Mpc] and Om0, where the trees don't say them; both None to take theirs.
    say : Reporter
        Hears about progress.

    Raises
    ------
    InputError
        There are no trees, or the output can't be written.
    """
    if len(arguments) < 2:
        raise InputError("fit-trees: name the merger trees, then the file to write")
    *trees, last = arguments
    out = Path(last)
    if kind_of_output(out) != "opencosmo":
        raise InputError(f"{out}: fits are stored as HDF5; the suffix has to be .h5 or .hdf5")
    check_writable(out.parent, str(out))
    if out.resolve() in [path.resolve() for path in files_of(trees)]:
        raise InputError(f"{out}: would overwrite the trees; choose another name")
    h0, om0 = cosmology
    if (h0 is None) != (om0 is None):
        raise InputError("fit-trees: give both --h0 and --om0, or neither where the trees say them")
    said = None if h0 is None or om0 is None else as_cosmology(CosmologyConfig(H0=h0, Om0=om0))
    reader = open_halos(
        trees, "auto", Asked(redshifts=() if redshift is None else (redshift,), cosmology=said)
    )
    if reader.header.format not in TREES:
        raise InputError(f"{reader.header.source}: {reader.header.format} has no mass histories to fit")
    out.parent.mkdir(parents=True, exist_ok=True)
    with say.task("Fits of merger trees") as update:
        made = write_fits(reader, out, update)
    if made.n_resumed:
        say.say(f"{out}: {made.n_resumed} parts were there from an earlier call, and are kept")
    return made


def simulation_hashes(config: RunConfig) -> dict[str, str]:
    """SHA-256 of every halo file."""
    source = simulation_of(config)
    if source is None:
        return {}
    from popinfer.data.embedded import sha256_of

    return {f"halos {path}": sha256_of(path) for path in files_of(source.paths)}


def drawn_beside(config: RunConfig) -> list[str]:
    """What is computed on drawn halos though the run has a simulation, for a person."""
    if simulation_of(config) is None:
        return []
    shells = [table for table in config.joint if isinstance(table, SfrDensityConfig)]
    redshifts = ", ".join(f"{z:g}" for table in shells for z in table.redshifts)
    return [
        f"joint: the cosmic SFR density at z = {redshifts} is that of halos drawn from diffhalos in the "
        "simulation's cosmology; the run's own are those of its slices"
        for _ in shells[:1]
    ]


def sentences_on(source: HaloSource) -> tuple[str, ...]:
    """What a report's reader has to know of the halos."""
    sample = simulation_in(source)
    if sample is None:
        return tuple(filter(None, [other_cosmology(source.cosmology)]))
    said = [f"{sample.header.source}: {text}" for text in sample.warnings]
    if isinstance(source, FilledHalos):
        lowest = ", ".join(f"{x:.2f}" for x in sorted(set(sample.spec.lgm_min)))
        said.append(
            f"Halos below 10^{lowest} Msun, the simulation's resolution, are drawn from diffhalos; of its "
            f"subhalos the share {source.survival:g} counts, as those that survive."
        )
    if "random" in sample.pieces:
        said.append(f"Noise of the halo sample is the scatter between {sample.pieces}.")
    return tuple(said)


def simulation_in(source: HaloSource) -> SimulatedHalos | None:
    """The user's own halos, None where all halos are drawn."""
    if isinstance(source, FilledHalos):
        return source.simulation
    return source if isinstance(source, SimulatedHalos) else None
