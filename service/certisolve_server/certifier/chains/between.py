"""Bounds of chains from one norm to another, of all inputs and outputs together or of each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.errors import NotCertified

from .bound import ChainCertificate, improving, improving_scaled, recheck
from .chain import Chain
from .ends import Ends

# Of more inputs or outputs together no one is bounded on its own.
_MOST_PARTS = 4096

#: An input of l1 and an output of linf, None for all.
_Part = tuple[int | None, int | None]


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
    chain: Chain, inputs: Norm, outputs: Norm
) -> Iterator[BetweenCertificate | None]:
    """Ever better bounds; None where a slice of the work is over without one.

    Args:
        chain: what is bounded, in one block.
        inputs: the norm of differences of inputs.
        outputs: that of outputs.
    """
    search = _Search(chain, inputs, outputs, {})
    best = float("inf")
    for _ in search.run():
        certificate = search.certificate()
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
        search.found[part.ends.column, part.ends.row] = part
    again = search.certificate()
    if again is None or not again.upper <= certificate.upper:
        raise NotCertified("the parts do not prove the bound")
    return again.upper


@dataclass(frozen=True, eq=False)
class _Search:
    """What was found of each part."""

    chain: Chain
    inputs: Norm
    outputs: Norm
    found: dict[_Part, ChainCertificate]

    def run(self) -> Iterator[None]:
        """Searches all parts together, then each on its own, the largest first."""
        yield from self._improve((None, None))
        left = set(self._parts())
        while left:
            worst = max(left, key=lambda part: self._upper(part))
            left.remove(worst)
            if worst != (None, None):
                yield from self._improve(worst)

    def certificate(self) -> BetweenCertificate | None:
        """Of all parts; None where one has no bound."""
        parts = self._parts()
        upper = max(self._upper(part) for part in parts)
        if not upper < float("inf"):
            return None
        used = {id(part): part for part in map(self._of, parts) if part is not None}
        return BetweenCertificate(upper, self.inputs, self.outputs, tuple(used.values()))

    def _improve(self, part: _Part) -> Iterator[None]:
        ends = Ends(*part)
        for found in self._bounds(ends):
            if found is not None and not self._scaled(found) >= self._own(part):
                self.found[part] = found
            yield

    def _bounds(self, ends: Ends) -> Iterator[ChainCertificate | None]:
        free_inputs, free_outputs = self.inputs == "linf", self.outputs == "l1"
        if free_inputs or free_outputs:
            yield from improving_scaled(self.chain, ends, free_inputs, free_outputs)
            return
        for found in improving(ends.of(self.chain)):
            yield None if found is None else replace(found, ends=ends)

    def _parts(self) -> list[_Part]:
        columns: list[int | None] = [None]
        rows: list[int | None] = [None]
        if self.inputs == "l1":
            columns = list(range(self.chain.maps[0].shape[-1]))
        if self.outputs == "linf":
            rows = list(range(self.chain.maps[-1].shape[-2]))
        if len(columns) * len(rows) > _MOST_PARTS:
            return [(None, None)]
        return [(column, row) for column in columns for row in rows]

    def _of(self, part: _Part) -> ChainCertificate | None:
        """The better of what is known of a part and of all together."""
        known = [self.found.get(part), self.found.get((None, None))]
        return min((each for each in known if each is not None), key=self._scaled, default=None)

    def _upper(self, part: _Part) -> float:
        certificate = self._of(part)
        return float("inf") if certificate is None else self._scaled(certificate)

    def _own(self, part: _Part) -> float:
        certificate = self.found.get(part)
        return float("inf") if certificate is None else self._scaled(certificate)

    def _scaled(self, certificate: ChainCertificate) -> float:
        """In the norms that are asked for."""
        factor = certificate.ends.factor(self.chain, self.inputs, self.outputs)
        upper = torch.tensor(certificate.upper, dtype=torch.float64)
        return float(product_up(upper, factor))
