"""Priors as push-forwards of a standard normal: round trips, distributions, Jacobians, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from popinfer.errors import InputError
from popinfer.params import FreeParam, ParamSpace, Prior

PRIORS = {
    "normal": (Prior("normal", loc=-0.4, scale=0.3), stats.norm(-0.4, 0.3)),
    "truncnormal": (
        Prior("truncnormal", loc=0.2, scale=0.5, low=-0.1, high=1.5),
        stats.truncnorm(-0.6, 2.6, loc=0.2, scale=0.5),
    ),
    "half-bounded truncnormal": (
        Prior("truncnormal", loc=0.2, scale=0.5, low=0.0),
        stats.truncnorm(-0.4, np.inf, loc=0.2, scale=0.5),
    ),
    "uniform": (Prior("uniform", low=-2.0, high=5.0), stats.uniform(-2.0, 7.0)),
    "lognormal": (Prior("lognormal", loc=0.4, scale=0.4), stats.lognorm(0.4, scale=0.4)),
}
all_priors = pytest.mark.parametrize(("prior", "scipy"), PRIORS.values(), ids=PRIORS)


@all_priors
def test_normal_quantiles_become_the_priors_quantiles(prior, scipy):
    p = np.array([1e-4, 0.01, 0.16, 0.5, 0.84, 0.99, 0.9999])
    np.testing.assert_allclose(
        prior.to_physical(jnp.asarray(stats.norm.ppf(p))), scipy.ppf(p), rtol=1e-8, atol=1e-8
    )


@all_priors
def test_density_by_change_of_variables_is_scipys(prior, scipy):
    u = np.linspace(-4, 4, 41)
    slope = jax.vmap(jax.grad(prior.to_physical))(jnp.asarray(u))
    density = stats.norm.pdf(u) / np.abs(slope)
    np.testing.assert_allclose(density, scipy.pdf(prior.to_physical(jnp.asarray(u))), rtol=1e-6)


@all_priors
def test_density_integrates_to_one(prior, scipy):
    u = np.linspace(-8, 8, 4001)
    x = np.asarray(prior.to_physical(jnp.asarray(u)))
    slope = np.asarray(jax.vmap(jax.grad(prior.to_physical))(jnp.asarray(u)))
    inside = slope > 1e-12
    density = stats.norm.pdf(u[inside]) / slope[inside]
    assert np.trapezoid(density, x[inside]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", PRIORS)
@settings(deadline=None, max_examples=30)
@given(u=st.floats(-5, 5))
def test_round_trip(name, u):
    prior = PRIORS[name][0]
    assert prior.to_unconstrained(float(prior.to_physical(jnp.asarray(u)))) == pytest.approx(u, abs=1e-5)


@pytest.mark.parametrize("name", ["truncnormal", "uniform"])
def test_bounded_priors_stay_inside_however_far_u_goes(name):
    prior = PRIORS[name][0]
    x = np.asarray(prior.to_physical(jnp.array([-40.0, -9.0, 9.0, 40.0])))
    assert np.all((x >= prior.low) & (x <= prior.high))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "normal", "scale": 0.0}, "scale"),
        ({"kind": "normal", "scale": -1.0}, "scale"),
        ({"kind": "normal", "scale": float("nan")}, "scale"),
        ({"kind": "uniform"}, "finite"),
        ({"kind": "uniform", "low": 1.0, "high": 1.0}, "below"),
        ({"kind": "truncnormal", "low": 2.0, "high": -2.0}, "below"),
        ({"kind": "lognormal", "loc": 0.0}, "median"),
        ({"kind": "lognormal", "loc": -1.0}, "median"),
    ],
)
def test_bad_priors_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        Prior(**arguments)


@pytest.mark.parametrize(
    ("prior", "value"),
    [
        (PRIORS["uniform"][0], 5.0),
        (PRIORS["uniform"][0], -7.0),
        (PRIORS["truncnormal"][0], 1.6),
        (PRIORS["lognormal"][0], 0.0),
        (PRIORS["lognormal"][0], -0.1),
    ],
)
def test_values_outside_the_prior_are_refused(prior, value):
    with pytest.raises(InputError, match="outside"):
        prior.to_unconstrained(value)


def test_priors_in_words():
    assert str(PRIORS["uniform"][0]) == "uniform(-2, 5)"
    assert str(PRIORS["normal"][0]) == "normal(-0.4, 0.3)"
    assert str(PRIORS["truncnormal"][0]) == "truncnormal(0.2, 0.5) in [-0.1, 1.5]"


@pytest.fixture
def space():
    return ParamSpace(
        tuple(
            FreeParam(name, PRIORS[kind][0])
            for name, kind in [("dust.lg_av", "normal"), ("halos.x", "lognormal"), ("sfh.y", "uniform")]
        )
    )


def test_space_keeps_names_in_order(space):
    assert space.names == ("dust.lg_av", "halos.x", "sfh.y")
    assert space.size == 3


def test_space_maps_by_name_and_back(space):
    values = {"sfh.y": 1.0, "dust.lg_av": -0.1}
    u = space.to_unconstrained(values)
    assert u[1] == 0
    physical = space.to_physical(jnp.asarray(u))
    assert float(physical["sfh.y"]) == pytest.approx(1.0)
    assert float(physical["dust.lg_av"]) == pytest.approx(-0.1)
    assert float(physical["halos.x"]) == pytest.approx(0.4)


def test_space_log_prior_is_a_standard_normal(space):
    u = np.array([0.3, -1.2, 2.0])
    assert float(space.log_prior(jnp.asarray(u))) == pytest.approx(stats.norm.logpdf(u).sum())


def test_space_refuses_ambiguous_names(space):
    with pytest.raises(InputError, match="at least one"):
        ParamSpace(())
    with pytest.raises(InputError, match=r"twice: dust\.lg_av"):
        ParamSpace((space.free[0], space.free[0]))
    with pytest.raises(InputError, match=r"not a free parameter: dust\.lgav"):
        space.to_unconstrained({"dust.lgav": 0.0})
