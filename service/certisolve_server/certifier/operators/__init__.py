"""Linear maps that know their structure, and bounds of their norms without their matrices."""

from .composition import Composition as Composition
from .convolution import Convolution as Convolution
from .dense import Dense as Dense
from .diagonal import Diagonal as Diagonal
from .operator import LinearOperator as LinearOperator
from .operator import grid_weighted as grid_weighted
from .pointwise import Pointwise as Pointwise
from .rearrangement import Rearrangement as Rearrangement
from .spectral import Spectral as Spectral
from .sum import Sum as Sum

__all__ = [
    "Composition",
    "Convolution",
    "Dense",
    "Diagonal",
    "LinearOperator",
    "Pointwise",
    "Rearrangement",
    "Spectral",
    "Sum",
    "grid_weighted",
]
