"""The least of all bounds of a chain, with what proves it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.errors import NotCertified

from .chain import Chain
from .eclipse import by_neuron, closed_form, multipliers
from .norms import liplt_bound, product_bound
from .search import search
from .verify import UnverifiedMultipliers, verified_bound

#: What proves a bound: norms of maps, or multipliers that were verified.
Method = Literal["product", "liplt", "closed_form", "lipsdp"]

#: LipLT takes the square of as many norms; beyond, the multipliers in closed form are better too.
_MOST_MAPS_OF_LIPLT = 16

# What is claimed beyond what was proven here: another machine sums in another order, and is to come
# to a bound that is not above the one that it rechecks.
_MARGIN = 1.0 + 2.0**-32

# From multipliers that the search found towards those it began with, which are far inside.
_SHARES_OF_START = (0.0, 1e-6, 1e-3, 0.1)


@dataclass(frozen=True, eq=False)
class ChainCertificate:
    """For all x, y: |f(x) - f(y)|_2 <= upper |x - y|_2.

    Args:
        upper: the bound.
        method: how it is proven.
        multipliers: of each layer, (neurons,), for methods that need them; `recheck` does without
            the search that found them.
    """

    upper: float
    method: Method
    multipliers: tuple[Numbers, ...] = ()

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.upper < float("inf"):
            raise NotCertified(f"{self.method} gave {self.upper}, which is no finite bound")


def bound(chain: Chain, go_on: Callable[[], bool]) -> ChainCertificate:
    """The least bound that was proven.

    Args:
        chain: what is bounded.
        go_on: asked before each step of the search; this knows no clock.

    Raises:
        NotCertified: nothing finite was proven.
    """
    found = list(_by_norms(chain))
    if chain.slopes:
        found += _verified(chain, "closed_form", [closed_form(chain)])
        start = multipliers(chain, by_neuron)
        best = [start, *search(chain, start, go_on)][-1]
        found += _verified(chain, "lipsdp", [_towards(start, best, s) for s in _SHARES_OF_START])
    if not found:
        raise NotCertified("no bound of the chain is finite")
    return min(found, key=lambda certificate: certificate.upper)


def recheck(chain: Chain, certificate: ChainCertificate) -> float:
    """The bound again, from what the certificate holds; not above the certificate's.

    Raises:
        NotCertified: the certificate does not prove what it says of this chain.
    """
    upper = _proven(chain, certificate)
    if not upper <= certificate.upper:
        raise NotCertified(f"{certificate.method} proves {upper}, not {certificate.upper}")
    return upper


def _proven(chain: Chain, certificate: ChainCertificate) -> float:
    if certificate.method == "product":
        return float(product_bound(chain))
    if certificate.method == "liplt":
        return float(liplt_bound(chain))
    return verified_bound(chain, certificate.multipliers)


def _by_norms(chain: Chain) -> list[ChainCertificate]:
    uppers: list[tuple[Method, float]] = [("product", float(product_bound(chain)))]
    if 1 < len(chain.maps) <= _MOST_MAPS_OF_LIPLT:
        uppers.append(("liplt", float(liplt_bound(chain))))
    return [
        ChainCertificate(upper * _MARGIN, method)
        for method, upper in uppers
        if upper * _MARGIN < float("inf")
    ]


def _verified(
    chain: Chain, method: Method, candidates: Sequence[tuple[Numbers, ...]]
) -> list[ChainCertificate]:
    """Of the first multipliers that are verified; none where none are."""
    for candidate in candidates:
        try:
            upper = verified_bound(chain, candidate)
        except UnverifiedMultipliers:
            continue
        return [ChainCertificate(upper * _MARGIN, method, candidate)]
    return []


def _towards(start: Sequence[Numbers], end: Sequence[Numbers], share: float) -> tuple[Numbers, ...]:
    """A mean of multipliers, feasible as both are: what they satisfy is linear in them."""
    return tuple((1.0 - share) * e + share * s for s, e in zip(start, end, strict=True))
