"""What a manifest is made of."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a tensor.

    Attributes:
        kind: `grid` (a discretised dimension of the domain), `points` (a list whose length the
            caller chooses) or `channel` (a fixed number of components).
        lower: left end of the domain, in `units`; grid axes only.
        upper: right end of the domain.
        convention: where the n grid values lie. `periodic`: lower + i (upper - lower)/n, right end
            left out; `nodes`: both ends included; `cells`: cell centres.
        boundary: the boundary condition, in words or as an equation.
        units: of the coordinate; "1" when dimensionless.
        minimum: smallest size a caller may send (points axes).
        maximum: largest size a caller may send (points axes).
        size: the number of components (channel axes).
        labels: names of the components (channel axes).
    """

    kind: Literal["grid", "points", "channel"]
    lower: float | None = None
    upper: float | None = None
    convention: Literal["periodic", "nodes", "cells"] | None = None
    boundary: str | None = None
    units: str = "1"
    minimum: int = 1
    maximum: int | None = None
    size: int | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output of the program, without its leading batch dimension.

    Attributes:
        dtype: safetensors name of the element type, `F32`.
        axes: axis names in order, keys of `Manifest.axes`.
        minimum: smallest admissible element; None for no bound.
        maximum: largest admissible element; None for no bound.
        values: the only admissible elements, ascending; empty for any between the bounds.
        max_abs_mean: largest admissible absolute value of the mean over all elements.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    description: str
    units: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[float, ...] = ()
    max_abs_mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """The executable part: ATen operators in a torch.export archive, or an ONNX graph."""

    format: Literal["torch.export", "onnx"]
    file: str


@dataclass(frozen=True, kw_only=True)
class Stepping:
    """How a program is run that advances in time.

    `rollout`, `memory-rollout`: the program takes the inputs, the states and the parameters, and
    returns the outputs and the states `dt` later. An output that has the name of an input is its
    next value; other inputs stay as they are. An input with a `points` axis in front is a history,
    whose frames, `dt` apart, go through the program one after the other.

    Attributes:
        dt: time between two frames.
        max_steps: most steps for which an error was measured.
        states: what the program remembers from step to step beside the frame; zero at first. Their
            axes are grid axes and channel axes.
    """

    dt: float
    max_steps: int
    states: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """How measurements correct a learned vector field (Jia et al., 2024).

    The program takes x, an observer of it and a gain, and returns dx/dt. Layer i of a cascade
    predicts x at time (i + 1) dt with the gain exp(-decay i).

    Attributes:
        decay: β, of the gain from layer to layer.
        eigenvalue: λ, the largest slope of the correction; noise of a measurement grows by the
            product of 1 + dt λ exp(-βi) over the layers.
    """

    decay: float
    eigenvalue: float


@dataclass(frozen=True, kw_only=True)
class Integration:
    """How a vector field is integrated in time (family `ode`).

    The program is the right-hand side of dy/dt = f(t, y): it takes the one input, the state y, then
    a tensor of times of shape (batch,), then the parameters with `program_input`, and returns dy/dt
    in place of the one output.

    Attributes:
        method: of smooth samples. One that turns out stiff goes on with `rodas3`, a Rosenbrock
            method, for which the program must be differentiable: a torch program.
        rtol: relative tolerance of a step, where the caller names none.
        atol: absolute tolerance of a step, in units of the state, where the caller names none.
        smallest_rtol: tightest relative tolerance that is accepted.
        max_steps: that are tried for one request, accepted or not.
        horizon: latest time at which errors were measured; beyond it an answer says so.
    """

    method: Literal["dopri5", "tsit5", "rodas3"]
    rtol: float
    atol: float
    smallest_rtol: float
    max_steps: int
    horizon: float


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """How a linear system is solved along learned directions; the answer does not depend on them.

    The program takes a residual of norm 1 and the other inputs, and returns a direction.

    Attributes:
        operator: takes the unknown and the other inputs, and returns A x, in float64.
        right_hand_side: name of the input that is b; its shape is that of the unknown.
        tolerance: of |b - A x| / |b| where the caller names none.
        smallest_tolerance: that can be reached in floating point.
        max_iterations: after which the answer says that it has not converged.
    """

    operator: Program
    right_hand_side: str
    tolerance: float
    smallest_tolerance: float
    max_iterations: int


@dataclass(frozen=True, kw_only=True)
class Postprocess:
    """What is done to an output before it is returned, and before the next step.

    Attributes:
        kind: `ensemble`: the program returns members along a first axis; the output is their mean.
            `conserve`: the output moves to the nearest field with the right integral, as in
            ProbConserv (Hansen et al., 2023). `dirichlet`: the outermost values of every grid axis
            are set. `periodic`: the last values of every grid axis repeat the first.
        output: name of the output.
        deviation: `ensemble`: output that gets the standard deviation of the members.
            `conserve`: output that holds the deviation of each value, for a covariance that is
            diagonal; None for equal weights.
        calibration: factor on the deviation of an ensemble, fitted to errors on held-out data.
        integral_of: `conserve`: the input whose integral over the domain is kept.
        value: `conserve`: the integral, where no input is named; `dirichlet`: the boundary value.
    """

    kind: Literal["ensemble", "conserve", "dirichlet", "periodic"]
    output: str
    deviation: str | None = None
    calibration: float = 1.0
    integral_of: str | None = None
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Checks:
    """A program that looks at an answer and says how far it is off.

    It takes the inputs, the parameters with `program_input` and the outputs, and returns a number
    per request for each name.

    Attributes:
        names: `residual`: of the equation, relative to its terms. `conservation_defect`: of what
            the equation conserves, relative. `knot_excess`: how far activations of a
            Kolmogorov-Arnold network leave their grids, relative to these; above 0 the answer is
            outside what was validated.
    """

    program: Program
    names: tuple[Literal["residual", "conservation_defect", "knot_excess"], ...]


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """A scalar of the equation.

    Attributes:
        minimum: smallest validated value; equal to `maximum` for a model trained at one value.
        maximum: largest validated value.
        default: what is used when the caller names none.
        program_input: whether the program takes it, as a tensor of shape (batch,) after inputs and
            states, in the order of `Manifest.parameters`. False: the value is built into the
            weights.
    """

    name: str
    minimum: float
    maximum: float
    default: float
    description: str
    units: str = "1"
    program_input: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidatedResolution:
    """Measured error on unseen data at one resolution.

    Attributes:
        sizes: number of values along each grid axis; empty for a model without grid axes.
        error: mean over the samples, in `metric`; None where it was never measured, and then every
            answer says so.
        worst_error: largest over the samples.
        metric: `rel_l2` = |prediction - reference|_2 / |reference|_2, or `rmse`.
        num_samples: how many unseen samples were measured.
        t: times at which the error was measured by itself, ascending; empty without steps.
        error_at_t: mean error at each of them.
    """

    sizes: dict[str, int]
    error: float | None
    worst_error: float | None
    metric: Literal["rel_l2", "rmse"]
    num_samples: int
    t: tuple[float, ...] = ()
    error_at_t: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The classical solver beside the surrogate, timed in one run on one machine.

    Attributes:
        solver: method and implementation.
        grid: of the classical solver, in words.
        dt: its time step; None for a solver without one.
        batch_size: solves per call, of both.
        error: of the classical solver, in the metric of `resolutions`.
        time_ms: classical milliseconds per solve, median.
        model_error: of the surrogate on the same problems.
        model_time_ms: surrogate milliseconds per solve, median.
        hardware: processor and threads.
        remark: what a reader must know to judge the comparison.
        role: why this solver stands here. `equal error`: the fastest that is at least as accurate
            as the model; `twice the error`: the fastest within twice the model's error; `most
            accurate`: none reaches that.
    """

    solver: str
    grid: str
    dt: float | None
    batch_size: int
    error: float
    time_ms: float
    model_error: float
    model_time_ms: float
    hardware: str
    remark: str = ""
    role: Literal["equal error", "twice the error", "most accurate"] = "equal error"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came to be; enough to make them again."""

    data: str
    recipe: str
    seed: int
    duration_s: float
    hardware: str
    script: str
