"""B-splines and functions made of them in plain float64 (see `graph.splines`, `graph.edges`)."""

import torch
from torch import Tensor
from torch.nn import functional


def bspline_basis(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """All B-splines of a degree at x, by the recursion of Cox and de Boor.

    Args:
        x: (*shape, 1).
        knots: growing strictly, (*trailing part of shape, count).
        degree: at least 0.

    Returns:
        (*shape, count - 1 - degree).
    """
    inside = (x >= knots[..., :-1]) & (x < knots[..., 1:])
    basis = inside.to(torch.float64)
    for d in range(1, degree + 1):
        width = knots[..., d:] - knots[..., :-d]
        rising = (x - knots[..., : -(d + 1)]) / width[..., :-1] * basis[..., :-1]
        falling = (knots[..., d + 1 :] - x) / width[..., 1:] * basis[..., 1:]
        basis = rising + falling
    return basis


def spline_edges(
    x: Tensor, knots: Tensor, coefficients: Tensor, base: Tensor, degree: int
) -> Tensor:
    """All edge functions of a layer, splines and silu: (rows, inputs) to (rows, inputs, outputs).

    Args:
        x: (rows, inputs).
        knots: (inputs, count).
        coefficients: (inputs * members, outputs).
        base: (inputs, outputs).
        degree: of the splines.
    """
    inputs, outputs = base.shape
    basis = bspline_basis(x.unsqueeze(-1), knots, degree)
    splines = torch.einsum("rim,imo->rio", basis, coefficients.reshape(inputs, -1, outputs))
    return splines + base * functional.silu(x).unsqueeze(-1)
