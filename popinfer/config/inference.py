"""The run file's sections on inference: the kernels that count, the fit, the sampler, predictions."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from popinfer.config.section import Section, own_component


class KernelsConfig(Section):
    """Layout of the kernel soft counts.

    ``model_error`` is the fraction by which the model may be wrong about each count, beyond noise: it widens
    the posterior where the data are better than the physics.
    """

    n_centers: int = Field(default=100, ge=2, le=20_000)
    bandwidth: float = Field(default=1.0, ge=0.01, le=100)
    floor_mag: float = Field(default=0.03, ge=0, le=5)
    min_count: float = Field(default=5.0, ge=0.1, le=1e6)
    min_pattern: int = Field(
        default=50, ge=20, le=1_000_000
    )  # galaxies of a slice that lack the same bands, else left out
    model_error: float = Field(default=0.0, ge=0, lt=1)


class SoftCountsConfig(Section):
    """Poisson likelihood of the kernel soft counts."""

    kind: Literal["soft_counts"]


class EnergyConfig(Section):
    """Energy distance between galaxies that have all features."""

    kind: Literal["energy"]

    @property
    def component(self) -> str:
        """The loss' name, see `popinfer.components.PLUG_INS`."""
        return self.kind


class OwnLossConfig(Section):
    """A loss of the user's own between galaxies that have all features, ``kind: module:Class`` for short."""

    kind: Literal["own"]
    component: str


LossConfig = SoftCountsConfig | EnergyConfig | OwnLossConfig


class FitConfig(Section):
    """Optimisation: from the prior's centre, and from draws of the prior to look for other modes.

    ``loss`` is what guides it; the posterior stays that of the soft counts. ``kind`` is the optimiser,
    ``auto`` Levenberg-Marquardt for soft counts and L-BFGS for other losses, with ``max_steps`` at each
    bandwidth. ``bandwidths`` are the soft counts' in units of ``kernels.bandwidth``, from wide to the last,
    one.
    """

    loss: Annotated[LossConfig, Field(discriminator="kind")] = SoftCountsConfig(kind="soft_counts")
    kind: Literal["auto", "levenberg_marquardt", "adam", "lbfgs"] = "auto"
    max_steps: int = Field(default=40, ge=1, le=100_000)
    n_prior_starts: int = Field(default=4, ge=0, le=1000)
    bandwidths: list[Annotated[float, Field(ge=1, le=1000)]] = Field(
        default=[1.0], min_length=1, max_length=20
    )

    @field_validator("loss", mode="before")
    @classmethod
    def _own_loss(cls, content: Any) -> Any:
        return own_component(content, with_settings=False)

    @property
    def optimiser(self) -> str:
        """The optimiser's name, ``auto`` resolved."""
        automatic = "levenberg_marquardt" if self.loss.kind == "soft_counts" else "lbfgs"
        return automatic if self.kind == "auto" else self.kind

    @model_validator(mode="after")
    def _possible(self) -> "FitConfig":
        if self.loss.kind != "soft_counts" and self.kind == "levenberg_marquardt":
            raise ValueError(
                "kind levenberg_marquardt needs loss soft_counts; "
                f"with loss {self.loss.kind} use lbfgs or adam"
            )
        if self.loss.kind != "soft_counts" and self.bandwidths != [1.0]:
            raise ValueError(f"bandwidths are of loss soft_counts; leave them out with loss {self.loss.kind}")
        if self.bandwidths[-1] != 1 or any(b >= a for a, b in itertools.pairwise(self.bandwidths)):
            raise ValueError(f"bandwidths {self.bandwidths}: have to decrease and end with 1.0")
        return self


class NutsConfig(Section):
    """The no-U-turn sampler on the surrogate, its draws weighted by exact evaluations: the default.

    Evaluations go on until the weights are worth ``min_ess`` independent draws, or there are
    ``max_evaluations``; ``n_kept`` draws are resampled.
    """

    kind: Literal["nuts"]
    n_chains: int = Field(default=4, ge=2, le=10_000)
    n_warmup: int = Field(default=500, ge=100, le=1_000_000)
    n_draws: int = Field(default=1000, ge=100, le=1_000_000)
    target_accept: float = Field(default=0.8, gt=0.5, lt=1)
    min_ess: float = Field(default=400.0, ge=50, le=1_000_000)
    max_evaluations: int = Field(default=1500, ge=100, le=1_000_000)
    n_kept: int = Field(default=1000, ge=100, le=1_000_000)


class NutsExactConfig(Section):
    """The no-U-turn sampler on the exact density, the reference.

    ``auto`` runs chains in sequence on a CPU, batched on a GPU.
    """

    kind: Literal["nuts_exact"]
    n_chains: int = Field(default=4, ge=2, le=10_000)
    n_warmup: int = Field(default=150, ge=10, le=1_000_000)
    n_draws: int = Field(default=400, ge=10, le=1_000_000)
    chains: Literal["auto", "sequence", "vmap"] = "auto"
    target_accept: float = Field(default=0.8, gt=0.5, lt=1)
    max_tree_depth: int = Field(default=8, ge=2, le=12)


class SmcConfig(Section):
    """Tempered sequential Monte Carlo from the prior; ``ess_fraction`` sets how small its steps are."""

    kind: Literal["smc"]
    n_particles: int = Field(default=1000, ge=40, le=1_000_000)
    ess_fraction: float = Field(default=0.6, ge=0.3, le=0.95)
    n_moves: int = Field(default=3, ge=1, le=1000)
    max_leapfrog: int = Field(default=8, ge=1, le=10_000)
    particles: Literal["auto", "sequence", "vmap"] = "auto"


class OwnSamplerConfig(Section):
    """A sampler of the user's own, ``kind: module:Class`` with its settings for short."""

    kind: Literal["own"]
    component: str
    settings: dict[str, Any] = Field(default={})


SampleConfig = NutsConfig | NutsExactConfig | SmcConfig | OwnSamplerConfig


class PredictiveConfig(Section):
    """Posterior draws for which predictions are stored."""

    n_draws: int = Field(default=60, ge=4, le=100_000)
