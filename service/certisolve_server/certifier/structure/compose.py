"""One operator after another, fused where their structures allow it."""

from dataclasses import replace

import torch

from certisolve_server.certifier.arithmetic import Interval, matmul
from certisolve_server.certifier.operators import (
    Composition,
    Convolution,
    Dense,
    Diagonal,
    LinearOperator,
    Rearrangement,
)


def after(operator: LinearOperator, run: LinearOperator | None) -> LinearOperator | None:
    """The operator after a run; None stands for the identity."""
    if _is_identity(operator):
        return run
    if run is None:
        return operator
    parts = run.parts if isinstance(run, Composition) else (run,)
    fused = _fused(parts[-1], operator)
    whole = (*parts[:-1], fused) if fused is not None else (*parts, operator)
    return whole[0] if len(whole) == 1 else Composition(whole)


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
        if isinstance(first, Dense):
            return Dense(matmul(second.weight, first.weight))
        if isinstance(first, Diagonal):
            return Dense(second.weight * first.factors)
        if isinstance(first, Rearrangement):
            return Dense(second.weight.rearranged(lambda ends: _spread(ends, first)))
    if isinstance(first, Rearrangement) and isinstance(second, Rearrangement):
        kept = second.source >= 0
        source = torch.where(kept, first.source[second.source.clamp(min=0)], -1)
        return Rearrangement(source, first.size)
    return None


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
