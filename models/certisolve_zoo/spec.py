"""What the catalog knows about a model: its architecture, its data, its training, its manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor, nn

from certisolve.manifest import Axis, ParameterSpec, TensorSpec

from .data import Samples
from .training import TrainingRun

Sizes = dict[str, int]
Metric = Literal["rel_l2", "rmse"]


@dataclass(frozen=True, kw_only=True)
class ClassicalSolver:
    """The best classical way to the same answer.

    Attributes:
        name: method and implementation.
        grid: what it computes on, in words.
        solve: the answers to a batch of inputs.
        remark: what a reader must know to judge the comparison.
    """

    name: str
    grid: str
    solve: Callable[..., np.ndarray]
    remark: str


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model of the zoo.

    Attributes:
        version: raised when weights or contract change.
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
        examples: a batch of inputs at each resolution, without the answers, in no time.
        solver: what the model is measured against.
    """

    name: str
    version: str
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
    solver: ClassicalSolver
