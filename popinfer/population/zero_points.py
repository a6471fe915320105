"""Errors of a survey's photometric zero points: one offset a band."""

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.components import declared_params
from popinfer.params import Declaration, Prior
from popinfer.population.roles import ZeroPointModel


class ZeroPoints(ZeroPointModel):
    """Offsets of the bands; parameters are called by their names.

    Attributes
    ----------
    bands : names of the survey's bands.
    """

    bands: tuple[str, ...] = ()

    @property
    def Params(self) -> type:  # noqa: N802 (a class)
        """Type of the parameters, a field a band."""
        return _band_params(self.bands)

    def __call__(self, params: Any) -> Float[Array, "band"]:
        """Offset of each band; see `ZeroPointModel`."""
        return jnp.stack([jnp.asarray(x) for x in params]) if params else jnp.zeros(0)


@lru_cache
def _band_params(bands: tuple[str, ...]) -> type:
    return declared_params(
        "ZeroPointParams",
        {
            f"band_{i}": (
                Declaration(
                    "mag",
                    f"zero-point offset of band {band} (model minus data)",
                    -1,
                    1,
                    "zero points are known better than that",
                    Prior("normal", 0.0, 0.02),
                    band,
                    source="SDSS holds to 0.01 to 0.02 mag: Padmanabhan et al. (2008, ApJ 674, 1217)",
                ),
                0.0,
            )
            for i, band in enumerate(bands)
        },
    )
