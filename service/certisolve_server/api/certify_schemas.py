"""Bodies and replies of requests for certificates."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from certisolve_server.certification.request import NormName, SoundnessLevel

from .schemas import Count, Finite, Job, ModelRef

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DomainBody(_Body):
    """A set without its tensors; the center of a ball, or the corners of a box, stand beside."""

    radius: Finite | None = Field(default=None, description="Of a ball.")
    norm: NormName | None = Field(
        default=None, description="Of the ball's radius, in which scales count; l2 when left out."
    )


class CertifyBody(_Body):
    """A request for a certificate without set, inputs and scales."""

    version: str | None = Field(default=None, description="Of the model; the newest when left out.")
    parameters: dict[str, Finite] = Field(
        default_factory=dict, description="Scalars of the equation."
    )
    resolution: list[Count] | None = Field(
        default=None,
        description="Sizes of the grid axes, where the set is `global`; the first validated ones "
        "when left out.",
    )
    input_norm: NormName | None = Field(
        default=None,
        description="In which differences of inputs are measured; the set's, or l2, when left out.",
    )
    output_norm: NormName | None = Field(
        default=None, description="In which differences of outputs are measured; likewise."
    )
    output: str | None = Field(default=None, description="Name; the first when left out.")
    component: Count | None = Field(
        default=None, description="Flat index of one value of the output; all when left out."
    )
    soundness: SoundnessLevel = Field(
        default="real",
        description="`real`: of the map on real numbers; `float`: of the program that rounds.",
    )
    budget_s: Seconds = Field(default=10.0, description="Of search.")
    gap: Finite = Field(default=1.001, description="Upper by lower at which the search may stop.")
    max_splits: Count | None = Field(default=None, description="Most cuts of the set.")
    steps: Count | None = Field(
        default=None, description="Of models that go on by steps; one when left out."
    )
    t: Finite | None = Field(default=None, description="Of models that integrate in time.")
    seed: Count = Field(default=0, description="Of what the search draws.")


class CertificateReply(_Body):
    """For all x, y in the set: |f(x) - f(y)| <= upper |x - y|, and no smaller bound than lower."""

    upper: float | None = Field(description="Proven; null where nothing is, `reason` says why.")
    lower: float = Field(description="Proven by the witness.")
    gap: float | None = Field(description="Upper by lower.")
    status: Literal["improving", "certified", "budget_exhausted", "unbounded"] = Field(
        description="Whether the search goes on; ended because the gap was reached or nothing was "
        "left to do; by its budget; or without a finite bound."
    )
    reason: str | None
    method: str | None = Field(description="That proved the upper bound.")
    domain: Any = Field(description="The set, as asked for.")
    norms: dict[str, Any] = Field(description="input, output, input_scale, output_scale.")
    soundness: SoundnessLevel
    rounding: float | None = Field(
        description="delta in |f(x) - f(y)| <= upper |x - y| + 2 delta, at level float."
    )
    witness: dict[str, Any] | None = Field(
        description="kind (pair, direction), x, y or v, and the lower bound they prove."
    )
    history: list[tuple[float, float | None, float]] = Field(
        description="Seconds, upper and lower of each improvement."
    )
    error_amplification: dict[str, Any] | None = Field(
        description="radius, output_change, and a statement in words."
    )
    enclosure: dict[str, Any] | None = Field(
        description="lower and upper of each value of the output over the set."
    )
    map: str = Field(description="Of what the bound holds, in words.")
    out_of_range: list[str] = Field(description="In what it exceeds what was validated.")
    model: ModelRef
    request: dict[str, Any] = Field(
        description="With the set and the norms, what asks for the same map again."
    )
    graph: str = Field(description="Digest of the graph that was certified.")
    rules: list[str] = Field(description="Its operators.")
    methods: dict[str, str] = Field(description="`bound`, or why there was none, by method.")
    evidence: dict[str, Any] | None = Field(
        description="What proves the upper bound again, without the search; null while it goes on."
    )
    certifier: str
    elapsed_s: float
    seed: int
    budget_s: float


class BoundEvent(Job):
    """A certification that runs, and the best certificate so far."""

    certificate: CertificateReply


def certify_example() -> dict[str, Any]:
    """A request body to try."""
    domain = {"center": {"x": [0.2], "y": [0.1]}, "radius": 0.1, "norm": "linf"}
    return {"domain": domain, "budget_s": 5}
