"""Semilinear problems u' = L u + N(u), as the steppers see them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Inexact

Term = Callable[[np.ndarray], np.ndarray]


class AbstractLinear(ABC):
    """The linear term L, the same for all samples."""

    @abstractmethod
    def apply(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        """L u."""

    @abstractmethod
    def solve_shifted(
        self,
        diagonal: Inexact[np.ndarray, "sample ..."],
        dt: float,
        load: Inexact[np.ndarray, "sample ..."],
    ) -> Inexact[np.ndarray, "sample ..."]:
        """The u of (diag(diagonal) - dt L) u = load."""


@dataclass(frozen=True)
class Diagonal(AbstractLinear):
    """L of a Fourier basis, or of decoupled equations: a factor for each entry of the state."""

    eigenvalues: Inexact[np.ndarray, "..."]

    def apply(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        return np.asarray(self.eigenvalues * state)

    def solve_shifted(
        self,
        diagonal: Inexact[np.ndarray, "sample ..."],
        dt: float,
        load: Inexact[np.ndarray, "sample ..."],
    ) -> Inexact[np.ndarray, "sample ..."]:
        return np.asarray(load / (diagonal - dt * self.eigenvalues))


LinearT = TypeVar("LinearT", bound=AbstractLinear, covariant=True)


@dataclass(frozen=True)
class Semilinear(Generic[LinearT]):
    """u' = L u + N(u).

    Attributes:
        linear: L.
        nonlinear: N; takes and returns states with samples along the first axis.
        slope: N'(u) where N acts on each entry by itself; only implicit steppers ask for it.
    """

    linear: LinearT
    nonlinear: Term
    slope: Term | None = None

    def vector_field(
        self, state: Inexact[np.ndarray, "sample ..."]
    ) -> Inexact[np.ndarray, "sample ..."]:
        """L u + N(u)."""
        return np.asarray(self.linear.apply(state) + self.nonlinear(state))
