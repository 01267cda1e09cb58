"""Bodies of the HTTP interface, without tensors; the OpenAPI document comes from here."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SolveOptions(_Body):
    """How to answer."""

    diagnostics: bool = Field(
        default=True, description="Whether to say how far the answer can be trusted."
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
    options: SolveOptions = Field(default_factory=SolveOptions)


class ModelRef(_Body):
    """Which program answered."""

    name: str
    version: str
    digest: str


class Diagnostics(_Body):
    """How far an answer can be trusted."""

    in_validated_range: bool
    resampled_from: dict[str, int] | None
    expected_error: float | None


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
    t: list[float]
    status: str
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


class JobReply(_Body):
    """Where an asynchronous solve stands."""

    id: str
    status: str
    problem: Problem | None = None
    result: SolveReply | None = None


def solve_example() -> dict[str, object]:
    """A request body to try."""
    return {"inputs": {"x": [0.0, 0.5], "y": [0.0, -0.5]}}
