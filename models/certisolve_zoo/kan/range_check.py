"""Whether a Kolmogorov-Arnold network was asked where its splines are complete."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class SplineNetwork(nn.Module, ABC):
    """A network that knows the grid boxes of its splines."""

    @abstractmethod
    def knot_excess(self, *inputs: Float[Tensor, "batch point"]) -> Float[Tensor, " batch"]:
        """Largest distance by which activations leave their grid boxes, in widths of the box.

        Zero or less where all of them, those of the first layer included, lie inside.
        """


class KnotExcess(nn.Module):
    """The diagnostic `knot_excess` of answers.

    Splines end a few knots past their boxes, beyond which a network silently forgets them.

    Args:
        network: trained, a `SplineNetwork`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, SplineNetwork):
            raise TypeError(f"{type(network).__name__} has no grid boxes to leave")
        self.network = network

    def forward(self, *tensors: Float[Tensor, "batch point"]) -> Float[Tensor, " batch"]:
        """From the inputs and the one output, which is not looked at."""
        return self.network.knot_excess(*tensors[:-1])
