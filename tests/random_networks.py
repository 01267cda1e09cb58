"""Random networks from the grammar of operators, drawn by hypothesis."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

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
    "written": lambda: Lambda(_written),
    "added in place": lambda: Lambda(lambda x: (2.0 * x).add_(x.flip(-1), alpha=-0.5).mul_(x)),
    "alpha": lambda: Lambda(lambda x: torch.add(x, x.abs(), alpha=-0.5)),
    "reversed": lambda: Lambda(lambda x: torch.rsub(x.flip(-1), 0.3 * x, alpha=2)),
    "cube": lambda: Lambda(lambda x: 0.05 * torch.tanh(x) ** 3 + (2.0 + x.square()) ** -1),
    "power 0": lambda: Lambda(lambda x: x**0 + x**1.0),
    "inverse root": lambda: Lambda(lambda x: x * torch.rsqrt(x.square() + 0.5)),
    "log": lambda: Lambda(lambda x: torch.log(1.0 + x.abs()) + torch.log1p(x.square())),
    "erf": lambda: Lambda(lambda x: torch.erf(x) - torch.expm1(-x.abs())),
    "mish": lambda: Lambda(functional.mish),
    "hardswish": lambda: Lambda(functional.hardswish),
    "logsigmoid": lambda: Lambda(functional.logsigmoid),
    "selu": lambda: Lambda(functional.selu),
    "celu": lambda: Lambda(lambda x: functional.celu(x, 0.5)),
    "softplus": lambda: Lambda(lambda x: functional.softplus(x, 3.0, 30.0)),
    "falling": lambda: Lambda(lambda x: functional.leaky_relu(x, -1.5)),
    "prelu": lambda: nn.PReLU(init=1.7),
    "cut to a point": lambda: Lambda(lambda x: x + torch.clamp(x, 0.2, 0.2)),
    "sort": lambda: Lambda(lambda x: x.sort(-1)[0] - 0.5 * x.sort(-1, descending=True)[0]),
    "largest": lambda: Lambda(lambda x: x - 0.5 * x.amax(-1, keepdim=True) + x.min(-1)[0]),
    "pooled": lambda: Lambda(lambda x: functional.max_pool1d(x[None], 3, 1, 1)[0]),
    "averaged": lambda: Lambda(
        lambda x: functional.avg_pool1d(x[None], 3, 1, 1, count_include_pad=False)[0]
    ),
    "finer and coarser": lambda: Lambda(_finer_and_coarser),
    "softmax": lambda: Lambda(lambda x: x.softmax(-1) + 0.1 * x),
    "logsumexp": lambda: Lambda(lambda x: torch.logaddexp(x, x.flip(-1)) - x.logsumexp(-1)),
    "attention": lambda: Lambda(_attention),
    "normed": lambda: Lambda(lambda x: functional.layer_norm(x, x.shape[1:], eps=0.5)),
    "cumulative": lambda: Lambda(lambda x: 0.5 * x.cumsum(-1)),
    "product": lambda: Lambda(lambda x: x + torch.tanh(x).prod(-1, keepdim=True)),
    "outer": lambda: Lambda(lambda x: torch.einsum("bi,bj->bi", torch.tanh(x), torch.sin(x))),
    "convolved": lambda: nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        nn.Conv1d(1, 2, 3, padding=1, padding_mode="replicate"),
        nn.ConvTranspose1d(2, 1, 3, padding=1),
        nn.Flatten(1),
    ),
    "masked": lambda: Lambda(lambda x: torch.where(torch.arange(x.shape[1]) % 2 == 0, x, -2.0 * x)),
    "counted": lambda: Lambda(lambda x: x * (1 + torch.arange(x.shape[1]) // 2) / 2),
    "rolled": lambda: Lambda(lambda x: functional.pad(x[None], (1, 0), "circular")[0, :, :-1]),
    "stacked": lambda: Lambda(lambda x: torch.stack([x, x.sin()], -1).flatten(1)[:, ::2] + x),
    "spectrum": lambda: Lambda(lambda x: torch.fft.irfft(torch.fft.rfft(x) * 0.5, n=x.shape[1])),
}


def _written(x: Tensor) -> Tensor:
    """Parts of a copy written over, through a view of it as well."""
    y = x.clone()
    y[:, ::2].mul_(-0.5)
    y[:, :1] = x[:, -1:]
    return y


def _finer_and_coarser(x: Tensor) -> Tensor:
    finer = functional.interpolate(x[None], scale_factor=2.0, mode="linear")
    return functional.adaptive_avg_pool1d(finer, x.shape[1])[0]


def _attention(x: Tensor) -> Tensor:
    """Of the entries as tokens of one channel."""
    tokens = x.unsqueeze(-1)
    return (torch.softmax(tokens @ tokens.mT, -1) @ tokens).squeeze(-1)


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
