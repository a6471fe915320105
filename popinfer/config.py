"""What a run file may say: frozen pydantic models, one a section.

Physical values carry their unit in the key (``faint_mag``, ``lgm_min`` is log10 Msun by name). A key that
doesn't exist is refused with the line's full name and the nearest right one.
"""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from popinfer.config_errors import one_line
from popinfer.config_fit import FitConfig
from popinfer.config_survey import CatalogConfig, MassFunctionConfig, Section
from popinfer.errors import InputError


class HalosConfig(Section):
    """Size of the halo sample; ``lgm_min`` [log10 Msun] per slice or one for all.

    ``n_per_slice`` halos make up each slice's sample, in equal batches of 4,096 or, where these would be fewer,
    in 16 batches; the scatter between batches is the halo sample's noise. ``pilot`` holds parameter values near
    the expected answer: the search's first halos are drawn where that model's galaxies enter the sample. It
    changes the noise, never the result's expectation.
    """

    n_per_slice: int = Field(default=16384, ge=64)
    lgm_min: float | list[float] = 11.0
    flatten: float = Field(default=1.0, gt=0, le=1)
    pilot: dict[str, float] = Field(default={})


class NebularConfig(Section):
    """Nebular emission at a fixed ionisation parameter."""

    logu: float = Field(default=-2.5, ge=-4, le=0)


class ModelConfig(Section):
    """Components of the forward model and parameters held at values other than fiducial."""

    sfh_calibration: str = "smdpl_dr1"
    dust_law: Literal["kriek_conroy13", "salim18"] = "kriek_conroy13"
    nebular: NebularConfig | None = NebularConfig()
    birth_cloud_av_mag: float = Field(default=0.76, ge=0)
    ssp: str | None = None
    template_knots_angstrom: list[float] = Field(default=[3200.0, 4300.0, 5700.0, 6900.0, 8300.0])
    fixed: dict[str, float] = Field(default={})

    @model_validator(mode="after")
    def _increasing(self) -> "ModelConfig":
        knots = self.template_knots_angstrom
        if len(knots) < 2 or any(b <= a for a, b in itertools.pairwise(knots)):
            raise ValueError("template_knots_angstrom: at least two wavelengths, increasing")
        return self


class PriorConfig(Section):
    """Prior of a free parameter in its physical unit.

    ``normal`` and ``lognormal`` (median, scatter in ln) need ``loc`` and ``scale``, ``uniform`` needs ``low``
    and ``high``, ``truncnormal`` all four.
    """

    prior: Literal["normal", "truncnormal", "uniform", "lognormal"] = "normal"
    loc: float | None = None
    scale: float | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> "PriorConfig":
        wanted = {"loc", "scale"} if self.prior != "uniform" else set()
        wanted |= {"low", "high"} if self.prior in ("uniform", "truncnormal") else set()
        if set(self.numbers()) != wanted:
            names = ", ".join(sorted(wanted))
            raise ValueError(f"prior {self.prior} takes {names}: all of them and nothing else")
        return self

    def numbers(self) -> dict[str, float]:
        """The numbers that were given."""
        every = {"loc": self.loc, "scale": self.scale, "low": self.low, "high": self.high}
        return {name: value for name, value in every.items() if value is not None}


class KernelsConfig(Section):
    """Layout of the kernel soft counts.

    ``model_error`` is the fraction by which the model may be wrong about each count, beyond noise: it widens
    the posterior where the data are better than the physics.
    """

    n_centers: int = Field(default=100, ge=2)
    bandwidth: float = Field(default=1.0, gt=0)
    floor_mag: float = Field(default=0.03, ge=0)
    min_count: float = Field(default=5.0, gt=0)
    min_pattern: int = Field(default=50, ge=20)  # galaxies of a slice that lack the same bands, else left out
    model_error: float = Field(default=0.0, ge=0, lt=1)


class NutsConfig(Section):
    """The no-U-turn sampler on the surrogate, its draws weighted by exact evaluations: the default.

    Evaluations go on until the weights are worth ``min_ess`` independent draws, or there are
    ``max_evaluations``; ``n_kept`` draws are resampled.
    """

    kind: Literal["nuts"]
    n_chains: int = Field(default=4, ge=2)
    n_warmup: int = Field(default=500, ge=100)
    n_draws: int = Field(default=1000, ge=100)
    target_accept: float = Field(default=0.8, gt=0.5, lt=1)
    min_ess: float = Field(default=400.0, ge=50)
    max_evaluations: int = Field(default=1500, ge=100)
    n_kept: int = Field(default=1000, ge=100)


class NutsExactConfig(Section):
    """The no-U-turn sampler on the exact density, the reference.

    ``auto`` runs chains in sequence on a CPU, batched on a GPU.
    """

    kind: Literal["nuts_exact"]
    n_chains: int = Field(default=4, ge=2)
    n_warmup: int = Field(default=150, ge=10)
    n_draws: int = Field(default=400, ge=10)
    chains: Literal["auto", "sequence", "vmap"] = "auto"
    target_accept: float = Field(default=0.8, gt=0.5, lt=1)
    max_tree_depth: int = Field(default=8, ge=2, le=12)


class SmcConfig(Section):
    """Tempered sequential Monte Carlo from the prior; ``ess_fraction`` sets how small its steps are."""

    kind: Literal["smc"]
    n_particles: int = Field(default=1000, ge=40)
    ess_fraction: float = Field(default=0.6, ge=0.3, le=0.95)
    n_moves: int = Field(default=3, ge=1)
    max_leapfrog: int = Field(default=8, ge=1)
    particles: Literal["auto", "sequence", "vmap"] = "auto"


SampleConfig = NutsConfig | NutsExactConfig | SmcConfig


class PredictiveConfig(Section):
    """Posterior draws for which predictions are stored."""

    n_draws: int = Field(default=60, ge=4)


class RunConfig(Section):
    """A whole run file."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = Field(default=1, ge=0)
    precision: Literal["single", "double"] = "single"
    catalog: CatalogConfig
    slices: list[tuple[float, float]] = Field(min_length=1)
    features: list[str] = Field(min_length=1)
    joint: list[MassFunctionConfig] = Field(default=[])
    halos: HalosConfig = HalosConfig()
    model: ModelConfig = ModelConfig()
    free: dict[str, PriorConfig] = Field(min_length=1)
    kernels: KernelsConfig = KernelsConfig()
    fit: FitConfig = FitConfig()
    sample: Annotated[SampleConfig, Field(discriminator="kind")] = NutsConfig(kind="nuts")
    predictive: PredictiveConfig = PredictiveConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        self._check_features()
        for low, high in self.slices:
            if not 0 < low < high:
                raise ValueError(f"slices: [{low}, {high}] must satisfy 0 < low < high")
        for (low, high), (after, _) in itertools.pairwise(sorted(self.slices)):
            if after < high:
                raise ValueError(f"slices: [{low}, {high}] overlaps the next, which begins at {after}")
        self._check_photoz()
        for i, table in enumerate(self.joint):
            if not any(low <= table.redshift < high for low, high in self.slices):
                raise ValueError(f"joint.{i}: redshift {table.redshift:g} is in none of the slices")
        if isinstance(self.halos.lgm_min, list) and len(self.halos.lgm_min) != len(self.slices):
            raise ValueError("halos.lgm_min: one number, or as many as slices")
        return self

    def _check_features(self) -> None:
        bands = list(self.catalog.bands)
        for feature in self.features:
            parts = feature.split("-")
            unknown = [b for b in parts if b not in bands]
            if unknown:
                raise ValueError(
                    f"features: '{feature}' needs band '{unknown[0]}'; bands are {sorted(bands)}"
                )
            if len(parts) > 2 or len(set(parts)) < len(parts):
                raise ValueError(f"features: '{feature}' has to be a band, or two different ones: g-r")
        if len(set(self.features)) < len(self.features):
            raise ValueError(f"features: {self.features} names one of them twice")

    def _check_photoz(self) -> None:
        photoz = self.catalog.photoz
        free = {name for name in (*self.free, *self.model.fixed) if name.startswith("photoz.")}
        if photoz is None:
            if free:
                raise ValueError(f"'{min(free)}' needs the section catalog.photoz")
            return
        if photoz.outlier_range is None:
            if "photoz.outlier_fraction" in free:
                raise ValueError("'photoz.outlier_fraction' needs catalog.photoz.outlier_range")
            return
        low, high = photoz.outlier_range
        if any(a < low or b > high for a, b in self.slices):
            raise ValueError("catalog.photoz.outlier_range has to contain all slices")

    def lgm_min_of(self, index: int) -> float:
        """Lowest halo mass of a slice [log10 Msun]."""
        lgm_min = self.halos.lgm_min
        return lgm_min[index] if isinstance(lgm_min, list) else lgm_min

    def to_yaml(self) -> str:
        """The resolved configuration, defaults written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class _UniqueKeys(yaml.SafeLoader):
    """YAML as usual, but a key that is given twice is an error: the first would be lost without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping's dictionary."""
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path) -> RunConfig:
    """Read a run file.

    Raises
    ------
    InputError
        One line naming the file and the key, and what would be right.
    """
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(), _UniqueKeys)
    except FileNotFoundError:
        raise InputError(f"{path}: no such run file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({type(error).__name__})") from None
    except yaml.constructor.ConstructorError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark is not None else "a line"
        raise InputError(f"{path}: {where}: {error.problem}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{path}: not valid YAML{where}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a run file is a mapping of sections, for example 'catalog:'")
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, RunConfig)}") from None
