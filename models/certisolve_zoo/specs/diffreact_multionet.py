"""`diffreact-multionet`: diffusion with a quadratic reaction, from a source to u at free points."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from certisolve.manifest import Axis, ParameterSpec, Postprocess, TensorSpec
from certisolve_zoo.data import Samples, minibatches
from certisolve_zoo.ensemble import Ensemble, fitted_calibration, mean_and_deviation
from certisolve_zoo.spec import ModelSpec
from certisolve_zoo.training import TrainingRun, fit, relative_l2

from .diffreact_data import (
    DIFFUSIVITY,
    NUM_SENSORS,
    RATE,
    TRAINING_LEVELS,
    random_sources,
    samples_at_random_points,
    training_solutions,
)
from .diffreact_network import WallBoundedMultiOnet
from .diffreact_solvers import classical_solvers

NUM_MEMBERS = 5
WIDTH, NUM_LAYERS = 128, 4
MAX_SOURCE = 4.7  # the largest value in training is 4.69
NUM_SOURCES = 8000
EPOCHS = 320
BATCH_SIZE = 128
POINTS_PER_BATCH = 512
LEARNING_RATE = 2e-3
VALIDATION_SEED, UNSEEN_SEED, EXAMPLE_SEED = 1, 2, 3
VALIDATION_SOURCES = 256
POINTS_PER_SOURCE = 1000
NUM_EXAMPLE_POINTS = 64


class AtSharedPoints(nn.Module):
    """All members, each with sources of its own, at the same points: what training evaluates."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(
        self,
        sources: Float[Tensor, "member batch sensor"],
        x: Float[Tensor, " point"],
        t: Float[Tensor, " point"],
    ) -> Float[Tensor, "member batch point"]:
        """The fields of the members, each for its own sources."""
        answers = []
        for member, source in zip(self.ensemble.members, sources, strict=True):
            assert isinstance(member, WallBoundedMultiOnet)
            answers.append(member.at_shared_points(source, x, t))
        return torch.stack(answers)


def architecture() -> Ensemble:
    """Five MultiONets, each with branch and trunk of four layers of 128 channels."""
    return Ensemble(
        WallBoundedMultiOnet(NUM_SENSORS, DIFFUSIVITY, WIDTH, NUM_LAYERS)
        for _ in range(NUM_MEMBERS)
    )


def train(run: TrainingRun) -> nn.Module:
    """All members in one go, with bootstrapped sources; then c, on sources that none has seen."""
    sources, solutions = training_solutions(run.seed, NUM_SOURCES, run.folder)
    ensemble = architecture()
    num_epochs = run.num_epochs(EPOCHS)
    optimizer = torch.optim.Adam(ensemble.parameters(), LEARNING_RATE)
    steps = num_epochs * (NUM_SOURCES // BATCH_SIZE)
    epochs = (_epoch(sources, solutions, run.seed, epoch) for epoch in range(num_epochs))
    fit(
        AtSharedPoints(ensemble),
        optimizer,
        epochs,
        num_epochs=num_epochs,
        loss=lambda u, target: relative_l2(u.flatten(0, 1), target.flatten(0, 1)).mean(),
        run=run,
        schedule=OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1),
    )
    calibrate(ensemble)
    return ensemble


def calibrate(ensemble: Ensemble) -> None:
    """Fit c on validation sources, which neither training nor the published errors use."""
    held_out = samples_at_random_points(VALIDATION_SEED, VALIDATION_SOURCES, POINTS_PER_SOURCE)
    with torch.inference_mode():
        answers = ensemble(*held_out.inputs)
    ensemble.calibration.fill_(fitted_calibration(answers, held_out.target))


def predict(network: nn.Module, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The field u and its standard deviation."""
    assert isinstance(network, Ensemble)
    return mean_and_deviation(network(*inputs), float(network.calibration))


def postprocess(network: nn.Module) -> tuple[Postprocess, ...]:
    """The same for the server."""
    assert isinstance(network, Ensemble)
    calibration = float(network.calibration)
    ensemble = Postprocess(kind="ensemble", output="u", deviation="u_std", calibration=calibration)
    return (ensemble,)


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Sources of a seed that training does not use, at points of a finer grid."""
    del cache
    return [samples_at_random_points(UNSEEN_SEED, num_samples, POINTS_PER_SOURCE)]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Sources, and uniform random points."""
    source = torch.from_numpy(random_sources(EXAMPLE_SEED, batch_size, NUM_SENSORS)).float()
    generator = torch.Generator().manual_seed(EXAMPLE_SEED)
    x, t = torch.rand((2, batch_size, NUM_EXAMPLE_POINTS), generator=generator)
    return [(source, x, t)]


def _epoch(sources: Tensor, solutions: Tensor, seed: int, epoch: int) -> Iterator[Samples]:
    """Each member draws from its own bootstrap of the sources; points are nodes of the grid."""
    generator = torch.Generator().manual_seed(1_000_000 * seed + epoch)
    bootstrap = torch.Generator().manual_seed(seed)
    own = torch.randint(NUM_SOURCES, (NUM_MEMBERS, NUM_SOURCES), generator=bootstrap)
    for index in minibatches(NUM_SOURCES, BATCH_SIZE, generator):
        nodes = torch.randint(solutions[0].numel(), (POINTS_PER_BATCH,), generator=generator)
        level, node = nodes // NUM_SENSORS, nodes % NUM_SENSORS
        chosen = own[:, index]
        yield Samples(
            (sources[chosen], node / (NUM_SENSORS - 1), (level + 1) / TRAINING_LEVELS),
            solutions.flatten(1)[chosen.unsqueeze(2), nodes],
        )


def _coordinate(name: str, description: str) -> TensorSpec:
    return TensorSpec(
        name=name,
        dtype="F32",
        axes=("points",),
        description=description,
        minimum=0.0,
        maximum=1.0,
    )


SPEC = ModelSpec(
    name="diffreact-multionet",
    version="1",
    title="Diffusion with a quadratic reaction: source to solution at free points, with deviation",
    description=(
        "Five MultiONets: u is their mean, u_std the calibrated standard deviation of its error. "
        "At the walls and at t = 0 both vanish exactly. Of the errors on unseen sources, 83 % lie "
        "within one u_std and 96 % within two (of a normal error, 68 % and 95 %; the factor was "
        "fitted to the latter, on other sources); for t < 0.02 two cover 83 %. Trained on Gaussian "
        "random fields of length 0.2. u_std grows on rougher sources, but less than the error at "
        "first: at length 0.15 the error is 0.002 and two u_std cover 86 %, at 0.1 it is 0.016 and "
        "they cover 91 %."
    ),
    equation="u_t = D u_xx + k u² + f(x) on (0, 1), u = 0 at x = 0, x = 1 and t = 0",
    axes={
        "sensor": Axis(kind="grid", lower=0.0, upper=1.0, convention="nodes", boundary="u = 0"),
        "points": Axis(kind="points", minimum=1, maximum=65536),
    },
    inputs=(
        TensorSpec(
            name="f",
            dtype="F32",
            axes=("sensor",),
            description="source at the nodes",
            minimum=-MAX_SOURCE,
            maximum=MAX_SOURCE,
        ),
        _coordinate("x", "position of each point"),
        _coordinate("time", "time t of each point"),
    ),
    outputs=(
        TensorSpec(name="u", dtype="F32", axes=("points",), description="u at each point"),
        TensorSpec(
            name="u_std",
            dtype="F32",
            axes=("points",),
            description="standard deviation of the error of u at each point",
        ),
    ),
    parameters=(
        ParameterSpec(
            name="D",
            minimum=DIFFUSIVITY,
            maximum=DIFFUSIVITY,
            default=DIFFUSIVITY,
            description="diffusivity, built in",
        ),
        ParameterSpec(
            name="k", minimum=RATE, maximum=RATE, default=RATE, description="rate, built in"
        ),
    ),
    grid_limits=(NUM_SENSORS, NUM_SENSORS),
    resolutions=({"sensor": NUM_SENSORS},),
    unvalidated_resolution="refuse",
    metric="rel_l2",
    max_batch_size=8,
    seed=0,
    data=(
        f"{NUM_SOURCES} sources, Gaussian random fields with covariance exp(-(x - y)²/2l²), "
        "l = 0.2 (Lu et al., 2021), each member on a bootstrap of its own; solutions by central "
        "differences and Crank-Nicolson steps on 201 nodes with dt = 0.01, kept at 101 nodes and "
        "100 times, right to 6e-5 in relative L2. Unseen solutions on 401 nodes with dt = 0.005, "
        f"right to 1.4e-5, at {POINTS_PER_SOURCE} random nodes each"
    ),
    recipe=(
        f"{EPOCHS} epochs of Adam, one-cycle learning rate up to {LEARNING_RATE}, all members in "
        f"one go, each on batches of {BATCH_SIZE} sources at {POINTS_PER_BATCH} random nodes that "
        "the batch shares, relative L2 loss; then the factor of the deviation on "
        f"{VALIDATION_SOURCES} held-out sources"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    postprocess=postprocess,
    predict=predict,
    solvers=classical_solvers(),
)
