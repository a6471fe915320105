"""Everything that a run did apart from its draws, for the report."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from popinfer.inference_data import InferenceData, read_group
from popinfer.report import RunSummary
from popinfer.report.caveats import MAX_HALO_SHARE
from popinfer.run.fitting import FitResult
from popinfer.run.prepare import Population, Run
from popinfer.run.provenance import versions
from popinfer.run.resolution import galaxies_missing
from popinfer.run.search import read_region
from popinfer.run.simulation import drawn_beside, sentences_on


def summary_of_run(run: Run, population: Population, fit: FitResult, idata: InferenceData) -> RunSummary:
    """Collect the stages' numbers."""
    free = run.model.space.free
    checks = read_group(idata, "checks")
    per_slice = (
        {"chi2": g.chi2, "n_eff": g.n_eff, "p_value": g.p_value, "predictive_p_value": float(p)}
        for g, p in zip(fit.per_slice, checks["p_chi2_slice"].values, strict=True)
    )
    return RunSummary(
        name=run.config.name,
        config_text=run.config.to_yaml(),
        versions=versions(),
        hashes=run.hashes(),
        wall_time_s={
            "search": read_region(run).wall_time_s,
            "halos": population.wall_time_s,
            "fit": fit.wall_time_s,
            "sample": float(read_group(idata, "posterior").attrs["wall_time_s"]),
        },
        n_galaxies=run.n_galaxies,
        dropped=run.catalog.dropped,
        n_halos=population.n_halos,
        best_fit={name: float(x) for name, x in run.physical(fit.approx.mean).items()},
        truth=run.truth,
        log_density_best=fit.log_density,
        chi2=fit.goodness.chi2,
        n_eff=fit.goodness.n_eff,
        p_value=fit.goodness.p_value,
        predictive_p_value=float(checks["p_chi2"]),
        goodness_per_slice=tuple(per_slice),
        halo_share_max=float(np.nanmax(fit.halo_counts)),
        halo_share_median=float(np.nanmedian(fit.halo_counts)),
        flat_directions=tuple(fit.flat),
        starts=tuple(fit.starts),
        sampler=dict(read_group(idata, "sample_stats").attrs),
        warnings=(
            *run.catalog.warnings,
            *sentences_on(run.source),
            *drawn_beside(run.config),
            *galaxies_missing(run, run.model.params_at(jnp.asarray(fit.approx.mean))),
            *fit.cautions,
            *_halo_noise(fit.halo_counting),
        ),
        priors={p.name: str(p.prior) for p in free},
        units={p.name: p.unit for p in free},
        meanings={p.name: p.meaning for p in free},
    )


def _halo_noise(halo_counting: Float[np.ndarray, "direction"]) -> list[str]:
    """What the report's own rules don't see: they know soft counts, not directions of parameters.

    Parameters
    ----------
    halo_counting : Float[np.ndarray, "direction"]
        Share of halo noise in the variance of counting and halo noise.
    """
    over_counting = halo_counting / np.maximum(1 - halo_counting, np.finfo(float).tiny)
    largest, median = over_counting.max(), np.median(over_counting)
    if not largest > MAX_HALO_SHARE:
        return []
    return [
        f"Noise of the halo sample reaches {_percent(largest)} of the counting noise alone, without errors "
        f"that the model is allowed (variances, along a direction that the data measure; median "
        f"{_percent(median)}), and {_percent(MAX_HALO_SHARE)} are asked for. The posterior's width includes "
        "it; more halos (halos.n_per_slice) would narrow it."
    ]


def _percent(ratio: float) -> str:
    """A ratio in percent; one that is beyond all use isn't told to the digit."""
    return f"{100 * ratio:.0f} %" if ratio < 10 else "more than 1,000 %"
