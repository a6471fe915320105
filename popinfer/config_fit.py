"""What a run file may say of the fit: the loss that guides it, the optimiser, where it starts."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from popinfer.config_survey import Section


class SoftCountsConfig(Section):
    """Poisson likelihood of the kernel soft counts."""

    kind: Literal["soft_counts"]


class EnergyConfig(Section):
    """Energy distance between galaxies that have all features."""

    kind: Literal["energy"]


LossConfig = SoftCountsConfig | EnergyConfig


class FitConfig(Section):
    """Optimisation: from the prior's centre, and from draws of the prior to look for other modes.

    ``loss`` is what guides it; the posterior stays that of the soft counts. ``kind`` is the optimiser,
    ``auto`` Levenberg-Marquardt for soft counts and L-BFGS for other losses, with ``max_steps`` at each bandwidth.
    ``bandwidths`` are the soft counts' in units of ``kernels.bandwidth``, from wide to the last, one.
    """

    loss: Annotated[LossConfig, Field(discriminator="kind")] = SoftCountsConfig(kind="soft_counts")
    kind: Literal["auto", "levenberg_marquardt", "adam", "lbfgs"] = "auto"
    max_steps: int = Field(default=40, ge=1)
    n_prior_starts: int = Field(default=4, ge=0)
    bandwidths: list[FiniteFloat] = Field(default=[1.0], min_length=1)

    @property
    def optimiser(self) -> str:
        """The optimiser's name, ``auto`` resolved."""
        automatic = "levenberg_marquardt" if self.loss.kind == "soft_counts" else "lbfgs"
        return automatic if self.kind == "auto" else self.kind

    @model_validator(mode="after")
    def _possible(self) -> "FitConfig":
        if self.loss.kind != "soft_counts" and self.kind == "levenberg_marquardt":
            raise ValueError(
                f"kind levenberg_marquardt needs loss soft_counts; with loss {self.loss.kind} use lbfgs or adam"
            )
        if self.loss.kind != "soft_counts" and self.bandwidths != [1.0]:
            raise ValueError(f"bandwidths are of loss soft_counts; leave them out with loss {self.loss.kind}")
        if self.bandwidths[-1] != 1 or any(b >= a for a, b in itertools.pairwise(self.bandwidths)):
            raise ValueError(f"bandwidths {self.bandwidths}: have to decrease and end with 1.0")
        return self
