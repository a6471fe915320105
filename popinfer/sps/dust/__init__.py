"""Attenuation by dust: published laws, one a file, and what they share (`popinfer.sps.dust.law`)."""

from .calzetti00 import Calzetti00
from .cardelli89 import Cardelli89
from .charlot_fall00 import CharlotFall00, EqualClouds, PowerLaw, ProportionalClouds
from .kriek_conroy13 import KriekConroy13
from .law import BirthClouds, DustLaw, check_attenuation, frac_trans, frac_trans_by_age, transmitted
from .noll09 import Noll09
from .salim18 import Salim18

__all__ = [
    "BirthClouds",
    "Calzetti00",
    "Cardelli89",
    "CharlotFall00",
    "DustLaw",
    "EqualClouds",
    "KriekConroy13",
    "Noll09",
    "PowerLaw",
    "ProportionalClouds",
    "Salim18",
    "check_attenuation",
    "frac_trans",
    "frac_trans_by_age",
    "transmitted",
]
