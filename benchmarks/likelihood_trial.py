"""One simulated survey of the likelihood study, and the soft counts of all kernel layouts together.

Truth and galaxies are drawn as `popinfer calibrate` draws them, and counted by kernels that the real survey
laid out, with errors of the model in the counts.
Halos are drawn where the *true* model's galaxies are seen, in place of a pilot fit's; that changes the Monte
Carlo variance only. One compiled program counts the galaxies of one halo sample with the kernels of every
layout: those with fewer centers use the first of the widest set (`KernelCounts.build` shuffles galaxies by
the seed alone). Each sample is two halves, every other halo in order of mass: half samples, samples, and
pairs of samples are the studied halo numbers.
"""

import dataclasses
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.loss.kernels import log_kernel_matrix
from popinfer.population.halos import LightconeSpec
from popinfer.records import Halos
from popinfer.run.build import (
    Predictor,
    detectable,
    draw_slices,
    in_precision,
    lightcones,
    model_error_cov,
    predict_galaxies,
)
from popinfer.run.observed import features_of_slices
from popinfer.run.pilot import shares_seen, thinned
from popinfer.run.prepare import Run
from popinfer.run.progress import Silent
from popinfer.run.simulate import draw_galaxies

TRUTH_SEED, TRIAL_SEED = 77_003, 1_000_003  # as in popinfer.run.calibrate
N_CANDIDATES, MORE, ENOUGH = 4, 4, 0.5  # halos drawn for each that is kept; times more where few are seen
N_AROUND, SPREAD = 2, 0.3  # parameters around the truth at which the seen shares are taken


@dataclass(frozen=True)
class Layout:
    """Kernels a slice, their width, and halos a slice in each sample."""

    n_centers: int
    bandwidth: float
    n_halo: int

    @property
    def name(self) -> str:
        return f"K{self.n_centers} h{self.bandwidth} N{self.n_halo}"


BASE = Layout(100, 1.0, 1024)
LAYOUTS = (
    BASE,
    Layout(50, 1.0, 1024),
    Layout(200, 1.0, 1024),
    Layout(100, 0.6, 1024),
    Layout(100, 1.0, 512),
    Layout(100, 1.0, 2048),
)
WIDEST = {1.0: 200, 0.6: 100}  # bandwidths, and the most centers with each


@dataclass(frozen=True)
class Simulated:
    """A survey drawn from the prior, its kernels in each layout, and halo samples.

    ``survey`` has the base layout's kernels; ``kernels`` are by (number of centers, bandwidth).
    """

    run: Run
    truth: np.ndarray
    seed: int
    kernels: dict[tuple[int, float], KernelCounts]
    samples: list[Halos]


def simulate(run: Run, index: int) -> Simulated:
    """Survey number `index` of the configuration's seed."""
    config, seed = run.config, run.config.seed + TRIAL_SEED * (index + 1)
    rng = np.random.default_rng([config.seed, TRUTH_SEED, index])
    truth = rng.standard_normal(run.setup.space.size)
    z, mag = draw_galaxies(run, truth, run.n_galaxies, seed, Silent())
    sigma = np.asarray(run.survey.noise.sigma(jnp.asarray(mag)))
    catalog = dataclasses.replace(run.catalog, z=z, mag=mag, mag_err=sigma, dropped=())
    features = features_of_slices(config, catalog)
    keys = {(layout.n_centers, layout.bandwidth) for layout in LAYOUTS}
    kernels, spec = {}, config.kernels
    for k, h in sorted(keys):
        own = KernelSpec(k, h, spec.floor_mag, spec.min_count)
        kernels[k, h] = KernelCounts.build(run.survey.features, own, config.seed).counting(features)
    kernels = with_model_error(run.survey.features, kernels, spec.model_error, rng)
    kernels = {key: one.keeping(spec.min_count) for key, one in kernels.items()}
    survey = dataclasses.replace(
        run.survey, features=features, kernels=kernels[BASE.n_centers, BASE.bandwidth]
    )
    config = config.model_copy(update={"seed": seed})
    trial = dataclasses.replace(run, config=config, catalog=catalog, survey=survey)
    return Simulated(trial, truth, seed, kernels, halo_samples(trial, truth, seed))


def with_model_error(
    features: list[np.ndarray],
    kernels: dict[tuple[int, float], KernelCounts],
    fraction: float,
    rng: np.random.Generator,
) -> dict[tuple[int, float], KernelCounts]:
    """Counts that differ from the galaxies' own as the model may be wrong: one draw for all layouts.

    Errors of the widest layouts' kernels together are correlated as their counting noise is over `features`,
    which laid them out; the others' kernels are some of these.
    """
    widest = [kernels[k, h] for h, k in WIDEST.items()]
    observed = {key: np.array(one.observed) for key, one in kernels.items()}
    data_cov = {key: np.array(one.data_cov) for key, one in kernels.items()}
    for i, x in enumerate(features):
        white = (x - widest[0].mean[i, 0]) @ widest[0].whiten[i, 0]
        logs = [np.asarray(log_kernel_matrix(white, one.centers[i], one.bandwidth)) for one in widest]
        counted = logs[0].max(axis=1) < -1e-10  # a center is at no distance of itself
        phi = np.exp(np.concatenate(logs, axis=1)[counted])
        values, vectors = np.linalg.eigh(model_error_cov(fraction, np.cov(phi.T)))
        error = vectors @ (np.sqrt(np.maximum(values, 0)) * rng.standard_normal(len(values)))
        for (k, h), counts in observed.items():
            own = error[first_kernel(h) :][:k]
            counts[i] *= np.exp(own)
            data_cov[k, h][i] *= np.exp(0.5 * np.add.outer(own, own))
    return {
        key: dataclasses.replace(one, observed=observed[key], data_cov=data_cov[key])
        for key, one in kernels.items()
    }


def first_kernel(bandwidth: float) -> int:
    """Where a bandwidth's kernels begin among those of all widest layouts."""
    return sum(k for h, k in list(WIDEST.items())[: list(WIDEST).index(bandwidth)])


def halo_samples(run: Run, truth: np.ndarray, seed: int) -> list[Halos]:
    """Independent samples of halos that make galaxies which the survey sees, in order of mass."""
    config, params = run.config, run.setup.model_params(jnp.asarray(truth))
    n, predictor = config.halos.n_per_slice, Predictor(run.setup, run.survey)
    specs = _sized(lightcones(config), N_CANDIDATES * n)
    specs = detectable(run.setup, run.survey, specs, seed, params)
    weight = _weights(predictor, truth, draw_slices(specs, seed + 2))
    if (weight.sum(axis=1) ** 2 / np.sum(weight**2, axis=1)).min() < ENOUGH * n:
        specs = _sized(specs, MORE * N_CANDIDATES * n)
    rng = np.random.default_rng(seed + 3)
    around = truth + SPREAD * rng.standard_normal((N_AROUND, truth.size))
    samples = []
    for i in range(config.halos.n_replicates + 1):
        drawn = draw_slices(specs, seed + 3 + 17 * i)
        samples.append(thinned(drawn, shares_seen(predictor, around, drawn), n, rng))
    return samples


def _sized(specs: list[LightconeSpec], n: int) -> list[LightconeSpec]:
    return [dataclasses.replace(one, n_halo=n) for one in specs]


def _weights(predictor: Predictor, u: np.ndarray, halos: Halos) -> np.ndarray:
    """Weight with which each halo's galaxies are seen, [slice, halo]."""
    halos = in_precision(predictor.setup.config, halos)
    galaxies = predict_galaxies(predictor, predictor.setup.model_params(jnp.asarray(u)), halos)
    return np.asarray(galaxies.weight, float).reshape(len(halos.weight), 2, -1).sum(axis=1)


class Counter(eqx.Module):
    """Unconstrained vector and halos -> unnormalised counts of every layout, half sample by half sample.

    Attributes
    ----------
    centers : of each bandwidth's widest layout in the order of `WIDEST`, [slice, kernel, feature].
    """

    predictor: Predictor
    centers: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, simulated: Simulated) -> "Counter":
        run, kernels = simulated.run, simulated.kernels
        centers = {h: np.asarray(kernels[k, h].centers) for h, k in WIDEST.items()}
        for (k, h), one in kernels.items():
            if not np.array_equal(one.centers, centers[h][:, :k]):
                raise RuntimeError("centers of layouts aren't nested")
        return cls(Predictor(run.setup, run.survey), tuple(centers.values()))

    @eqx.filter_jit
    def __call__(self, u: jax.Array, halos: Halos) -> jax.Array:
        """sum_j w_j phi_k(y_j) of all kernels, and last sum_j w_j: [half, slice, kernel + 1]."""
        galaxies, kernels = self.predictor(u, halos), self.predictor.survey.kernels
        features = jnp.asarray(self.predictor.setup.features(galaxies.mag))

        def one(x: jax.Array, weight: jax.Array, i: jax.Array) -> jax.Array:
            mean, whiten = (jnp.asarray(a, x.dtype)[i, 0] for a in (kernels.mean, kernels.whiten))
            white, n = (x - mean) @ whiten, len(weight) // 4
            halves = weight.reshape(2, n, 2).transpose(2, 0, 1)  # galaxies: [kind, pair of halos, half]
            points = white.reshape(2, n, 2, -1).transpose(2, 0, 1, 3).reshape(2, 2 * n, -1)
            halves = halves.reshape(2, 2 * n)
            parts = []
            for h, centers in zip(WIDEST, self.centers, strict=True):
                c = jnp.asarray(centers, x.dtype)[i]
                square = jnp.sum(points**2, -1)[..., None] + jnp.sum(c**2, -1) - 2 * points @ c.T
                phi = jnp.exp(-jnp.maximum(square, 0) / (2 * h**2))
                parts.append(jnp.einsum("hj,hjk->hk", halves, phi))
            return jnp.concatenate([*parts, halves.sum(axis=1, keepdims=True)], axis=1)

        out = jax.vmap(one)(features, galaxies.weight, jnp.arange(len(features)))
        return out.transpose(1, 0, 2).astype(float)


def log_counts(raw: np.ndarray, layout: Layout, kernels: KernelCounts) -> np.ndarray:
    """Log-counts [..., sample of the layout, stat] from raw counts [..., sample, half, slice, kernel + 1].

    From one sample (two for 2048 halos) comes one of the layout: that which proposals are seen with.
    """
    if layout.n_halo == BASE.n_halo // 2:
        sums = raw[..., 0, :, :]
    elif layout.n_halo == BASE.n_halo:
        sums = raw.sum(axis=-3)
    else:
        n = raw.shape[-4] // 2
        sums = raw.sum(axis=-3)
        sums = sums[..., 0 : 2 * n : 2, :, :] + sums[..., 1 : 2 * n : 2, :, :]
    first = first_kernel(layout.bandwidth)
    soft = sums[..., first : first + layout.n_centers] / sums[..., -1:]
    log_m = np.log(soft + np.finfo(float).tiny) + np.log(np.asarray(kernels.n_obs))[:, None]
    used = np.asarray(kernels.mask).ravel() > 0
    return log_m.reshape(*log_m.shape[:-2], -1)[..., used]
