"""In which norms differences of inputs and of outputs are measured."""

from dataclasses import dataclass

from torch import Tensor

from .arithmetic import Interval, operator_norm
from .arithmetic.norms import Norm
from .errors import InvalidRequest

NORMS: tuple[Norm, ...] = ("l1", "l2", "linf")


@dataclass(frozen=True)
class Norms:
    """Of all varying inputs together, flattened in the order of the graph, and of the output.

    Weights w make |x| the norm of w x, entry by entry: the scales of channels, or the square roots
    of the volumes of grid cells, which turn l2 into the L2 norm of functions.

    Args:
        inputs: of differences of inputs.
        outputs: of differences of outputs.
        input_weights: (entries of all inputs,), above 0; None for ones.
        output_weights: (entries of the output,), above 0; None for ones.

    Raises:
        InvalidRequest: there is no such norm, or weights are not above 0.
    """

    inputs: Norm
    outputs: Norm
    input_weights: Interval | None = None
    output_weights: Interval | None = None

    def __post_init__(self) -> None:
        for norm in (self.inputs, self.outputs):
            if norm not in NORMS:
                raise InvalidRequest(f"a norm is one of {NORMS}, not {norm!r}")
        for weights in (self.input_weights, self.output_weights):
            if weights is not None and not bool((weights.lower > 0).all()):
                raise InvalidRequest("weights of a norm are above 0")

    @property
    def is_weighted(self) -> bool:
        """Whether any of the norms has weights."""
        return self.input_weights is not None or self.output_weights is not None

    def scaled(self, jacobian: Interval) -> Interval:
        """D_out J D_in^-1, (..., outputs, inputs): a J whose norms without weights are these."""
        if self.output_weights is not None:
            column = self.output_weights.rearranged(lambda ends: ends.unsqueeze(-1))
            jacobian = jacobian * column
        return jacobian if self.input_weights is None else jacobian / self.input_weights

    def bound(self, jacobian: Interval) -> Tensor:
        """At least the norm of every member of J, one float64 for each matrix of the batch."""
        return operator_norm(self.scaled(jacobian), self.inputs, self.outputs)
