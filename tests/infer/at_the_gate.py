"""A sampler's draws as the gate sees them."""

import numpy as np
from inference_groups import draws_of

from popinfer.inference_data import add_groups
from popinfer.run.posterior import sample_statistics, unconstrained_group


def gate_groups(draws, mixture):
    """Draws and the search's maxima, as a run stores them."""
    highest = float(np.max(draws.stats["lp"], initial=0))
    draws.attrs.update({"region_settled": 1, "halo_share": 0.0, "best_fit_lp": highest})
    names = tuple(f"p{i}" for i in range(draws.u.shape[-1]))
    prior = np.random.default_rng(5).normal(size=(1, 2000, len(names)))
    idata = draws_of(
        **{
            group: {name: u[..., i] for i, name in enumerate(names)}
            for group, u in (("posterior", draws.u), ("prior", prior))
        }
    )
    vectors = unconstrained_group(names, draws, mixture)
    add_groups(idata, {"sample_stats": sample_statistics(draws), "unconstrained": vectors})
    return idata


def failed(found):
    """Titles of the checks that failed; at least one must have."""
    titles = {check.title for check in found.checks if not check.passed}
    assert not found.converged and len(found.failures) == len(titles) > 0
    return titles
