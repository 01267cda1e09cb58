"""Small programs to certify, exported as served ones are, and what is sampled to refute a bound."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from certisolve_server.certifier.norms import Norms

ORDERS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}

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
    """The program in float64: real arithmetic, up to errors far below those of float32."""
    module = program.module(check_guards=False).double()
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
            continue
        node.args = torch.fx.node.map_aggregate(node.args, _widened)
        node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _widened)
    module.recompile()
    forward: Callable[..., Tensor] = module.forward
    return forward


def sampled(box: tuple[Tensor, Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Points of a box: uniform, and, one of four, on corners: (count, *shape)."""
    lower, upper = box
    part = torch.rand(count, *lower.shape, generator=generator, dtype=torch.float64)
    corners = torch.rand(count, generator=generator) < 0.25
    part[corners] = part[corners].round()
    return (lower + part * (upper - lower)).clamp(lower, upper)


@torch.no_grad()
def steepest(
    function: Callable[[Tensor], Tensor], box: tuple[Tensor, Tensor], seed: int
) -> Mapping[Norms, float]:
    """The largest |f(x) - f(y)|_q / |x - y|_p of pairs in a box, far apart and near, in float64."""
    generator = torch.Generator().manual_seed(seed)
    points, others = sampled(box, 30, generator), sampled(box, 30, generator)
    others[::2] = points[::2] + 1e-4 * (others[::2] - points[::2])
    largest = {Norms(p, q): 0.0 for p in ORDERS for q in ORDERS}
    for x, y in zip(points, others, strict=True):
        change = (function(x) - function(y)).flatten()
        for norms, known in largest.items():
            distance = (x - y).flatten().norm(ORDERS[norms.inputs])
            if distance > 1e-9:
                slope = change.norm(ORDERS[norms.outputs]) / distance
                largest[norms] = max(known, float(slope))
    return largest


def _widened(value: object) -> object:
    return torch.float64 if value is torch.float32 else value
