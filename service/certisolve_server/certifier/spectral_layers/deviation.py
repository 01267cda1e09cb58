"""What the errors of a network of fields add to the constant of its blocks.

At any two inputs each f is a matrix D_i, diagonal with elements within the slopes, and the same D_i
make of the network with blocks A_ij alone another linear map, of which the chain bounds the norm.
With R_ij the errors, e_ij >= |R_ij|, a_ij >= |A_ij|, m_i >= |h_i| and d_i >= |h_i - g_i|, g_i what
h_i is without errors, both for inputs of size 1,

    m_i = max |D_i| sum_j (a_ij + e_ij) m_j,    d_i = max |D_i| sum_j (a_ij d_j + e_ij m_j),

and the network is at most d of the output further than its blocks.
"""

from collections.abc import Iterable

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import sqrt_up
from certisolve_server.certifier.chains.normwise import Ball
from certisolve_server.certifier.errors import NotCertified

from .assemble import Assembled

_UP = 1.0 + 2.0**-48


def deviation(assembled: Assembled, inputs: int) -> float:
    """At least |f - g| by |x|, root mean squares over the grids, f the map and g its blocks.

    Args:
        assembled: the network.
        inputs: how many of its sources are inputs; all differences together have size 1.

    Raises:
        NotCertified: nothing finite is at least that.
    """
    sizes = dict.fromkeys(range(inputs), 1.0)
    changes = dict.fromkeys(range(inputs), 0.0)
    for number in sorted(assembled.errors):
        norms = {j: _norm(a) for j, a in assembled.maps[number].items()}
        errors = assembled.errors[number]
        cap = assembled.caps[number]
        sizes[number] = cap * _sum((norms.get(j, 0.0) + e) * sizes[j] for j, e in errors.items())
        changes[number] = cap * _sum(
            norms.get(j, 0.0) * changes[j] + e * sizes[j] for j, e in errors.items()
        )
    found = changes[max(assembled.errors)]
    # False of NaN.
    if not found < float("inf"):
        raise NotCertified("the errors of spectral layers have no finite bound")
    return found


def _sum(terms: Iterable[float]) -> float:
    """At least the sum of terms, and its product with one more number, of few roundings each."""
    total = 0.0
    for term in terms:
        total = (total + term) * _UP
    return total * _UP


def _norm(a: Interval) -> float:
    """Of all blocks, by Gram iteration: |A|_2^8 = |(A^T A)^4|_2 <= |(A^T A)^4|_F.

    The factor lost is at most the 16th root of the size of A (Delattre et al., ICML 2023).
    """
    own = Ball.of(a)
    power = own.mT @ own
    for _ in range(2):
        power = power @ power
    root = power.size
    for _ in range(3):
        root = sqrt_up(root)
    return float(root.max())
