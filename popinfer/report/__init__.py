"""From a stored posterior to a report that tells a person whether to believe it.

The report sees two things only: an ArviZ `InferenceData` (``posterior.nc``) and a `RunSummary`
(``summary.json``). Whoever samples writes the groups below; every group but ``posterior`` may be absent, and
the report then leaves out what it can't show and says so.

``posterior``
    One scalar per free parameter, named by its dotted name (``sfh.critical_mass``), dimensions (chain, draw),
    in physical units.
``prior``
    The same variables, (chain=1, draw=2000).
``sample_stats``
    NUTS on the exact density, (chain, draw): ``diverging``, ``energy``, ``tree_depth``, ``lp``,
    ``acceptance_rate``, ``n_steps``. NUTS on a surrogate: ``lp``, and ``log_weight`` (proposal), log of the
    exact over the surrogate's density of all draws that were evaluated exactly. Tempered particles:
    ``ancestor`` (number of the prior draw that a particle descends from), ``n_accepted``, ``undefined``,
    ``lp``. Attributes: ``sampler`` ("nuts", "nuts_exact", "smc", "own"), ``max_tree_depth``, ``power``,
    ``region_settled`` (1 where the maxima stayed where they were when the fit climbed again), ``halo_share``
    (largest share of halo noise in the variance along a direction that the data measure), ``best_fit_lp``
    (log-density at the best fit).
``unconstrained``
    Vectors, whose coordinate ``par`` names the parameters: ``posterior`` (chain, draw, par); ``maximum_mean``
    (maximum, par), ``maximum_cov`` and ``maximum_weight`` of the search's maxima; of a surrogate ``chains``
    (surrogate_chain, surrogate_draw, par), ``proposals`` (proposal, par) and ``nodes`` (node, par). The gate
    believes them, weights and statistics only, and fails draws that lack them.
``chains``, ``chain_stats``
    Of a surrogate: its chains, (chain, draw), the parameters as in ``posterior``; the sampler's statistics as
    those of NUTS on the exact density.
``posterior_predictive``
    (chain, draw, ...), usually about 100 thinned draws in one chain: ``hist`` (slice, feature, bin) expected
    counts in histograms of each color and the magnitude; ``pair`` (slice, pair, x, y) expected counts on
    color-color grids (the draws may be averaged away); ``soft_counts`` (slice, kernel).
``observed_data``
    ``hist``, ``pair``, ``soft_counts`` and ``soft_counts_sd`` with the same trailing dimensions;
    ``bin_edges`` (feature, edge), ``pair_x_edges`` (pair, x_edge) and ``pair_y_edges`` (pair, y_edge), all in
    mag; ``pair_name`` (pair), "g-r|u-g" for x|y; ``slice_z`` (slice, bound) redshift limits;
    ``kernel_center`` (slice, kernel, feature) where the soft counts' kernels are, in mag. The coordinate
    ``feature`` names the histograms: "u-g" with a minus sign is a color, "r" a magnitude.
``checks``
    Posterior predictive checks. (slice, statistic, feature), on coordinates ``statistic`` ("median" and
    "width" [mag], "blue_fraction") and ``feature``: ``observed``; ``predicted`` and ``predicted_sd``, mean
    and standard deviation over replicate surveys; ``p_value``, two-sided; NaN where there is none.
    ``dividing_color`` (slice, feature) [mag]. Of the likelihood's statistics: ``chi2`` (chain, draw) and
    ``chi2_slice`` (chain, draw, slice) of posterior draws, ``n_modes`` and ``n_modes_slice`` (slice) their
    degrees of freedom, ``p_chi2`` and ``p_chi2_slice`` (slice) the posterior predictive p-values. Attribute
    ``n_replicates``.
``derived``
    (draw, ...), each on the coordinate that is its x axis: ``smhm`` (lgmh) median log10 stellar mass [Msun];
    ``quenched_fraction`` (lgmstar); ``lg_ssfr`` (lgmstar) log10 of 1/yr, whose attribute ``definition`` says
    "star_forming" (their mean; the default) or "all" (the median of all); ``csfrd`` (z) log10 of
    Msun/yr/Mpc^3. The attribute ``z`` is the redshift at which a relation was evaluated. ``<name>_fiducial``
    is the same without draws. Attribute ``satellites``, a sentence on how they are quenched.
``simulation``
    Of the user's own halos, where a run has them, (slice, ...): ``mass_function`` and ``mass_function_sd`` of
    hosts [1/Mpc^3/dex] and ``mass_function_diffhalos`` (mass, log10 Msun); ``rms`` (rms_bin, dex), numbers of
    fitted histories by their residuals; ``t_peak`` and ``t_peak_diffhalos`` (t_peak_bin, Gyr), shares of
    centrals; ``formation_quenching`` (fixed_mass, log10 Msun), rank correlations of formation time and
    quenched fraction; ``slice_z`` (bound). Attributes ``source``, and ``satellites``, a sentence.

Markov chains of the exact density are stored as they are. ``posterior`` of a surrogate holds draws resampled
by their exact weights, that of the tempered route its particles, both dealt into four pseudo-chains, for
which R-hat means nothing: the gate looks at ``chains`` and weights, and at lineages, instead
(`popinfer.report.gate`).
"""

from popinfer.report.calibration_page import write_calibration
from popinfer.report.gate import Verdict, judge
from popinfer.report.html import write_report
from popinfer.report.outcome import Outcome, outcome_of
from popinfer.report.summary import RunSummary

__all__ = ["Outcome", "RunSummary", "Verdict", "judge", "outcome_of", "write_calibration", "write_report"]
