"""What every time stepper does."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Inexact
from numpy import ndarray


class AbstractStepper(ABC):
    """Advances states of one problem by one fixed step.

    Subclasses take `(problem, dt)` and do there whatever depends on these alone. States carry
    samples along their first axis and are never written to.
    """

    order: ClassVar[int]

    @abstractmethod
    def step(self, state: Inexact[ndarray, "sample ..."]) -> Inexact[ndarray, "sample ..."]:
        """The state one dt later; its error after a fixed time falls as dt^order."""
