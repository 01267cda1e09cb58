"""Products with constant matrices."""

import itertools
import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.spectral_layers.axes import as_channels, permuted
from certisolve_server.certifier.spectral_layers.channels import matrix_of_each, over_channels
from certisolve_server.certifier.spectral_layers.form import Form
from certisolve_server.certifier.spectral_layers.network import Sources
from certisolve_server.certifier.spectral_layers.products import product
from certisolve_server.certifier.spectral_layers.reshape import reshaped

from .arithmetic import add, times
from .rule import Operand, Rules


def linear(sources: Sources, input: Form, weight: Interval, bias: Any = None) -> Form:
    """X W^T + b, over the last axis."""
    del bias
    return _along(sources, input, len(input.axes) - 1, weight)


def matmul(sources: Sources, self: Operand, other: Operand) -> Form:
    """Of a constant matrix and a form, or a form and a constant matrix."""
    if isinstance(self, Form) and isinstance(other, Interval):
        matrix = _one_matrix(other).rearranged(lambda ends: ends.mT)
        return _along(sources, self, len(self.axes) - 1, matrix)
    if isinstance(other, Form) and isinstance(self, Interval):
        return _along(sources, other, len(other.axes) - 2, _one_matrix(self))
    raise NotCertified("multiplies two matrices that vary")


def bmm(sources: Sources, self: Operand, mat2: Operand) -> Form:
    """Of a form with a constant matrix for each place of the first axis."""
    if not isinstance(self, Form) or not isinstance(mat2, Interval):
        return matmul(sources, self, mat2)
    return matrix_of_each(self, mat2)


def einsum(sources: Sources, equation: str, tensors: tuple[Operand, ...], **_: Any) -> Form:
    """Of a form with a constant: a matrix, or one for each place of some axes."""
    names = _Names.of(equation, len(tensors))
    form, factor = tensors
    if not isinstance(form, Form):
        form, factor, names = factor, form, _Names(names.right, names.left, names.result)
    if not isinstance(form, Form) or not isinstance(factor, Interval):
        raise NotCertified("contracts two tensors that vary")
    return _contracted(sources, form, factor, names)


def addmm(
    sources: Sources, self: Operand, mat1: Operand, mat2: Operand, beta: float = 1, alpha: float = 1
) -> Form:
    """Beta c + alpha x y."""
    image = times(matmul(sources, mat1, mat2), Interval.exact(float(alpha)), sources)
    return add(sources, image, self, beta)


def convolution(
    sources: Sources,
    input: Form,
    weight: Interval,
    bias: Any = None,
    stride: tuple[int, ...] = (1,),
    padding: tuple[int, ...] = (0,),
    dilation: tuple[int, ...] = (1,),
    groups: int = 1,
) -> Form:
    """With kernels of one tap: a matrix over the channels."""
    del bias, dilation
    plain = math.prod(weight.shape[2:]) == 1 and groups == 1
    if not plain or set(stride) != {1} or set(padding) != {0}:
        raise NotCertified("convolves with more than one tap")
    return _along(sources, input, 1, weight.rearranged(lambda ends: ends.flatten(1)))


#: By overload.
RULES: Rules = MappingProxyType(
    {
        "aten.addmm.default": addmm,
        "aten.bmm.default": bmm,
        "aten.conv1d.default": convolution,
        "aten.conv2d.default": convolution,
        "aten.conv3d.default": convolution,
        "aten.einsum.default": einsum,
        "aten.linear.default": linear,
        "aten.matmul.default": matmul,
        "aten.mm.default": bmm,
    }
)


@dataclass(frozen=True)
class _Names:
    """Of the axes of two operands and of what they are contracted to, a letter each."""

    left: str
    right: str
    result: str

    @classmethod
    def of(cls, equation: str, operands: int) -> "_Names":
        """As einsum is told them.

        Raises:
            NotCertified: some name twice, or is summed over in one operand alone.
        """
        written = re.fullmatch(r"(\w+),(\w+)->(\w*)", equation.replace(" ", ""))
        if operands != 2 or written is None:
            raise NotCertified(f"contracts as in {equation!r}")
        left, right, result = (set(each) for each in written.groups())
        is_plain = all(len(set(each)) == len(each) for each in written.groups())
        if not is_plain or not left ^ right <= result <= left | right:
            raise NotCertified(f"contracts as in {equation!r}")
        return cls(*written.groups())

    @property
    def batch(self) -> str:
        """In all three."""
        return "".join(name for name in self.left if name in self.right and name in self.result)

    @property
    def inner(self) -> str:
        """What is summed over."""
        return "".join(name for name in self.left if name not in self.result)

    @property
    def own(self) -> str:
        """In the left operand alone."""
        return "".join(name for name in self.left if name not in self.right)

    @property
    def new(self) -> str:
        """In the right operand alone."""
        return "".join(name for name in self.right if name not in self.left)


def _contracted(sources: Sources, form: Form, factor: Interval, names: _Names) -> Form:
    batch, own, inner, new = names.batch, names.own, names.inner, names.new
    sizes = dict(zip(names.left, form.shape, strict=True))
    sizes |= dict(zip(names.right, factor.shape, strict=True))
    blocks = [math.prod(sizes[name] for name in each) for each in (batch, inner, new)]
    matrices = factor.rearranged(
        lambda ends: ends.permute(_order(names.right, batch + inner + new)).reshape(blocks)
    )
    form = permuted(form, _order(names.left, batch + own + inner))
    axes, first, last = form.axes, len(batch), len(batch + own)
    groups = (axes[:first], axes[first:last], axes[last:])
    joined = Form(tuple(tuple(itertools.chain(*group)) for group in groups), form.terms)
    if batch:
        image = matrix_of_each(joined, matrices)
    else:
        image = _along(sources, joined, 2, matrices.rearranged(lambda ends: ends[0].mT))
    # Channels among the first have become waves, each in its place.
    atoms = iter(image.axes[0])
    places = tuple(tuple(next(atoms) for _ in axis) for axis in groups[0])
    image = Form((*places, *groups[1], image.axes[2]), image.terms)
    image = reshaped(image, tuple(sizes[name] for name in batch + own + new))
    return permuted(image, _order(batch + own + new, names.result))


def _order(names: str, wanted: str) -> tuple[int, ...]:
    """Where each of the wanted names stands."""
    return tuple(names.index(name) for name in wanted)


def _along(sources: Sources, form: Form, axis: int, matrix: Interval) -> Form:
    if not form.axes[axis]:
        return over_channels(as_channels(form, axis), axis, matrix)
    return product(form, axis, matrix, sources)


def _one_matrix(matrix: Interval) -> Interval:
    if math.prod(matrix.shape[:-2]) != 1:
        raise NotCertified("multiplies with several matrices")
    return matrix.rearranged(lambda ends: ends.reshape(ends.shape[-2:]))
