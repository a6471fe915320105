"""What a whole run file may say: a frozen pydantic model, one attribute a section.

Physical values carry their unit in the key (``faint_mag``, ``lgm_min`` is log10 Msun by name). A key that
doesn't exist is refused with its full name, its line and the nearest right one.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from popinfer.components import ROLES
from popinfer.config.abundance import AbundanceConfig
from popinfer.config.checks import Described, Given, problems_across
from popinfer.config.cuts import CutConfig, OwnCutConfig
from popinfer.config.errors import Path as KeyPath
from popinfer.config.errors import Problem, ProblemsError, as_error, problems_in
from popinfer.config.halos import HalosConfig
from popinfer.config.inference import (
    FitConfig,
    KernelsConfig,
    NutsConfig,
    OwnLossConfig,
    OwnSamplerConfig,
    PredictiveConfig,
    SampleConfig,
)
from popinfer.config.model import CosmologyConfig, ModelConfig, PriorConfig
from popinfer.config.reading import read_yaml
from popinfer.config.section import Section, own_component
from popinfer.config.survey import BandConfig, CatalogConfig, SelectionConfig
from popinfer.errors import InputError


class RunConfig(Section):
    """A whole run file."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the run, and of its folder in results/."
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="Seed of all random numbers.")
    precision: Literal["single", "double"] = Field(
        default="single", description="Floating-point precision of halos and model galaxies."
    )
    catalog: CatalogConfig = Field(description="The observed catalog.")
    slices: list[tuple[float, float]] = Field(
        min_length=1, description="Slices of redshift, low and high of each."
    )
    features: list[str] = Field(
        min_length=1,
        max_length=100,
        description="What is compared: colors such as g-r, and magnitudes such as r.",
    )
    joint: list[AbundanceConfig] = Field(
        default=[], max_length=1000, description="Published abundances that are compared too."
    )
    cosmology: CosmologyConfig | None = Field(
        default=None,
        description="Cosmology of the run; Planck 2015, or that of the simulation's files, when absent.",
    )
    halos: HalosConfig = Field(default=HalosConfig(), description="The halo sample.")
    model: ModelConfig = Field(
        default=ModelConfig(), description="The forward model's components, and values that are held."
    )
    free: dict[str, PriorConfig] = Field(
        min_length=1,
        description="Priors of the free parameters by name; popinfer params FILE lists what there is.",
    )
    kernels: KernelsConfig = Field(default=KernelsConfig(), description="The kernels that count galaxies.")
    fit: FitConfig = Field(default=FitConfig(), description="The fit that finds the posterior's maxima.")
    sample: Annotated[SampleConfig, Field(discriminator="kind")] = Field(
        default=NutsConfig(kind="nuts"), description="The sampler."
    )
    predictive: PredictiveConfig = Field(
        default=PredictiveConfig(), description="Predictions of posterior draws."
    )

    @field_validator("slices", mode="before")
    @classmethod
    def _pairs(cls, given: Any) -> Any:
        if isinstance(given, list) and given and all(isinstance(x, int | float | str) for x in given):
            raise ValueError("has to be a list of pairs, low and high, such as [[0.03, 0.06], [0.06, 0.1]]")
        return given

    @field_validator("sample", mode="before")
    @classmethod
    def _own_sampler(cls, content: Any) -> Any:
        return own_component(content, with_settings=True)

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        problems = problems_across(self._across())
        if problems:
            raise ProblemsError(problems)
        return self

    def _across(self) -> Given:
        """What can be checked across sections."""
        catalog, fixed, pilot = self.catalog, self.model.fixed, self.halos.pilot
        columns = catalog.bands, catalog.redshift, catalog.id, tuple(catalog.where)
        cuts, pairs = dict(enumerate(catalog.cuts)), tuple(catalog.noise_correlation)
        described = Described(*columns, catalog.selection, cuts, pairs)
        joint = dict(enumerate(self.joint))
        return Given(dict(self), tuple(catalog.bands), tuple(self.free), fixed, pilot, described, joint)

    @property
    def own_code(self) -> dict[str, str]:
        """What is of the user's own, as ``module:Class`` or ``file.py:Class``, by its place."""
        kinds = {role: getattr(self.model, role).kind for role in ROLES}
        kinds["errors"] = self.catalog.errors.kind
        if isinstance(self.fit.loss, OwnLossConfig):
            kinds["loss"] = self.fit.loss.component
        if isinstance(self.sample, OwnSamplerConfig):
            kinds["sample"] = self.sample.component
        for i, cut in enumerate(self.catalog.cuts):
            if isinstance(cut, OwnCutConfig):
                kinds[f"cut {i}"] = cut.component
        return {place: kind for place, kind in kinds.items() if ":" in kind}

    def lgm_min_of(self, index: int) -> float:
        """Lowest halo mass of a slice [log10 Msun]."""
        lgm_min = self.halos.lgm_min
        return lgm_min[index] if isinstance(lgm_min, list) else lgm_min

    def to_yaml(self) -> str:
        """The resolved configuration, defaults written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


@dataclass(frozen=True)
class ReadRunFile:
    """A run file as far as it is right.

    Attributes
    ----------
    path : of the file.
    content : as YAML has it.
    lines : of every key and list item, by its path.
    config : the whole; None where something is wrong.
    problems : what is wrong, without a look at any data file.
    given : the sections that are right in themselves, and names that others mention.
    """

    path: str
    content: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    config: RunConfig | None
    problems: tuple[Problem, ...]
    given: Given

    def error(self, further: Sequence[Problem] = ()) -> InputError:
        """One error for all that is wrong, and for further problems."""
        return as_error(self.path, [*self.problems, *further], self.lines)


def examine(path: str | Path) -> ReadRunFile:
    """Read a run file and note all that is wrong with it; no data file is opened.

    Raises
    ------
    InputError
        It can't be read, or isn't YAML.
    """
    content, lines = read_yaml(path)
    _find_components(content, Path(path).parent)
    try:
        config = RunConfig.model_validate(content)
        return ReadRunFile(str(path), content, lines, config, (), config._across())
    except ValidationError as error:
        problems, failed = problems_in(error, RunConfig, content), [e["loc"] for e in error.errors()]
    given = _given(content, failed)
    if any(failed):  # else checks across sections were made
        problems += problems_across(given)
    return ReadRunFile(str(path), content, lines, None, tuple(problems), given)


def load_config(path: str | Path) -> RunConfig:
    """Read and check a run file; no data file is opened.

    Parameters
    ----------
    path : str or Path
        The run file, YAML in UTF-8.

    Returns
    -------
    RunConfig
        The whole file, with defaults where it says nothing.

    Raises
    ------
    InputError
        All that is wrong, one line a problem: file, line, key, and what would be right.
    """
    read = examine(path)
    if read.config is None:
        raise read.error()
    return read.config


def _find_components(content: dict[str, Any], folder: Path) -> None:
    """Write files of components that lie beside the run file as paths from here."""
    catalog = content.get("catalog")
    cuts = catalog.get("cuts") if isinstance(catalog, dict) else None
    places: list[tuple[Any, Any]] = [(content.get("model"), role) for role in ROLES]
    places += [(content.get("fit"), "loss"), (content, "sample"), (catalog, "errors")]
    places += [(cuts, i) for i in range(len(cuts))] if isinstance(cuts, list) else []
    for holder, key in places:
        if not (isinstance(holder, dict) and key in holder) and not isinstance(key, int):
            continue
        section = holder[key]
        kind = section.get("kind") if isinstance(section, dict) else section
        file, _, name = kind.rpartition(":") if isinstance(kind, str) else ("", "", "")
        if file.endswith(".py") and not Path(file).is_file() and (folder / file).is_file():
            there = f"{folder / file}:{name}"
            holder[key] = section | {"kind": there} if isinstance(section, dict) else there


def _given(content: Mapping[str, Any], failed: Sequence[tuple[Any, ...]]) -> Given:
    """What is right in itself, so that it can be checked further.

    Parameters
    ----------
    content : Mapping[str, Any]
        Of the run file.
    failed : Sequence[tuple[Any, ...]]
        Places of what is wrong in itself.
    """
    wrong, sections = {loc[0] for loc in failed if loc}, {}
    for name, field in RunConfig.model_fields.items():
        if name in content and name not in wrong:
            stated = own_component(content[name], with_settings=True)  # as the field's own validator does
            sections[name] = TypeAdapter(field.rebuild_annotation()).validate_python(stated)
        elif name not in wrong and not field.is_required():
            sections[name] = field.get_default()
    stated = content.get("model")
    if "model" in wrong and isinstance(stated, dict):  # components are told though values be wrong
        with contextlib.suppress(ValidationError):
            sections["model"] = ModelConfig.model_validate({k: v for k, v in stated.items() if k != "fixed"})
    names = _keys(content.get("free"))
    if "free" in wrong:
        right = set(names) - {loc[1] for loc in failed if len(loc) > 1 and loc[0] == "free"}
        sections["free"] = {name: PriorConfig.model_validate(content["free"][name]) for name in sorted(right)}
    fixed, pilot = (_values(content, sections, *keys) for keys in (("model", "fixed"), ("halos", "pilot")))
    described = _described(content.get("catalog"))
    joint = _entries(content.get("joint"), AbundanceConfig)
    return Given(sections, _bands_of(content, sections), names, fixed, pilot, described, joint)


def _entries(stated: Any, kind: Any) -> dict[int, Any]:
    """Entries of a list that are right in themselves, by their place."""
    right = {}
    for i, entry in enumerate(stated if isinstance(stated, list) else ()):
        with contextlib.suppress(ValidationError):
            right[i] = TypeAdapter(kind).validate_python(entry)
    return right


def _described(catalog: Any) -> Described:
    """What a catalog's section says of columns, bands and cuts, though others of its keys be wrong."""
    stated = catalog if isinstance(catalog, dict) else {}
    bands = {}
    for name, band in stated["bands"].items() if isinstance(stated.get("bands"), dict) else ():
        with contextlib.suppress(ValidationError):
            bands[name] = BandConfig.model_validate(band)
    redshift, id = (x if isinstance(x, str) else None for x in (stated.get("redshift"), stated.get("id")))
    where = stated.get("where")
    conditions = where if isinstance(where, list) else [where]
    texts = tuple(text for text in conditions if isinstance(text, str))
    selection = None
    with contextlib.suppress(ValidationError):
        selection = SelectionConfig.model_validate(stated.get("selection"))
    cuts = stated.get("cuts")
    own = (
        [own_component(cut, with_settings=True, beside=("bands",)) for cut in cuts]
        if isinstance(cuts, list)
        else []
    )
    pairs = _keys(stated.get("noise_correlation"))
    return Described(bands, redshift, id, texts, selection, _entries(own, CutConfig), pairs)


def _bands_of(content: Mapping[str, Any], sections: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "catalog" in sections:
        return tuple(sections["catalog"].bands)
    catalog = content.get("catalog")
    bands = catalog.get("bands") if isinstance(catalog, dict) else None
    return _keys(bands) or None


def _values(
    content: Mapping[str, Any], sections: Mapping[str, Any], section: str, key: str
) -> Mapping[str, float | None]:
    """Values of parameters from a section, though others of its keys be wrong."""
    if section in sections and getattr(sections[section], key):
        return getattr(sections[section], key)
    stated = content.get(section)
    values = stated.get(key) if isinstance(stated, dict) else None
    numbers = values if isinstance(values, dict) else {}
    return {
        name: float(x)
        if isinstance(x, int | float) and math.isfinite(x) and not isinstance(x, bool)
        else None
        for name, x in numbers.items()
    }


def _keys(mapping: Any) -> tuple[str, ...]:
    return tuple(mapping) if isinstance(mapping, dict) else ()
