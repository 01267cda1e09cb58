"""Transposes of convolutions, as of the second half of a network that goes to coarse grids."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval, transposed_convolution
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.operators import Convolution, LinearOperator


@dataclass(frozen=True, eq=False)
class Transposed(LinearOperator):
    """A^T of a convolution A with zeros around: its l2 norm is that of A, l1 is linf of A."""

    of: Convolution

    @property
    def inputs(self) -> int:
        return self.of.outputs

    @property
    def outputs(self) -> int:
        return self.of.inputs

    def norm_bound(self, norm: Norm) -> float:
        dual: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
        return self.of.norm_bound(dual[norm])

    def apply(self, x: Interval) -> Interval:
        flat = x.rearranged(lambda ends: ends.reshape(-1, self.inputs))
        result = transpose_applied(self.of, flat)
        return result.rearranged(lambda ends: ends.reshape(*x.shape[:-1], self.outputs))


def transpose_applied(convolution: Convolution, rows: Interval) -> Interval:
    """The transpose on each of some rows, (rows, outputs) to (rows, inputs)."""
    grid = convolution.output_grid
    images = rows.rearranged(lambda ends: ends.reshape(ends.shape[0], -1, *grid))
    reach = zip(
        grid, convolution.stride, convolution.dilation, convolution.weight.shape[2:], strict=True
    )
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in reach]
    sizes = zip(convolution.grid, convolution.padding, whole, strict=True)
    spread = transposed_convolution(
        convolution.weight,
        images,
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        # What the last window left over.
        output_padding=[n + 2 * p - w for n, p, w in sizes],
        groups=convolution.groups,
    )
    return spread.rearranged(lambda ends: ends.flatten(1))
