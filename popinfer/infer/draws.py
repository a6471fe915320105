"""What every sampler takes and returns: ``(key, log_density, start, spec, progress) -> Draws``.

``log_density`` is the log posterior of the unconstrained vector u, whose prior is standard normal;
``progress(done, total, text)`` is called as the work goes on.
"""

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array

from popinfer.infer.laplace import Mixture

TAILS = (0.05, 0.95)  # quantiles whose effective size is that of the tails
LogDensity = Callable[[Array], Array]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Draws:
    """Draws of the unconstrained vector.

    Attributes
    ----------
    u : [chain, draw, par].
    stats : sample statistics by ArviZ's names, each [chain, draw].
    attrs : what the sampler says of the whole run: strings and numbers, and arrays of all proposals.
    """

    u: np.ndarray
    stats: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def smallest_ess(self) -> float:
        """Smallest effective size of all parameters, in bulk and tails; 0 where one is no number."""
        columns = [self.u[..., i] for i in range(self.u.shape[-1])]
        if not all(map(have_sizes, columns)):
            return 0.0
        return float(np.nan_to_num(np.min([effective_sizes(column) for column in columns])))


def have_sizes(values: np.ndarray) -> bool:
    """Whether draws [chain, draw] have effective sizes: several chains of finite values that change."""
    n_chain, n_draw = values.shape
    return n_chain >= 2 and n_draw >= 4 and bool(np.isfinite(values).all() and np.ptp(values) > 0)


def effective_sizes(values: np.ndarray) -> tuple[float, float]:
    """Effective sizes of draws [chain, draw], in the bulk and in the tails (Vehtari et al. 2021)."""
    import arviz as az  # takes a second, which whoever only asks for the classes shouldn't wait for

    with np.errstate(divide="ignore", invalid="ignore"):  # a frozen chain has no variance
        bulk, tail = az.ess(values, method="bulk"), az.ess(values, method="tail", prob=TAILS)
    return float(bulk), float(tail)


class Sampler(eqx.Module):
    """A sampler of the user's own; fields of the class are settings that a run file may give.

    The convergence gate asks its chains for split R-hat and effective sizes, and where their statistics are
    stored by ArviZ's names (``diverging``, ``energy``, ``tree_depth``) for those of trajectories.
    """

    @property
    @abc.abstractmethod
    def n_steps(self) -> int:
        """Steps of all chains together, for a bar that shows progress."""

    @abc.abstractmethod
    def __call__(self, key: Array, log_density: LogDensity, start: Mixture, progress: Progress) -> Draws:
        """Draw from a density.

        Parameters
        ----------
        key : Array
            Random key.
        log_density : LogDensity
            Log posterior of the vector u, whose prior is standard normal; takes `jax.grad` and `jax.vmap`,
            and `equinox.filter_jit` as an argument of a program.
        start : Mixture
            Laplace approximations of the posterior's maxima.
        progress : Progress
            Called with (steps done, all steps, a few words) as the work goes on.

        Returns
        -------
        Draws
            At least two chains.
        """
