"""From a program of torch.export to the graph of one request.

Every size is fixed: the program is run once on tensors without data, which gives the shape and type
of each node and turns arithmetic on sizes into numbers.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import Node as FxNode
from torch.utils._pytree import tree_leaves

from certisolve_server.certifier.arithmetic import Interval, NotABound
from certisolve_server.certifier.errors import InvalidRequest, NotCertified, UnsupportedOperator

from .complex_numbers import as_pairs
from .definitions import DEFINITIONS, Definitions
from .node import Argument, Constant, Graph, Input, Node, Ref, kind_of, live

#: Whose arguments are checked when a program is exported, and which compute nothing.
_ASSERTIONS = frozenset({"aten._assert_tensor_metadata.default", "aten._assert_scalar.default"})


def lower(
    program: ExportedProgram,
    shapes: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor],
    output: int = 0,
    definitions: Definitions = DEFINITIONS,
    narrowest: torch.dtype | None = None,
) -> Graph:
    """The graph of one output of the program, its sizes fixed.

    Args:
        program: after the checks of whoever loaded it; this reads its graph and runs no text.
        shapes: of each input that varies, with a leading axis of one request.
        frozen: the inputs that do not vary, as they are; float64 values count as they are given.
        output: which output, counted from 0.
        definitions: of operators that are read as others.
        narrowest: floats of fewer bits are refused; None for none.

    Raises:
        InvalidRequest: an input is missing, unknown, or has sizes that the program does not take.
        UnsupportedOperator: the program changes its buffers, or an operator's result is not known
            before its data is.
        NotCertified: a constant is not finite.
    """
    _check_inputs(program, shapes, frozen)
    program = _defined(program, definitions)
    _check_unmutated(program)
    stored = _stored_tensors(program)
    given = {**stored, **frozen}
    walk = _Walk({}, [], narrowest)
    with FakeTensorMode() as mode:
        for node in program.graph.nodes:
            if node.op == "placeholder":
                walk.fakes[node] = _fake_input(node, mode, shapes, given)
                _require_bits(node, walk)
            elif node.op == "call_function":
                _lower_call(node, walk)
            elif node.op != "output":
                raise UnsupportedOperator(node.op, node.name, "is no operator on tensors")
    constants = {
        name: Constant(name, _exact(name, tensor), kind_of(tensor.dtype))
        for name, tensor in given.items()
    }
    inputs = tuple(Input(name, tuple(shape)) for name, shape in shapes.items())
    result = _output_name(program, output, walk)
    return live(Graph(inputs, MappingProxyType(constants), tuple(walk.nodes), result))


@dataclass(frozen=True)
class _Walk:
    """What is known of the nodes so far: results without data, and the lowered nodes."""

    fakes: dict[FxNode, Any]
    nodes: list[Node]
    narrowest: torch.dtype | None


def _check_inputs(
    program: ExportedProgram,
    shapes: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor],
) -> None:
    names = program.graph_signature.user_inputs
    asked = [*shapes, *frozen]
    if sorted(map(str, names)) != sorted(asked):
        raise InvalidRequest(f"the program takes the inputs {names}, not {asked}")
    if not shapes:
        raise InvalidRequest("no input varies")
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    sizes: dict[str, int] = {}
    for name, shape in {
        **shapes,
        **{name: tensor.shape for name, tensor in frozen.items()},
    }.items():
        if not isinstance(placeholders[name].meta["val"], Tensor):
            raise InvalidRequest(f"input {name!r} is not a tensor")
        _check_shape(program, name, placeholders[name].meta["val"].shape, tuple(shape), sizes)


def _check_shape(
    program: ExportedProgram,
    name: str,
    declared: torch.Size,
    shape: tuple[int, ...],
    sizes: dict[str, int],
) -> None:
    refusal = InvalidRequest(f"input {name!r} is {tuple(declared)}, not {shape}")
    if len(declared) != len(shape):
        raise refusal
    for symbol, size in zip(declared, shape, strict=True):
        # A product of symbols, as in 32*s31, is left to the operators it was made for.
        if isinstance(symbol, int):
            fits = symbol == size
        else:
            fits = sizes.setdefault(str(symbol), size) == size
            expression = symbol.node.expr
            bounds = program.range_constraints.get(expression)
            # Of sizes that nothing is said of, export assumes that they are not 1, for its own
            # bookkeeping of broadcasts; here every shape is computed anew.
            assumed = size == 1 and bounds is not None and bounds.lower == 2
            within = bounds is None or bool(bounds.lower <= size <= bounds.upper)
            fits = fits and (within or assumed)
        if not fits:
            raise refusal


def _defined(program: ExportedProgram, definitions: Definitions) -> ExportedProgram:
    """By definitions, and without writes to parts of tensors that it made itself."""
    operators = {node.target for node in program.graph.nodes if isinstance(node.target, OpOverload)}
    writes = any(operator._schema.is_mutable for operator in operators)
    if not writes and not operators & definitions.keys():
        return program
    with warnings.catch_warnings():
        # torch warns of what it calls itself.
        warnings.simplefilter("ignore", FutureWarning)
        defined: ExportedProgram = program.run_decompositions(dict(definitions))
    return defined


def _check_unmutated(program: ExportedProgram) -> None:
    signature = program.graph_signature
    changed = {**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}
    if changed:
        node = next(iter(changed))
        raise UnsupportedOperator("a write", node, "changes a tensor the program was given")
    for node in program.graph.nodes:
        # What is written in place is read by name later, so the writing node may look dead.
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            raise UnsupportedOperator(str(node.target), node.name, "changes a tensor in place")


def _stored_tensors(program: ExportedProgram) -> dict[str, Tensor]:
    signature = program.graph_signature
    stored = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {name: stored[target].detach() for name, target in names.items()}


def _exact(name: str, tensor: Tensor) -> Interval:
    try:
        return Interval.exact(as_pairs(tensor) if tensor.is_complex() else tensor)
    except NotABound as error:
        raise NotCertified(f"the constant {name!r} is no exact real tensor: {error}") from error


def _fake_input(
    node: FxNode,
    mode: FakeTensorMode,
    shapes: Mapping[str, tuple[int, ...]],
    given: Mapping[str, Tensor],
) -> Tensor:
    declared = node.meta.get("val")
    known = node.name in shapes or node.name in given
    if not isinstance(declared, Tensor) or not known:
        raise UnsupportedOperator("the input", node.name, "is not a tensor")
    if node.name in shapes and declared.is_complex():
        raise UnsupportedOperator("the input", node.name, "is complex")
    shape = shapes[node.name] if node.name in shapes else tuple(given[node.name].shape)
    with mode:
        return torch.empty(shape, dtype=declared.dtype, device="cpu")


def _lower_call(node: FxNode, walk: _Walk) -> None:
    operator = str(node.target)
    if operator in _ASSERTIONS:
        return
    fake = _propagate(node, operator, walk.fakes)
    walk.fakes[node] = fake
    _require_bits(node, walk)
    first = fake[0] if isinstance(fake, list | tuple) and fake else fake
    if not isinstance(first, Tensor):
        return  # arithmetic on sizes: by now a number
    arguments = MappingProxyType(_arguments(node, operator, walk))
    shape = tuple(int(size) for size in first.shape)
    name = operator if isinstance(node.target, OpOverload) else _python_name(node)
    walk.nodes.append(Node(node.name, name, arguments, shape, kind_of(first.dtype)))


def _require_bits(node: FxNode, walk: _Walk) -> None:
    if walk.narrowest is None:
        return
    for each in tree_leaves(walk.fakes[node]):
        if isinstance(each, Tensor) and _bytes(each.dtype) < walk.narrowest.itemsize:
            reason = f"is of {each.dtype}, whose rounding is not counted"
            raise UnsupportedOperator(str(node.target), node.name, reason)


def _bytes(dtype: torch.dtype) -> float:
    """Of one float, a part of a complex number among them."""
    if dtype.is_complex:
        return dtype.itemsize / 2
    return dtype.itemsize if dtype.is_floating_point else math.inf


def _propagate(node: FxNode, operator: str, fakes: Mapping[FxNode, Any]) -> Any:
    target = node.target
    if not callable(target):
        raise UnsupportedOperator(operator, node.name)
    try:
        return target(*_values(node.args, fakes), **_values(node.kwargs, fakes))
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        reason = f"cannot be given its shape: {error}"
        raise UnsupportedOperator(operator, node.name, reason) from error


def _values(arguments: Any, fakes: Mapping[FxNode, Any]) -> Any:
    return torch.fx.map_arg(arguments, lambda used: fakes[used])


def _arguments(node: FxNode, operator: str, walk: _Walk) -> dict[str, Argument]:
    """Every argument by the name the schema gives it, defaults included."""
    convert = _converter(node, operator, walk)
    if not isinstance(node.target, OpOverload):
        return {f"argument_{i}": convert(value) for i, value in enumerate(node.args)}
    declared = node.target._schema.arguments
    named = dict(zip((each.name for each in declared), node.args, strict=False)) | node.kwargs
    defaults = {each.name: each.default_value for each in declared if each.has_default_value()}
    ordered = (each.name for each in declared if each.name in named or each.name in defaults)
    return {name: convert(named.get(name, defaults.get(name))) for name in ordered}


def _converter(node: FxNode, operator: str, walk: _Walk) -> Callable[[Any], Argument]:
    def convert(value: Any) -> Argument:
        if isinstance(value, FxNode):
            known = walk.fakes[value]
            return known if isinstance(known, bool | int | float) else Ref(value.name)
        if isinstance(value, list | tuple):
            return tuple(convert(item) for item in value)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
            return str(value)
        raise UnsupportedOperator(operator, node.name, f"takes a {type(value).__name__}")

    return convert


def _python_name(node: FxNode) -> str:
    return f"python.{getattr(node.target, '__name__', node.target)}"


def _output_name(program: ExportedProgram, output: int, walk: _Walk) -> str:
    (results,) = next(node for node in program.graph.nodes if node.op == "output").args
    if not 0 <= output < len(results):
        raise InvalidRequest(f"the program has {len(results)} outputs, none of number {output}")
    result = results[output]
    if not isinstance(result, FxNode) or not isinstance(walk.fakes[result], Tensor):
        raise InvalidRequest(f"output {output} is not a tensor of the graph")
    return str(result.name)
