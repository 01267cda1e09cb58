"""Networks of affine maps and slope-restricted functions in turn: global bounds by LipSDP."""

from .bound import ChainCertificate as ChainCertificate
from .bound import bound as bound
from .bound import recheck as recheck
from .chain import Chain as Chain
from .chain import Folding as Folding
from .chain import Layer as Layer
from .chain import Slopes as Slopes
from .spectral import spectral_chain as spectral_chain
from .verify import UnverifiedMultipliers as UnverifiedMultipliers
from .verify import verified_bound as verified_bound

__all__ = [
    "Chain",
    "ChainCertificate",
    "Folding",
    "Layer",
    "Slopes",
    "UnverifiedMultipliers",
    "bound",
    "recheck",
    "spectral_chain",
    "verified_bound",
]
