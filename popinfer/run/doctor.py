"""Is this installation sound? Versions, devices, precision, embedded data, and a small gradient."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS

from popinfer.cosmology import PLANCK15
from popinfer.data.embedded import asset_hashes
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.population.parameters import ParamNames, fiducial_params
from popinfer.population.relations import Relations
from popinfer.population.sfh import N_NORMALS
from popinfer.records import Halos
from popinfer.run.posterior import versions


def examine(missing: str = "") -> tuple[str, bool]:
    """Return what was found, as lines for a person, and whether all is well.

    Parameters
    ----------
    missing : a choice of devices that JAX couldn't give, as `popinfer.precision.missing_devices` says it.
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
    halos = _made_up_halos(n_halo)
    params = fiducial_params("smdpl_dr1", ParamNames((), (4000.0, 6000.0)))
    shells = jax.tree.map(lambda x: x[None], halos)
    relations = Relations(PLANCK15, halos, shells, np.linspace(0, 1, 8), np.full(8, 1e9))
    rng = np.random.default_rng(0)
    kernels = KernelCounts.build([rng.normal([10.0, -10.0], 1.0, size=(200, 2))], KernelSpec(10), seed=0)

    def log_likelihood(shift: jax.Array) -> jax.Array:
        families = params.families._replace(efficiency=shift)
        drawn = relations.sample(params._replace(families=families))
        features = jnp.stack([drawn.lg_mstar, drawn.lg_ssfr], axis=-1)
        return kernels.log_likelihood(features[None], jnp.asarray(drawn.weight)[None])

    value, gradient = (float(x) for x in jax.jit(jax.value_and_grad(log_likelihood))(jnp.asarray(0.0)))
    good = bool(np.isfinite(value) and np.isfinite(gradient) and gradient != 0)
    state = "passed" if good else "FAILED"
    return good, f"{state}: gradient {gradient:.4g} in {time.perf_counter() - start:.1f} s"


def _made_up_halos(n: int) -> Halos:
    """Central halos of increasing mass with diffmah's default history."""
    rng, one, zero = np.random.default_rng(1), np.ones(n), np.zeros(n)
    lgm = np.linspace(11.5, 13.5, n)
    mah = jax.tree.map(lambda x: x * one, DEFAULT_MAH_PARAMS)._replace(logm0=lgm)
    normals = rng.normal(size=(n, N_NORMALS))
    return Halos(0.1 * one, 12.4 * one, mah, lgm, one, zero, zero, zero - 100.0, one / n, normals)
