"""One operator after another, fused where their structures allow it."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from certisolve_server.certifier.arithmetic import (
    Interval,
    einsum,
    matmul,
)
from certisolve_server.certifier.operators import (
    Composition,
    Convolution,
    Dense,
    Diagonal,
    LinearOperator,
    Pointwise,
    Rearrangement,
)

from .transposed import transpose_applied

#: Of a matrix that operators before it are fused into.
_MOST_ELEMENTS = 1 << 22


def after(operator: LinearOperator, run: LinearOperator | None) -> LinearOperator | None:
    """The operator after a run; None stands for the identity."""
    if _is_identity(operator):
        return run
    if isinstance(operator, Composition):
        for part in operator.parts:
            run = after(part, run)
        return run
    if run is None:
        return operator
    *earlier, last = run.parts if isinstance(run, Composition) else (run,)
    fused = _fused(last, operator)
    if fused is not None:
        return after(fused, _composed(earlier))
    return _composed([*earlier, last, operator])


def _composed(parts: Sequence[LinearOperator]) -> LinearOperator | None:
    if len(parts) > 1:
        return Composition(tuple(parts))
    return parts[0] if parts else None


def _is_identity(operator: LinearOperator) -> bool:
    if isinstance(operator, Rearrangement):
        return operator.inputs == operator.outputs and torch.equal(
            operator.source, torch.arange(operator.size)
        )
    if isinstance(operator, Diagonal):
        factors = operator.factors
        return bool(((factors.lower == 1.0) & (factors.upper == 1.0)).all())
    return False


def _fused(first: LinearOperator, second: LinearOperator) -> LinearOperator | None:
    """One operator for both; None where there is none of their structure."""
    if isinstance(second, Diagonal):
        column = second.factors.rearranged(lambda ends: ends.unsqueeze(-1))
        if isinstance(first, Diagonal):
            return Diagonal(first.factors * second.factors)
        if isinstance(first, Dense):
            return Dense(first.weight * column)
        if isinstance(first, Convolution):
            return _scaled(first, second.factors)
    if isinstance(second, Dense):
        return _matrix_after(first, second)
    if isinstance(first, Rearrangement) and isinstance(second, Rearrangement):
        kept = second.source >= 0
        source = torch.where(kept, first.source[second.source.clamp(min=0)], -1)
        return Rearrangement(source, first.size)
    return None


def _matrix_after(first: LinearOperator, second: Dense) -> Dense | None:
    """A matrix after an operator, row by row: the transpose of the operator on its rows."""
    rows = second.weight
    if isinstance(first, Dense):
        return Dense(matmul(rows, first.weight))
    if isinstance(first, Diagonal):
        return Dense(rows * first.factors)
    if isinstance(first, Rearrangement):
        return Dense(rows.rearranged(lambda ends: _spread(ends, first)))
    if rows.shape[0] * first.inputs > _MOST_ELEMENTS:
        return None
    if isinstance(first, Pointwise):
        fields = rows.rearranged(lambda ends: ends.reshape(ends.shape[0], -1, first.points))
        return Dense(einsum("oi,rop->rip", first.weight, fields).rearranged(_flat))
    if isinstance(first, Convolution) and not first.circular:
        return Dense(transpose_applied(first, rows))
    return None


def _flat(ends: torch.Tensor) -> torch.Tensor:
    return ends.flatten(1)


def _scaled(first: Convolution, factors: Interval) -> Convolution | None:
    """A convolution with its output channels scaled, if each has one factor at all points."""
    by_channel = factors.rearranged(lambda ends: ends.reshape(first.weight.shape[0], -1))
    lower, upper = by_channel.lower.amin(1), by_channel.upper.amax(1)
    if not bool(((by_channel.lower.amax(1) == lower) & (by_channel.upper.amin(1) == upper)).all()):
        return None
    ones = (1,) * (first.weight.ndim - 1)
    scale = Interval(lower, upper).rearranged(lambda ends: ends.reshape(-1, *ones))
    return replace(first, weight=first.weight * scale)


def _spread(weight: torch.Tensor, first: Rearrangement) -> torch.Tensor:
    """The columns of a matrix where a rearrangement took them from, zeros elsewhere."""
    kept = first.source >= 0
    spread = torch.zeros(weight.shape[0], first.size, dtype=weight.dtype)
    spread[:, first.source[kept]] = weight[:, kept]
    return spread
