"""Networks of affine maps and functions of bounded slopes in turn: global bounds by LipSDP."""

from .between import BetweenCertificate as BetweenCertificate
from .between import improving_between as improving_between
from .between import recheck_between as recheck_between
from .bound import ChainCertificate as ChainCertificate
from .bound import bound as bound
from .bound import improving as improving
from .bound import recheck as recheck
from .chain import Chain as Chain
from .ends import Ends as Ends
from .layers import Folding as Folding
from .layers import Layer as Layer
from .layers import Slopes as Slopes
from .spectral import spectral_chain as spectral_chain
from .verify import UnverifiedMultipliers as UnverifiedMultipliers
from .verify import verified_bound as verified_bound

__all__ = [
    "BetweenCertificate",
    "Chain",
    "ChainCertificate",
    "Ends",
    "Folding",
    "Layer",
    "Slopes",
    "UnverifiedMultipliers",
    "bound",
    "improving",
    "improving_between",
    "recheck",
    "recheck_between",
    "spectral_chain",
    "verified_bound",
]
