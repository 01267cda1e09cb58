"""The rewriting of a graph, node by node, by tables of what each operator becomes."""

from collections.abc import Mapping
from types import MappingProxyType

from certisolve_server.certifier.graph.node import Constant, Graph, Node, live

from . import functional, moves, products, transforms
from .writer import Rewrite, Writer

_MOVES = (
    "alias.default",
    "cat.default",
    "clone.default",
    "contiguous.default",
    "detach.default",
    "expand.default",
    "flatten.using_ints",
    "permute.default",
    "reshape.default",
    "select.int",
    "slice.Tensor",
    "squeeze.dim",
    "stack.default",
    "to.device",
    "transpose.int",
    "unsqueeze.default",
    "view.default",
)

#: Of graphs without complex numbers as well.
_ALWAYS: Mapping[str, Rewrite] = MappingProxyType(
    {
        "aten._to_copy.default": functional.converted,
        "aten.convolution.default": functional.convolved,
        "aten.copy.default": functional.copied,
        "aten.slice_scatter.default": functional.scattered,
        "aten.fft_rfft.default": transforms.from_real,
        "aten.fft_rfft2.default": transforms.from_real,
        "aten.fft_rfftn.default": transforms.from_real,
        "aten._fft_r2c.default": transforms.from_real,
    }
)

#: Of nodes that take or give complex numbers.
_COMPLEX: Mapping[str, Rewrite] = MappingProxyType(
    {
        **{f"aten.{name}": moves.moved for name in _MOVES},
        "aten.fft_irfft.default": transforms.to_real,
        "aten.fft_irfft2.default": transforms.to_real,
        "aten.fft_irfftn.default": transforms.to_real,
        "aten._fft_c2r.default": transforms.to_real,
        "aten._fft_c2c.default": transforms.among_complex,
        "aten.fft_fft.default": transforms.among_complex,
        "aten.fft_ifft.default": transforms.among_complex,
        "aten.fft_fft2.default": transforms.among_complex,
        "aten.fft_ifft2.default": transforms.among_complex,
        "aten.abs.default": products.size,
        "aten.add.Tensor": products.added,
        "aten.sub.Tensor": products.added,
        "aten.neg.default": products.negated,
        "aten.mul.Tensor": products.multiplied,
        "aten.bmm.default": products.product,
        "aten.matmul.default": products.product,
        "aten.mm.default": products.product,
        "aten.einsum.default": products.product,
        "aten.real.default": moves.part(0),
        "aten.imag.default": moves.part(1),
        "aten.view_as_real.default": moves.same,
        "aten.view_as_complex.default": moves.same,
        "aten.constant_pad_nd.default": moves.padded,
        "aten.pad.default": moves.padded,
        "aten.zeros.default": functional.zeros,
        "aten.full.default": functional.zeros,
    }
)


def without_complex(graph: Graph) -> Graph:
    """The same map in real operators, as far as there are any."""
    writer = Writer.of(graph)
    for node in graph.nodes:
        _rewrite(node, writer)
    constants = {
        name: Constant(name, each.value, "real" if each.kind == "complex" else each.kind)
        for name, each in writer.constants.items()
    }
    rewritten = Graph(graph.inputs, MappingProxyType(constants), tuple(writer.nodes), graph.output)
    return live(rewritten)


def _rewrite(node: Node, writer: Writer) -> None:
    touches = node.kind == "complex" or any(writer.is_complex(ref) for ref in node.refs)
    rewrite = _ALWAYS.get(node.operator) or (_COMPLEX.get(node.operator) if touches else None)
    if rewrite is None:
        writer.keep(node)
    else:
        rewrite(node, writer)
