"""Modules to graphs of ATen operators, and what torch.export says in the user's words and lines."""

import contextlib
import copy
import inspect
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from .errors import DataDependentControlFlow, ExportError, NotTraceable
from .places import raised_at, running_at
from .sizes import Guard, Size, as_size_error, check_ranges, narrowed
from .symbolic import symbolic_sizes

_SOURCE_TRACES = ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack")
_GUARDS_LOGGER = "torch.fx.experimental.symbolic_shapes"
_SYMBOL = re.compile(r"create_symbol (\w+) = \S+ for (\S+)")


def trace(
    module: nn.Module,
    inputs: Sequence[Tensor],
    axes: Sequence[Sequence[str]],
    sizes: Mapping[str, Size],
) -> ExportedProgram:
    """The module as a graph that takes every batch and every size that may vary.

    Args:
        module: in evaluation mode; left as it is.
        inputs: an example; its batch of at least two where the batch may vary.
        axes: per input, the names of its axes, `batch` first.
        sizes: which of them may vary, by name; the others are fixed to the example's.

    Raises:
        SpecialisedDimension: the graph takes fewer sizes than it must.
        DataDependentControlFlow: Python decides by values of tensors.
        NotTraceable: torch.export cannot follow the module.
    """
    try:
        with _quiet():
            program = _export(module, inputs, axes, sizes)
    except GuardOnDataDependentSymNode as error:
        raise _data_dependent(error) from error
    except Exception as error:
        guards = _guards(module, inputs, axes, sizes)
        raise _explained(error, guards, _named_axes(module, axes)) from error
    if narrowed(program, axes, sizes):
        guards = _guards(module, inputs, axes, sizes)
        check_ranges(program, axes, sizes, guards, _named_axes(module, axes))
    return program


def copied(module: nn.Module) -> nn.Module:
    """A copy to trace: modules that keep what they computed for a shape are not to keep symbols."""
    try:
        return copy.deepcopy(module)
    except Exception:  # what cannot be copied is traced itself
        return module


def strip(program: ExportedProgram) -> None:
    """Take out example inputs, stored as a pickle, traces of the source, and derived ranges.

    The range of `4*s` follows from that of `s`, and in an archive only names are keys.
    """
    program._example_inputs = None
    for size in [each for each in program.range_constraints if not each.is_Symbol]:
        del program.range_constraints[size]
    for node in program.graph.nodes:
        for key in _SOURCE_TRACES:
            node.meta.pop(key, None)


def _export(
    module: nn.Module,
    inputs: Sequence[Tensor],
    axes: Sequence[Sequence[str]],
    sizes: Mapping[str, Size],
) -> ExportedProgram:
    collection = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]  # unannotated in torch
    for tensor, names in zip(inputs, axes, strict=True):
        collection[tensor] = {i: sizes[name] for i, name in enumerate(names) if name in sizes}
    traced = copied(module)
    arguments = tuple(inputs)
    shapes = collection.dynamic_shapes(traced, arguments)  # type: ignore[no-untyped-call]
    with symbolic_sizes():
        return torch.export.export(traced, arguments, dynamic_shapes=shapes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch prints when it fails: the error says it again."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _explained(
    error: Exception, guards: list[Guard], axes: Mapping[str, Sequence[str]]
) -> ExportError:
    explained = as_size_error(str(error), guards, axes)
    if explained is not None:
        return explained
    line = str(error).strip().partition("\n")[0]
    return NotTraceable(
        f"torch.export cannot follow the module: {type(error).__name__}: {line}{raised_at(error)}",
        "keep forward to operations of torch on tensors: no numpy, no files, no printing of values",
    )


def _data_dependent(error: Exception) -> DataDependentControlFlow:
    return DataDependentControlFlow(
        f"Python needs the value of a tensor{raised_at(error)}, which a graph does not know",
        "choose with torch.where instead of if, and use no int(), float() or .item() of a tensor",
    )


class _GuardLog(logging.Handler):
    """Collects the conditions that tracing put on sizes, with the lines that asked for them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.sources: dict[str, str] = {}
        self.guards: list[Guard] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        created = _SYMBOL.match(text)
        if created:
            self.sources[created[1]] = created[2]
        elif "[guard added]" in text and "[guard suppressed]" not in text:
            condition = text.partition(" [guard added]")[0].partition(" ")[2]
            for symbol, source in self.sources.items():
                condition = re.sub(rf"\b{symbol}\b", source, condition)
            self.guards.append(Guard(condition, running_at()))


def _guards(
    module: nn.Module,
    inputs: Sequence[Tensor],
    axes: Sequence[Sequence[str]],
    sizes: Mapping[str, Size],
) -> list[Guard]:
    """Trace once more, and listen."""
    logger, log = logging.getLogger(_GUARDS_LOGGER), _GuardLog()
    level, propagates, handlers = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [log]
    try:
        with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
            _export(module, inputs, axes, sizes)
    finally:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagates, handlers
    return log.guards


def _named_axes(module: nn.Module, axes: Sequence[Sequence[str]]) -> dict[str, Sequence[str]]:
    """Axes by what torch.export calls the inputs: the parameters of forward, or `args[0]`."""
    named: dict[str, Sequence[str]] = {}
    for parameter in inspect.signature(module.forward).parameters.values():
        rest = axes[len(named) :]
        if parameter.kind is parameter.VAR_POSITIONAL:
            return {**named, **{f"{parameter.name}[{i}]": each for i, each in enumerate(rest)}}
        if rest:
            named[parameter.name] = rest[0]
    return named
