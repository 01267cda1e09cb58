"""Complex tensors as real ones: of shape (*shape, 2), real parts and imaginary ones.

So are a few operators under the names that others have, as functional and decomposed graphs do.
Transforms of Fourier are products with their matrices, whose elements are enclosed, so all that
knows matrices knows transforms. A graph with complex tensors becomes one of real operators; what
has no such form stays as it is, and is refused by name.
"""

from .pairs import as_pairs as as_pairs
from .rewrite import without_complex as without_complex

__all__ = ["as_pairs", "without_complex"]
