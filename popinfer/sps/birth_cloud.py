"""Birth clouds of fixed depth, built into the SSP grid: young stars and their nebular emission are dimmed.

Charlot & Fall (2000, ApJ 539, 718): stars younger than 10 Myr, and the nebular emission that they power,
shine through their birth clouds before they meet the diffuse medium. When the clouds' optical depth is the
same for all galaxies, their effect belongs to the SSPs, and costs nothing in a population.
"""

import dataclasses

import jax.numpy as jnp

from popinfer.records import SSP

from .dust import CharlotFall00, frac_trans
from .units import Scalar

CHARLOT_FALL_AV = 0.76  # A_V [mag]: 1.086 x 0.7, the paper's standard model (tau_V = 1, mu = 0.3)


def behind_birth_clouds(ssp: SSP, av: Scalar = CHARLOT_FALL_AV) -> SSP:
    """SSP grid whose stars younger than 10 Myr, and their nebular emission, are attenuated.

    Parameters
    ----------
    ssp : SSP
        Nebular emission included.
    av : float
        A_V of the clouds [mag]; may be traced and differentiated.

    Returns
    -------
    SSP
        Line luminosities stay intrinsic.
    """
    law = CharlotFall00()
    per_av = law.fiducial._replace(birth_to_diffuse=1.0)
    trans = frac_trans(law.birth_cloud(ssp.ssp_wave, per_av), av)
    young = law.young(ssp.ssp_lg_age_gyr, per_av)[:, None]
    return dataclasses.replace(ssp, ssp_flux=jnp.asarray(ssp.ssp_flux) * (1 - young + young * trans))
