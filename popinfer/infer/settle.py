"""From a best fit of the composite likelihood to the adjusted posterior around its own mode.

The composite likelihood finds the region, but where its optimum and the prior balance depends on how often
it counts a galaxy. The posterior's mode is where the optimally weighted score balances the prior,

    H V^-1 s(u) = u,

found by Newton steps in the Godambe metric; each corrects the counts for Monte Carlo noise where it stands.
Then the slopes are corrected, which moves the mode a little, and the walk goes on from there.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from popinfer.infer.laplace import Laplace, laplace, polish
from popinfer.infer.likelihood import Adjustment, Information, curvature_adjustment, information
from popinfer.infer.monte_carlo import centered, corrected
from popinfer.infer.optimise import Compiled

MAX_STEPS = 10
SETTLED = 0.4  # posterior standard deviations: the next correction wouldn't change
LONGEST = 2.0  # a step's length in posterior standard deviations: beyond, another linearisation is due


@dataclass(frozen=True)
class Settled:
    """The adjusted posterior around its mode.

    Attributes
    ----------
    compiled : the problem with its counts corrected. info, adjustment, approx : there.
    converged : whether the Newton steps became short.
    """

    compiled: Compiled
    info: Information
    adjustment: Adjustment
    approx: Laplace
    converged: bool


def settle(
    compiled: Compiled, u: np.ndarray, seed: int, progress: Callable[[int, float], None] | None = None
) -> Settled:
    """Walk from u to the mode of the adjusted posterior.

    Parameters
    ----------
    compiled : the problem, corrected or not.
    u : best fit of the composite likelihood.
    seed : of the draws that measure the counts' curvature.
    progress : called with (step, its length in posterior standard deviations).
    """
    say = progress or (lambda step, length: None)
    first = _walk(_look(compiled, u), say)
    whole = corrected(first.compiled.problem, first.u, first.approx.factor, seed)
    with_slopes = dataclasses.replace(first.compiled, problem=whole.problem)
    best = _walk(_look(with_slopes, first.u, whole.deviations), say)
    compiled = best.compiled
    info = information(compiled.problem, best.u, compiled.jacobian, whole.deviations)
    adjustment = curvature_adjustment(info, best.u)
    approx = polish(adjusted(compiled, adjustment), laplace(adjustment, info))
    return Settled(compiled, info, adjustment, approx, best.length < SETTLED)


@dataclass(frozen=True)
class _Point:
    """A place on the way: the Newton step from here, and its length in posterior standard deviations."""

    compiled: Compiled
    u: np.ndarray
    approx: Laplace
    deviations: np.ndarray | None

    @property
    def move(self) -> np.ndarray:
        return self.approx.mean - self.u

    @property
    def length(self) -> float:
        return float(np.sqrt(self.move @ np.linalg.solve(self.approx.cov, self.move)))


def _walk(here: _Point, say: Callable[[int, float], None]) -> _Point:
    """Newton steps until they are short.

    Where the model doesn't fit, the score is steeper than its information says and a step overshoots: the
    next one starts from the better point and aims where a straight line between the two would be zero.
    """
    best, pace = here, 1.0
    for step in range(1, MAX_STEPS + 1):
        say(step, best.length)
        if best.length < SETTLED:
            break
        target = best.u + min(pace, LONGEST / best.length) * best.move
        here = _look(best.compiled, target, best.deviations)
        if here.length > best.length or here.move @ best.move < 0:
            pace *= best.length / (best.length + here.length)
        if here.length < best.length:
            best = here
    return best


def _look(compiled: Compiled, u: np.ndarray, deviations: np.ndarray | None = None) -> _Point:
    """Correct the counts at u and take the Godambe information there."""
    problem = centered(compiled.problem, u)
    compiled = dataclasses.replace(compiled, problem=problem)
    info = information(problem, u, compiled.jacobian, deviations)
    approx = laplace(curvature_adjustment(info, u), info)
    return _Point(compiled, u, approx, deviations)


def adjusted(compiled: Compiled, adjustment: Adjustment) -> Callable[[Array], tuple[Array, Array]]:
    """Value and gradient of the adjusted log-density without compiling the model again."""
    composite = jax.custom_vjp(compiled.composite)
    composite.defvjp(compiled.composite_and_grad, lambda gradient, cotangent: (cotangent * gradient,))
    return jax.value_and_grad(lambda u: adjustment(composite, u) - 0.5 * jnp.sum(u**2))
