"""What a structured linear operator is."""

import math
from abc import ABC, abstractmethod

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, up
from certisolve_server.certifier.errors import InvalidRequest, NotCertified


class LinearOperator(ABC):
    """A real linear map between flattened tensors, channels before points of a grid, in C order."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """How many numbers it takes."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers it gives."""

    @abstractmethod
    def norm_bound(self, norm: Norm) -> float:
        """At least |A|_{p->p}, possibly inf; see `norm`."""

    @abstractmethod
    def apply(self, x: Interval) -> Interval:
        """Holds A x for all members x, (..., inputs) to (..., outputs)."""

    def norm(self, norm: Norm) -> float:
        """At least |A|_{p->p} for p = l1, l2 or linf, all roundings carried.

        Raises:
            NotCertified: no finite bound was proven.
        """
        bound = self.norm_bound(norm)
        # False of NaN.
        if not 0.0 <= bound < math.inf:
            raise NotCertified(f"the {norm} norm of {type(self).__name__} has no finite bound")
        return bound

    def matrix(self) -> Interval:
        """An enclosure of its matrix, (outputs, inputs); as large as that is."""
        columns = self.apply(Interval.exact(torch.eye(self.inputs, dtype=torch.float64)))
        return columns.rearranged(lambda ends: ends.mT)


def grid_weighted(bound: float, points_in: int, points_out: int) -> float:
    """From an l2 bound that of functions on grids, |u|^2 = mean over points of |u|^2.

    On one grid both are the same; else there is the factor sqrt(points_in / points_out).
    """
    if points_in < 1 or points_out < 1:
        raise InvalidRequest("a grid has points")
    # A correctly rounded quotient, so its upper neighbour is not below it.
    share = up(torch.tensor(points_in / points_out, dtype=torch.float64))
    if points_in == points_out:
        return bound
    return float(product_up(torch.tensor(bound, dtype=torch.float64), sqrt_up(share)))


def require(agrees: bool, reason: str) -> None:
    """Of shapes.

    Raises:
        InvalidRequest: they do not agree.
    """
    if not agrees:
        raise InvalidRequest(reason)
