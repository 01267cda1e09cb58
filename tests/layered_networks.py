"""Networks whose affine runs are made of many operators, exported as served ones are."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from small_networks import Applied, perceptron


class Residual(nn.Module):
    """Blocks before and after the function, on one stream."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(4, 6), nn.Linear(6, 5)
        self.back, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + self.back(torch.tanh(self.inner(h)))
        h = functional.gelu(h - 0.5 * self.back(functional.silu(self.inner(h))))
        return self.last(h)


class Dense(nn.Module):
    """Each layer takes all values before it, in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(6, 4), nn.Linear(14, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.tanh(self.first(x))
        b = torch.sigmoid(self.second(torch.cat([x, a[:, 1:3]], 1)))
        return self.last(torch.cat([x, a, b, functional.softplus(a.flip(1))[:, :2]], 1))


class Branches(nn.Module):
    """Two inputs, and functions of several kinds side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = self.left(x) + self.right(y)
        return self.last(torch.cat([torch.tanh(both), torch.sin(self.right(y))], 1))


class MaxMin(nn.Module):
    """The larger and the smaller of pairs, as of 1-Lipschitz networks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(_pairs(self.second(_pairs(self.first(x)))))


def _pairs(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def convolutional(
    stride: int = 1, mode: str = "zeros", function: nn.Module | None = None
) -> nn.Module:
    """Two convolutions, means over windows, and a dense layer, on one image of 6 x 6."""
    size = {1: 3, 2: 1}[stride]
    function = nn.Tanh() if function is None else function
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode),
        function,
        nn.Conv2d(2, 3, 3, stride=stride, padding=1, padding_mode=mode),
        function,
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3 * size * size, 2),
    )


#: Smooth networks, with the shapes of their inputs.
SMOOTH = {
    "perceptron": (lambda: perceptron(nn.GELU(), 4, 6, 5, 2), [(1, 4)]),
    "residual": (Residual, [(1, 4)]),
    "dense": (Dense, [(1, 4)]),
    "branches": (Branches, [(1, 3), (1, 2)]),
    "convolution": (convolutional, [(1, 1, 6, 6)]),
    "strided": (lambda: convolutional(stride=2), [(1, 1, 6, 6)]),
    "circular": (lambda: convolutional(mode="circular"), [(1, 1, 6, 6)]),
    "affine": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), [(1, 3)]),
    "constant": (lambda: Applied(lambda x: torch.tanh(x * 0.0) + 1.0), [(1, 3)]),
}
