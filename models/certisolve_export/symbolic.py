"""Sizes that stay symbols while a module is traced, where libraries would turn them into numbers.

`torch.einsum` with three operands or more, and every einsum of tensorly (hence the spectral
convolutions of `neuraloperator`), ask opt_einsum for the cheapest order of contractions. It
compares sizes, and each comparison fixes one in the graph: the batch, among others. And
`torch.linspace` fixes the number of its points. Here the order is planned for the sizes of the
example, which stay free, and the points come from `torch.arange`.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import SymInt, Tensor
from torch.fx.experimental.symbolic_shapes import optimization_hint
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def symbolic_sizes() -> Iterator[None]:
    """Inside it, contractions and evenly spaced points leave the sizes of tensors free.

    `export` traces inside it; whoever traces by hand puts it around `torch.export.export`.
    """
    with _without_plans_of_tensorly(), _SymbolicSizes():
        yield


class _SymbolicSizes(TorchFunctionMode):
    """Replaces calls that would turn a symbol into a number."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.functional.einsum and isinstance(args[0], str):
            return _einsum(args[0], _operands(args))
        if func is torch.linspace and len(args) == 3 and isinstance(args[2], SymInt):
            return _linspace(*args, **kwargs)
        return func(*args, **kwargs)


def _operands(args: tuple[Any, ...]) -> Sequence[Tensor]:
    # torch.einsum also takes its operands as one list.
    return args[1] if isinstance(args[1], list | tuple) else args[1:]


def _einsum(equation: str, operands: Sequence[Tensor]) -> Tensor:
    planner = torch.backends.opt_einsum.get_opt_einsum()
    path = None
    if len(operands) > 2 and planner is not None and torch.backends.opt_einsum.enabled:
        shapes = [tuple(optimization_hint(size) for size in each.shape) for each in operands]
        pairs, _ = planner.contract_path(equation, *shapes, shapes=True, optimize="auto")
        path = [operand for pair in pairs for operand in pair]
    result: Tensor = torch.ops.aten.einsum.default(equation, operands, path=path)
    return result


def _linspace(start: float, end: float, steps: Any, **options: Any) -> Tensor:
    """As `torch.linspace` does it: from both ends to the middle, so that both are exact."""
    dtype = options.get("dtype") or torch.get_default_dtype()
    index = torch.arange(steps, device=options.get("device"))
    step = (end - start) / (steps - 1)
    from_start = start + step * index.to(dtype)
    from_end = end - step * (steps - 1 - index).to(dtype)
    return torch.where(index < steps // 2, from_start, from_end)


@contextlib.contextmanager
def _without_plans_of_tensorly() -> Iterator[None]:
    """Inside it, the einsum of tensorly is that of torch, if tensorly is in use at all."""
    if "tensorly" not in sys.modules:
        yield
        return
    backend: Any = importlib.import_module("tensorly.backend")
    planned = backend.current_backend().einsum
    backend.BackendManager.register_backend_method("einsum", torch.einsum)
    try:
        yield
    finally:
        backend.BackendManager.register_backend_method("einsum", planned)
