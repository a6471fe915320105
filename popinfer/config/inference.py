"""The run file's sections on inference: the kernels that count, the fit, the sampler, predictions."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from popinfer.config.section import Section, own_component


class KernelsConfig(Section):
    """Layout of the kernel soft counts."""

    n_centers: int = Field(default=100, ge=2, le=20_000, description="Kernels of each slice.")
    bandwidth: float = Field(
        default=1.0,
        ge=0.01,
        le=100,
        description="Width of the kernels in standard deviations of the whitened features.",
    )
    marginal_bandwidth: float | None = Field(
        default=None,
        ge=0.01,
        le=100,
        description=(
            "Width of further kernels in each single feature, in its standard deviations: they see peaks and "
            "shares of one color that kernels in all features together smear out. None of them when absent."
        ),
    )
    floor_mag: float = Field(
        default=0.03, ge=0, le=5, description="Kernels are no finer than this in any feature."
    )
    min_count: float = Field(
        default=5.0, ge=0.1, le=1e6, description="Galaxies that a kernel has to count, else it is left out."
    )
    min_pattern: int = Field(
        default=50,
        ge=20,
        le=1_000_000,
        description="Galaxies of a slice that have to lack the same bands, else they are left out.",
    )
    model_error: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description=(
            "Fraction by which the model may be wrong about each count, beyond noise: it widens the "
            "posterior where the data are better than the physics."
        ),
    )


class SoftCountsConfig(Section):
    """Poisson likelihood of the kernel soft counts."""

    kind: Literal["soft_counts"] = Field(description="Poisson likelihood of the kernel soft counts.")


class EnergyConfig(Section):
    """Energy distance between galaxies that have all features."""

    kind: Literal["energy"] = Field(description="Energy distance between galaxies that have all features.")

    @property
    def component(self) -> str:
        """The loss' name, see `popinfer.components.PLUG_INS`."""
        return self.kind


class OwnLossConfig(Section):
    """A loss of the user's own between galaxies that have all features."""

    kind: Literal["own"] = Field(description="A loss of your own: write kind: module:Class.")
    component: str = Field(description="The class, as module:Class or file.py:Class.")


LossConfig = SoftCountsConfig | EnergyConfig | OwnLossConfig


class FitConfig(Section):
    """Optimisation: from the prior's centre, and from draws of the prior to look for other modes."""

    loss: Annotated[LossConfig, Field(discriminator="kind")] = Field(
        default=SoftCountsConfig(kind="soft_counts"),
        description="What guides the fit; the posterior stays that of the soft counts.",
    )
    kind: Literal["auto", "levenberg_marquardt", "adam", "lbfgs"] = Field(
        default="auto",
        description="Optimiser; auto is Levenberg-Marquardt for soft counts and L-BFGS for other losses.",
    )
    max_steps: int = Field(default=40, ge=1, le=100_000, description="Most steps at each bandwidth.")
    n_prior_starts: int = Field(
        default=4,
        ge=0,
        le=1000,
        description="Draws of the prior that the fit starts from, besides the prior's centre.",
    )
    bandwidths: list[Annotated[float, Field(ge=1, le=1000)]] = Field(
        default=[1.0],
        min_length=1,
        max_length=20,
        description=(
            "Bandwidths in units of kernels.bandwidth that the fit goes through, from wide to the last, 1."
        ),
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
    """The no-U-turn sampler on the surrogate, its draws weighted by exact evaluations: the default."""

    kind: Literal["nuts"] = Field(
        description="The no-U-turn sampler on the surrogate, its draws weighted by exact evaluations."
    )
    n_chains: int = Field(default=4, ge=2, le=10_000, description="Chains.")
    n_warmup: int = Field(
        default=500, ge=100, le=1_000_000, description="Steps that tune each chain, which are thrown away."
    )
    n_draws: int = Field(
        default=1000,
        ge=100,
        le=1_000_000,
        description="Draws of each chain. Chains go on by as many, at most 15 times, until their smallest "
        "effective size is six times min_ess.",
    )
    target_accept: float = Field(
        default=0.95, gt=0.5, lt=1, description="Acceptance probability that the step size is tuned to."
    )
    min_ess: float = Field(
        default=400.0,
        ge=50,
        le=1_000_000,
        description="Exact evaluations go on until the weighted draws are worth so many independent ones.",
    )
    max_evaluations: int = Field(
        default=4000,
        ge=100,
        le=1_000_000,
        description="Most exact evaluations; no more than the chains have draws when they end.",
    )
    n_kept: int = Field(
        default=1000,
        ge=100,
        le=1_000_000,
        description="Draws that are resampled with the weights and stored.",
    )


class NutsExactConfig(Section):
    """The no-U-turn sampler on the exact density, the reference."""

    kind: Literal["nuts_exact"] = Field(
        description="The no-U-turn sampler on the exact density, the reference."
    )
    n_chains: int = Field(default=4, ge=2, le=10_000, description="Chains.")
    n_warmup: int = Field(
        default=150, ge=10, le=1_000_000, description="Steps that tune each chain, which are thrown away."
    )
    n_draws: int = Field(default=400, ge=10, le=1_000_000, description="Draws of each chain.")
    chains: Literal["auto", "sequence", "vmap"] = Field(
        default="auto",
        description="Whether chains run one after the other or batched; auto batches them on a GPU.",
    )
    target_accept: float = Field(
        default=0.8, gt=0.5, lt=1, description="Acceptance probability that the step size is tuned to."
    )
    max_tree_depth: int = Field(default=8, ge=2, le=12, description="Most doublings of a trajectory.")


class SmcConfig(Section):
    """Tempered sequential Monte Carlo from the prior."""

    kind: Literal["smc"] = Field(description="Tempered sequential Monte Carlo from the prior.")
    n_particles: int = Field(default=1000, ge=40, le=1_000_000, description="Particles.")
    ess_fraction: float = Field(
        default=0.6,
        ge=0.3,
        le=0.95,
        description=(
            "Share of the particles that a step of the temperature leaves effective: how small steps are."
        ),
    )
    n_moves: int = Field(default=3, ge=1, le=1000, description="Moves of each particle at each temperature.")
    max_leapfrog: int = Field(default=8, ge=1, le=10_000, description="Most leapfrog steps of a move.")
    particles: Literal["auto", "sequence", "vmap"] = Field(
        default="auto",
        description="Whether particles move one after the other or batched; auto batches them on a GPU.",
    )


class OwnSamplerConfig(Section):
    """A sampler of the user's own."""

    kind: Literal["own"] = Field(
        description="A sampler of your own: write kind: module:Class, and its settings beside."
    )
    component: str = Field(description="The class, as module:Class or file.py:Class.")
    settings: dict[str, Any] = Field(default={}, description="Values of the class' fields.")


SampleConfig = NutsConfig | NutsExactConfig | SmcConfig | OwnSamplerConfig


class PredictiveConfig(Section):
    """Posterior draws for which predictions are stored."""

    n_draws: int = Field(
        default=60, ge=4, le=100_000, description="Posterior draws for which predictions are stored."
    )
