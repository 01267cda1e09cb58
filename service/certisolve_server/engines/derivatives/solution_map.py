"""The contract of a solution map that has derivatives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from certisolve_server.jobs import Kind


class AbstractSolutionMap(ABC):
    """How outputs follow from inputs and parameters, at one of their values."""

    #: False once a derivative was not found to the tolerance that was asked for.
    converged: bool = True

    @abstractmethod
    def jvp(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        """How the outputs change along directions of inputs and parameters.

        Args:
            tangents: one per input and parameter, each of shape (direction, ...).

        Returns:
            One per output, of shape (direction, ...).
        """

    @abstractmethod
    def vjp(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of the outputs along directions.

        Args:
            cotangents: one per output, each of shape (direction, ...).

        Returns:
            One per input and parameter, of shape (direction, ...).
        """

    @abstractmethod
    def batch_size(self, kind: Kind) -> int:
        """How many directions are best taken at once."""
