"""A small problem with known answers: overlapping kernels over independent Poisson bins."""

import dataclasses
from functools import partial

import jax.numpy as jnp
import numpy as np

from popinfer.infer.likelihood import Problem

N_BIN, N_STAT, N_PAR, N_REPLICATES = 24, 16, 3, 800
TRUTH = np.array([0.4, -0.3, 0.2])


@dataclasses.dataclass(frozen=True, eq=False)
class Toy:
    """log n_b = level + (design @ u)_b; soft counts d = kernels @ Poisson(n)."""

    design: np.ndarray
    kernels: np.ndarray
    level: float
    mc_share: float = 0.0

    def bins(self, u):
        """Expected number in each bin."""
        return np.exp(self.level + self.design @ np.asarray(u))

    def log_counts(self, u):
        """Logarithm of the expected soft counts."""
        return jnp.log(self.kernels @ jnp.exp(self.level + self.design @ u))

    def draw(self, rng, u=TRUTH):
        """Soft counts of one catalog."""
        return self.kernels @ rng.poisson(self.bins(u))

    def noisy_log_counts(self, normals, u):
        """The same with Monte Carlo noise, of variance ``mc_share`` times the data's."""
        expected = np.exp(self.level + self.design @ np.asarray(u))
        return np.log(self.kernels @ (expected + normals * np.sqrt(self.mc_share * expected)))

    def replicates(self, n=N_REPLICATES):
        """Log-counts of independent halo samples."""
        normals = np.random.default_rng(17).standard_normal((n, N_BIN))
        return tuple(partial(self.noisy_log_counts, one) for one in normals)

    def problem(self, observed):
        """The inference problem for observed soft counts."""
        return Problem(
            names=("amplitude", "tilt", "curve"),
            raw_log_counts=self.log_counts,
            observed=np.asarray(observed, float),
            data_cov=self.kernels @ np.diag(self.bins(TRUTH)) @ self.kernels.T,
            slice_of=np.zeros(len(observed), int),
            replicates=self.replicates(),
            n_soft=len(observed),
        )


def toy(level=7.0, mc_share=0.1, overlap=True):
    """Bins on a line with three smooth modes; Gaussian kernels that share bins, or one kernel a bin."""
    x = np.linspace(-1, 1, N_BIN)
    design = np.stack([np.ones(N_BIN), x, x**2 - 0.3], axis=1) * [0.3, 0.5, 0.4]
    centers = np.linspace(-1, 1, N_STAT)
    kernels = np.exp(-0.5 * ((centers[:, None] - x) / 0.25) ** 2) if overlap else np.eye(N_BIN)
    return Toy(design, kernels, level, mc_share)


def silent(*_):
    """A progress callback that says nothing."""
