"""Milky Way extinction, Cardelli, Clayton & Mathis (1989, ApJ 345, 245), eqs. 2-5: a = a(x) + b(x) / R_V.

The published range is 0.3-10 per micron; the end polynomials are continued beyond 1000 Angstrom at the value
they have there.
"""

from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from popinfer.params import Declaration, Prior
from popinfer.sps.units import Arr, Scalar

from .law import DustLaw, in_precision_of


class TotalToSelective(NamedTuple):
    """R_V = A_V / E(B-V) of an extinction law."""

    rv: Annotated[
        Scalar,
        Declaration(
            "",
            "R_V, total to selective extinction",
            2,
            6,
            prior=Prior("truncnormal", 3.1, 0.5, 2.1, 5.8),
            source="sightlines in the Milky Way have 2.1 to 5.8: Fitzpatrick & Massa (2007, ApJ 663, 320)",
        ),
    ] = 3.1


class Cardelli89(DustLaw):
    """Extinction of the Milky Way."""

    Params: ClassVar = TotalToSelective

    def __call__(self, wave: Float[Arr, "..."], params: TotalToSelective) -> Float[Array, "..."]:
        """A_lambda / A_V; see `DustLaw`."""
        x = jnp.minimum(1e4 / in_precision_of(wave, *params), 10.0)
        far, mid = x > 8, x > 3.3
        infra = 0.574 * x**1.61, -0.527 * x**1.61
        a, b = (
            jnp.where(far, f, jnp.where(mid, u, jnp.where(x > 1.1, o, i)))
            for f, u, o, i in zip(_far_ultraviolet(x), _ultraviolet(x), _optical(x), infra, strict=True)
        )
        return jnp.maximum(a + b / params.rv, 0)


def _polynomial(x: Float[Array, "..."], coefficients: tuple[float, ...]) -> Float[Array, "..."]:
    """c0 + c1 x + c2 x^2 + ..."""
    total = jnp.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _optical(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = x - 1.82
    a = _polynomial(y, (1.0, 0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999))
    b = _polynomial(y, (0.0, 1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002))
    return a, b


def _ultraviolet(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = jnp.maximum(x - 5.9, 0)
    a = 1.752 - 0.316 * x - 0.104 / ((x - 4.67) ** 2 + 0.341) - y**2 * (0.04473 + 0.009779 * y)
    b = -3.090 + 1.825 * x + 1.206 / ((x - 4.62) ** 2 + 0.263) + y**2 * (0.2130 + 0.1207 * y)
    return a, b


def _far_ultraviolet(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    y = x - 8
    a = _polynomial(y, (-1.073, -0.628, 0.137, -0.070))
    b = _polynomial(y, (13.670, 4.257, -0.420, 0.374))
    return a, b
