"""Is this installation sound? Versions, devices, precision, embedded data, and a small gradient."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS

from popinfer.data.embedded import asset_hashes
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import fiducial_params, with_values
from popinfer.population.relations import Relations
from popinfer.random import fixed_key, numpy_generator, stream
from popinfer.records import Halos
from popinfer.run.provenance import versions


def examine(missing: str = "") -> tuple[str, bool]:
    """Return what was found, as lines for a person, and whether all is well.

    Parameters
    ----------
    missing : str
        A choice of devices that JAX couldn't give, as `popinfer.precision.missing_devices` says it.
    """
    lines = [f"{name:<12s} {version}" for name, version in versions().items()]
    if missing:
        lines.append(f"{'device':<12s} {missing}: JAX has NO SUCH DEVICE here; it has those that follow")
    lines += [f"{'device':<12s} {device}" for device in jax.devices()]
    lines.append(f"{'precision':<12s} float64 {'available' if jax.config.read('jax_enable_x64') else 'off'}")
    healthy = not missing
    for name, found in asset_hashes().items():
        good = found.actual == found.expected
        healthy &= good
        state = "as shipped" if good else f"NOT as shipped (sha256 {found.actual[:12]})"
        lines.append(f"{'data':<12s} {name}: {state}")
    good, text = self_test()
    lines.append(f"{'self-test':<12s} {text}")
    return "\n".join(lines), healthy and good


def self_test(n_halo: int = 32) -> tuple[bool, str]:
    """Gradient of soft counts of star formation rates and halo masses in a tiny halo sample."""
    start = time.perf_counter()
    model = ForwardModel()
    halos = _made_up_halos(n_halo, model.sfh.n_normal)
    params = fiducial_params(model.components)
    shells = jax.tree.map(lambda x: x[None], halos)
    relations = Relations(model, halos, shells, np.linspace(0, 1, 8), np.full(8, 1e9))
    key = fixed_key("doctor")
    features = numpy_generator(stream(key, "features")).normal([10.0, -10.0], 1.0, size=(200, 2))
    kernels = KernelCounts.build(stream(key, "kernels"), [features], KernelSpec(10))

    def log_likelihood(shift: jax.Array) -> jax.Array:
        drawn = relations.sample(with_values(params, {"sfh.efficiency": shift}))
        features = jnp.stack([drawn.lg_mstar, drawn.lg_ssfr], axis=-1)
        return kernels.log_likelihood(features[None], jnp.asarray(drawn.weight)[None])

    value, gradient = (float(x) for x in jax.jit(jax.value_and_grad(log_likelihood))(jnp.asarray(0.0)))
    good = bool(np.isfinite(value) and np.isfinite(gradient) and gradient != 0)
    state = "passed" if good else "FAILED"
    return good, f"{state}: gradient {gradient:.4g} in {time.perf_counter() - start:.1f} s"


def _made_up_halos(n: int, n_normal: int) -> Halos:
    """Central halos of increasing mass with diffmah's default history."""
    one, zero = np.ones(n), np.zeros(n)
    lgm = np.linspace(11.5, 13.5, n)
    mah = jax.tree.map(lambda x: x * one, DEFAULT_MAH_PARAMS)._replace(logm0=lgm)
    normals = numpy_generator(fixed_key("doctor", "normals")).normal(size=(n, n_normal))
    return Halos(0.1 * one, 12.4 * one, mah, lgm, one, zero, zero, zero - 100.0, one / n, normals)
