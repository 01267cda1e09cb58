"""Bodies of the HTTP interface, without tensors; the OpenAPI document comes from here."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
#: Of a size that every protocol can carry; what the model makes of it is another question.
Count = Annotated[int, Field(strict=True, ge=-(1 << 63), lt=1 << 63)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SolveOptions(_Body):
    """How to answer."""

    diagnostics: bool = Field(
        default=True, description="Whether to say how far the answer can be trusted."
    )
    tolerance: Finite | None = Field(
        default=None,
        description="Relative residual an iterative solver goes to; the manifest's when left out.",
    )
    rtol: Finite | None = Field(
        default=None,
        description="Relative tolerance of an integration; the manifest's when left out.",
    )
    atol: Finite | None = Field(
        default=None,
        description="Absolute tolerance of an integration; the manifest's when left out.",
    )
    save_every: Count | None = Field(
        default=None,
        description="Of every so many steps a frame is wanted, up to the last one asked for; with "
        "`steps` each when left out, with `t` none but those at its times.",
    )
    resume_from: Count | None = Field(
        default=None,
        description="Frames up to the step of this number are known already, and left out.",
    )


class SolveBody(_Body):
    """A solve request without its inputs."""

    version: str | None = Field(default=None, description="Of the model; the newest when left out.")
    parameters: dict[str, Finite] = Field(
        default_factory=dict, description="Scalars of the equation."
    )
    t: list[Finite] | None = Field(
        default=None,
        description="Times at which the solution is wanted; the manifest's when left out.",
    )
    steps: Count | None = Field(default=None, description="How many steps to go, instead of `t`.")
    options: SolveOptions = Field(default_factory=SolveOptions)


class ModelRef(_Body):
    """Which program answered."""

    name: str
    version: str
    digest: str


class Diagnostics(_Body):
    """How far an answer can be trusted."""

    in_validated_range: bool = Field(description="Whether the measured errors hold.")
    out_of_range: list[str] = Field(
        description="What exceeds what was validated: resolution, horizon, knots."
    )
    resampled_from: dict[str, int] | None
    expected_error: float | None = Field(
        description="On unseen data at this resolution and horizon; null where none was measured."
    )
    residual: float | None = Field(description="Of the equation, relative.")
    conservation_defect: float | None = Field(
        description="Of what the equation conserves, relative; before a projection mended it."
    )
    knot_excess: float | None = Field(
        description="How far activations left the grids of splines, relative; above 0: outside."
    )
    noise_gain: float | None = Field(
        description="By which the forecast amplifies noise of the measurements."
    )
    nfe: int | None = Field(description="Evaluations of the network for this answer.")
    rejected_steps: int | None = Field(
        description="Steps of an integration that were tried and not taken."
    )


class Timings(_Body):
    """Milliseconds in each stage."""

    queue: float
    batch: float
    compute: float


class SolveReply(_Body):
    """A solution; over safetensors the fields and `coords.<axis>` are the body's tensors."""

    fields: dict[str, list[object]]
    axes: dict[str, list[str]]
    coords: dict[str, list[float]]
    t: list[float] = Field(description="Times of the fields.")
    status: str = Field(
        description="ok, not_finite, or not_converged for an iterative solver that gave up; "
        "diverged, max_steps or dt_underflow for a way in time that ended at the last of t."
    )
    diagnostics: Diagnostics | None
    timings_ms: Timings
    batch_size: int
    model: ModelRef


class Problem(_Body):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    retry_after_s: float | None = None


class Job(_Body):
    """Where an asynchronous solve stands."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    position: int | None = Field(
        description="While queued: jobs of the same tenant, priority and kind that go first."
    )
    expected_wait_s: float | None = Field(
        description="While queued: seconds until it is likely to start; null when unknown."
    )
    progress: float = Field(ge=0, le=1, description="Share of the work that is done.")
    problem: Problem | None = Field(description="Why it failed; null unless it did.")


class JobReply(Job):
    """A job, with its result once there is one."""

    result: SolveReply | None = None


class WorkerRef(_Body):
    """A process that owns one device."""

    name: str
    device: str
    grpc: str


class ModelInfo(_Body):
    """One version of one model."""

    name: str
    version: str
    digest: str = Field(description="SHA-256 of the manifest, which names that of every file.")
    ready: bool
    fault: str | None = Field(description="Why it cannot be loaded; null while there is hope.")
    workers: list[WorkerRef] = Field(description="Where it is loaded.")
    manifest: dict[str, object]


class ModelList(_Body):
    """Every version of every model."""

    models: list[ModelInfo]


class Readiness(_Body):
    """Whether requests can be served."""

    status: Literal["ready", "loading", "unavailable"]
    reason: str | None = None


def solve_example() -> dict[str, object]:
    """A request body to try."""
    return {"inputs": {"x": [0.0, 0.5], "y": [0.0, -0.5]}}
