"""The fit stage: the surrogate of the posterior on the run's halos, its maximum, and what the fit can't tell.

1. From the search's maxima, found on few halos, the posterior is climbed on all of the run's
   (`popinfer.infer.search.follow_maxima`).
2. Nodes are spread over the posterior there, and evaluated: the surrogate
   (`popinfer.infer.surrogate_posterior`).
3. With the covariance that the nodes tell, which is that of the draws, the maxima are climbed once more, and
   from the best node, which may have found a better one.
4. Flat directions, the halo sample's share of the variance, goodness of fit at the best maximum.
"""

import dataclasses
import io
import math
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams, mah_singlehalo
from jaxtyping import Array, Float

from popinfer.cosmology import age
from popinfer.errors import InputError, percent
from popinfer.infer.counts import Evaluated, log_counts, log_counts_and_jacobian
from popinfer.infer.data import Data
from popinfer.infer.goodness import ChiSquare, chi_square_of_fit, determined_parameters
from popinfer.infer.laplace import Laplace, Mixture, flat_parameters
from popinfer.infer.optimise import density_and_grad
from popinfer.infer.search import MAX_ROUNDS, climb_under, follow_maxima, mixture_of
from popinfer.infer.sizes import NODES_PER_PARAMETER
from popinfer.infer.surrogate_posterior import SurrogatePosterior, build_surrogate
from popinfer.journal import began
from popinfer.random import stream
from popinfer.records import Halos
from popinfer.report.caveats import pulled_from_prior, starts_left
from popinfer.report.goodness import judge_fit
from popinfer.report.outcome import closing_lines
from popinfer.run.folder import read_json, write_json
from popinfer.run.prepare import Population, Run
from popinfer.run.progress import Reporter, with_total
from popinfer.run.search import Region
from popinfer.storage import read_sealed, write_sealed

EDGE_WIDTH = 0.1  # dex above halos.lgm_min
MAX_EDGE_SHARE = 0.01  # of a slice's predicted galaxies


@dataclass(frozen=True)
class FitResult:
    """What the fit stage leaves for sampling and the report.

    Attributes
    ----------
    surrogate : of the posterior, and the likelihood that goes with it.
    log_density : of the posterior at its best maximum.
    approx : Laplace approximation there.
    mixture : of all maxima.
    halo_direction : share of halo noise in the variance along the directions that the data measure.
        halo_counting : in that of counting and halo noise alone, without the errors allowed to the model.
    halo_counts : the same for each soft count; count_sd : errors of observed minus model counts.
    goodness, per_slice : goodness of fit at the maximum.
    starts : where the search's starts ended.
    flat : names of parameters with flat profiles.
    cautions : sentences for the reader on the halo sample.
    settled : whether the maxima stayed where they were when they were climbed again.
    """

    surrogate: SurrogatePosterior
    log_density: float
    approx: Laplace
    mixture: Mixture
    halo_direction: np.ndarray
    halo_counting: np.ndarray
    halo_counts: np.ndarray
    count_sd: np.ndarray
    goodness: ChiSquare
    per_slice: list[ChiSquare]
    starts: list[dict[str, Any]] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    settled: bool = True
    wall_time_s: float = math.nan

    def lines(self, names: tuple[str, ...]) -> list[str]:
        """What the stage tells at its end, for parameters of these names."""
        good = self.goodness
        shifts = dict(zip(names, map(float, self.approx.mean), strict=True))  # u is in units of the priors
        cautions = (*self.cautions, *starts_left(self.starts))
        fit = judge_fit(good.chi2, good.n_eff, good.p_value)
        return closing_lines(fit, pulled_from_prior(shifts), cautions)


def fit_population(run: Run, population: Population, region: Region, say: Reporter) -> FitResult:
    """Fit the population model; see the module's text for the steps."""
    start, problem = began(), (population.counts, population.data)
    with say.task("Maxima on all halos", MAX_ROUNDS) as update:
        search = follow_maxima(
            *problem, region.mixture, lambda step, moved: update(step, f"moved by {moved:.1f} sd")
        )
    with say.task("Nodes of the surrogate", NODES_PER_PARAMETER * run.model.space.size) as update:
        key = stream(run.key, "fit", "nodes")
        surrogate = build_surrogate(key, *problem, search.mixture, with_total(update))
    starts = [*(maximum.approx.mean for maximum in search.maxima), surrogate.best_node]
    with say.task("Maxima with the halos' noise at all nodes", 1) as update:
        maxima = climb_under(population.counts, surrogate.likelihood, starts)
        update(1, f"moved by {search.maxima[0].distance(maxima[0].approx.mean):.1f} sd")
    density, best = density_and_grad(surrogate.density), maxima[0]
    flat = flat_parameters(lambda u: density(u)[0], run.model.space.names, best.approx)
    result = FitResult(
        surrogate,
        surrogate.likelihood.log_posterior(log_counts(population.counts, best.approx.mean), best.approx.mean),
        best.approx,
        mixture_of(maxima),
        starts=region.starts,
        flat=flat,
        cautions=_cautions(run, population, best.approx.mean),
        settled=search.settled,
        **_quality(population, surrogate, best.approx),
    )
    return dataclasses.replace(result, wall_time_s=time.perf_counter() - start)


def _quality(population: Population, surrogate: SurrogatePosterior, approx: Laplace) -> dict[str, Any]:
    """Shares of halo noise, and goodness of fit, at the maximum."""
    likelihood, data = surrogate.likelihood, surrogate.likelihood.data
    info = likelihood.information(*log_counts_and_jacobian(population.counts, approx.mean))
    halo, rest = np.diag(surrogate.nodes.halo_cov), np.diag(data.log_cov)
    counting = likelihood.modes.T @ data.counting_cov @ likelihood.modes
    together, per_slice = chi_square_of_fit(info, data.slice_of, determined_parameters(approx.cov))
    return {
        "halo_direction": info.halo_share(),
        "halo_counting": info.halo_share(counting),
        "halo_counts": np.where(data.used, halo / np.where(data.used, rest + halo, 1.0), np.nan),
        "count_sd": data.observed * np.sqrt(rest + halo),
        "goodness": together,
        "per_slice": per_slice,
    }


def _cautions(run: Run, population: Population, u: np.ndarray) -> list[str]:
    """Whether the lowest halos still matter, and whether galaxies are missing from the sample's number."""
    cautions = _galaxies_left_out(run)
    halos = population.some_halos
    galaxies = population.galaxies(u, halos)
    lgm = _observed_mass(run, halos)
    weight = np.asarray(galaxies.weight, dtype=float).reshape(len(lgm), 2, -1).sum(axis=1)
    for i, (low, high) in enumerate(run.config.slices):
        edge = run.config.lgm_min_of(i)
        edge_fraction = weight[i][lgm[i] < edge + EDGE_WIDTH].sum() / weight[i].sum()
        if edge_fraction > MAX_EDGE_SHARE:
            cautions.append(
                f"At {low} < z < {high}, {100 * edge_fraction:.1f} % of the predicted galaxies live within "
                f"{EDGE_WIDTH} dex of the lowest halo mass, 10^{edge}: lower halos.lgm_min."
            )
    return cautions


def _observed_mass(run: Run, halos: Halos) -> Float[np.ndarray, "slice halo"]:
    """log10 of peak masses at observation [Msun], which the lowest halo mass refers to, not to today's."""
    lg_today = float(np.log10(age(run.model.cosmology, 0.0)))

    def mass_at(mah: DiffmahParams, t: Array) -> Array:
        return mah_singlehalo(mah, t[None], lg_today)[1][0]

    return np.asarray(jax.vmap(jax.vmap(mass_at))(halos.mah_params, jnp.asarray(halos.t_obs)))


def _galaxies_left_out(run: Run) -> list[str]:
    """Galaxies left out by conditions or for their photometry, where their number is part of the data."""
    if run.config.catalog.number_density is None:
        return []
    cuts = ("fainter than", "brighter than", "outside catalog.cuts")
    photometry = [
        loss for loss in run.catalog.dropped if "redshift" not in loss[0] and not loss[0].startswith(cuts)
    ]
    n = sum(rows for _, rows in photometry)
    if n == 0:
        return []
    return [
        f"{n} galaxies were left out by catalog.where or for their photometry "
        f"({percent(n / (n + run.catalog.z.size))} of the sample) and lack in its number density: "
        "catalog.number_density.sampling has to hold their share, or catalog.missing_bands: keep has to keep "
        "those that lack a band."
    ]


def write_fit(run: Run, result: FitResult) -> None:
    """Store the fit twice: arrays for the next stage, JSON for people, which names the arrays' hash."""
    folder, approx, surrogate = run.folder, result.approx, result.surrogate
    arrays = {
        "nodes": surrogate.nodes.points,
        "undefined": surrogate.undefined,
        "values": surrogate.nodes.values,
        "halo_cov": surrogate.nodes.halo_cov,
        "n_batch": np.asarray(surrogate.nodes.n_batch),
        "lengths": surrogate.fit.lengths,
        "mean": np.asarray(approx.mean),
        "cov": np.asarray(approx.cov),
        "mixture_weights": result.mixture.weights,
        "mixture_means": np.stack([part.mean for part in result.mixture.components]),
        "mixture_covs": np.stack([part.cov for part in result.mixture.components]),
        "halo_direction": result.halo_direction,
        "halo_counting": result.halo_counting,
        "halo_counts": result.halo_counts,
        "count_sd": result.count_sd,
    }
    identity, buffer = run.fingerprint("fit"), io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    content = {
        "arrays": write_sealed(folder.fit_arrays, buffer.getvalue(), "arrays", identity),
        "maximum": {name: float(x) for name, x in run.physical(approx.mean).items()},
        "log_density": result.log_density,
        "goodness": dataclasses.asdict(result.goodness),
        "per_slice": [dataclasses.asdict(part) for part in result.per_slice],
        "starts": result.starts,
        "flat": result.flat,
        "cautions": result.cautions,
        "settled": result.settled,
        "halo_share": [float(x) for x in result.halo_direction],
        "halo_share_of_counting": [float(x) for x in result.halo_counting],
        "surrogate": {
            "n_nodes": len(surrogate.nodes.points),
            "white": surrogate.fit.white,
            "left_out_error_nat": surrogate.left_out_error,
        },
        "wall_time_s": result.wall_time_s,
    }
    write_json(folder.fit, content, "fit", identity)


def read_fit(run: Run, data: Data) -> FitResult:
    """Load what `write_fit` stored; InputError when it is absent or of another configuration."""
    folder, identity = run.folder, run.fingerprint("fit")
    content = read_json(folder.fit, "fit", "fit", identity)
    sealed = read_sealed(folder.fit_arrays, "arrays", "fit", identity)
    if sealed.digest != content["arrays"]:
        raise InputError(f"{folder.fit_arrays}: of another fit than {folder.fit}; run 'popinfer fit' again")
    with np.load(io.BytesIO(sealed.content), allow_pickle=False) as stored:
        arrays = dict(stored)
    kernel = arrays["lengths"], content["surrogate"]["white"]
    nodes = Evaluated(arrays["nodes"], arrays["values"], arrays["halo_cov"], int(arrays["n_batch"]))
    surrogate = SurrogatePosterior.of(data, nodes, kernel, fixed=True)
    return FitResult(
        dataclasses.replace(surrogate, undefined=arrays["undefined"]),
        content["log_density"],
        Laplace(arrays["mean"], arrays["cov"]),
        Mixture(
            tuple(map(Laplace, arrays["mixture_means"], arrays["mixture_covs"])), arrays["mixture_weights"]
        ),
        arrays["halo_direction"],
        arrays["halo_counting"],
        arrays["halo_counts"],
        arrays["count_sd"],
        ChiSquare(**content["goodness"]),
        [ChiSquare(**part) for part in content["per_slice"]],
        content["starts"],
        content["flat"],
        content["cautions"],
        content["settled"],
        content["wall_time_s"],
    )
