"""Bounds in other norms than l2, from bounds in l2 of chains with scaled inputs and outputs.

For numbers r, s > 0 of each input and output,

    |x / r|_2 <= |1 / r|_2 |x|_inf,   |y|_1 <= |s|_2 |y / s|_2,
    |x|_2 <= |x|_1,   |y|_inf <= |y|_2,

the first two by the inequality of Cauchy and Schwarz. A step from x to x' changes one input after
the other, so in l1 the constant is the largest of those of one input each, and in linf it is the
largest of those of one output each: all of them together are bounded by l2, or each on its own.
Slopes on a bounded set have to hold on the box around it for that, which the step does not leave.
"""

from dataclasses import dataclass, replace

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, product_up, sqrt_up
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.errors import InvalidRequest

from .chain import Chain


@dataclass(frozen=True, eq=False)
class Ends:
    """Of a chain the part that is bounded in l2.

    Args:
        column: of inputs in l1 the only one that changes; None for all.
        row: of outputs in linf the only one that is bounded; None for all.
        inputs: r, None for ones.
        outputs: s, None for ones.
    """

    column: int | None = None
    row: int | None = None
    inputs: Numbers | None = None
    outputs: Numbers | None = None

    def __post_init__(self) -> None:
        for scale in (self.inputs, self.outputs):
            if scale is not None and not bool((scale.isfinite() & (scale > 0)).all()):
                raise InvalidRequest("scales of inputs and outputs are numbers above 0")

    def of(self, chain: Chain) -> Chain:
        """That part, of inputs x / r and outputs y / s."""
        *before, last = chain.maps
        if self.row is not None:
            last = _picked(last, self.row, -2)
        if self.outputs is not None:
            last = last / self.outputs[:, None]
        maps = [*before, last]
        maps[0] = self._entered(maps[0])
        skips = list(chain.skips)
        if skips and skips[0] is not None:
            skips[0] = self._entered(skips[0])
        return replace(chain, maps=tuple(maps), skips=tuple(skips))

    def _entered(self, a: Interval) -> Interval:
        if self.column is not None:
            a = _picked(a, self.column, -1)
        return a if self.inputs is None else a * self.inputs

    def factor(self, chain: Chain, inputs: Norm, outputs: Norm) -> Numbers:
        """By which the bound of `of(chain)` in l2 is one in these norms."""
        factor = torch.ones((), dtype=torch.float64)
        if (inputs, outputs) != ("l2", "l2"):
            _require_one_block(chain)
        if inputs == "linf":
            scale = self._scale(self.inputs, chain.maps[0].shape[-1])
            inverse = (1.0 / scale).square()
            factor = product_up(factor, sqrt_up(sum_of_sizes(inverse.upper, -1)))
        elif self.inputs is not None:
            raise InvalidRequest("only inputs in linf are scaled")
        if outputs == "l1":
            squares = self._scale(self.outputs, chain.maps[-1].shape[-2]).square()
            factor = product_up(factor, sqrt_up(sum_of_sizes(squares.upper, -1)))
        elif self.outputs is not None:
            raise InvalidRequest("only outputs in l1 are scaled")
        if (self.column is not None and inputs != "l1") or (
            self.row is not None and outputs != "linf"
        ):
            raise InvalidRequest("one input or output stands for all only in l1 and in linf")
        return factor

    @staticmethod
    def _scale(given: Numbers | None, size: int) -> Interval:
        return Interval.exact(torch.ones(size, dtype=torch.float64) if given is None else given)


def _require_one_block(chain: Chain) -> None:
    parts = (*chain.maps, *chain.skips, *chain.mixes)
    if chain.copies != 1 or any(part is not None and part.ndim != 2 for part in parts):
        raise InvalidRequest("blocks of another basis have no norms but l2")


def _picked(a: Interval, index: int, dim: int) -> Interval:
    return a.rearranged(lambda ends: ends.narrow(dim, index, 1))
