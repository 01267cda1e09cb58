"""Whether a graph can be loaded and run anywhere, by its operators and element types."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from .errors import ComplexInOnnx, ForeignOperator, MutatedState, UnlistedOperator
from .places import written_at

#: Whether servers run an operator, by its name in an archive: `torch.ops.aten.add.Tensor`.
OperatorList = Callable[[str], bool]


def check_portable(
    program: ExportedProgram,
    *,
    allow_complex: bool = True,
    is_listed: OperatorList | None = None,
) -> None:
    """Refuse what another process could not run.

    Args:
        program: as it was traced, with the traces of its source.
        allow_complex: False for ONNX, which has no complex operators.
        is_listed: which ATen operators servers run; None to leave that to them.

    Raises:
        MutatedState: the graph writes to a buffer or an input.
        ForeignOperator: an operator outside ATen.
        UnlistedOperator: an ATen operator that servers do not run.
        ComplexInOnnx: a complex tensor where none may be.
    """
    _check_mutations(program)
    for node in program.graph.nodes:
        if node.op == "call_function":
            _check_operator(node, is_listed)
        if not allow_complex and _is_complex(node):
            raise ComplexInOnnx(
                f"{node.name} is complex{_where(node)}, and ONNX has no complex operators",
                "export as torch.export, or write the transform as products with cosines and sines",
            )


def is_complex(program: ExportedProgram) -> bool:
    """Whether a complex number occurs in the graph, a weight or a value."""
    return any(_is_complex(node) for node in program.graph.nodes)


def _check_mutations(program: ExportedProgram) -> None:
    signature = program.graph_signature
    if signature.buffers_to_mutate:
        names = ", ".join(sorted(set(signature.buffers_to_mutate.values())))
        raise MutatedState(
            f"the graph writes to the buffer {names}",
            "call .eval() on the module; keep what must be remembered in states that the program "
            "takes and returns",
        )
    if signature.user_inputs_to_mutate:
        names = ", ".join(sorted(set(signature.user_inputs_to_mutate.values())))
        raise MutatedState(
            f"the graph writes to its input {names}", "work on a copy: x = x.clone(), or x = x + y"
        )


def _check_operator(node: fx.Node, is_listed: OperatorList | None) -> None:
    target: Any = node.target
    if isinstance(target, torch._ops.HigherOrderOperator):
        raise ForeignOperator(
            f"the graph calls {target!s}{_where(node)}, which holds graphs of its own",
            "choose with torch.where, and unroll loops",
        )
    if not isinstance(target, torch._ops.OpOverload):
        return
    if target.namespace != "aten":
        raise ForeignOperator(
            f"the graph calls the operator {target!s}{_where(node)}, which is not ATen's",
            "write it in operations of torch; no artifact may bring code of its own",
        )
    if is_listed is not None and not is_listed(f"torch.ops.{target}"):
        raise UnlistedOperator(
            f"the graph calls {target}{_where(node)}, which servers do not run",
            "write it in other operations; if it is harmless, add its name to the server's "
            "artifacts/aten_operators.py",
        )


def _where(node: fx.Node) -> str:
    return written_at(node.meta.get("stack_trace"))


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()
