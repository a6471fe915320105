"""A simulation whose halos end where it stops to resolve them, and drawn halos below.

Above the limit halos are the simulation's, below it diffhalos' abundances and its flow of histories
(`popinfer.halos.lightcone`), as diffsky does with its synthetic cores. diffhalos counts all subhalos that
ever fell in, a simulation those that are left: drawn satellites are weighted with the share that survives.

Of the n halos of a slice, drawn ones are as many as their share of what the proposal would draw, in eighths,
of which each kind has one at least: the numbers set the noise, weights are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from popinfer.cosmology import Cosmology
from popinfer.errors import InputError
from popinfer.halos.lightcone import (
    LightconeSpec,
    central_abundance,
    draw_slice_batches,
    surviving,
    visibility,
)
from popinfer.halos.sample import SimulatedHalos
from popinfer.halos.source import HaloPart
from popinfer.random import stream
from popinfer.records import Halos

_FEWEST = 16  # halos of each kind, see `LightconeSpec`
_PARTS = 8  # in which shares are counted: programs are compiled for few numbers


@dataclass(frozen=True)
class FilledHalos:
    """Halos of a simulation, and drawn ones of lower mass.

    Attributes
    ----------
    simulation : whose lowest masses (`SampleSpec.lgm_min`) are where drawn halos end.
    survival : share of drawn subhalos that are left.
    """

    simulation: SimulatedHalos
    survival: float

    @property
    def cosmology(self) -> Cosmology:
        """The simulation's."""
        return self.simulation.cosmology

    def draw(
        self,
        keys: Sequence[PRNGKeyArray],
        specs: Sequence[LightconeSpec],
        parts: Sequence[HaloPart] | None = None,
    ) -> Halos:
        """Halos of both kinds; see `popinfer.halos.source.HaloSource`.

        Raises
        ------
        InputError
            There are too few halos to be of two kinds.
        """
        slices = [
            self._slice([stream(key, "slice", i) for key in keys], i, spec, parts)
            for i, spec in enumerate(specs)
        ]
        return jax.tree.map(lambda *x: np.stack(x, axis=1), *slices)

    def _slice(
        self,
        keys: Sequence[PRNGKeyArray],
        index: int,
        spec: LightconeSpec,
        parts: Sequence[HaloPart] | None,
    ) -> Halos:
        """Halos [batch, halo] of one slice, the simulation's first."""
        limit = self.simulation.spec.lgm_min[index]
        n_below = _n_below(spec, limit)
        above = replace(spec, n_halo=spec.n_halo - n_below, lgm_min=max(spec.lgm_min, limit))
        pieces = [None] * len(keys) if parts is None else parts
        simulated = [
            self.simulation.draw_slice(stream(key, "above"), index, above, part)
            for key, part in zip(keys, pieces, strict=True)
        ]
        joined = jax.tree.map(lambda *x: np.stack(x), *simulated)
        if not n_below:
            return joined
        below = replace(spec, n_halo=n_below, lgm_max=limit)
        drawn = draw_slice_batches([stream(key, "below") for key in keys], [below], self.cosmology)
        drawn = jax.tree.map(lambda x: np.asarray(x)[:, 0], drawn)
        drawn = surviving(drawn, self.survival)
        return jax.tree.map(lambda x, y: np.concatenate([x, y], axis=1), joined, drawn)


def _n_below(spec: LightconeSpec, limit: float) -> int:
    """How many of a slice's halos are drawn below a limit."""
    if spec.lgm_min >= limit:
        return 0
    if spec.n_halo < 2 * _FEWEST:
        raise InputError(
            f"halos.n_per_slice: {spec.n_halo} halos of a slice in a batch are too few for simulated and "
            f"drawn ones (halos.source.below_resolution); at least {2 * _FEWEST}"
        )
    lgm = np.linspace(spec.lgm_min, spec.lgm_max, 500)
    z = np.full_like(lgm, 0.5 * (spec.z_min + spec.z_max))
    proposal = central_abundance(lgm, z) ** spec.flatten * visibility(spec, lgm)
    parts = np.clip(round(_PARTS * proposal[lgm < limit].sum() / proposal.sum()), 1, _PARTS - 1)
    return int(np.clip(parts * spec.n_halo // _PARTS, _FEWEST, spec.n_halo - _FEWEST))
