"""The information of an unbinned survey: what the likelihood study compares posteriors with.

N galaxies drawn from a density p(x | u) of features, of which only the shape is used, have the information

    F = N E[s s^T],    s(x) = d log p / du.

p is the model's own: weighted galaxies y_j(u), w_j(u) of half of all halo samples, blurred by a Gaussian of
width h in whitened features. As the noise of an estimated score would add to its square, s s^T is the product
of scores from the two halves of the samples, s_A s_B^T, averaged over the simulated survey's galaxies
(blurred likewise): noise drops out of the mean. As h goes to zero, F_h grows to the unbinned limit. The
smallest h that the halos resolve is the reference: a limit for blurred galaxies, somewhat less than that of
the galaxies. Soft counts aren't bounded by F_h of their own h, because the model is smoothed just as they
are. F has no model error and no Monte Carlo noise.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from likelihood_trial import Simulated

from popinfer.records import Halos
from popinfer.run.build import Predictor, in_precision

BLURS = (1.0, 0.5, 0.35)
REFERENCE = 0.35
N_GALAXIES = 2000  # of each slice at most, that the mean is taken over
_CHUNK = 250  # of them at once


def unbinned_information(simulated: Simulated, rng: np.random.Generator) -> dict[float, np.ndarray]:
    """F at the truth for each blur."""
    run = simulated.run
    predictor = Predictor(run.setup, run.survey)
    u = jnp.asarray(simulated.truth)
    parts = [_galaxies(predictor, u, in_precision(run.config, one)) for one in simulated.samples]
    n = len(parts) // 2
    halves = [
        jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts[i * n : (i + 1) * n]) for i in (0, 1)
    ]
    kernels = run.survey.kernels
    found = {}
    for h in BLURS:
        total = np.zeros((len(u), len(u)))
        for i, features in enumerate(run.survey.features):
            x = features[rng.permutation(len(features))[:N_GALAXIES]]
            x = (x - kernels.mean[i, 0]) @ kernels.whiten[i, 0]
            x = x + h * rng.standard_normal(x.shape)
            a, b = (_scores(jnp.asarray(x, jnp.float32), [one[i] for one in half], h) for half in halves)
            total += len(features) / len(x) * a.T @ b
        found[h] = 0.5 * (total + total.T)
    return found


@eqx.filter_jit
def _galaxies(predictor: Predictor, u: jax.Array, halos: Halos) -> tuple[jax.Array, ...]:
    """White features, weights, and their derivatives: [slice point feature (par)], [slice point (par)]."""
    kernels = predictor.survey.kernels

    def of(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        galaxies = predictor(u, halos)
        x = jnp.asarray(predictor.setup.features(galaxies.mag))
        mean, whiten = (jnp.asarray(a, x.dtype)[:, 0] for a in (kernels.mean, kernels.whiten))
        return jnp.einsum("spf,sfg->spg", x - mean[:, None], whiten), galaxies.weight

    return *of(u), *jax.jacfwd(of)(u)


def _scores(x: jax.Array, galaxies: list[jax.Array], h: float) -> np.ndarray:
    """d log p / du at points x, [point, par]."""
    y, weight, dy, dw = (jnp.nan_to_num(jnp.asarray(one, jnp.float32)) for one in galaxies)
    seen = weight / weight.sum()
    columns = (
        seen,
        dw / weight.sum(),
        seen[:, None, None] * dy,
        seen[:, None] * jnp.einsum("jf,jfp->jp", y, dy),
    )
    flat = jnp.concatenate([one.reshape(len(y), -1) for one in columns], axis=1)
    n_par, n_feature = dw.shape[1], y.shape[1]
    sums = np.concatenate([_smoothed(x[i : i + _CHUNK], y, flat, h) for i in range(0, len(x), _CHUNK)])
    p, dp, move, own = np.split(sums, np.cumsum([1, n_par, n_par * n_feature]), axis=1)
    toward = np.einsum("xf,xfp->xp", np.asarray(x), move.reshape(len(x), n_feature, n_par)) - own
    total = np.asarray(dw, float).sum(axis=0) / float(weight.sum())
    return np.asarray((dp + toward / h**2) / np.maximum(p, np.finfo(np.float32).tiny) - total, float)


@jax.jit
def _smoothed(x: jax.Array, y: jax.Array, columns: jax.Array, h: float) -> jax.Array:
    square = jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1) - 2 * x @ y.T
    return jnp.exp(-jnp.maximum(square, 0) / (2 * h**2)) @ columns
