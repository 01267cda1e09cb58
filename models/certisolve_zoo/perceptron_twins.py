"""Multilayer perceptrons as large as the Kolmogorov-Arnold networks, trained in the same way.

    python -m certisolve_zoo.perceptron_twins

Two hidden layers of tanh, with no fewer parameters than the network has; the same points, loss,
optimizer and number of iterations. A network on other coordinates lends them to its twin. Prints
the errors of both on the same unseen samples. Takes some two minutes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from .data import Samples
from .evaluation import sample_errors
from .kan.friction import OFFSET, SCALE, PipeCoordinates
from .kan.training import lbfgs
from .records import WEIGHTS, load_model
from .spec import ModelSpec
from .specs import kan_formula, kan_friction
from .training import Loss

NUM_UNSEEN = 256


@dataclass(frozen=True)
class Rival:
    """A network of the zoo, and what its twin is trained on.

    Attributes:
        spec: of the network.
        samples: that it was trained on, in the coordinates in which it computes.
        loss: that it was trained with.
        iterations: of L-BFGS that its training took.
        history: pairs of differences that L-BFGS kept.
        answer: from its coordinates' perceptron and the inputs of a request to the answer.
    """

    spec: ModelSpec
    samples: Samples
    loss: Loss
    iterations: int
    history: int
    answer: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]


class Perceptron(nn.Module):
    """Two hidden layers of tanh on two variables.

    Args:
        width: of the hidden layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, *variables: Tensor) -> Tensor:
        """The function at each point."""
        return torch.as_tensor(self.layers(torch.stack(variables, dim=-1)).squeeze(-1))


def rivals() -> tuple[Rival, ...]:
    """Those networks of the zoo that have twins."""
    sparse, grids = kan_formula.SPARSE, kan_formula.SCHEDULE
    return (
        Rival(
            kan_formula.SPEC,
            kan_formula.training_samples(kan_formula.SPEC.seed),
            functional.mse_loss,
            sum(sparse.steps) * sparse.iterations + sum(grids.steps) * grids.iterations,
            grids.history,
            lambda twin, inputs: twin(*inputs),
        ),
        Rival(
            kan_friction.SPEC,
            kan_friction.training_samples(kan_friction.SPEC.seed),
            kan_friction.relative_loss,
            sum(kan_friction.SCHEDULE.steps) * kan_friction.SCHEDULE.iterations,
            kan_friction.SCHEDULE.history,
            _friction,
        ),
    )


def width_of_twin(num_parameters: int) -> int:
    """The smallest h with h² + 5 h + 1 parameters or more."""
    return math.ceil((math.sqrt(25 + 4 * (num_parameters - 1)) - 5) / 2)


def twin_of(rival: Rival) -> Perceptron:
    """The trained perceptron, in float64."""
    torch.manual_seed(rival.spec.seed)
    twin = Perceptron(width_of_twin(_num_parameters(rival.spec.architecture()))).double()
    optimizer = lbfgs(list(twin.parameters()), rival.iterations, rival.history)

    def closure() -> float:
        optimizer.zero_grad()
        value = rival.loss(twin(*rival.samples.inputs), rival.samples.target)
        value.backward()  # type: ignore[no-untyped-call]  # unannotated in torch
        return value.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # unannotated in torch
    return twin


def main() -> None:
    """Train the twins and print the table."""
    table = Table("model", "metric", "parameters", "error", "perceptron", "error", box=box.MARKDOWN)
    for rival in rivals():
        started = time.monotonic()
        table.add_row(*_row(rival))
        Console(stderr=True).print(f"{rival.spec.name}: {time.monotonic() - started:.0f} s")
    Console(width=100).print(table)


@torch.inference_mode()
def _errors(rival: Rival, twin: Perceptron) -> tuple[float, float]:
    """Mean errors of the network and of its twin."""
    (samples,) = rival.spec.unseen(NUM_UNSEEN, Path())
    network = load_model(rival.spec, WEIGHTS)
    answers = network(*samples.inputs), rival.answer(twin.float(), samples.inputs)
    ours, theirs = (
        float(sample_errors(answer, samples.target, rival.spec.metric).mean()) for answer in answers
    )
    return ours, theirs


def _row(rival: Rival) -> tuple[str, ...]:
    twin = twin_of(rival)
    ours, theirs = _errors(rival, twin)
    counts = _num_parameters(rival.spec.architecture()), _num_parameters(twin)
    name, metric = f"`{rival.spec.name}`", rival.spec.metric
    return name, metric, str(counts[0]), f"{ours:.1e}", str(counts[1]), f"{theirs:.1e}"


def _friction(twin: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return torch.as_tensor((OFFSET + SCALE * twin(*PipeCoordinates()(*inputs))) ** -2.0)


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
