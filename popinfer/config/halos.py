"""The run file's section on halos: how many, down to which mass, and where the first are drawn."""

from typing import Annotated

from pydantic import Field

from popinfer.config.section import Section

# log10 Msun: what the halo mass functions are tabulated for, between dwarf galaxies and rare clusters
LgHaloMass = Annotated[float, Field(ge=9, lt=14.3)]


class HalosConfig(Section):
    """Size of the halo sample; ``lgm_min`` [log10 Msun] per slice or one for all.

    ``n_per_slice`` halos make up each slice's sample, in 64 equal batches: more where each would have more
    than 4,096 halos, fewer, but 16 at least, where each would have less than 32. The scatter between batches
    is the halo sample's noise. ``pilot`` holds parameter
    values near the expected answer: the search's first halos are drawn where that model's galaxies enter the
    sample. It changes the noise, never the result's expectation. ``flatten`` is the power of the halo mass
    function that halos are drawn by; near zero, all masses are equally frequent.
    """

    n_per_slice: int = Field(default=16384, ge=64, le=100_000_000)
    lgm_min: LgHaloMass | list[LgHaloMass] = 11.0
    flatten: float = Field(default=1.0, ge=0.01, le=1)
    pilot: dict[str, float] = Field(default={})
