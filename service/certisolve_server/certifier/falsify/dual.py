"""Which vectors attain a norm: the steps of power iterations between any two of l1, l2, linf."""

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.norms import Norm

_TINY = torch.finfo(torch.float64).tiny


def length(vectors: Tensor, norm: Norm) -> Tensor:
    """The norm of each row, in plain floats."""
    if norm == "l1":
        return vectors.abs().sum(1)
    if norm == "linf":
        return vectors.abs().amax(1)
    size: Tensor = torch.linalg.vector_norm(vectors, 2, 1)
    return size


def dual_norm(norm: Norm) -> Norm:
    """The norm of functionals on a space with this one."""
    duals: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
    return duals[norm]


def steepest(functionals: Tensor, norm: Norm) -> Tensor:
    """Of each row g, a v with |v| = 1 in this norm so that g.v is the dual norm of g."""
    if norm == "linf":
        return torch.where(functionals >= 0, 1.0, -1.0).to(functionals.dtype)
    if norm == "l1":
        largest = functionals.abs().argmax(1, keepdim=True)
        sign = torch.where(functionals.gather(1, largest) >= 0, 1.0, -1.0).to(functionals.dtype)
        return torch.zeros_like(functionals).scatter(1, largest, sign)
    return functionals / length(functionals, "l2").clamp(min=_TINY).unsqueeze(1)
