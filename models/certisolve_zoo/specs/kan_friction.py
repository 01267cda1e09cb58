"""`kan-friction`: a Kolmogorov-Arnold network that has learned Colebrook's law of pipe friction."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from certisolve.manifest import Axis, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.kan.friction import (
    OFFSET,
    REYNOLDS,
    ROUGHNESS,
    SCALE,
    FrictionKan,
    PipeCoordinates,
)
from certisolve_zoo.kan.network import Kan
from certisolve_zoo.kan.range_check import KnotExcess
from certisolve_zoo.kan.training import GridSchedule, square_points, train_on_grids
from certisolve_zoo.pdes.explicit_friction import fixed_point, haaland, serghides, swamee_jain
from certisolve_zoo.pdes.friction import friction_factor, newton_friction_factor
from certisolve_zoo.spec import AnswerChecks, ClassicalSolver, ModelSpec
from certisolve_zoo.training import TrainingRun

WIDTHS = (2, 5, 1)
SCHEDULE = GridSchedule(grids=(3, 5, 10, 20, 40), steps=(10, 10, 15, 30, 30), history=300)
NUM_POINTS = 6000
NUM_EXAMPLE_POINTS = 64
UNSEEN_POINTS = 1000
UNSEEN_SEED = 2_000_000


def architecture() -> nn.Module:
    """Five hidden sums, and on every edge the grid on which training ends."""
    return FrictionKan(Kan(WIDTHS, SCHEDULE.grids[-1]))


def train(run: TrainingRun) -> nn.Module:
    """L-BFGS in float64 on the relative error of the friction factor."""
    network = Kan(WIDTHS, SCHEDULE.grids[0]).double()
    samples = training_samples(run.seed)
    network = train_on_grids(network, samples, SCHEDULE, relative_loss, run)
    return FrictionKan(network.float())


def training_samples(seed: int) -> Samples:
    """Random coordinates r and e, half of them near the limits, and (1/√f - 8)/2 there."""
    r, e = square_points(seed, 1, NUM_POINTS, edges=True)
    pipes = PipeCoordinates().double().inverse(r, e)
    exact = friction_factor(*(tensor.numpy() for tensor in pipes))
    return Samples((r, e), torch.from_numpy((exact**-0.5 - OFFSET) / SCALE))


def relative_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared relative error of f, to first order, from two (1/√f - 8)/2."""
    relative = 2 * SCALE * (prediction - target) / (OFFSET + SCALE * target)
    return relative.square().mean()


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Random pipes, uniform in the coordinates of the network, and their friction factors."""
    del cache
    inputs = _pipes(UNSEEN_SEED, num_samples, UNSEEN_POINTS)
    # The law is solved for what the network is given, after rounding to float32.
    exact = friction_factor(*(tensor.double().numpy() for tensor in inputs))
    return [Samples(inputs, torch.from_numpy(exact))]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Random pipes."""
    return [_pipes(UNSEEN_SEED + 1, batch_size, NUM_EXAMPLE_POINTS)]


def _pipes(seed: int, batch_size: int, num_points: int) -> tuple[Tensor, Tensor]:
    r, e = square_points(seed, batch_size, num_points)
    reynolds, roughness = PipeCoordinates().double().inverse(r, e)
    return reynolds.float().clamp(*REYNOLDS), roughness.float().clamp(*ROUGHNESS)


def _solver(name: str, solve: Callable[..., np.ndarray]) -> ClassicalSolver:
    remark = (
        f"Per call of {UNSEEN_POINTS} pipes. The law is solved to rounding in less time than the "
        "network takes; the network shows what splines make of a law given by values alone"
    )

    def in_double(*inputs: np.ndarray) -> np.ndarray:
        # Serghides's formula divides by a second difference that vanishes in float32.
        return solve(*(array.astype(np.float64) for array in inputs))

    return ClassicalSolver(
        name=f"{name}, numpy, float64", grid="none", solve=in_double, remark=remark
    )


SPEC = ModelSpec(
    name="kan-friction",
    version="1",
    title="Friction in rough pipes: Colebrook's law",
    description=(
        "Kolmogorov-Arnold network 2-5-1 in ln Re and ln(ε + 1e-7), cubic splines on "
        f"{SCHEDULE.grids[-1]} intervals per edge. The limits of the inputs are the grid box of "
        "the first layer: pipes outside are refused, for the splines end there. Hidden activations "
        "stay inside their grids on the whole box, checked in training and with every answer."
    ),
    equation="1/√f = -2 log10(ε/3.7 + 2.51/(Re √f))",
    axes={"points": Axis(kind="points", minimum=1, maximum=65536)},
    inputs=(
        TensorSpec(
            name="Re",
            dtype="F32",
            axes=("points",),
            description="Reynolds number, mean velocity times diameter over kinematic viscosity",
            minimum=REYNOLDS[0],
            maximum=REYNOLDS[1],
        ),
        TensorSpec(
            name="roughness",
            dtype="F32",
            axes=("points",),
            description="ε, height of the roughness of the wall over the diameter",
            minimum=ROUGHNESS[0],
            maximum=ROUGHNESS[1],
        ),
    ),
    outputs=(
        TensorSpec(
            name="f",
            dtype="F32",
            axes=("points",),
            description="Darcy's friction factor of each pipe, four times Fanning's",
        ),
    ),
    resolutions=({},),
    unvalidated_resolution="refuse",
    metric="rel_l2",
    max_batch_size=16,
    seed=1,
    data=(
        f"{NUM_POINTS} random pipes, half uniform in ln Re and ln(ε + 1e-7) and half gathered at "
        "the limits, solved to rounding with Wright's ω function"
    ),
    recipe=f"mean squared relative error of f; {SCHEDULE}",
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    checks=AnswerChecks(names=("knot_excess",), module=KnotExcess),
    solvers=(
        _solver("Haaland's formula", haaland),
        _solver("Swamee and Jain's formula", swamee_jain),
        _solver("one fixed-point iteration", partial(fixed_point, num_iterations=1)),
        _solver("two fixed-point iterations", partial(fixed_point, num_iterations=2)),
        _solver("three fixed-point iterations", partial(fixed_point, num_iterations=3)),
        _solver("Serghides's formula", serghides),
        _solver("one Newton iteration", partial(newton_friction_factor, num_iterations=1)),
        _solver("two Newton iterations", partial(newton_friction_factor, num_iterations=2)),
        _solver("Wright's ω function, scipy", friction_factor),
    ),
)
