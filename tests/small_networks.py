"""Small programs to certify, exported as served ones are, and what is sampled to refute a bound."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

ARTIFACTS = Path(__file__).parents[1] / "models" / "artifacts"


class Applied(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def exported(module: nn.Module, *shapes: Sequence[int]) -> ExportedProgram:
    """A module of float32 weights as a program; its inputs are named x, y, z."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

    forwards = {
        1: lambda self, x: self.inner(x),
        2: lambda self, x, y: self.inner(x, y),
        3: lambda self, x, y, z: self.inner(x, y, z),
    }
    Named.forward = forwards[len(shapes)]
    return torch.export.export(Named().eval(), tuple(torch.zeros(*shape) for shape in shapes))


def perceptron(activation: nn.Module, *widths: int, seed: int = 0, gain: float = 1.5) -> nn.Module:
    """Dense layers with weights drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            layer.weight.copy_(
                torch.randn(fan_out, fan_in, generator=generator) * gain / fan_in**0.5
            )
            layer.bias.copy_(torch.randn(fan_out, generator=generator) * 0.3)
        layers += [layer, activation] if i < len(widths) - 2 else [layer]
    return nn.Sequential(*layers)


def bundled(name: str) -> ExportedProgram:
    """A program of the repository, in its latest version."""
    versions = sorted((ARTIFACTS / name).iterdir(), key=lambda path: int(path.name))
    return torch.export.load(versions[-1] / "program.pt2")


def in_float64(program: ExportedProgram) -> Callable[..., Tensor]:
    """The program with float64 weights: real arithmetic up to errors far below float32's."""
    module = program.module(check_guards=False).double()
    for node in module.graph.nodes:
        node.args = torch.fx.map_aggregate(node.args, _widened)
        node.kwargs = torch.fx.map_aggregate(node.kwargs, _widened)
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            node.graph.erase_node(node)
    module.recompile()
    return module.forward


def sampled(box: tuple[Tensor, Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Points of a box: uniform, and, one of four, on corners: (count, *shape)."""
    lower, upper = box
    part = torch.rand(count, *lower.shape, generator=generator, dtype=torch.float64)
    corners = torch.rand(count, generator=generator) < 0.25
    part[corners] = part[corners].round()
    return (lower + part * (upper - lower)).clamp(lower, upper)


def slopes(
    function: Callable[[Tensor], Tensor], points: Tensor, others: Tensor, p: float, q: float
) -> Tensor:
    """|f(x) - f(y)|_q / |x - y|_p of pairs, computed in float64; 0 of equal points."""
    ratios = []
    for x, y in zip(points, others, strict=True):
        distance = (x - y).flatten().norm(p)
        change = (function(x) - function(y)).flatten().norm(q)
        ratios.append(change / distance if distance > 0 else distance)
    return torch.stack(ratios)


def _widened(value: object) -> object:
    return torch.float64 if value is torch.float32 else value


__all__ = [
    "ARTIFACTS",
    "Applied",
    "Dim",
    "Mapping",
    "bundled",
    "exported",
    "in_float64",
    "perceptron",
    "sampled",
    "slopes",
]
