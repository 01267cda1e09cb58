"""One request to certify of each bundled model: shapes, what is frozen, and where inputs lie."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.prepare import prepare
from small_networks import bundled

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """What varies, with its shape, what is frozen, and a set that the model was made for.

    Args:
        shapes: of the inputs that vary.
        frozen: the shapes and the values of the others.
        center: around which inputs vary, one number of all entries.
        radius: how far, about a hundredth of how far they go in training.
    """

    shapes: dict[str, Shape]
    frozen: dict[str, tuple[Shape, float]] = field(default_factory=dict)
    center: float = 0.2
    radius: float = 0.02

    def fixed(self) -> dict[str, Tensor]:
        """The frozen inputs."""
        return {name: torch.full(shape, value) for name, (shape, value) in self.frozen.items()}

    def graph(self, name: str) -> Graph:
        """The graph of a bundled model."""
        return prepare(bundled(name), self.shapes, self.fixed())

    def centers(self) -> dict[str, Tensor]:
        """A smooth field around the center, in float32 numbers."""
        points = {}
        for name, shape in self.shapes.items():
            phase = torch.linspace(0.0, 2.0 * math.pi, math.prod(shape) + 1)[:-1]
            wave = self.center * (1.0 + 0.3 * torch.sin(phase))
            points[name] = wave.reshape(shape).double()
        return points


REQUESTS = {
    "burgers1d-fno": Request({"initial_condition": (1, 48)}),
    "darcy2d-fno": Request({"coefficient": (1, 25, 25)}, center=5.0, radius=0.05),
    "diffreact-multionet": Request(
        {"inputs_0": (1, 101)}, {"inputs_1": ((1, 2), 0.5), "inputs_2": ((1, 2), 0.5)}
    ),
    "kan-formula": Request({"variables_0": (1, 1)}, {"variables_1": ((1, 1), 0.5)}),
    "kan-friction": Request({"reynolds": (1, 1), "roughness": (1, 1)}),
    "ks1d-ffno": Request({"frame": (1, 64)}),
    "ks1d-memno": Request({"frame": (1, 64)}, {"state": ((1, 64, 48, 2, 16), 0.0)}),
    "ns2d-fno": Request({"w": (1, 20, 20)}),
    "poisson-dcdm": Request({"r": (1, 64, 64)}, {"a": ((1, 64, 64), 0.5)}),
    "projectile-feedback": Request({"x": (1, 6)}, {"observer": ((1, 6), 0.5), "gain": ((1,), 0.5)}),
    "projectile-neural-feedback": Request(
        {"x": (1, 6)}, {"observer": ((1, 6), 0.5), "gain": ((1,), 0.5)}
    ),
    "spiral-feedback": Request({"x": (1, 2)}, {"observer": ((1, 2), 0.5), "gain": ((1,), 0.5)}),
    "spiral-neural-feedback": Request(
        {"x": (1, 2)}, {"observer": ((1, 2), 0.5), "gain": ((1,), 0.5)}
    ),
    "vanderpol-node": Request({"y": (1, 2), "mu": (1,)}, {"t": ((1,), 0.0)}, center=0.8),
}
