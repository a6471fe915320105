"""Tests that every component of the model has to pass, for those of a user's own too.

    def test_my_law():
        popinfer.testing.check_component(MyLaw())

A component is called as the forward model calls it, on made-up halos and galaxies. What comes out must have
the right shapes and lie within bounds, be the same compiled and mapped over galaxies, follow the precision of
its arguments, and have gradients that finite differences confirm, for every parameter that it declares. Each
of these has to change something.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from popinfer.components import ROLES, Component, declarations, role_base
from popinfer.cosmology import PLANCK15, age
from popinfer.errors import first_line
from popinfer.params import Declaration
from popinfer.population.roles import GalaxyProperties
from popinfer.precision import start
from popinfer.random import fixed_key, numpy_generator
from popinfer.records import Halos

N_SAMPLE = 6  # halos or galaxies on which a component is tried
_STEP = 1e-5  # of finite differences, in units of a parameter's scale
_INSIDE = 1e-3  # of a parameter's scale: how far from the ends of its domain differences are taken
_LARGEST = 1e30
# Angstrom; laws in terms of E(B-V) or with a bump aren't exactly one there
_V_BAND, _V_TOLERANCE = 5500.0, 0.05


class _Trial(NamedTuple):
    """How a component of a role is tried.

    Attributes
    ----------
    call : (component, parameters, one galaxy or halo) -> arrays that must lie within `bounds`.
    bounds : lowest and highest value of each output.
    sample : galaxies or halos, leading axis; the component is mapped over it.
    """

    call: Callable[[Any, Any, Any], tuple[Array, ...]]
    bounds: tuple[tuple[float, float], ...]
    sample: Any


def check_component(component: Component | type, role: str | None = None, rtol: float = 1e-4) -> None:
    """Try a component; AssertionError says what is wrong with it.

    Parameters
    ----------
    component : Component
        An instance, not the class: for example ``MyLaw()``.
    role : str or None
        Its place in the model, one of `popinfer.components.ROLES`; the first that its class fits when absent.
    rtol : float
        Relative difference of gradients and finite differences that is allowed.

    Raises
    ------
    AssertionError
        It misses a requirement; the message names the component, the requirement and the parameter.
    InputError
        Its parameters aren't declared as they have to be.
    """
    start()
    assert not isinstance(component, type), f"{component.__name__}: give an instance, {component.__name__}()"
    name = type(component).__name__
    role = _role_of(component) if role is None else role
    declared = {field.name: field.declaration for field in declarations(type(component.fiducial)).values()}
    _check_declared(name, component.fiducial, declared)
    trial = _TRIALS[role](component)

    def outputs(params: Any, sample: Any) -> tuple[Array, ...]:
        return jax.vmap(lambda one: trial.call(component, params, one))(sample)

    params, compiled = _inside(component.fiducial, declared), jax.jit(outputs)
    _check_call(name, role, compiled, params, trial)
    _check_outputs(name, (outputs, compiled), params, trial)
    if role == "dust_law":
        _check_at_v(name, component, params)
    _check_domain(name, compiled, params, declared, trial)
    _check_precision(name, compiled, params, trial)
    _check_gradients(name, compiled, params, declared, (trial.sample, rtol))
    _check_effects(name, compiled, params, declared, trial.sample)


def _role_of(component: Component) -> str:
    fits = [role for role in ROLES if isinstance(component, role_base(role))]
    assert fits, f"{type(component).__name__}: no role of the model has such a component"
    return fits[0]


def _check_declared(name: str, fiducial: Any, declared: Mapping[str, Declaration]) -> None:
    for field, declaration in declared.items():
        assert declaration.meaning, f"{name}.{field}: its declaration has no meaning in words"
        assert declaration.low < declaration.high, f"{name}.{field}: its domain is empty"
        value = float(getattr(fiducial, field))
        assert declaration.contains(value), (
            f"{name}.{field}: the default {value:g} lies outside its domain, {declaration.domain}"
        )


def _scale(declaration: Declaration) -> float:
    """How much a parameter may be expected to vary."""
    prior, width = declaration.prior, declaration.high - declaration.low
    if prior is None:
        return 0.1 * width
    values = [float(prior.to_physical(jnp.asarray(u))) for u in (-1.0, 1.0)]
    return min(0.5 * (values[1] - values[0]), width)


def _inside(fiducial: Any, declared: Mapping[str, Declaration]) -> Any:
    """Default values, moved away from the ends of their domains."""
    values = {}
    for field, declaration in declared.items():
        margin = 2 * _INSIDE * _scale(declaration)
        value = np.clip(float(getattr(fiducial, field)), declaration.low + margin, declaration.high - margin)
        values[field] = jnp.asarray(value)
    return type(fiducial)(**values)


def _check_call(name: str, role: str, outputs: Callable[..., Any], params: Any, trial: _Trial) -> None:
    """That it can be called as its role is, also when it is compiled."""
    try:
        outputs(params, trial.sample)
    except Exception as error:
        wanted = [arg for arg in inspect.signature(role_base(role).__call__).parameters if arg != "self"]
        raise AssertionError(
            f"{name}: called with ({', '.join(wanted)}) it fails: {type(error).__name__}, "
            f"{first_line(error)}. It has to take these in this order, and compute with jax.numpy"
        ) from error


def _check_at_v(name: str, component: Any, params: Any) -> None:
    """A law is relative to A_V: otherwise the amount of dust isn't what it is called."""
    value = float(component(jnp.asarray(_V_BAND), params))
    assert abs(value - 1) <= _V_TOLERANCE, (
        f"{name}: A_lambda / A_V is {value:.3g} at {_V_BAND:.0f} Angstrom, where it has to be 1; wavelengths "
        "are in Angstrom"
    )


def _check_outputs(name: str, outputs: tuple[Any, Any], params: Any, trial: _Trial) -> None:
    """Bounds, and the same result compiled or not, alone or among others."""
    eager, compiled = outputs
    mapped = compiled(params, trial.sample)
    _check_bounds(name, mapped, trial, "at its default parameters")
    alone = eager(params, jax.tree.map(lambda x: x[:1], trial.sample))
    for value, single in zip(mapped, alone, strict=True):
        message = f"{name}: it gives other values one by one or without jit"
        np.testing.assert_allclose(single, value[:1], rtol=1e-6, atol=1e-9, err_msg=message)


def _check_bounds(name: str, values: tuple[Array, ...], trial: _Trial, where: str) -> None:
    assert len(values) == len(trial.bounds), f"{name}: gives {len(values)} results, not {len(trial.bounds)}"
    for value, (low, high) in zip(values, trial.bounds, strict=True):
        bad = ~(np.isfinite(value) & (np.asarray(value) >= low) & (np.asarray(value) <= high))
        assert not bad.any(), (
            f"{name}: {where} it gives {np.asarray(value)[bad].ravel()[0]:g}; allowed is {low:g} to {high:g}"
        )


def _check_domain(
    name: str, outputs: Callable[..., Any], params: Any, declared: Mapping[str, Declaration], trial: _Trial
) -> None:
    """Values within bounds at both ends of every parameter's domain."""
    for field, declaration in declared.items():
        for end in (declaration.low, declaration.high):
            moved = params._replace(**{field: jnp.asarray(np.float64(end))})  # a float compiles again
            _check_bounds(name, outputs(moved, trial.sample), trial, f"with {field} = {end:g}")


def _check_precision(name: str, outputs: Callable[..., Any], params: Any, trial: _Trial) -> None:
    """Single-precision arguments give single-precision results that are nearly the same."""
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (params, trial.sample))
    for value, exact in zip(outputs(*single), outputs(params, trial.sample), strict=True):
        assert value.dtype == jnp.float32, (
            f"{name}: float32 arguments give {value.dtype}; cast constants to the arguments' dtype"
        )
        scale = np.abs(exact).max() + 1e-30
        np.testing.assert_allclose(
            value / scale, exact / scale, rtol=0, atol=2e-3, err_msg=f"{name}: float32 is far off"
        )


def _check_gradients(
    name: str,
    outputs: Callable[..., Any],
    params: Any,
    declared: Mapping[str, Declaration],
    how: tuple[Any, float],
) -> None:
    """Derivatives with respect to every parameter against central differences."""
    sample, rtol = how
    rng, made = numpy_generator(fixed_key("testing", "weights")), outputs(params, sample)

    weights = [rng.normal(size=np.shape(x)) / (np.abs(np.asarray(x)).max() + 1e-30) for x in made]

    @jax.jit
    def total(params: Any) -> Array:
        values = outputs(params, sample)
        return sum(
            (jnp.sum(jnp.asarray(weight) * value) for weight, value in zip(weights, values, strict=True)),
            start=jnp.asarray(0.0),
        )

    gradient = jax.jit(jax.grad(total))(params)
    for field, declaration in declared.items():
        step = _STEP * _scale(declaration)
        value = getattr(params, field)
        high, low = (float(total(params._replace(**{field: value + s * step}))) for s in (1, -1))
        numeric, exact = (high - low) / (2 * step), float(getattr(gradient, field))
        rounding = 1e-9 / step
        assert np.isfinite(exact) and abs(exact - numeric) <= rtol * abs(numeric) + rounding, (
            f"{name}.{field}: its gradient is {exact:g}, finite differences say {numeric:g}"
        )


def _check_effects(
    name: str, outputs: Callable[..., Any], params: Any, declared: Mapping[str, Declaration], sample: Any
) -> None:
    """That each parameter changes something: one that is never used would only follow its prior."""
    for field, declaration in declared.items():
        value, scale = float(getattr(params, field)), _scale(declaration)
        ends = [np.clip(value + side * scale, declaration.low, declaration.high) for side in (-1, 1)]
        made = [outputs(params._replace(**{field: jnp.asarray(end)}), sample) for end in ends]
        assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in zip(*made, strict=True)), (
            f"{name}.{field}: changes nothing that comes out between {ends[0]:g} and {ends[1]:g}"
        )


def _galaxies() -> GalaxyProperties:
    rng = numpy_generator(fixed_key("testing", "galaxies"))
    z = rng.uniform(0.05, 1.0, N_SAMPLE)
    return GalaxyProperties(
        lg_mstar=jnp.asarray(rng.uniform(8.5, 11.5, N_SAMPLE)),
        lg_ssfr=jnp.asarray(rng.uniform(-12.5, -9.0, N_SAMPLE)),
        z=jnp.asarray(z),
        t_obs=jnp.asarray(np.asarray(age(PLANCK15, z))),
        lg_mhalo=jnp.asarray(rng.uniform(10.5, 14.5, N_SAMPLE)),
        is_central=jnp.asarray(np.arange(N_SAMPLE) % 2.0),
        is_quenched=jnp.asarray(np.arange(N_SAMPLE) // 2 % 2.0),
    )


def _normals(number: int) -> Array:
    return jnp.asarray(numpy_generator(fixed_key("testing", "normals")).normal(size=(N_SAMPLE, number)))


def _halos() -> Halos:
    from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS

    rng = numpy_generator(fixed_key("testing", "halos"))
    lgm, central = rng.uniform(11.2, 14.0, N_SAMPLE), np.arange(N_SAMPLE) % 2.0
    z = rng.uniform(0.05, 0.5, N_SAMPLE)
    mah = DEFAULT_MAH_PARAMS._make(
        (
            lgm,
            *(rng.uniform(a, b, N_SAMPLE) for a, b in ((0, 0.5), (2, 3), (0.2, 0.8))),
            rng.uniform(8, 12, N_SAMPLE),
        )
    )
    mass_ratio, host, since = (np.where(central, a, b) for a, b in ((0.0, -1.5), (0.0, 13.5), (-100.0, 2.0)))
    halos = Halos(
        z_obs=z,
        t_obs=np.asarray(age(PLANCK15, z)),
        mah_params=mah,
        logmp0=lgm,
        is_central=central,
        lgmu_infall=mass_ratio,
        logmhost_infall=host,
        gyr_since_infall=since,
        weight=np.ones(N_SAMPLE),
        normals=np.zeros((N_SAMPLE, 1)),
    )
    return jax.tree.map(jnp.asarray, halos)


def _of_galaxies(call: Callable[..., tuple[Array, ...]], *bounds: tuple[float, float]) -> Any:
    """A trial on galaxies with as many standard normals as the component wants."""

    def trial(component: Component) -> _Trial:
        return _Trial(
            lambda part, params, one: call(part, params, *one),
            bounds,
            (_galaxies(), _normals(component.n_normal)),
        )

    return trial


_WAVE = np.geomspace(1000.0, 20_000.0, 12)
_ANY = (-_LARGEST, _LARGEST)


def _waves(like: Array) -> Array:
    return jnp.asarray(_WAVE, like.dtype)


def _sfh(component: Component) -> _Trial:
    def call(part: Any, params: Any, one: Any) -> tuple[Array, ...]:
        halo, normals = one
        times = halo.t_obs * jnp.linspace(0.1, 1.0, 10, dtype=halo.t_obs.dtype)
        return tuple(part(params, halo, times, PLANCK15, normals))

    return _Trial(call, ((0, _LARGEST), (0, 1)), (_halos(), _normals(component.n_normal)))


def _burstiness(part: Any, params: Any, galaxy: Any, normals: Array) -> tuple[Array, ...]:
    lookback = jnp.linspace(0.0, 2.0, 8, dtype=normals.dtype)
    return (part(params, galaxy, lookback, normals),)


def _clouds(part: Any, params: Any, galaxy: Any, _: Array) -> tuple[Array, ...]:
    ages = jnp.linspace(-4.0, 1.0, 12, dtype=galaxy.z.dtype)
    return part(_waves(galaxy.z), params, galaxy.z), part.young(ages, params)


_TRIALS: dict[str, Callable[[Component], _Trial]] = {
    "sfh": _sfh,
    "metallicity": _of_galaxies(
        lambda part, params, galaxy, n: tuple(part(params, galaxy, n)), _ANY, (0, _LARGEST)
    ),
    "dust": _of_galaxies(
        lambda part, params, galaxy, n: tuple(part(params, galaxy, n)), (0, _LARGEST), (0, 1)
    ),
    "dust_law": _of_galaxies(
        lambda part, params, galaxy, _: (part(_waves(galaxy.z), params),), (0, _LARGEST)
    ),
    "birth_cloud": _of_galaxies(_clouds, (0, _LARGEST), (0, 1)),
    "nebular": _of_galaxies(
        lambda part, params, galaxy, _: tuple(jnp.asarray(x) for x in part(params)), _ANY, _ANY, (0, 1)
    ),
    "burstiness": _of_galaxies(_burstiness, (0, _LARGEST)),
    "satellites": lambda component: _Trial(
        lambda part, params, halo: (part(params, halo),), ((0, _LARGEST),), _halos()
    ),
    "template": _of_galaxies(lambda part, params, galaxy, _: (part(params, _waves(galaxy.z), galaxy),), _ANY),
    "zero_point": _of_galaxies(lambda part, params, galaxy, _: (part(params),), _ANY),
}
