"""Kolmogorov-Arnold networks with few edges: a penalty in training, then pruning.

The strength of an edge is the mean of |φ(x) - mean φ| over the samples; constants, which one edge
can pass to another, cost nothing. The penalty of a layer is the sum of its strengths (L1) and the
entropy of their shares (Liu et al., 2024, section 2.5.1).
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from certisolve_zoo.data import Samples
from certisolve_zoo.training import TrainingRun, fit

from .network import Kan, KanLayer
from .splines import DEGREE
from .training import lattice, lbfgs

SMALLEST = 1e-12  # keeps the entropy of an edge without strength finite


class PruningError(ValueError):
    """Pruning left another network than the one that is kept."""


@dataclass(frozen=True, kw_only=True)
class SparseSchedule:
    """L-BFGS on the mean squared error plus a penalty, on one coarse grid.

    Attributes:
        num_intervals: of the splines.
        steps: of the optimizer, first without the penalty, then with it.
        iterations: of L-BFGS per step.
        history: pairs of differences that L-BFGS keeps.
        weight: of the penalty.
        threshold: of what is kept, as a fraction of the strongest edge of a layer.
    """

    num_intervals: int
    steps: tuple[int, int]
    iterations: int = 20
    history: int = 50
    weight: float
    threshold: float = 0.03

    def __str__(self) -> str:
        return (
            f"L-BFGS in float64, {self.iterations} times {self.steps[0]} iterations without and "
            f"{self.steps[1]} with {self.weight:g} of L1 and entropy of the edges on grids of "
            f"{self.num_intervals} intervals"
        )


def train_sparse(network: Kan, samples: Samples, schedule: SparseSchedule, run: TrainingRun) -> Kan:
    """The trained network without the hidden sums that it can do without."""
    cover = lattice(len(samples.inputs))
    for weight, steps in zip((0.0, schedule.weight), schedule.steps, strict=True):
        network = network.refined(schedule.num_intervals, *cover)
        num_steps = run.num_epochs(steps)
        optimizer = lbfgs(list(network.parameters()), schedule.iterations, schedule.history)
        epochs = ([samples] for _ in range(num_steps))
        loss = _SparseLoss(network, samples.inputs, weight)
        fit(network, optimizer, epochs, num_epochs=num_steps, loss=loss, run=run)
    return pruned(network, samples.inputs, schedule.threshold)


def edge_strengths(
    network: Kan, variables: tuple[Float[Tensor, "batch point"], ...]
) -> list[Float[Tensor, "channel_in channel_out"]]:
    """How much each edge of each layer varies over the points."""
    hidden = torch.stack(variables, dim=2).flatten(0, 1)
    strengths = []
    for layer in network.edges():
        values = layer.edge_values(hidden)
        strengths.append((values - values.mean(dim=0)).abs().mean(dim=0))
        hidden = values.sum(dim=1)
    return strengths


def penalty(strengths: list[Float[Tensor, "channel_in channel_out"]]) -> Float[Tensor, ""]:
    """L1 plus entropy, summed over the layers."""
    terms = []
    for layer in strengths:
        shares = layer / (layer.sum() + SMALLEST)
        terms.append(layer.sum() - (shares * torch.log(shares + SMALLEST)).sum())
    return torch.stack(terms).sum()


@torch.no_grad()
def pruned(
    network: Kan, variables: tuple[Float[Tensor, "batch point"], ...], threshold: float
) -> Kan:
    """The network without hidden sums whose strongest edge, to either side, is weak.

    What the edges from them add on average is kept, in an edge from another sum.

    Args:
        network: with one hidden layer or more; not changed.
        variables: points that cover the domain.
        threshold: what is weak, as a fraction of the strongest edge of the layer.
    """
    smaller = Kan((1,), 1)
    hidden = torch.stack(variables, dim=2).flatten(0, 1)
    kept = torch.ones(len(variables), dtype=torch.bool)
    for layer, keep in zip(network.edges(), _strong(network, variables, threshold), strict=True):
        values = layer.edge_values(hidden)
        lost = values[:, ~kept].mean(dim=0).sum(dim=0)
        smaller.layers.append(_restricted(layer, kept, keep, lost))
        hidden, kept = values.sum(dim=1), keep
    return smaller


def _strong(network: Kan, variables: tuple[Tensor, ...], threshold: float) -> list[Tensor]:
    """Which of the sums of each layer stay."""
    relative = [layer / layer.max() for layer in edge_strengths(network, variables)]
    scores = [
        torch.minimum(before.amax(dim=0), after.amax(dim=1))
        for before, after in itertools.pairwise(relative)
    ]
    output = torch.ones(relative[-1].shape[1], dtype=torch.bool)
    return [*(score > threshold for score in scores), output]


def _restricted(layer: KanLayer, rows: Tensor, columns: Tensor, constants: Tensor) -> KanLayer:
    """Some edges of a layer, and the constants, by channel of all its sums, added to the first.

    The bases of a spline add up to one: a constant is the same in all coefficients.
    """
    num_intervals = layer.coefficients.shape[1] - DEGREE
    part = KanLayer(int(rows.sum()), int(columns.sum()), num_intervals).to(layer.base.dtype)
    part.knots.copy_(layer.knots[rows])
    part.base.copy_(layer.base[rows][:, columns])
    part.coefficients.copy_(layer.coefficients[rows][..., columns])
    part.coefficients[0] += constants[columns]
    return part


class _SparseLoss:
    """Mean squared error plus the weighted penalty, which looks at the network's edges."""

    def __init__(self, network: Kan, variables: tuple[Tensor, ...], weight: float) -> None:
        self.network, self.variables, self.weight = network, variables, weight

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        error = functional.mse_loss(prediction, target)
        if not self.weight:
            return error
        return error + self.weight * penalty(edge_strengths(self.network, self.variables))
