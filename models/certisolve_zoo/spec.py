"""What the catalog knows about a model: its architecture, its data, its training, its manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from certisolve.manifest import (
    Axis,
    Family,
    Feedback,
    Integration,
    ParameterSpec,
    Postprocess,
    Stepping,
    TensorSpec,
)

from .data import Samples
from .training import TrainingRun

Sizes = dict[str, int]
Metric = Literal["rel_l2", "rmse"]
CheckName = Literal["residual", "conservation_defect", "knot_excess"]


@dataclass(frozen=True, kw_only=True)
class ClassicalSolver:
    """The best classical way to the same answer.

    Attributes:
        name: method and implementation.
        grid: what it computes on, in words.
        dt: its time step; None for a solver without one.
        solve: the answers to a batch of inputs.
        remark: what a reader must know to judge the comparison.
    """

    name: str
    grid: str
    dt: float | None = None
    solve: Callable[..., np.ndarray]
    remark: str


def forward(network: nn.Module, *inputs: Tensor) -> Tensor:
    """One forward pass, the whole answer of a `map` model."""
    return torch.as_tensor(network(*inputs))


def itself(network: nn.Module) -> nn.Module:
    """The network as it was trained."""
    return network


@dataclass(frozen=True, kw_only=True)
class LinearSystem:
    """What the family `iterative-solver` needs beside directions; see `manifest.Iteration`.

    Attributes:
        operator: takes the unknown and the other inputs, and returns A x, in float64.
    """

    operator: Callable[[], nn.Module]
    right_hand_side: str
    tolerance: float
    smallest_tolerance: float
    max_iterations: int


@dataclass(frozen=True, kw_only=True)
class AnswerChecks:
    """A graph that looks at answers; see `manifest.Checks`.

    Attributes:
        names: of the numbers that the module returns.
        module: takes inputs and outputs; made from the trained network.
    """

    names: tuple[CheckName, ...]
    module: Callable[[nn.Module], nn.Module]


def no_postprocess(network: nn.Module) -> tuple[Postprocess, ...]:
    """The outputs as the program returns them."""
    del network
    return ()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model of the zoo.

    Attributes:
        version: raised when weights or contract change.
        family: how it is run, see `manifest.Manifest`.
        stepping: of families that advance in time by steps of one size.
        integration: of the family `ode`.
        feedback: of the family `feedback-ode`, given the trained network.
        system: of the family `iterative-solver`.
        postprocess: what the server does to the outputs, given the trained network.
        checks: what looks at answers.
        error_times: at which the error is also measured by itself.
        grid_limits: smallest and largest grid size the program accepts; unused without grid axes.
        grid_multiple: that grid sizes must be multiples of, for networks with several levels.
        resolutions: grid sizes at which the error is measured; `{}` for a model without grid.
        metric: of that error.
        seed: of weights and data; unseen samples have another.
        data: recipe of the training data, in words.
        recipe: of the training, in words.
        architecture: the network with random weights.
        train: the network with trained weights.
        unseen: as many samples as asked for, at each resolution, from seeds kept out of training.
            Their inputs are those of requests, then the parameters with `program_input`.
        examples: a batch of inputs at each resolution, without the answers, in no time.
        served: what is exported of the trained network.
        predict: the whole answer to a batch of inputs, as the server gives it: the first output, or
            all of them; frames along an axis after that of the batch.
        solvers: what the model is measured against, from fast and coarse to accurate.
    """

    name: str
    version: str
    family: Family = "map"
    stepping: Stepping | None = None
    integration: Integration | None = None
    feedback: Callable[[nn.Module], Feedback] | None = None
    system: LinearSystem | None = None
    postprocess: Callable[[nn.Module], tuple[Postprocess, ...]] = no_postprocess
    checks: AnswerChecks | None = None
    error_times: tuple[float, ...] = ()
    title: str
    description: str
    equation: str
    axes: dict[str, Axis]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: tuple[ParameterSpec, ...] = ()
    t: tuple[float, ...] = ()
    grid_limits: tuple[int, int] = (1, 1)
    grid_multiple: int = 1
    resolutions: tuple[Sizes, ...]
    unvalidated_resolution: Literal["refuse", "resample"]
    metric: Metric
    max_batch_size: int
    seed: int
    data: str
    recipe: str
    architecture: Callable[[], nn.Module]
    train: Callable[[TrainingRun], nn.Module]
    unseen: Callable[[int, Path], list[Samples]]
    examples: Callable[[int], list[tuple[Tensor, ...]]]
    served: Callable[[nn.Module], nn.Module] = itself
    predict: Callable[..., Tensor | tuple[Tensor, ...]] = forward
    solvers: tuple[ClassicalSolver, ...]

    @property
    def advances(self) -> bool:
        """Whether answers have an axis of times."""
        return self.stepping is not None or self.integration is not None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the inputs of samples: those of requests, then the parameters that are passed."""
        passed = (spec.name for spec in self.parameters if spec.program_input)
        return (*(spec.name for spec in self.inputs), *passed)
