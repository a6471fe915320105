"""Samplers of the posterior.

`run_chains` is NUTS on a surrogate, which `popinfer.infer.checked` weights by exact evaluations: the default.
`nuts` runs on the exact density, the reference. `smc` starts from the prior and finds distant maxima and the
evidence.
"""

from popinfer.infer.sample.draws import Draws, LogDensity, Progress
from popinfer.infer.sample.hamiltonian import NutsSpec, nuts
from popinfer.infer.sample.surrogate_chains import Chains, ChainSpec, run_chains
from popinfer.infer.sample.tempered import SmcSpec, smc

__all__ = [
    "ChainSpec",
    "Chains",
    "Draws",
    "LogDensity",
    "NutsSpec",
    "Progress",
    "SmcSpec",
    "nuts",
    "run_chains",
    "smc",
]
