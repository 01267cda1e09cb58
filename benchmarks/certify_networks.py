"""Networks whose bounds others have published figures of, or whose bounds are known: by seed."""

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from certisolve_server.certifier.chains import Slopes
from certisolve_server.certifier.functions.registry import find
from certisolve_zoo.operators.spectral import SpectralConv1d, periodic_basis

#: Images of the handwritten digits that nothing is trained on.
HELD_OUT = 200


class MaxMin(nn.Module):
    """Of each pair of neurons the larger and the smaller (Anil et al., ICML 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, 0::2], x[:, 1::2]
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)


class Sandwich(nn.Module):
    """h' = sqrt 2 A^T Psi f(sqrt 2 Psi^-1 B h + b) (Wang and Manchester, ICML 2023)."""

    def __init__(self, inputs: int, outputs: int, is_last: bool) -> None:
        super().__init__()
        a, b = cayley(torch.randn(outputs, outputs), torch.randn(inputs, outputs))
        self.a, self.b, self.is_last = a, b, is_last
        self.psi = torch.randn(outputs, dtype=torch.float64).exp()
        self.bias = 0.3 * torch.randn(outputs, dtype=torch.float64)

    def forward(self, h: Tensor) -> Tensor:
        if self.is_last:
            return functional.linear(h, self.b, self.bias)
        z = functional.linear(h, 2**0.5 * self.b / self.psi[:, None], self.bias)
        return functional.linear(functional.relu(z), 2**0.5 * self.a.mT * self.psi)


class GaussianFno(nn.Module):
    """Lifting, spectral layers with pointwise matrices and GELU, projection; no biases."""

    def __init__(self, width: int, num_modes: int, depth: int) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift, self.project = _gaussian(1, width), _gaussian(width, 1)
        self.spectral = nn.ModuleList(SpectralConv1d(width, num_modes) for _ in range(depth))
        self.pointwise = nn.ModuleList(_gaussian(width, width) for _ in range(depth))

    def forward(self, u: Tensor) -> Tensor:
        basis = periodic_basis(u.shape[1], self.num_modes, u)
        h = self.lift(u.unsqueeze(2))
        for spectral, pointwise in zip(self.spectral, self.pointwise, strict=True):
            h = functional.gelu(spectral(h, basis) + pointwise(h))
        return self.project(h).squeeze(2)


def digits_perceptron(*hidden: int) -> nn.Module:
    """64 pixels in [0, 1] to 10 classes, rectifiers between."""
    sizes = [64, *hidden, 10]
    torch.manual_seed(0)
    return trained(perceptron(sizes, nn.ReLU))


def digits_convolution() -> nn.Module:
    """Two convolutions, the second strided, zeros around, and a linear layer."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return trained(net)


def smooth_perceptron(activation: type[nn.Module], seed: int) -> nn.Module:
    """3-6-6-2, weights 2.5 times those that keep the variance."""
    torch.manual_seed(seed)
    net = perceptron((3, 6, 6, 2), activation)
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=2.5 / layer.in_features**0.5)
    return net


def maxmin(depth: int, width: int) -> nn.Module:
    """`depth` layers in all, 10 inputs, 10 outputs, as they come out of the initialisation."""
    torch.manual_seed(0)
    return perceptron((10, *[width] * (depth - 1), 10), MaxMin)


def sandwiches(sizes: Sequence[int], gamma: float, seed: int) -> nn.Module:
    """A network of sandwich layers, whose Lipschitz constant is at most gamma by construction."""
    torch.manual_seed(seed)
    last = len(sizes) - 2
    layers = [Sandwich(a, b, k == last) for k, (a, b) in enumerate(itertools.pairwise(sizes))]
    layers[0].b *= gamma
    return nn.Sequential(*layers)


def gaussian_fno(width: int, num_modes: int, depth: int, product: float) -> GaussianFno:
    """Gaussian weights that keep the variance, the projection scaled to this product of norms.

    Each layer counts with the largest slope of GELU times the sum of the norms of its spectral and
    its pointwise part, as where both are bounded by themselves.
    """
    torch.manual_seed(0)
    net = GaussianFno(width, num_modes, depth)
    net.project.weight.data *= product / product_of_norms(net)
    return net


def product_of_norms(net: GaussianFno) -> float:
    """Of the layers, from maximum to maximum of what each does to a field."""
    factors = [_norm(net.lift.weight), _norm(net.project.weight)]
    cap = float(Slopes.of(find("gelu_erf"), 1).cap)
    for modes, pointwise in zip(complex_weights(net), net.pointwise, strict=True):
        modes[0] = modes[0].real
        factors.append(cap * (_norm(modes) + _norm(pointwise.weight)))
    return math.prod(factors)


def complex_weights(net: GaussianFno) -> list[Tensor]:
    """R of each spectral layer, (modes, out channels, in channels)."""
    parts = ((layer.weight_real, layer.weight_imag) for layer in net.spectral)
    return [torch.complex(real, imaginary).detach().mT for real, imaginary in parts]


def eclipse(depth: int, width: int) -> nn.Module:
    """4 inputs, one output, norms of weights uniform in [.4, 1.8], as ECLipsE draws them."""
    numbers = np.random.RandomState(7 * width + 13 * depth)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([4] + [width] * (depth - 1) + [1]):
        norm = numbers.uniform(0.4, 1.8)
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
        weight = torch.from_numpy(numbers.randn(outputs, inputs))
        layer.weight.data = weight * (norm / torch.linalg.matrix_norm(weight, 2))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def wide_perceptron() -> nn.Module:
    """784-256-10, not trained."""
    torch.manual_seed(0)
    return perceptron((784, 256, 10), nn.ReLU)


def perceptron(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Dense layers and a function between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def trained(net: nn.Module) -> nn.Module:
    """By Adam on the handwritten digits, weights kept small as classifiers' are."""
    pixels, labels = digits()
    pixels, labels = pixels[HELD_OUT:], labels[HELD_OUT:]
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        for batch in torch.randperm(len(pixels), generator=generator).split(64):
            loss = functional.cross_entropy(net(pixels[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


@cache
def digits() -> tuple[Tensor, Tensor]:
    """(images, 64) in [0, 1], and their classes."""
    bunch = load_digits()
    return torch.tensor(bunch.data / 16.0, dtype=torch.float32), torch.tensor(bunch.target)


def cayley(square: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """(A, B) with A A^T + B B^T = I, square and outputs x inputs."""
    square, rest = square.double(), rest.double()
    identity = torch.eye(square.shape[0], dtype=torch.float64)
    z = square - square.mT + rest.mT @ rest
    inverse = torch.linalg.inv(identity + z)
    return (inverse @ (identity - z)).mT, (-2.0 * rest @ inverse).mT


def _gaussian(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer


def _norm(matrices: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrices.detach(), 2).max())
