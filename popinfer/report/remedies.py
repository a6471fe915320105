"""What to change in the run file when a check of the convergence gate fails, by the sampler that drew.

Checks that only a damaged or foreign file can fail ask for fresh draws instead.
"""

from popinfer.report.checks import Check

_AGAIN = "Make the draws again: popinfer run FILE --fresh."
_UNDEFINED = (
    "Narrow the priors in free; popinfer doctor --replay posterior.nc tells where no number comes out."
)
_SURROGATE = (
    "More halos (halos.n_per_slice) smooth what the surrogate has to follow, a larger kernels.model_error "
    "widens the posterior, and sample.kind: nuts_exact needs no surrogate."
)
_LONGER = "Raise sample.n_warmup and sample.n_draws; where maxima are apart, sample.kind: smc finds them."
_MORE_DRAWS = "Raise sample.n_draws or sample.n_chains."
_FLAT = "hold parameters that the data can't tell in model.fixed (popinfer fisher ranks them)."

# by the title of the check; "" is for samplers that aren't named
_BY_SAMPLER: dict[str, dict[str, str]] = {
    "Bulk ESS": {"": _MORE_DRAWS, "smc": "Raise sample.n_particles or sample.n_moves."},
    "Tail ESS": {"": _MORE_DRAWS, "smc": "Raise sample.n_particles or sample.n_moves."},
    "Tree depth": {
        "": f"Raise sample.max_tree_depth, or {_FLAT}",
        "nuts": f"Raise sample.n_warmup, or {_FLAT}",
    },
    "Distinct draws": {
        "": _LONGER,
        "nuts": "Raise sample.min_ess and sample.max_evaluations.",
        "smc": "Raise sample.n_particles or sample.n_moves.",
    },
    "Maxima visited": {
        "": "Raise sample.n_chains, or set sample.kind: smc, which finds maxima that are apart.",
        "smc": "Raise sample.n_particles.",
    },
}
_BY_CHECK = {
    "Finite draws": _UNDEFINED,
    "Finite chains": _UNDEFINED,
    "Finite density": _UNDEFINED,
    "Defined density": _UNDEFINED,
    "Moving chains": _LONGER,
    "Distinct draws of chains": _LONGER,
    "R-hat": _LONGER,
    "Divergences": "Raise sample.target_accept towards 1, or narrow the priors in free.",
    "E-BFMI": f"Raise sample.n_warmup, or {_FLAT}",
    "Pareto k-hat": _SURROGATE,
    "Surrogate error": _SURROGATE,
    "Exact weights": f"Raise sample.n_draws and sample.max_evaluations together. {_SURROGATE}",
    "Region of the nodes": f"Narrow the priors in free. {_SURROGATE}",
    "Settled fit": "Raise fit.n_prior_starts or halos.n_per_slice.",
    "Best fit": "Raise fit.n_prior_starts or halos.n_per_slice.",
    "Halo noise": "Raise halos.n_per_slice; galaxies in fewer or wider slices need more halos each.",
    "Tempering": "Raise sample.n_particles and sample.n_moves.",
    "Moving particles": "Raise sample.n_moves or sample.max_leapfrog.",
    "Lineages": "Raise sample.n_particles, or sample.ess_fraction for smaller steps.",
}
_OF_FILES = ("Separate chains", "Coordinates", "Coordinates of chains", "Weighted draws", "Proposals")
_OWN = "Change the settings of your sampler in the section sample."
# that a class of the user's may not have: its settings have names of their own
_OF_SAMPLERS = ("Moving chains", "R-hat", "Divergences", "E-BFMI", "Bulk ESS", "Tail ESS", "Tree depth")


def remedy(check: Check, sampler: str) -> str:
    """What to change when a check has failed.

    Parameters
    ----------
    check : Check
        That failed.
    sampler : str
        That drew: "nuts", "nuts_exact", "smc" or "own".
    """
    if check.measured == "not stored" or check.title in _OF_FILES:
        return _AGAIN
    if sampler == "own" and check.title in (*_OF_SAMPLERS, "Distinct draws", "Maxima visited"):
        return _OWN
    if check.title in _BY_SAMPLER:
        advice = _BY_SAMPLER[check.title]
        return advice.get(sampler, advice[""])
    return _BY_CHECK[check.title]
