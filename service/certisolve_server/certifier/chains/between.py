"""Bounds of chains from one norm to another, of all inputs and outputs together or of each."""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.errors import NotCertified

from .bound import ChainCertificate, improving, improving_scaled, proving_again, recheck
from .chain import Chain
from .ends import Ends

# Of more inputs or outputs together no one is bounded on its own.
_MOST_PARTS = 4096

#: An input of l1 and an output of linf, None for all.
_Part = tuple[int | None, int | None]
_ALL: _Part = (None, None)


@dataclass(frozen=True, eq=False)
class BetweenCertificate:
    """For all x, y: |f(x) - f(y)|_outputs <= upper |x - y|_inputs.

    Args:
        upper: the bound.
        inputs: the norm of differences of inputs.
        outputs: that of outputs.
        parts: what proves it, each in l2; every pair of an input and an output is in one of them.
    """

    upper: float
    inputs: Norm
    outputs: Norm
    parts: tuple[ChainCertificate, ...]

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.upper < float("inf"):
            raise NotCertified(f"{self.upper} is no finite bound")


def improving_between(
    chain: Chain, inputs: Norm, outputs: Norm, start: BetweenCertificate | None = None
) -> Iterator[BetweenCertificate | None]:
    """Ever better bounds; None where a slice of the work is over without one.

    Args:
        chain: what is bounded, in one block.
        inputs: the norm of differences of inputs.
        outputs: that of outputs.
        start: what proved a good bound of a similar chain in these norms; proven here first.
    """
    search = _Search(chain, inputs, outputs, {})
    known = () if start is None else start.parts
    best = float("inf")
    for is_better in itertools.chain(search.try_again(known), search.run()):
        certificate = search.certificate() if is_better else None
        if certificate is not None and certificate.upper < best:
            best = certificate.upper
            yield certificate
        else:
            yield None


def recheck_between(chain: Chain, certificate: BetweenCertificate) -> float:
    """The bound again, from what the certificate holds; not above the certificate's.

    Raises:
        NotCertified: the certificate does not prove what it says of this chain.
    """
    search = _Search(chain, certificate.inputs, certificate.outputs, {})
    for part in certificate.parts:
        recheck(chain, part)
        search.add(part)
    again = search.certificate()
    if again is None or not again.upper <= certificate.upper:
        raise NotCertified("the parts do not prove the bound")
    return again.upper


@dataclass(frozen=True, eq=False)
class _Search:
    """What was found of each part, in the norms that are asked for."""

    chain: Chain
    inputs: Norm
    outputs: Norm
    found: dict[_Part, tuple[float, ChainCertificate]]

    def run(self) -> Iterator[bool]:
        """Searches all parts together, then always the worst; whether one is better.

        Once the worst was searched to its end, the others do not matter.
        """
        yield from self._improve(_ALL)
        parts = [part for part in self.parts if part != _ALL]
        searches = [self._improve(part) for part in parts]
        worst_first = [(-self._upper(part), index) for index, part in enumerate(parts)]
        heapq.heapify(worst_first)
        while worst_first:
            _, worst = worst_first[0]
            is_better = next(searches[worst], None)
            if is_better is None:
                return
            if is_better:
                heapq.heapreplace(worst_first, (-self._upper(parts[worst]), worst))
            yield is_better

    def try_again(self, parts: Sequence[ChainCertificate]) -> Iterator[bool]:
        """What proved bounds of another chain; whether it proves one here."""
        for part in parts:
            for again in proving_again(self.chain, part):
                yield again is not None and self.add(again)

    def certificate(self) -> BetweenCertificate | None:
        """Of all parts; None where one has no bound."""
        known = [self._of(part) for part in self.parts]
        if any(each is None for each in known):
            return None
        used = {id(each[1]): each for each in known if each is not None}
        upper = max(each[0] for each in used.values())
        if not upper < float("inf"):
            return None
        certificates = tuple(certificate for _, certificate in used.values())
        return BetweenCertificate(upper, self.inputs, self.outputs, certificates)

    def add(self, certificate: ChainCertificate) -> bool:
        """Whether it is better than what was known of its part."""
        factor = certificate.ends.factor(self.chain, self.inputs, self.outputs)
        upper = float(product_up(torch.tensor(certificate.upper, dtype=torch.float64), factor))
        part = certificate.ends.column, certificate.ends.row
        if part in self.found and not upper < self.found[part][0]:
            return False
        self.found[part] = upper, certificate
        return True

    @cached_property
    def parts(self) -> list[_Part]:
        """All that have to be bounded."""
        columns: list[int | None] = [None]
        rows: list[int | None] = [None]
        if self.inputs == "l1":
            columns = list(range(self.chain.maps[0].shape[-1]))
        if self.outputs == "linf":
            rows = list(range(self.chain.maps[-1].shape[-2]))
        if len(columns) * len(rows) > _MOST_PARTS:
            return [_ALL]
        return [(column, row) for column in columns for row in rows]

    def _improve(self, part: _Part) -> Iterator[bool]:
        for found in self._bounds(Ends(*part)):
            yield found is not None and self.add(found)

    def _bounds(self, ends: Ends) -> Iterator[ChainCertificate | None]:
        free_inputs, free_outputs = self.inputs == "linf", self.outputs == "l1"
        if free_inputs or free_outputs:
            return improving_scaled(self.chain, ends, free_inputs, free_outputs)
        return (
            None if found is None else replace(found, ends=ends)
            for found in improving(ends.of(self.chain))
        )

    def _of(self, part: _Part) -> tuple[float, ChainCertificate] | None:
        """The better of what is known of a part and of all together."""
        known = [self.found[each] for each in (part, _ALL) if each in self.found]
        return min(known, key=lambda each: each[0], default=None)

    def _upper(self, part: _Part) -> float:
        known = self._of(part)
        return float("inf") if known is None else known[0]
