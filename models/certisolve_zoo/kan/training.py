"""Training of Kolmogorov-Arnold networks: L-BFGS on ever finer grids."""

from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_zoo.data import Samples
from certisolve_zoo.training import Loss, TrainingRun, fit

from .network import Kan

COVER = 101  # points per axis of the lattice that hidden grid boxes are fitted to


class ActivationRangeError(ValueError):
    """Hidden activations leave the grids of their splines, where the network is meaningless."""


@dataclass(frozen=True, kw_only=True)
class GridSchedule:
    """L-BFGS on one grid after the other, each starting from the function of the last.

    Attributes:
        grids: intervals of the splines.
        steps: of the optimizer on each grid.
        iterations: of L-BFGS per step.
        history: pairs of differences that L-BFGS keeps.
    """

    grids: tuple[int, ...]
    steps: tuple[int, ...]
    iterations: int = 20
    history: int = 50

    def __str__(self) -> str:
        return (
            f"L-BFGS in float64, {self.iterations} times {self.steps} iterations on grids of "
            f"{self.grids} intervals, splines carried over by least squares"
        )


def train_on_grids(
    network: Kan, samples: Samples, schedule: GridSchedule, loss: Loss, run: TrainingRun
) -> Kan:
    """The trained network in float64, its hidden grids around the activations on [-1, 1]ⁿ.

    Args:
        network: in float64, on any grid; not changed.
        samples: points of [-1, 1]ⁿ and the values there.
        schedule: grids and steps.
        loss: a scalar from prediction and target.
        run: where to write and report.

    Raises:
        ActivationRangeError: training drove hidden activations out of their grids.
    """
    cover = lattice(len(samples.inputs))
    for num_intervals, steps in zip(schedule.grids, schedule.steps, strict=True):
        network = network.refined(num_intervals, *cover)
        num_steps = run.num_epochs(steps)
        optimizer = lbfgs(list(network.parameters()), schedule.iterations, schedule.history)
        epochs = ([samples] for _ in range(num_steps))
        fit(network, optimizer, epochs, num_epochs=num_steps, loss=loss, run=run)
    with torch.no_grad():
        excess = float(network.knot_excess(*cover))
    run.console.print(f"model={run.name} knot_excess={excess:.3e}", highlight=False)
    if excess > 0:
        raise ActivationRangeError(f"{run.name}: by {excess:.3e}; train with another seed")
    return network


def lbfgs(parameters: list[Tensor], iterations: int, history: int) -> torch.optim.LBFGS:
    """L-BFGS with a line search, for losses that end far below the rounding of float32."""
    return torch.optim.LBFGS(
        parameters,
        max_iter=iterations,
        history_size=history,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )


def lattice(num_variables: int) -> tuple[Tensor, ...]:
    """Points that cover [-1, 1]ⁿ with its corners, one tensor (1, point) per variable."""
    axis = torch.linspace(-1, 1, COVER, dtype=torch.float64)
    return tuple(torch.cartesian_prod(*[axis] * num_variables).T[:, None])


def square_points(
    seed: int, batch_size: int, num_points: int, *, edges: bool = False
) -> tuple[Tensor, Tensor]:
    """Random points (batch, point) of [-1, 1]²; with `edges` half of them gather at its sides."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, batch_size, num_points)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    if edges:
        half = num_points // 2
        uniform[..., :half] = torch.sin(0.5 * torch.pi * uniform[..., :half])
    return uniform[0], uniform[1]
