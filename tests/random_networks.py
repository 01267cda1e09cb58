"""Random networks from the grammar of operators, drawn by hypothesis."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

#: By name; each maps a vector of any size to one of the same size.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.15),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu tanh": lambda: nn.GELU("tanh"),
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "hardtanh": nn.Hardtanh,
}


class Lambda(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    """x + h(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


#: Entry by entry or over the last axis, keeping the size, on numbers of any size.
STEPS: dict[str, Callable[[], nn.Module]] = {
    "abs": lambda: Lambda(torch.abs),
    "sin": lambda: Lambda(torch.sin),
    "cos": lambda: Lambda(torch.cos),
    "clamp": lambda: Lambda(lambda x: torch.clamp(x, -0.7, 0.9)),
    "max": lambda: Lambda(lambda x: torch.maximum(x, 0.3 - 0.5 * x)),
    "min": lambda: Lambda(lambda x: torch.minimum(x, x.flip(-1))),
    "flip": lambda: Lambda(lambda x: x.flip(-1)),
    "halves": lambda: Lambda(lambda x: torch.cat(x.chunk(2, -1)[::-1], -1)),
    "mean": lambda: Lambda(lambda x: x - x.mean(-1, keepdim=True)),
    "square": lambda: Lambda(lambda x: 0.2 * x * x),
    "gate": lambda: Lambda(lambda x: x * torch.sigmoid(x.flip(-1))),
    "quotient": lambda: Lambda(lambda x: x / (1.5 + torch.tanh(x.flip(-1)))),
    "root": lambda: Lambda(lambda x: torch.sqrt(1.0 + x * x)),
    "exp": lambda: Lambda(lambda x: torch.exp(-x * x)),
    "scaled": lambda: Lambda(lambda x: 1.7 * x - 0.3),
    "repeated": lambda: Lambda(lambda x: x.unsqueeze(1).repeat(1, 3, 1).sum(1)),
}


@st.composite
def networks(draw, inputs: int = 3, most_layers: int = 3, steps: bool = True) -> nn.Module:
    """Dense layers with activations, steps and skips between them; weights from a seed."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    size, layers = inputs, []
    for _ in range(draw(st.integers(1, most_layers))):
        width = draw(st.integers(1, 6))
        linear = nn.Linear(size, width)
        with torch.no_grad():
            linear.weight.mul_(draw(st.sampled_from([0.5, 1.0, 3.0])))
        inner: list[nn.Module] = [linear, ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]()]
        if steps and draw(st.booleans()):
            inner.append(STEPS[draw(st.sampled_from(sorted(STEPS)))]())
        block = nn.Sequential(*inner)
        layers.append(Residual(block) if width == size and draw(st.booleans()) else block)
        size = width
    layers.append(nn.Linear(size, draw(st.integers(1, 3))))
    return nn.Sequential(*layers)
