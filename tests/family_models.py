"""One small model per family, whose every answer follows from a few lines of arithmetic."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from certisolve.manifest import (
    Axis,
    Checks,
    Feedback,
    Integration,
    Iteration,
    Manifest,
    Postprocess,
    Program,
    Stepping,
    TensorSpec,
    ValidatedResolution,
)
from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.device import open_device
from certisolve_server.engines.families import engine_around
from certisolve_server.engines.program import AbstractProgram, Programs
from certisolve_server.engines.stepping import SteppingEngine
from certisolve_server.jobs import Artifact
from helpers import Pointwise, field_manifest, parameter, write_artifact

DT = 0.1
SIZE = 16

Function = Callable[..., Tensor | tuple[Tensor, ...]]


class Direct(AbstractProgram):
    """A function as a program, without the way through an archive.

    Attributes:
        calls: how often it was run.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        self.calls += 1
        returned = self._function(*inputs)
        return returned if isinstance(returned, tuple) else (returned,)


def engine_of(
    manifest: Manifest,
    network: Function,
    *,
    operator: Function | None = None,
    checks: Function | None = None,
) -> AbstractEngine | SteppingEngine:
    """The engine of a manifest's family around functions, on the CPU."""
    programs = Programs(
        network if isinstance(network, AbstractProgram) else Direct(network),
        Direct(operator) if operator else None,
        Direct(checks) if checks else None,
    )
    artifact = Artifact(manifest, "digest", "/nowhere")
    return engine_around(artifact, open_device("cpu"), programs)


def spec(name: str, axes: Sequence[str], dtype: str = "F32") -> TensorSpec:
    """An input, output or state."""
    return TensorSpec(name=name, dtype=dtype, axes=tuple(axes), description=name)


def resolution(**changes: Any) -> tuple[ValidatedResolution, ...]:
    """Measured at 16 points; `changes` to how."""
    values: dict[str, Any] = {
        "sizes": {"x": SIZE},
        "error": 0.01,
        "worst_error": 0.02,
        "metric": "rel_l2",
        "num_samples": 3,
    }
    return (ValidatedResolution(**(values | changes)),)


# --- rollout: w <- rate w + f, v = 2 w ------------------------------------------------------------

DRIFT_CHECKS = Checks(
    program=Program(format="torch.export", file="checks.pt2"), names=("residual", "knot_excess")
)


def drift_manifest(**changes: Any) -> Manifest:
    """A field w that is carried, a forcing that is not, and a parameter."""
    values: dict[str, Any] = {
        "family": "rollout",
        "inputs": (spec("w", "x"), spec("f", "x")),
        "outputs": (spec("v", "x"), spec("w", "x")),
        "parameters": (parameter("rate", 0.0, 2.0, 0.5),),
        "stepping": Stepping(dt=DT, max_steps=8),
        "t": (0.1, 0.2, 0.3),
        "resolutions": resolution(t=(0.1, 0.3, 0.8), error_at_t=(0.01, 0.02, 0.05)),
        "files": {"program.pt2": "", "checks.pt2": ""},
    }
    return field_manifest("drift", **(values | changes))


def drift(w: Tensor, f: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """One step."""
    moved = rate[:, None] * w + f
    return 2 * moved, moved


def drift_checks(
    w: Tensor, f: Tensor, rate: Tensor, v: Tensor, moved: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean of the forecast of w, and by how much w exceeds 10."""
    del w, f, rate, v
    return moved.mean(dim=(1, 2)), moved.abs().amax(dim=(1, 2)) - 10


# --- memory-rollout: a history, a fading sum and a count ------------------------------------------


def recall_manifest(**changes: Any) -> Manifest:
    """A field with a history, a fading sum of it and the number of passes as states."""
    values: dict[str, Any] = {
        "family": "memory-rollout",
        "axes": {
            "history": Axis(kind="points", minimum=1, maximum=6),
            **field_manifest("recall").axes,
            "memory": Axis(kind="channel", size=2),
        },
        "inputs": (spec("u", ("history", "x")),),
        "outputs": (spec("u", "x"), spec("passes", "x")),
        "stepping": Stepping(dt=DT, max_steps=8, states=(spec("h", ("x", "memory")),)),
        "t": (0.1, 0.2, 0.3),
        "resolutions": resolution(),
    }
    return field_manifest("recall", **(values | changes))


def recall(u: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step: u + half of what is remembered."""
    fading, count = h[..., 0], h[..., 1] + 1
    return u + 0.5 * fading, count, torch.stack((0.5 * fading + u, count), dim=-1)


# --- feedback-ode: a pendulum ---------------------------------------------------------------------

PENDULUM = Feedback(decay=0.2, eigenvalue=4.0)


def pendulum_manifest(**changes: Any) -> Manifest:
    """A pendulum, measured up to nine times."""
    values: dict[str, Any] = {
        "family": "feedback-ode",
        "axes": {
            "measurement": Axis(kind="points", minimum=1, maximum=9),
            "state": Axis(kind="channel", size=2),
        },
        "inputs": (spec("x", ("measurement", "state")),),
        "outputs": (spec("x", ("state",)),),
        "stepping": Stepping(dt=DT, max_steps=8),
        "feedback": PENDULUM,
        "t": (0.1, 0.2, 0.3),
        "resolutions": resolution(sizes={}),
    }
    return field_manifest("pendulum", **(values | changes))


def pendulum(x: Tensor, observer: Tensor, gain: Tensor) -> Tensor:
    """dx/dt with a linear correction."""
    uncorrected = torch.stack((x[:, 1], -torch.sin(x[:, 0])), dim=1)
    return uncorrected + PENDULUM.eigenvalue * gain[:, None] * (x - observer)


# --- ode: a rotation -----------------------------------------------------------------------------


def rotation_manifest(**changes: Any) -> Manifest:
    """A point on a circle, and the rate at which it turns as a parameter."""
    values: dict[str, Any] = {
        "family": "ode",
        "axes": {"state": Axis(kind="channel", size=2)},
        "inputs": (spec("y", ("state",)),),
        "outputs": (spec("y", ("state",)),),
        "parameters": (parameter("rate", 0.1, 100.0, 1.0),),
        "integration": Integration(
            method="tsit5", rtol=1e-5, atol=1e-6, smallest_rtol=1e-6, max_steps=1000, horizon=2.0
        ),
        "t": (0.5, 1.0, 2.0),
        "resolutions": resolution(sizes={}, t=(0.5, 2.0), error_at_t=(0.01, 0.05)),
        # Of steps to the tolerance above, and not to roundings.
        "golden_tolerance": 1e-4,
        "batch_tolerance": 1e-4,
    }
    return field_manifest("rotation", **(values | changes))


def rotation(y: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    """dy/dt; y(t) turns by the angle rate t, clockwise."""
    del t
    return rate[:, None] * torch.stack((y[:, 1], -y[:, 0]), dim=1)


# --- iterative-solver: k u - u'' = f between walls ------------------------------------------------


def screened_manifest(**changes: Any) -> Manifest:
    """A screened Poisson equation; the right-hand side is the second input."""
    values: dict[str, Any] = {
        "family": "iterative-solver",
        "inputs": (spec("k", "x"), spec("f", "x", "F64")),
        "outputs": (spec("u", "x", "F64"),),
        "t": (),
        "resolutions": resolution(),
        "iteration": Iteration(
            operator=Program(format="torch.export", file="operator.pt2"),
            right_hand_side="f",
            tolerance=1e-8,
            smallest_tolerance=1e-12,
            max_iterations=60,
        ),
        "files": {"program.pt2": "", "operator.pt2": ""},
    }
    return field_manifest("screened", **(values | changes))


def screened(u: Tensor, k: Tensor) -> Tensor:
    """A u: symmetric and positive definite for k > 0."""
    padded = pad(u, (1, 1))
    return (k + 2) * u - padded[:, :-2] - padded[:, 2:]


def jacobi(r: Tensor, k: Tensor) -> Tensor:
    """A good direction: the residual by the diagonal of A."""
    return r / (k + 2)


# --- map: an ensemble whose mean keeps the integral of u0 -----------------------------------------


def members_manifest(**changes: Any) -> Manifest:
    """Four members to a mean and a deviation, then moved to the integral of the input."""
    values: dict[str, Any] = {
        "outputs": (spec("u", "x"), spec("u_std", "x")),
        "resolutions": resolution(),
        "postprocess": (
            Postprocess(kind="ensemble", output="u", deviation="u_std", calibration=3.0),
            Postprocess(kind="conserve", output="u", deviation="u_std", integral_of="u0"),
        ),
    }
    return field_manifest("members", **(values | changes))


def members(u: Tensor) -> Tensor:
    """Four fields that disagree where u is large."""
    scales = 1 + 0.1 * torch.arange(4, dtype=u.dtype)
    return scales[None, :, None] * u[:, None]


# --- On disk --------------------------------------------------------------------------------------


def write_family_models(root: Path) -> None:
    """All of the above as artifacts, their golden values by the loops below."""
    field = torch.full((2, SIZE), 0.5)
    rate = torch.full((2,), 0.5)
    frames = torch.ones(2, 3, SIZE)
    checked = {"checks.pt2": (Pointwise(drift_checks), (field, field, rate, frames, frames))}
    write_artifact(
        root,
        Pointwise(drift),
        drift_manifest(checks=DRIFT_CHECKS),
        answer=three_drifts,
        others=checked,
    )
    write_artifact(
        root,
        Pointwise(recall),
        recall_manifest(),
        answer=three_recalls,
        example=(field, torch.zeros(2, SIZE, 2)),
    )
    write_artifact(
        root,
        Pointwise(pendulum),
        pendulum_manifest(),
        answer=lambda x: cascade(x, 3),
        example=(field[:, :2], field[:, :2], rate),
    )
    write_artifact(
        root,
        Pointwise(rotation),
        rotation_manifest(),
        answer=turned,
        example=(field[:, :2], rate, rate),
    )
    write_artifact(
        root,
        Pointwise(jacobi),
        screened_manifest(),
        answer=solved,
        example=(field, field),
        others={"operator.pt2": (Pointwise(screened), (field.double(), field.double()))},
    )
    write_artifact(root, Pointwise(members), members_manifest(), answer=moved_mean)


def three_drifts(w: Tensor, f: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    """Golden values of `drift`."""
    frames = []
    for _ in range(3):
        _, w = drift(w, f, rate)
        frames.append(w)
    stacked = torch.stack(frames, dim=1)
    return 2 * stacked, stacked


def three_recalls(u: Tensor) -> tuple[Tensor, ...]:
    """Golden values of `recall`."""
    h = torch.zeros(len(u), SIZE, 2)
    for known in u.unbind(1):
        frame, passes, h = recall(known, h)
    frames = [(frame, passes)]
    for _ in range(2):
        frame, passes, h = recall(frame, h)
        frames.append((frame, passes))
    return tuple(torch.stack(column, dim=1) for column in zip(*frames, strict=True))


def turned(y: Tensor, rate: Tensor, t: Sequence[float] = (0.5, 1.0, 2.0)) -> Tensor:
    """The exact solution of `rotation`."""
    angle = rate.double()[:, None] * torch.tensor(t, dtype=torch.float64)
    cosine, sine, (first, second) = angle.cos(), angle.sin(), y.double().unbind(1)
    x = cosine * first[:, None] + sine * second[:, None]
    return torch.stack((x, cosine * second[:, None] - sine * first[:, None]), dim=2).to(y.dtype)


def cascade(measurements: Tensor, num_layers: int) -> Tensor:
    """The cascade of observers of `pendulum`, one measurement and one layer after the other."""
    x, observers = measurements[:, 0], []
    for _ in range(num_layers):
        observers.append(x)
        x = x + DT * pendulum(x, x, torch.zeros(len(x), dtype=x.dtype))
    for measurement in measurements.unbind(1):
        x, predicted = measurement, []
        for layer in range(num_layers):
            gain = torch.exp(torch.full((len(x),), -PENDULUM.decay * layer, dtype=x.dtype))
            k = pendulum(x, observers[layer], gain)
            observers[layer] = observers[layer] + DT * k
            x = x + DT * k
            predicted.append(x)
    return torch.stack(predicted, dim=1)


def matrix_of(k: Tensor) -> Tensor:
    """A of `screened` for each row of k, float64."""
    size = k.shape[-1]
    identity = torch.eye(size, dtype=torch.float64)
    columns = [screened(identity[i].expand(len(k), size), k.double()) for i in range(size)]
    return torch.stack(columns, dim=2)


def solved(k: Tensor, f: Tensor) -> Tensor:
    """Golden values of `screened`, by elimination."""
    return torch.linalg.solve(matrix_of(k), f.double())


def moved_mean(u: Tensor) -> tuple[Tensor, Tensor]:
    """Golden values of `members`: by the formulas of ProbConserv, dense, in float64."""
    fields = members(u).double()
    mean, std = fields.mean(dim=1), 3.0 * fields.std(dim=1)
    g = torch.full((1, SIZE), 1 / SIZE, dtype=torch.float64)
    moved, left = [], []
    for row in range(len(u)):
        sigma = torch.diag(std[row] ** 2)
        weight = sigma @ g.T @ torch.linalg.inv(g @ sigma @ g.T)
        moved.append(mean[row] - (weight @ (g @ mean[row] - g @ u[row].double())))
        left.append(torch.diag(sigma - weight @ g @ sigma).sqrt())
    return torch.stack(moved).float(), torch.stack(left).float()
