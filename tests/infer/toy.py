"""A small problem with known answers: overlapping kernels over Poisson bins, seen by halo batches.

log n_b = level + design_b . v(u) in bin b, with v = u but for v_1 = u_1 + bend u_0^2: with `bend` the
posterior is a banana. A batch of halos sees n_b (1 + noise normal_b); soft counts are kernels @ n.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from popinfer.infer.counts import BatchedCounts
from popinfer.infer.data import Data
from popinfer.infer.likelihood import Likelihood

N_BIN, N_STAT, N_PAR = 24, 16, 3
TRUTH = np.array([0.4, -0.3, 0.2])


class ToyCounts(BatchedCounts):
    """Log-counts of halo batches, `batches` the factor on every bin's expectation [batch, bin]."""

    batches: Any
    design: Array
    kernels: Array
    level: Array
    bend: Array
    edge: Array

    def of_batch(self, batch, u):
        """Logarithm of the soft counts; no number where the first parameter is beyond the edge."""
        v = u.at[1].add(self.bend * u[0] ** 2)
        log_m = jnp.log(self.kernels @ (batch * jnp.exp(self.level + self.design @ v)))
        return jnp.where(u[0] < self.edge, log_m, jnp.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Toy:
    """The toy's constants; `noise` is the standard deviation of one batch's factor on a bin."""

    design: np.ndarray
    kernels: np.ndarray
    level: float
    noise: float = 0.0
    bend: float = 0.0
    edge: float = np.inf

    def bins(self, u):
        """Expected number in each bin."""
        v = np.array(u, float)
        v[1] += self.bend * v[0] ** 2
        return np.exp(self.level + self.design @ v)

    def log_counts(self, u):
        """Logarithm of the expected soft counts."""
        return np.log(self.kernels @ self.bins(u))

    def draw(self, rng, u=TRUTH):
        """Soft counts of one catalog."""
        return self.kernels @ rng.poisson(self.bins(u))

    def counts(self, n_batch=4, seed=17):
        """The model on a halo sample."""
        normals = np.random.default_rng(seed).standard_normal((n_batch, N_BIN))
        numbers = (self.design, self.kernels, self.level, self.bend, self.edge)
        return ToyCounts(jnp.asarray(1 + self.noise * normals), *(jnp.asarray(x, float) for x in numbers))

    def data(self, observed=None, slice_of=None, **changed):
        """Data of one catalog, or of one without noise."""
        observed = np.asarray(self.kernels @ self.bins(TRUTH) if observed is None else observed, float)
        cov = self.kernels @ np.diag(self.bins(TRUTH)) @ self.kernels.T
        index = np.zeros(len(observed), int) if slice_of is None else slice_of
        return dataclasses.replace(Data(observed, cov, index, np.full(len(observed), True)), **changed)

    def likelihood(self, data, n_batch=4):
        """The likelihood with the halo noise of as many batches, as theory has it."""
        share = self.noise**2 / n_batch * (self.kernels * self.bins(TRUTH) ** 2) @ self.kernels.T
        counts = self.kernels @ self.bins(TRUTH)
        return Likelihood.of(data, share / np.outer(counts, counts))

    def jacobian(self, u=TRUTH):
        """Derivative of log-counts, from its formula; for no bend."""
        n = self.bins(u)
        return (self.kernels * n) @ self.design / (self.kernels @ n)[:, None]


def toy(level=7.0, noise=0.0, overlap=True, **changed):
    """Bins on a line with three smooth modes; Gaussian kernels that share bins, or one kernel a bin."""
    x = np.linspace(-1, 1, N_BIN)
    design = np.stack([np.ones(N_BIN), x, x**2 - 0.3], axis=1) * [0.3, 0.5, 0.4]
    centers = np.linspace(-1, 1, N_STAT)
    kernels = np.exp(-0.5 * ((centers[:, None] - x) / 0.25) ** 2) if overlap else np.eye(N_BIN)
    return Toy(design, kernels, level, noise, **changed)


def without_noise(counts):
    """The same model as every halo sees it."""
    return eqx.tree_at(lambda c: c.batches, counts, jnp.ones_like(counts.batches))


def silent(*_):
    """A progress callback that says nothing."""
