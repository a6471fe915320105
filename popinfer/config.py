"""What a run file may say: frozen pydantic models, one a section.

Physical values carry their unit in the key (``faint_mag``, ``lgm_min`` is log10 Msun by name). A key that
doesn't exist is refused with the line's full name and the nearest right one.
"""

import difflib
import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from popinfer.config_survey import (
    BandConfig,
    CatalogConfig,
    CompletenessConfig,
    LinearCutConfig,
    MagnitudeCutConfig,
    MassFunctionConfig,
    NumberDensityConfig,
    PhotozConfig,
    Section,
    SelectionConfig,
)
from popinfer.errors import InputError


class HalosConfig(Section):
    """Size of the halo sample; ``lgm_min`` [log10 Msun] per slice or one for all.

    ``pilot`` holds parameter values near the expected answer: halos are drawn where that model's galaxies
    enter the sample. It changes the Monte Carlo noise, never the result's expectation. ``n_replicates`` more
    samples measure that noise, and the counts follow the mean of all: it falls with their number.
    """

    n_per_slice: int = Field(default=2048, ge=16)
    n_replicates: int = Field(default=48, ge=16)
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

    n_centers: int = Field(default=150, ge=2)
    bandwidth: float = Field(default=0.6, gt=0)
    floor_mag: float = Field(default=0.03, ge=0)
    min_count: float = Field(default=5.0, gt=0)
    min_pattern: int = Field(default=50, ge=20)  # galaxies of a slice that lack the same bands, else left out
    model_error: float = Field(default=0.0, ge=0, lt=1)


class FitConfig(Section):
    """Optimisation: from the prior's centre, and from draws of the prior to look for other modes."""

    kind: Literal["gauss_newton", "adam", "lbfgs"] = "gauss_newton"
    max_steps: int = Field(default=40, ge=1)
    n_prior_starts: int = Field(default=4, ge=0)


class NutsConfig(Section):
    """blackjax NUTS."""

    kind: Literal["nuts"]
    n_chains: int = Field(default=4, ge=2)
    n_warmup: int = Field(default=150, ge=10)
    n_draws: int = Field(default=400, ge=10)
    target_accept: float = Field(default=0.8, gt=0.5, lt=1)
    max_tree_depth: int = Field(default=8, ge=2, le=12)


class PsisConfig(Section):
    """PSIS-corrected Laplace approximation."""

    kind: Literal["psis_laplace"]
    n_proposals: int = Field(default=2000, ge=100)
    n_draws: int = Field(default=1000, ge=40)


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
    sample: Annotated[NutsConfig | PsisConfig, Field(discriminator="kind")]
    predictive: PredictiveConfig = PredictiveConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        bands = set(self.catalog.bands)
        for feature in self.features:
            unknown = [b for b in feature.split("-") if b not in bands]
            if unknown:
                raise ValueError(
                    f"features: '{feature}' needs band '{unknown[0]}'; bands are {sorted(bands)}"
                )
        for low, high in self.slices:
            if not 0 < low < high:
                raise ValueError(f"slices: [{low}, {high}] must satisfy 0 < low < high")
        self._check_photoz()
        for i, table in enumerate(self.joint):
            if not any(low <= table.redshift < high for low, high in self.slices):
                raise ValueError(f"joint.{i}: redshift {table.redshift:g} is in none of the slices")
        if isinstance(self.halos.lgm_min, list) and len(self.halos.lgm_min) != len(self.slices):
            raise ValueError("halos.lgm_min: one number, or as many as slices")
        return self

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


def load_config(path: str | Path) -> RunConfig:
    """Read a run file.

    Raises
    ------
    InputError
        One line naming the file and the key, and what would be right.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such run file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{path}: not valid YAML{where}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a run file is a mapping of sections, for example 'catalog:'")
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """Say the first problem, by its dotted key; for an unknown key, name the nearest right one."""
    first = error.errors()[0]
    where = [str(x) for x in first["loc"] if x not in _KINDS]
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _known_keys(first["loc"]), n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(_known_keys(first['loc']))}"
        return f"unknown key '{key}'{hint}"
    if first["type"] == "missing":
        return f"key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = (
        "" if isinstance(first.get("input"), dict | list) or not key else f" (given: {first.get('input')!r})"
    )
    return f"{key + ': ' if key else ''}{message}{given}"


_KINDS = ("nuts", "psis_laplace", "magnitude", "linear", "completeness")  # of sections, no keys themselves
_SECTIONS: dict[str, type[Section]] = {
    "catalog": CatalogConfig,
    "selection": SelectionConfig,
    "magnitude": MagnitudeCutConfig,
    "linear": LinearCutConfig,
    "completeness": CompletenessConfig,
    "photoz": PhotozConfig,
    "number_density": NumberDensityConfig,
    "joint": MassFunctionConfig,
    "halos": HalosConfig,
    "model": ModelConfig,
    "nebular": NebularConfig,
    "kernels": KernelsConfig,
    "fit": FitConfig,
    "nuts": NutsConfig,
    "psis_laplace": PsisConfig,
    "predictive": PredictiveConfig,
}


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    """Fields of the section that a location points into."""
    parents = [x for x in loc[:-1] if isinstance(x, str)]
    if not parents:
        return list(RunConfig.model_fields)
    if "bands" in parents:
        return list(BandConfig.model_fields)
    if parents[0] == "free":
        return list(PriorConfig.model_fields)
    return list(_SECTIONS[parents[-1]].model_fields) if parents[-1] in _SECTIONS else []
