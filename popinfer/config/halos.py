"""The run file's section on halos: how many, down to which mass, and where the first are drawn."""

from typing import Annotated

from pydantic import Field, model_validator

from popinfer.config.section import Section

# log10 Msun: what the halo mass functions are tabulated for, between dwarf galaxies and rare clusters
LgHaloMass = Annotated[float, Field(ge=9, lt=14.3)]


class HalosConfig(Section):
    """Size of the halo sample; ``lgm_min`` [log10 Msun] per slice or one for all.

    ``pilot`` holds parameter values near the expected answer: a first fit's halos are drawn where that
    model's galaxies enter the sample, the run's own where the first fit's do. It changes the Monte Carlo
    noise, never the result's expectation. ``n_replicates`` more samples measure that noise, and the counts
    follow the mean of all: it falls with their number. Where it would be more than a tenth of the variance of
    data and model error, there are more replicates, up to ``max_replicates``. ``flatten`` is the power of the
    halo mass function that halos are drawn by; near zero, all masses are equally frequent.
    """

    n_per_slice: int = Field(default=2048, ge=16, le=100_000_000)
    n_replicates: int = Field(default=48, ge=16, le=10_000)
    max_replicates: int = Field(default=96, ge=16, le=10_000)
    lgm_min: LgHaloMass | list[LgHaloMass] = 11.0
    flatten: float = Field(default=1.0, ge=0.01, le=1)
    pilot: dict[str, float] = Field(default={})

    @model_validator(mode="after")
    def _replicates(self) -> "HalosConfig":
        if self.max_replicates < self.n_replicates:
            raise ValueError(
                f"max_replicates: is {self.max_replicates}, below n_replicates ({self.n_replicates}); "
                "make it as large at least"
            )
        return self
