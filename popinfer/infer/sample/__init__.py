"""Samplers of a log-density of one vector; all are called ``(key, log_density, start, spec, progress)``.

`nuts` is the reference. `mclmc` is exact too and spends its gradients differently. `psis_laplace` is the fast
route where the Laplace approximation is near the posterior. `smc` starts from the prior and finds other modes
and the evidence.
"""

from popinfer.infer.sample.chains import ChainSpec
from popinfer.infer.sample.draws import Draws, LogDensity, Progress
from popinfer.infer.sample.hamiltonian import NutsSpec, nuts
from popinfer.infer.sample.importance import PsisSpec, psis_laplace
from popinfer.infer.sample.microcanonical import MclmcSpec, mclmc
from popinfer.infer.sample.tempered import SmcSpec, smc

__all__ = [
    "ChainSpec",
    "Draws",
    "LogDensity",
    "MclmcSpec",
    "NutsSpec",
    "Progress",
    "PsisSpec",
    "SmcSpec",
    "mclmc",
    "nuts",
    "psis_laplace",
    "smc",
]
