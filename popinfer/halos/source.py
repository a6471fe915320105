"""Where a model's halos come from: what all sources can do, and the source that draws lightcones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.halos.lightcone import LightconeSpec, draw_slice_batches
from popinfer.records import Halos


class HaloPart(NamedTuple):
    """One of equal pieces of a halo sample: the scatter between them is the sample's noise.

    Attributes
    ----------
    index, n : which, of how many.
    """

    index: int
    n: int


@runtime_checkable
class HaloSource(Protocol):
    """Halos to draw from.

    Attributes
    ----------
    cosmology : of the halos, and so of everything that is made of them.
    """

    @property
    def cosmology(self) -> Cosmology:
        """Of the halos."""
        ...

    def draw(
        self,
        keys: Sequence[PRNGKeyArray],
        specs: Sequence[LightconeSpec],
        parts: Sequence[HaloPart] | None = None,
    ) -> Halos:
        """Weighted halos [batch, slice, halo], float64 NumPy arrays.

        Parameters
        ----------
        keys : Sequence[PRNGKeyArray]
            One a batch; equal keys give equal halos.
        specs : Sequence[LightconeSpec]
            What is wanted of each slice: how many halos, and where in mass; the mean of sums over halos
            doesn't depend on it.
        parts : Sequence[HaloPart] or None
            The piece of the sample that each batch is of; the whole sample when absent.
        """
        ...


@dataclass(frozen=True)
class LightconeSource:
    """Halos drawn from diffhalos' abundances, as many independent ones as are asked for.

    Attributes
    ----------
    cosmology : for volumes and ages.
    """

    cosmology: Cosmology = PLANCK15

    def draw(
        self,
        keys: Sequence[PRNGKeyArray],
        specs: Sequence[LightconeSpec],
        parts: Sequence[HaloPart] | None = None,
    ) -> Halos:
        """Halos of each batch, independent of the others whatever its part; see `HaloSource`."""
        return draw_slice_batches(keys, specs, self.cosmology)


def drawn_slices(source: HaloSource, key: PRNGKeyArray, specs: Sequence[LightconeSpec]) -> Halos:
    """Halos [slice, halo] of a source, from its whole sample."""
    return jax.tree.map(lambda x: np.asarray(x)[0], source.draw([key], specs))
