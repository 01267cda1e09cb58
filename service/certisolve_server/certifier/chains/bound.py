"""The least of all bounds of a chain in l2, with what proves it, ever better."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.errors import NotCertified

from .chain import Chain
from .eclipse import by_neuron, choosing_best, chosen
from .ends import Ends
from .norms import liplt_bound, multiplying, product_bound
from .search import Found, search
from .stages import stages
from .verify import UnverifiedMultipliers, verified_bound, verifying

#: What proves a bound: norms of maps, or multipliers that were verified.
Method = Literal["product", "liplt", "closed_form", "lipsdp"]

# LipLT takes the square of as many norms; beyond, the multipliers in closed form are better too,
# and the best ones of small chains are found before it is done.
_MOST_MAPS_OF_LIPLT = 16
_LEAST_NEURONS_OF_LIPLT = 512

# What is claimed beyond what was proven here: another machine sums in another order, and is to come
# to a bound that is not above the one that it rechecks.
_MARGIN = 1.0 + 2.0**-32

# From multipliers that the search found towards those it began with, which are far inside.
_SHARES_OF_START = (0.0, 1e-9, 1e-6, 1e-3, 0.1)

# What the search has to gain before it is proven what it found, and when it ends.
_WORTH_A_PROOF = 0.9
_FIRST_DUE = 8
_WORTH_A_LAST_PROOF = 1.0 - 1e-9


@dataclass(frozen=True, eq=False)
class ChainCertificate:
    """For all x, y: |f(x) - f(y)|_2 <= upper |x - y|_2.

    Args:
        upper: the bound.
        method: how it is proven.
        multipliers: of each layer, as `verified_bound` takes them, for methods that need them;
            `recheck` does without the search that found them.
        ends: of which inputs and outputs, and in which units.
    """

    upper: float
    method: Method
    multipliers: tuple[Numbers, ...] = ()
    ends: Ends = field(default_factory=Ends)

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.upper < float("inf"):
            raise NotCertified(f"{self.method} gave {self.upper}, which is no finite bound")


def bound(chain: Chain, go_on: Callable[[], bool]) -> ChainCertificate:
    """The least bound that was proven.

    Args:
        chain: what is bounded.
        go_on: asked before each slice of the search; this knows no clock.

    Raises:
        NotCertified: nothing finite was proven.
    """
    best = None
    for found in improving(chain):
        best = best if found is None else found
        if best is not None and not go_on():
            break
    if best is None:
        raise NotCertified("no bound of the chain is finite")
    return best


def improving(chain: Chain, start: Sequence[Numbers] = ()) -> Iterator[ChainCertificate | None]:
    """Ever better bounds; None where a slice of the work is over without one.

    Args:
        chain: what is bounded.
        start: multipliers that proved a good bound of a similar chain; tried first.
    """
    best = float("inf")
    for found in _improving(chain, tuple(start)):
        if found is not None and found.upper < best:
            best = found.upper
            yield found
        else:
            yield None


def improving_scaled(
    chain: Chain, ends: Ends, free_inputs: bool, free_outputs: bool
) -> Iterator[ChainCertificate | None]:
    """Of a part of a chain, with scales that the search finds; not each is better than the last.

    Args:
        chain: all of it.
        ends: the part.
        free_inputs: whether inputs may be scaled, as for linf.
        free_outputs: whether outputs may be scaled, as for l1.
    """
    part = ends.of(chain)
    for by_norm in _by_norm(part, "product"):
        yield None if by_norm is None else replace(by_norm, ends=ends)
    if part.slopes:
        chosen_best = yield from choosing_best(part)
        first = yield from _verified(part, "closed_form", [chosen_best])
        yield None if first is None else replace(first, ends=ends)
    layers, last = stages(part), part.centers[-1]
    for candidate in _worth_a_proof(search(layers, last, free_inputs, free_outputs)):
        if candidate is None:
            yield None
            continue
        scaled = replace(ends, inputs=candidate.inputs, outputs=candidate.outputs)
        certificate = yield from _verified(scaled.of(chain), "lipsdp", [candidate.multipliers])
        yield None if certificate is None else replace(certificate, ends=scaled)


def proving_again(chain: Chain, certificate: ChainCertificate) -> Iterator[ChainCertificate | None]:
    """What proved a bound of a similar chain, with the bound that it proves here, if it does."""
    part = certificate.ends.of(chain)
    if not certificate.multipliers:
        for found in _by_norm(part, certificate.method):
            yield None if found is None else replace(found, ends=certificate.ends)
        return
    again = yield from _verified(part, certificate.method, [certificate.multipliers])
    yield None if again is None else replace(again, ends=certificate.ends)


def recheck(chain: Chain, certificate: ChainCertificate) -> float:
    """The bound again, from what the certificate holds; not above the certificate's.

    Raises:
        NotCertified: the certificate does not prove what it says of this chain.
    """
    upper = _proven(certificate.ends.of(chain), certificate)
    if not upper <= certificate.upper:
        raise NotCertified(f"{certificate.method} proves {upper}, not {certificate.upper}")
    return upper


def _proven(chain: Chain, certificate: ChainCertificate) -> float:
    if certificate.method == "product":
        return float(product_bound(chain))
    if certificate.method == "liplt":
        return float(liplt_bound(chain))
    return verified_bound(chain, certificate.multipliers)


def _improving(chain: Chain, start: tuple[Numbers, ...]) -> Iterator[ChainCertificate | None]:
    yield from _by_norm(chain, "product")
    if not chain.slopes:
        return
    if start:
        yield (yield from _verified(chain, "lipsdp", [start]))
    first = yield from choosing_best(chain)
    yield (yield from _verified(chain, "closed_form", [first]))
    if _is_large(chain):
        yield from _by_norm(chain, "liplt")
    layers, last = stages(chain), chain.centers[-1]
    inside, _ = chosen(layers, by_neuron, 1.0)
    for found in _worth_a_proof(search(layers, last)):
        if found is None:
            yield None
            continue
        candidates = _candidates(found, inside)
        yield (yield from _verified(chain, "lipsdp", candidates))


def _is_large(chain: Chain) -> bool:
    neurons = sum(slopes.neurons for slopes in chain.slopes)
    return neurons > _LEAST_NEURONS_OF_LIPLT and len(chain.maps) <= _MOST_MAPS_OF_LIPLT


def _worth_a_proof(candidates: Iterator[Found | None]) -> Iterator[Found | None]:
    """None in place of those that are hardly better than what was last proven.

    What is only a little better is proven at growing intervals.
    """
    proven, best, since, due = float("inf"), None, 0, _FIRST_DUE
    for found in candidates:
        if found is None:
            yield None
            continue
        since += 1
        best = found if best is None or not best.gain < found.gain else best
        worth = _WORTH_A_LAST_PROOF if found.is_last or since >= due else _WORTH_A_PROOF
        if best.gain < proven * worth:
            due = 2 * due if since >= due else due
            proven, since = best.gain, 0
            yield replace(best, is_last=found.is_last)
        else:
            yield None


def _candidates(found: Found, inside: Sequence[Numbers]) -> list[tuple[Numbers, ...]]:
    """What was found, and where it is the last also what is further inside."""
    shares = _SHARES_OF_START if found.is_last else _SHARES_OF_START[:1]
    return [_towards(inside, found.multipliers, share) for share in shares]


def _by_norm(chain: Chain, method: Method) -> Iterator[ChainCertificate | None]:
    if method == "product":
        upper = float((yield from multiplying(chain)))
    else:
        upper = float(liplt_bound(chain))
    if upper * _MARGIN < float("inf"):
        yield ChainCertificate(upper * _MARGIN, method)


def _verified(
    chain: Chain, method: Method, candidates: Sequence[tuple[Numbers, ...]]
) -> Generator[None, None, ChainCertificate | None]:
    """Of the first multipliers that are verified; None where none are."""
    for candidate in candidates:
        try:
            upper = yield from verifying(chain, candidate)
        except UnverifiedMultipliers:
            continue
        if upper * _MARGIN < float("inf"):
            return ChainCertificate(upper * _MARGIN, method, candidate)
    return None


def _towards(start: Sequence[Numbers], end: Sequence[Numbers], share: float) -> tuple[Numbers, ...]:
    """A mean of multipliers, feasible as both are: what they satisfy is linear in them."""
    return tuple((1.0 - share) * e + share * s for s, e in zip(start, end, strict=True))
