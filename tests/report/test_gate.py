"""The gate passes good draws and catches each way of being wrong."""

import arviz as az
import numpy as np
import pytest
import synthetic
import xarray as xr
from inference_groups import draws_of
from scipy.signal import lfilter

from popinfer.errors import InputError
from popinfer.inference_data import InferenceData, add_groups, read_group
from popinfer.report import judge
from popinfer.resampling import pareto_smooth

_surrogate = synthetic.weighted


def _only_failure(idata: InferenceData) -> str:
    verdict = judge(idata)
    assert not verdict.converged
    assert len(verdict.failures) == 1, verdict.failures
    return verdict.failures[0]


def test_good_chains_converge_with_finite_numbers():
    verdict = judge(synthetic.chains())
    assert verdict.converged and not verdict.failures and str(verdict) == "CONVERGED"
    assert [row.name for row in verdict.table] == list(synthetic.PARAMETERS)
    for row in verdict.table:
        assert 0.99 < row.rhat < 1.01
        assert 1500 < row.ess_bulk < 2600 and 1000 < row.ess_tail < 2600


def test_chains_in_two_modes_fail_on_r_hat():
    posterior = synthetic.draws()
    posterior["dust.av"][2:] += 0.4
    verdict = judge(synthetic.chains(posterior))
    assert not verdict.converged
    assert any("R-hat" in sentence and "dust.av" in sentence for sentence in verdict.failures)
    assert not any("sfh.efficiency" in sentence for sentence in verdict.failures)


def test_same_mean_but_other_width_fails_on_r_hat():
    # classical R-hat compares means and would be 1.000 here
    posterior = synthetic.draws(n=2000)
    mean = synthetic.PARAMETERS["dust.av"][0]
    posterior["dust.av"][0] = mean + 3 * (posterior["dust.av"][0] - mean)
    assert "R-hat" in " ".join(judge(synthetic.chains(posterior)).failures)


def test_divergences_of_a_funnel_fail():
    diverging = np.zeros((4, 500), dtype=bool)
    diverging[1, 100:140] = True
    assert "40 of 2,000 transitions diverged" in _only_failure(synthetic.chains(diverging=diverging))


def test_two_divergences_in_two_thousand_are_tolerated_three_are_not():
    diverging = np.zeros((4, 500), dtype=bool)
    diverging[0, :2] = True
    assert judge(synthetic.chains(diverging=diverging)).converged
    diverging[0, 2] = True
    assert not judge(synthetic.chains(diverging=diverging)).converged


def test_slow_energy_fails_on_e_bfmi_and_names_the_chain():
    energy = synthetic.nuts_stats()["energy"]
    energy[3] = np.cumsum(np.random.default_rng(2).normal(size=500))  # a random walk: BFMI near zero
    failure = _only_failure(synthetic.chains(energy=energy))
    assert "E-BFMI" in failure and "chain 3" in failure


def test_e_bfmi_agrees_with_arviz():
    idata = synthetic.chains()
    check = next(one for one in judge(idata).checks if one.title == "E-BFMI")
    theirs = az.bfmi(idata)  # an array, or with ArviZ 1 a dataset
    theirs = theirs["energy"] if hasattr(theirs, "data_vars") else theirs
    assert float(check.measured) == pytest.approx(float(np.min(theirs)), abs=0.006)


def test_too_short_chains_fail_on_ess_but_not_on_r_hat():
    verdict = judge(synthetic.chains(synthetic.draws(n=80)))
    assert not verdict.converged
    text = " ".join(verdict.failures)
    assert "Bulk ESS" in text and "Tail ESS" in text


def test_frozen_chain_is_named():
    posterior = synthetic.draws()
    for values in posterior.values():
        values[2] = values[2, 0]
    verdict = judge(synthetic.chains(posterior))
    assert any("Chain 2 is frozen" in sentence for sentence in verdict.failures)


def test_all_chains_frozen_at_one_point_fail():
    posterior = {name: np.full((4, 500), 0.3) for name in synthetic.PARAMETERS}
    verdict = judge(synthetic.chains(posterior))
    assert not verdict.converged and "frozen" in str(verdict)


def test_chain_that_hardly_moves_is_frozen():
    posterior = synthetic.draws()
    for values in posterior.values():
        values[1] = np.repeat(values[1, ::50], 50)  # 10 distinct draws in 500
    assert "Chain 1 is frozen" in str(judge(synthetic.chains(posterior)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draws_that_are_not_finite_fail(bad: float):
    posterior = synthetic.draws()
    posterior["sfh.efficiency"][0, 7] = bad
    text = str(judge(synthetic.chains(posterior)))
    assert "1 draws of sfh.efficiency are not finite" in text


def test_saturated_tree_depth_fails_against_the_stored_limit():
    depth = np.full((4, 500), 5)
    depth[0, :30] = 8
    idata = synthetic.chains(tree_depth=depth)
    assert judge(idata).converged  # the limit is 10
    idata["sample_stats"].attrs["max_tree_depth"] = 8
    assert "tree depth, 8" in _only_failure(idata)


def test_single_chain_cannot_converge():
    assert not judge(synthetic.chains(synthetic.draws(chains=1, n=4000))).converged


@pytest.mark.parametrize("missing", ["diverging", "energy", "tree_depth"])
def test_nuts_without_its_statistics_is_not_trusted(missing: str):
    assert f"'{missing}' was not stored" in _only_failure(synthetic.chains(**{missing: None}))


def _particles(ancestor: np.ndarray | None = None, **changed: object) -> InferenceData:
    """Tempered particles, independent and each with an ancestor of its own unless told otherwise."""
    idata = draws_of(posterior=synthetic.draws())
    stats = {
        "ancestor": np.arange(2000).reshape(4, 500) if ancestor is None else ancestor,
        "n_accepted": np.full((4, 500), 2),
        "undefined": np.zeros((4, 500), bool),
    } | {name: value for name, value in changed.items() if name != "power"}
    stats = {name: (("chain", "draw"), value) for name, value in stats.items() if value is not None}
    attrs = {"sampler": "smc", "power": changed.get("power", 1.0), **synthetic.OF_THE_FIT}
    add_groups(idata, {"sample_stats": xr.Dataset(stats, attrs=attrs)})
    return synthetic.with_coordinates(idata)


def test_good_particles_converge_without_r_hat():
    verdict = judge(_particles())
    assert verdict.converged and verdict.sampler == "smc"
    for row in verdict.table:
        assert np.isnan(row.rhat)
        assert row.ess_bulk == pytest.approx(2000) and row.ess_tail == pytest.approx(2000)


def test_independent_particles_are_worth_their_number_whatever_their_lineages():
    # siblings that forgot each other: the lineage variance estimates the same, with the noise of 200 groups
    verdict = judge(_particles(np.random.default_rng(0).integers(200, size=(4, 500))))
    assert verdict.converged
    assert all(1400 < row.ess_bulk < 2800 for row in verdict.table)


def test_particles_that_repeat_their_ancestor_are_worth_their_lineages():
    idata = _particles(np.tile(np.arange(500) // 2, (4, 1)))
    for values in idata["posterior"].data_vars.values():
        values[:] = np.repeat(values.values[0, ::2], 2)
    verdict = judge(idata)
    assert all(row.ess_bulk == pytest.approx(250) for row in verdict.table)
    assert any("Bulk ESS is 250" in sentence for sentence in verdict.failures)


def test_few_lineages_fail_even_when_their_particles_look_independent():
    verdict = judge(_particles(np.random.default_rng(0).integers(20, size=(4, 500))))
    assert any("descend from 20 prior draws" in sentence for sentence in verdict.failures)
    assert not judge(_particles(np.zeros((4, 500), int))).converged


@pytest.mark.parametrize("power", [0.4, np.nan])
def test_unfinished_tempering_fails(power: float):
    assert "posterior was not reached" in _only_failure(_particles(power=power))


def test_particles_that_stood_still_or_met_no_density_fail():
    still, undefined = np.full((4, 500), 1), np.zeros((4, 500), bool)
    still[:3] = 0
    assert "Only 25 % of the particles moved" in _only_failure(_particles(n_accepted=still))
    undefined[0, :20] = True
    assert judge(_particles(undefined=undefined)).converged
    undefined[0, 20] = True
    assert "no number" in _only_failure(_particles(undefined=undefined))


@pytest.mark.parametrize("missing", ["ancestor", "n_accepted", "undefined"])
def test_particles_without_their_statistics_are_not_trusted(missing: str):
    idata = _particles()
    add_groups(idata, {"sample_stats": read_group(idata, "sample_stats").drop_vars(missing)})
    assert f"'{missing}' was not stored" in str(judge(idata))


def _even(seed: int = 3, n: int = 600, sd: float = 0.3) -> np.ndarray:
    return sd * np.random.default_rng(seed).normal(size=n)


def test_good_draws_of_a_surrogate_converge():
    verdict = judge(_surrogate(_even()))
    assert verdict.converged, str(verdict)
    assert verdict.sampler == "nuts"
    titles = {check.title for check in verdict.checks}
    assert {"R-hat", "Divergences", "E-BFMI", "Tree depth", "Pareto k-hat", "Exact weights"} <= titles
    for row in verdict.table:  # of the surrogate's chains, not of the resampled draws
        assert 0.99 < row.rhat < 1.01 and row.ess_bulk > 1500


def test_chains_of_a_surrogate_are_judged_whatever_its_resampled_draws_look_like():
    idata = _surrogate(_even())
    idata["chains"]["dust.av"][2:] += 0.4
    assert "R-hat" in " ".join(judge(idata).failures)
    diverging = np.zeros((4, 500), dtype=bool)
    diverging[1, 100:140] = True
    assert "40 of 2,000 transitions diverged" in _only_failure(_surrogate(_even(), diverging=diverging))
    deep = np.full((4, 500), 10)
    assert "largest tree depth" in _only_failure(_surrogate(_even(), tree_depth=deep))
    slow = synthetic.nuts_stats()["energy"]
    slow[3] = np.cumsum(np.random.default_rng(2).normal(size=500))
    assert "E-BFMI" in _only_failure(_surrogate(_even(), energy=slow))


def test_draws_of_a_surrogate_without_chains_or_weights_are_not_trusted():
    bare = _surrogate(_even())
    del bare["chains"], bare["chain_stats"]
    assert "'chains' was not stored" in str(judge(bare))
    assert "'log_weight' was not stored" in _only_failure(_surrogate(None))


def test_undefined_exact_evaluations_fail():
    log_weight = _even(n=1000)
    log_weight[:10] = np.nan
    assert judge(_surrogate(log_weight)).converged
    log_weight[10] = np.nan
    assert "no number for 1.1 %" in _only_failure(_surrogate(log_weight))
    assert not judge(_surrogate(np.full(1000, np.nan))).converged


def test_heavy_tailed_weights_fail_on_pareto_k_whatever_was_stored():
    log_weight = np.log(np.random.default_rng(3).pareto(1.0, size=4000) + 1) * 1.5
    idata = _surrogate(log_weight)
    idata["sample_stats"].attrs.update(pareto_k=0.2, importance_ess=3000.0)
    assert any("Pareto k-hat" in sentence for sentence in judge(idata).failures)


def test_shape_of_the_tail_is_not_asked_for_where_all_weights_are_even():
    """A surrogate good to 0.001 nat but for a few draws that are off by up to a tenth."""
    log_weight = _even(n=500, sd=0.001)
    log_weight[:5] = 0.01, 0.02, 0.04, 0.07, 0.12
    assert pareto_smooth(log_weight)[1] > 0.7
    assert judge(_surrogate(log_weight)).converged
    log_weight[:5] = 0.5, 1.0, 1.8, 2.8, 4.0
    assert any("Pareto k-hat" in sentence for sentence in judge(_surrogate(log_weight)).failures)


def test_draws_beyond_the_nodes_fail():
    idata = _surrogate(_even())
    assert judge(idata).converged
    nodes = idata["unconstrained"]["nodes"]
    nodes[:] = nodes.mean("node") + 0.7 * (nodes - nodes.mean("node"))
    assert "beyond the surrogate's nodes" in _only_failure(idata)
    add_groups(idata, {"unconstrained": read_group(idata, "unconstrained").drop_vars("nodes")})
    assert "'nodes' was not stored" in _only_failure(idata)


def test_few_exact_weights_fail_on_their_worth():
    failure = _only_failure(_surrogate(_even(n=300)))
    assert "worth" in failure and "400" in failure


def test_weights_of_slow_chains_fail_on_their_worth():
    """The same weights, of chains whose neighbours hardly differ: their draws tell little more together."""
    slow, rng = _surrogate(_even(n=480)), np.random.default_rng(6)
    assert judge(slow).converged
    for i, (name, (_, _, scale, *_)) in enumerate(synthetic.PARAMETERS.items()):
        values, noise = slow["chains"][name].values, rng.normal(size=slow["chains"][name].shape)
        chain = lfilter([1.0], [1.0, -0.4], noise, axis=1)
        values[...] = values.mean() + values.std() * chain / chain.std()
        slow["unconstrained"]["chains"].values[..., i] = values / scale
    failures = " ".join(judge(slow).failures)  # others, too: weighted draws are not those of the chains
    assert "weighted draws are worth" in failures
    assert "R-hat" not in failures and "effective sample" not in failures


def test_a_surrogate_that_errs_fails_even_with_many_draws():
    assert judge(_surrogate(_even(n=20_000, sd=1.1))).converged
    assert "off by 1.30 nat" in _only_failure(_surrogate(_even(n=20_000, sd=1.3)))


def test_zero_weights_are_no_failure():
    log_weight = _even(n=2000)
    log_weight[:5] = -np.inf
    assert judge(_surrogate(log_weight)).converged


def test_no_posterior_is_one_clear_line():
    with pytest.raises(InputError, match="posterior"):
        judge(draws_of(prior={"a": np.zeros((1, 10))}))


def test_vector_parameters_are_refused():
    with pytest.raises(InputError, match="chain, draw"):
        judge(draws_of(posterior={"a": np.zeros((4, 10, 2))}))


def test_a_fit_that_moves_and_modes_that_no_draw_visits_fail():
    idata = synthetic.chains()
    idata["sample_stats"].attrs["region_settled"] = 0
    assert "didn't settle" in _only_failure(idata)
    idata = synthetic.chains()
    idata["sample_stats"].attrs["halo_share"] = 0.42
    assert "makes 42 % of all variance" in _only_failure(idata)
    idata = synthetic.chains()
    idata["sample_stats"].attrs["best_fit_lp"] = float(idata["sample_stats"]["lp"].max()) - 6.0
    assert "6.0 above the best fit's" in _only_failure(idata)
    idata = synthetic.chains()
    maxima = read_group(idata, "unconstrained")
    two = {"maximum": [0, 0]}
    two_maxima = maxima.isel(two).assign(maximum_weight=(("maximum",), [0.7, 0.3]))
    add_groups(idata, {"unconstrained": two_maxima})
    assert judge(idata).converged
    idata["unconstrained"]["maximum_mean"][1] += 5.0
    assert "about 30 %" in _only_failure(idata)
