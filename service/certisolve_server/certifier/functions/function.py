"""What the certifier knows of a nonlinearity: enclosures of its values and of its slopes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval


class Function(ABC):
    """A continuous function of one real number, applied element by element.

    Its parameters, if any, are those of the operator in torch, taken as the real numbers they are.
    """

    @abstractmethod
    def value(self, x: Interval) -> Interval:
        """Holds f(t) for every real t in x.

        Raises:
            OutsideDomain: f is not defined on all of x.
        """

    @abstractmethod
    def derivative(self, x: Interval) -> Interval:
        """Holds the Clarke derivative of f at every t in x.

        That is the derivative where there is one, and between those of both sides at a kink, so
        the result holds (f(t) - f(s)) / (t - s) for all different s and t in x as well (Lebourg's
        mean value theorem: Clarke, Optimization and Nonsmooth Analysis, theorem 2.3.7).

        Raises:
            OutsideDomain: f is not defined on all of x.
        """

    def second_derivative(self, x: Interval) -> Interval:
        """Holds the Clarke derivative of f' at every t in x, as far as it is known to exist.

        Everything where f' may jump on x, its ends included; so it is where nothing is known.
        """
        return Interval.entire(x.shape)

    def defined(self, x: Interval) -> Tensor:
        """Where the other methods do not raise `OutsideDomain`, element by element."""
        return torch.ones_like(x.lower, dtype=torch.bool)

    def jet(self, x: Interval, orders: Sequence[int]) -> list[Interval]:
        """The value (order 0), derivative (1) and second derivative (2), those that are asked for.

        A function that computes them together more cheaply says so here.
        """
        of_order = (self.value, self.derivative, self.second_derivative)
        return [of_order[order](x) for order in orders]


class JointFunction(Function):
    """A function whose value and derivatives are enclosed at once, by `jet`."""

    def value(self, x: Interval) -> Interval:
        return self.jet(x, (0,))[0]

    def derivative(self, x: Interval) -> Interval:
        return self.jet(x, (1,))[0]

    def second_derivative(self, x: Interval) -> Interval:
        return self.jet(x, (2,))[0]

    @abstractmethod
    def jet(self, x: Interval, orders: Sequence[int]) -> list[Interval]:
        """As of `Function`, whose other methods are made of it."""


class BinaryFunction(ABC):
    """A continuous function of two real numbers, applied element by element, with broadcasting."""

    @abstractmethod
    def value(self, x: Interval, y: Interval) -> Interval:
        """Holds f(s, t) for every s in x and t in y."""

    @abstractmethod
    def derivatives(self, x: Interval, y: Interval) -> tuple[Interval, Interval]:
        """Hold both elements of every member of the Clarke gradient of f on x and y."""
