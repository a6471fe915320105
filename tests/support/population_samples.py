"""Model galaxies for tests of components."""

import jax.numpy as jnp

from popinfer.population.roles import GalaxyProperties


def galaxy(lg_mstar=10.5, lg_ssfr=-10.0, z=0.1, is_quenched=0.0):
    """A central galaxy in a halo of 10^12 Msun, 12.4 Gyr after the Big Bang."""
    values = (lg_mstar, lg_ssfr, z, 12.4, 12.0, 1.0, is_quenched)
    return GalaxyProperties(*(jnp.asarray(x, getattr(x, "dtype", float)) for x in values))
