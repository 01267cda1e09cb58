"""Feedback neural networks (Jia et al., "Feedback Favors the Generalization of Neural ODEs", 2024).

    x' = f(x) + g h(x - x̂)

f was learned, x̂ follows the measured x, h turns their difference into a correction: L e, or a
network that was trained on randomised systems. With a positive definite L and an f that is wrong by
at most γ, |x - x̂| falls to γ/λ_min(L). A correction vanishes where measurement and observer agree,
so that what f has learned is kept.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class LinearFeedback(nn.Module):
    """h(e) = L e.

    Args:
        matrix: L, positive definite, over (state, state).
    """

    matrix: Tensor

    def __init__(self, matrix: Float[Tensor, "state state"]) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, error: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The correction of the derivative."""
        return functional.linear(error, self.matrix)

    def slope_bound(self) -> float:
        """λ with |h(a) - h(b)| <= λ |a - b|: the spectral norm of L, its largest eigenvalue."""
        return _spectral_norm(self.matrix)


class NeuralFeedback(nn.Module):
    """h(e) = n(e) - n(0) with a ReLU perceptron n.

    The paper regresses n itself; without n(0) a measurement that agrees with the observer would
    still disturb the model.

    Args:
        num_states: components of x.
        hidden: widths of the hidden layers.
    """

    def __init__(self, num_states: int, hidden: tuple[int, ...] = (50, 50)) -> None:
        super().__init__()
        widths = (num_states, *hidden, num_states)
        last = len(hidden)
        self.layers = nn.ModuleList(
            nn.Linear(*pair, bias=layer < last)  # a constant of n would cancel
            for layer, pair in enumerate(itertools.pairwise(widths))
        )

    def forward(self, error: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The correction of the derivative."""
        return self._network(error) - self._network(torch.zeros_like(error[:1]))

    def slope_bound(self) -> float:
        """λ with |h(a) - h(b)| <= λ |a - b|, proven; at most the product of the weights' norms.

        A ReLU is half the identity and half the absolute value, which moves no two numbers apart.
        Where it is the identity, the weights on its sides merge: the bound is the mean, over all
        choices, of the products of the norms of merged weights (Combettes & Pesquet, 2020).
        """
        weights = (torch.as_tensor(layer.weight).detach() for layer in self.layers)
        first, *others = weights
        chains = [(1.0, first)]
        for weight in others:
            cut = [(norm * _spectral_norm(product), weight) for norm, product in chains]
            merged = [(norm, weight @ product) for norm, product in chains]
            chains = cut + merged
        return sum(norm * _spectral_norm(product) for norm, product in chains) / len(chains)

    def _network(self, error: Tensor) -> Tensor:
        correction = torch.as_tensor(self.layers[0](error))
        for layer in self.layers[1:]:
            correction = layer(functional.relu(correction))
        return correction


class FeedbackField(nn.Module):
    """The corrected vector field f(x) + g h(x - x̂).

    Args:
        field: f.
        feedback: h, a `LinearFeedback` or `NeuralFeedback`.
    """

    def __init__(self, field: nn.Module, feedback: nn.Module) -> None:
        super().__init__()
        self.field = field
        self.feedback = feedback

    def forward(
        self,
        x: Float[Tensor, "batch state"],
        observer: Float[Tensor, "batch state"],
        gain: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """The time derivative of x, and of its observer x̂.

        Args:
            x: measured, or predicted by the layer before.
            observer: x̂ of this layer.
            gain: g; 0 for the learned field alone, exp(-βi) in layer i of a cascade.
        """
        correction = gain.unsqueeze(1) * self.feedback(x - observer)
        return torch.add(self.field(x), correction)


def _spectral_norm(matrix: Float[Tensor, "row column"]) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))
