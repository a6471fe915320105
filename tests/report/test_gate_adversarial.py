"""Draws, weights and attributes that are wrong in every way that was thought of: never CONVERGED."""

import numpy as np
import pytest
import synthetic

from popinfer.inference_data import add_groups, read_group
from popinfer.report import judge

PAR = "dust.av"


def exact(change):
    """Chains of the exact density, changed as stored draws would be: values and vectors alike."""
    posterior = synthetic.draws()
    change(posterior)
    return synthetic.chains(posterior)


def each(posterior, function):
    for name, values in posterior.items():
        posterior[name] = function(values)


def copied(values):
    return np.tile(values[:1], (4, 1))


def permuted(values, seed=4):
    order = np.random.default_rng(seed).permutation(values.shape[1])
    return np.stack([values[0], values[0][order], values[0][::-1], np.roll(values[0], 7)])


def noisy(size):
    return lambda x: copied(x) + size * np.ptp(x) * np.random.default_rng(1).normal(size=x.shape)


DRAWS = {
    "one point": lambda p: each(p, lambda x: np.full_like(x, x[0, 0])),
    "a point a chain": lambda p: each(p, lambda x: np.repeat(x[:, :1], x.shape[1], axis=1)),
    "two points": lambda p: each(p, lambda x: np.where(np.arange(x.shape[1]) % 2, x[0, 0], x[0, 1]) + 0 * x),
    "ten points": lambda p: each(p, lambda x: np.tile(x[:, :10], (1, 50))),
    "fifty points": lambda p: each(p, lambda x: np.tile(x[:, :50], (1, 10))),
    "one chain four times": lambda p: each(p, copied),
    "one chain in four orders": lambda p: each(p, permuted),
    "copies with tiny noise": lambda p: each(p, noisy(1e-9)),
    "copies with small noise": lambda p: each(p, noisy(1e-4)),
    "copies with noise": lambda p: each(p, noisy(1e-2)),
    "two chains twice": lambda p: each(p, lambda x: x[[0, 1, 0, 1]]),
    "a chain twice": lambda p: each(p, lambda x: x[[0, 1, 2, 2]]),
    "half a chain of another": lambda p: each(p, lambda x: np.concatenate([x[:1], x[:1, ::-1], x[2:]])),
    "two modes": lambda p: p.update({PAR: p[PAR] + np.array([[0], [0], [1], [1]])}),
    "other width": lambda p: p.update({PAR: p[PAR] * np.array([[1], [1], [1], [4]])}),
    "drift": lambda p: p.update({PAR: p[PAR] + np.linspace(0, 0.3, 500)}),
    "random walk": lambda p: p.update({PAR: 0.01 * np.cumsum(p[PAR], axis=1)}),
    "slow": lambda p: each(p, lambda x: np.repeat(x[:, ::25], 25, axis=1)),
    "nan": lambda p: p[PAR].__setitem__((1, 3), np.nan),
    "inf": lambda p: p[PAR].__setitem__((1, 3), np.inf),
    "minus inf": lambda p: p[PAR].__setitem__((1, 3), -np.inf),
    "all nan": lambda p: each(p, lambda x: x * np.nan),
    "one chain": lambda p: each(p, lambda x: x[:1]),
    "four draws": lambda p: each(p, lambda x: x[:, :4]),
    "fifty draws": lambda p: each(p, lambda x: x[:, :50]),
    "moved far": lambda p: each(p, lambda x: x + 1e6),
    "moved where no prior is": lambda p: p.update({PAR: p[PAR] + 30.0}),
    "scaled far": lambda p: each(p, lambda x: 1e4 * x),
    "constant parameter": lambda p: p.update({PAR: np.full((4, 500), 0.1)}),
}


@pytest.mark.parametrize("change", DRAWS.values(), ids=DRAWS.keys())
def test_draws(change):
    assert not judge(exact(change)).converged


VALUES = {  # of the draws alone, after they and their vectors were stored
    "moved": lambda x: x + 1e6,
    "moved by a width": lambda x: x + 0.2,
    "turned around": lambda x: -x,
    "scaled": lambda x: 3 * x,
    "in another order": lambda x: np.roll(x, 1, axis=1),
    "of another chain": lambda x: x[::-1],
    "one of them moved": lambda x: x + 0.3 * (np.arange(x.size).reshape(x.shape) == 5),
}


@pytest.mark.parametrize("kind", ["exact", "surrogate", "chains"])
@pytest.mark.parametrize("change", VALUES.values(), ids=VALUES.keys())
def test_values_that_were_changed(kind, change):
    idata = synthetic.chains() if kind == "exact" else synthetic.weighted(even())
    group = idata["chains" if kind == "chains" else "posterior"]
    group[PAR][:] = change(group[PAR].values)
    assert not judge(idata).converged


def even(n=600, sd=0.3):
    return sd * np.random.default_rng(3).normal(size=n)


def with_some(value, fraction, n=1000):
    log_weight = even(n)
    log_weight[: int(fraction * n)] = value
    return log_weight


WEIGHTS = {
    **{f"{v} in {f}": with_some(v, f) for v in (np.nan, np.inf, -np.inf) for f in (0.02, 0.38, 1.0)},
    "equal but one": np.where(np.arange(1000) == 7, 9.0, 0.0),
    "heavy tail": 3 * np.random.default_rng(3).pareto(1.0, size=1000),
    "surrogate off": even(sd=3.0, n=2000),
    "few": even(50),
    "three": even(3),
    "none": np.empty(0),
}


@pytest.mark.parametrize("log_weight", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights(log_weight):
    if log_weight.size == 0:
        idata = synthetic.weighted(even())
        add_groups(idata, {"sample_stats": read_group(idata, "sample_stats").isel(proposal=slice(0))})
    else:
        idata = synthetic.weighted(log_weight)
    assert not judge(idata).converged


def test_weights_of_other_draws():
    idata = synthetic.weighted(2 * even())
    idata["sample_stats"]["log_weight"][:] = even()[::-1]
    assert "Weighted draws" in {check.title for check in judge(idata).checks if not check.passed}


def test_draws_and_vectors_that_are_one_point_while_chains_are_good():
    for n in (1, 2, 50):
        idata = synthetic.weighted(even())
        for values in idata["posterior"].data_vars.values():
            values[:] = np.resize(values.values.ravel()[:n], values.shape)
        u = idata["unconstrained"]["posterior"]
        u[:] = np.resize(u.values.reshape(-1, u.shape[-1])[:n], u.shape)
        assert not judge(idata).converged


STATISTICS = {
    "density nan in 38 %": {"lp": np.where(np.arange(500) % 8 < 3, np.nan, -50.0) * np.ones((4, 1))},
    "density inf once": {"lp": np.where(np.arange(2000) == 4, np.inf, -50.0).reshape(4, 500)},
    "energy nan": {"energy": np.full((4, 500), np.nan)},
    "energy constant": {"energy": np.full((4, 500), 3.0)},
    "depth nan": {"tree_depth": np.full((4, 500), np.nan)},
    "depth saturated": {"tree_depth": np.full((4, 500), 10)},
    "diverging nan": {"diverging": np.full((4, 500), np.nan)},
    "diverging": {"diverging": np.ones((4, 500), bool)},
    **{f"no {name}": {name: None} for name in ("lp", "energy", "tree_depth", "diverging")},
}


@pytest.mark.parametrize("kind", ["exact", "surrogate"])
@pytest.mark.parametrize("changed", STATISTICS.values(), ids=STATISTICS.keys())
def test_statistics(kind, changed):
    idata = synthetic.chains(**changed) if kind == "exact" else synthetic.weighted(even(), **changed)
    assert not judge(idata).converged


@pytest.mark.parametrize("kind", ["exact", "surrogate"])
@pytest.mark.parametrize("value", [None, 0, np.nan, "yes"])
@pytest.mark.parametrize("name", ["sampler", "region_settled", "halo_share", "best_fit_lp"])
def test_attributes(kind, name, value):
    if name == "halo_share" and value == 0:
        value = 1.0  # none is fine
    if name == "best_fit_lp" and value == 0:
        value = -1e3
    idata = synthetic.chains() if kind == "exact" else synthetic.weighted(even())
    attrs = idata["sample_stats"].attrs
    attrs.pop(name)
    if value is not None:
        attrs[name] = value
    assert not judge(idata).converged


@pytest.mark.parametrize(
    ("make", "group"),
    [
        *((synthetic.chains, group) for group in ("sample_stats", "unconstrained", "prior")),
        *(
            (lambda: synthetic.weighted(even()), group)
            for group in ("sample_stats", "unconstrained", "prior", "chains", "chain_stats")
        ),
    ],
)
def test_groups_that_are_missing(make, group):
    idata = make()
    del idata[group]
    assert not judge(idata).converged


@pytest.mark.parametrize(
    "name",
    ["posterior", "chains", "proposals", "nodes", "maximum_mean", "maximum_cov", "maximum_weight", "par"],
)
@pytest.mark.parametrize("how", ["missing", "nan"])
def test_vectors_that_are_missing_or_no_numbers(name, how):
    idata = synthetic.weighted(even())
    data = read_group(idata, "unconstrained")
    if how == "missing" or name == "par":
        add_groups(idata, {"unconstrained": data.drop_vars(name)})
    else:
        add_groups(idata, {"unconstrained": data.assign({name: data[name] * np.nan})})
    assert not judge(idata).converged


def test_the_depth_of_trees_is_needed():
    idata = synthetic.chains()
    del idata["sample_stats"].attrs["max_tree_depth"]
    assert "'max_tree_depth' was not stored" in str(judge(idata))


def test_what_is_right_converges():
    assert judge(synthetic.chains()).converged
    assert judge(synthetic.weighted(even())).converged
