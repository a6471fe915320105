"""A run file made ready: everything that all stages share, checked before anything is written."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from popinfer.config import RunConfig, load_config
from popinfer.config.cuts import CompletenessConfig, FunctionCutConfig
from popinfer.data.embedded import asset_hashes, sha256_of
from popinfer.data.filters import curve_notes
from popinfer.data.ssp_checks import oldest_note
from popinfer.halos.source import HaloSource, LightconeSource
from popinfer.infer.data import Data
from popinfer.model import (
    HaloCounts,
    Light,
    PopulationModel,
    Survey,
    SurveyModel,
    joined_batches,
    predict_galaxies,
    survey_data,
)
from popinfer.random import root_key
from popinfer.records import Catalog, Galaxies, Halos
from popinfer.run.build import (
    build_light,
    build_model,
    in_precision,
    lightcones,
    universe_age,
)
from popinfer.run.catalog import build_catalog
from popinfer.run.folder import RunFolder, check_writable, read_halos
from popinfer.run.losses import complete_features
from popinfer.run.memory import check_memory
from popinfer.run.observed import build_survey
from popinfer.run.plausible import color_doubts, reading_table
from popinfer.run.progress import Reporter, Silent
from popinfer.run.provenance import Provenance, fingerprint
from popinfer.run.simulation import halo_source, simulation_hashes
from popinfer.run.truth import read_truth

_DRAWN = LightconeSource()
PREDICTED_HALOS = 8192  # of a slice, whose galaxies are listed at once for predictions


@dataclass(frozen=True)
class Run:
    """A run file made ready.

    Attributes
    ----------
    config : the run file.
    model : the population model.
    light : what its tables were made from.
    catalog, survey : the observed side.
    folder : where results go.
    key : root of the random streams.
    truth : true values of the free parameters, as far as they are known; those of a mock.
    source : where halos come from.
    """

    config: RunConfig
    model: PopulationModel
    light: Light
    catalog: Catalog
    survey: Survey
    folder: RunFolder
    key: PRNGKeyArray
    source: HaloSource = _DRAWN
    truth: dict[str, float] = field(default_factory=dict)

    @property
    def survey_model(self) -> SurveyModel:
        """The model as the survey sees it."""
        return SurveyModel.of(self.model, self.survey)

    def counts(self, batches: Halos, survey: Survey | None = None) -> HaloCounts:
        """The model's counts on halo batches [batch, slice, halo], in the run's precision."""
        seen = self.survey_model if survey is None else SurveyModel.of(self.model, survey)
        return HaloCounts.of(in_precision(self.config, batches), seen)

    def data(self, survey: Survey | None = None) -> Data:
        """What the counts are compared with."""
        return survey_data(survey or self.survey, self.config.kernels.model_error)

    @property
    def n_galaxies(self) -> tuple[int, ...]:
        """Galaxies used in each slice."""
        return tuple(len(features) for features in self.survey.features)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every data file that went in, and of the filter curves as used."""
        files = {
            f"catalog {self.catalog.source}": self.catalog.sha256,
            f"ssp {self.light.ssp.source}": self.light.ssp.sha256,
        }
        if self.light.nebular is not None:
            files["nebular"] = asset_hashes()["nebular"].actual
        for place, kind in self.config.own_code.items():
            file, _, name = kind.rpartition(":")
            if file.endswith(".py"):
                files[f"{place} {name}"] = sha256_of(Path(file))
        for cut in self.config.catalog.cuts:
            if isinstance(cut, CompletenessConfig | FunctionCutConfig):
                files[f"{cut.kind} {cut.path}"] = sha256_of(Path(cut.path))
        for table in self.config.joint:
            for path in table.files:
                files[f"{table.kind} {path}"] = sha256_of(Path(path))
        files |= simulation_hashes(self.config)
        filters = self.light.filters
        for name, *curve in zip(filters.names, filters.wave, filters.trans, strict=True):
            content = b"".join(np.ascontiguousarray(x, np.float64).tobytes() for x in curve)
            files[f"filter {name}"] = hashlib.sha256(content).hexdigest()
        return {name: value for name, value in files.items() if value}

    def fingerprint(self, stage: str) -> str:
        """What a stage's files are recognised by; see `popinfer.run.provenance`."""
        return fingerprint(self.config, self.hashes(), stage)

    def physical(self, u: np.ndarray) -> dict[str, np.ndarray]:
        """Physical values by dotted name of vectors [..., par]."""
        free = self.model.space.free
        return {p.name: np.asarray(p.prior.to_physical(jnp.asarray(u[..., i]))) for i, p in enumerate(free)}


def provenance_of(run: Run) -> Provenance:
    """What a run's results are made from."""
    return Provenance.of(run.config, run.hashes())


@dataclass(frozen=True)
class Population:
    """The model on the run's halos, and what it is compared with.

    Attributes
    ----------
    counts : the model's counts on the halos, in batches.
    data : observed counts and their noise.
    wall_time_s : time that drawing the halos took [s].
    """

    counts: HaloCounts
    data: Data
    wall_time_s: float

    @property
    def halos(self) -> Halos:
        """Halos [batch, slice, halo]."""
        return self.counts.batches[0]

    @property
    def n_halos(self) -> int:
        """Simulated halos, all slices together."""
        return int(np.asarray(self.halos.weight).size)

    @property
    def n_joined(self) -> int:
        """Batches of halos that one prediction joins."""
        n_batch, _, n_halo = self.halos.weight.shape
        return int(np.clip(PREDICTED_HALOS // n_halo, 1, n_batch))

    @property
    def some_halos(self) -> Halos:
        """As many batches of halos as one prediction joins: [slice, halo]."""
        return joined_batches(jax.tree.map(lambda x: x[: self.n_joined], self.halos))

    def galaxies(self, u: Array | np.ndarray, halos: Halos | None = None) -> Galaxies:
        """Model galaxies of every slice at u, on halos [slice, halo]; on `some_halos` when absent."""
        (survey_model,) = self.counts.survey_models
        params = survey_model.model.params_at(jnp.asarray(u))
        return predict_galaxies(survey_model, params, self.some_halos if halos is None else halos)


def prepare(file: str | Path | RunConfig, out: str | Path | None = None, say: Reporter | None = None) -> Run:
    """Read a run file and everything it names; nothing is written.

    Parameters
    ----------
    file : str or Path or RunConfig
        Run file, or a configuration.
    out : str or Path or None
        Folder of results, ``results/<name>`` when absent.
    say : Reporter or None
        Hears about progress.

    Returns
    -------
    Run
        Configuration, catalog, survey, model and source of halos.

    Raises
    ------
    InputError
        One line that says what in the run file or the data can't be used.
    """
    say = Silent() if say is None else say
    config = file if isinstance(file, RunConfig) else load_config(file)
    folder = RunFolder(Path(out) if out is not None else Path("results") / config.name)
    check_writable(folder.path, "" if out is None else f"--out {out}")
    check_memory(config)
    return made_ready(config, folder, say)


def made_ready(config: RunConfig, folder: RunFolder, say: Reporter | None = None) -> Run:
    """What a run file names, read and checked; its folder isn't looked at."""
    say = Silent() if say is None else say
    lightcones(config)  # refuse impossible slices before tables are made for them
    source = halo_source(config, say)
    with say.task("Reading the catalog") as update:
        catalog = build_catalog(config, say.say)
        update(1, f"{catalog.z.size} galaxies")
    with say.task("Stellar populations in the survey's bands", 4) as update:
        light = build_light(config)
        update(1, "")
        model = build_model(config, light)
        update(2, "")
        notes = [*curve_notes(light.filters, tuple(config.catalog.bands))]
        notes.append(oldest_note(np.asarray(light.ssp.ssp_lg_age_gyr), universe_age(config)) or "")
        doubts = color_doubts(config, catalog, light.shining, light.filters)
        for line in reading_table(config, catalog, doubts):
            say.say(line)
        catalog = _with_doubts(catalog, tuple(doubt.text for doubt in doubts))
        for note in (*catalog.warnings, *filter(None, notes)):
            say.say(f"warning: {note}")
        update(3, "")
        survey = build_survey(config, catalog)
        update(4, "")
        if config.fit.loss.kind != "soft_counts":
            complete_features(config, survey)  # refuse before anything is written
    truth = read_truth(config.catalog.path, model.space.names)
    return Run(config, model, light, catalog, survey, folder, root_key(config.seed), source, truth)


def _with_doubts(catalog: Catalog, doubts: tuple[str, ...]) -> Catalog:
    """The catalog with further warnings."""
    return dataclasses.replace(catalog, warnings=(*catalog.warnings, *doubts))


def load_population(run: Run) -> Population:
    """Read the halos that an earlier stage stored.

    Parameters
    ----------
    run : Run
        A run file made ready, see `prepare`.

    Returns
    -------
    Population
        The model on these halos, and the data that it is compared with.
    """
    return population_of(run, *read_halos(run.folder, run.fingerprint("halos")))


def population_of(run: Run, batches: Halos, wall_time_s: float = 0.0) -> Population:
    """The model on halo batches, which took some time to draw."""
    counts = run.counts(batches)
    return Population(counts, run.data(), wall_time_s)
