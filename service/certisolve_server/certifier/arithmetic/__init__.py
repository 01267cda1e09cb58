"""Arithmetic whose results are bounds: every number carries its rounding.

The proofs stand in the docstrings of the modules; what they assume of the machine is checked by
`environment`.
"""

from .bilinear import bilinear as bilinear
from .bilinear import gamma as gamma
from .environment import UnsoundArithmetic as UnsoundArithmetic
from .environment import require_ieee_arithmetic as require_ieee_arithmetic
from .environment import require_ieee_threads as require_ieee_threads
from .errors import NotABound as NotABound
from .errors import OutsideDomain as OutsideDomain
from .interval import Interval as Interval
from .interval import Operand as Operand
from .interval import as_interval as as_interval
from .joining import concatenate as concatenate
from .joining import stack as stack
from .joining import where as where
from .norms import Norm as Norm
from .norms import operator_norm as operator_norm
from .products import convolution as convolution
from .products import einsum as einsum
from .products import matmul as matmul
from .products import transposed_convolution as transposed_convolution
from .spectral import spectral_norm as spectral_norm
from .sums import cumulative as cumulative
from .sums import mean as mean
from .sums import total as total

__all__ = [
    "Interval",
    "Norm",
    "NotABound",
    "Operand",
    "OutsideDomain",
    "UnsoundArithmetic",
    "as_interval",
    "bilinear",
    "concatenate",
    "convolution",
    "cumulative",
    "einsum",
    "gamma",
    "matmul",
    "mean",
    "operator_norm",
    "require_ieee_arithmetic",
    "require_ieee_threads",
    "spectral_norm",
    "stack",
    "total",
    "transposed_convolution",
    "where",
]
