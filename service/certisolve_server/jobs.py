"""The shared vocabulary: what travels between gateway, queue and worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from certisolve.manifest import Manifest

from .errors import ServingError

Array = NDArray[Any]


class ModelKey(NamedTuple):
    """One version of one model.

    Attributes:
        digest: of its artifact, so that a job never runs on another program of the same name.
    """

    name: str
    version: str
    digest: str = ""


#: What is asked of a model: its solution, or a derivative of the map that leads to it: along
#: directions of the inputs (`jvp`), or of the outputs (`vjp`); or a bound of how fast it changes.
Kind = Literal["solve", "jvp", "vjp", "certify"]

#: Who runs a job: the thread that feeds a worker's device, or a process beside it that proves.
Pool = Literal["device", "certify"]


class Lane(NamedTuple):
    """Who may share a batch: same question, same program, same shapes, same element types."""

    model: ModelKey
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    kind: Kind = "solve"

    @property
    def pool(self) -> Pool:
        """Who runs its jobs; pools are claimed apart, and neither waits for the other."""
        return "certify" if self.kind == "certify" else "device"


class Priority(StrEnum):
    """Which of one tenant's jobs go first; between tenants it changes nothing."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def head_start_s(self) -> float:
        """Seconds of waiting that the priority is worth: an older job of less overtakes."""
        return {"high": 10.0, "normal": 0.0, "low": -10.0}[self]


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a request is served; what travels beside the problem, in headers.

    Attributes:
        deadline: Unix seconds after which nobody wants the answer; None for the server's limit.
        tenant: on whose account; tenants share the devices equally.
        priority: among the jobs of the tenant.
        idempotency_key: a request that comes again under it is the same job; empty for none.
        traceparent: W3C trace context; empty for none.
    """

    deadline: float | None = None
    tenant: str = "default"
    priority: Priority = Priority.NORMAL
    idempotency_key: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a model is asked beside the inputs.

    Attributes:
        kind: the solution, a derivative, or a certificate.
        steps: numbers of the steps whose frames are wanted, ascending; empty where there are none.
        t: times at which the solution of the family `ode` is wanted, ascending, counted from that
            of the inputs; empty for others.
        rtol: relative tolerance of an integration; None for the manifest's.
        atol: absolute tolerance of an integration; None for the manifest's.
        tolerance: of the relative residual of an iterative solver; None for the manifest's.
        checks: whether the answer is to be looked at.
        stream: whether frames are told as they come.
        keeps_states: whether the answer holds what a session goes on from.
        interval: seconds since the measurement before, of one that corrects a session of the
            family `feedback-ode`; 0 for its first; None for whatever is no such measurement.
        gain: factor on the gains of a session of the family `feedback-ode`.
        question: of a certificate: what is to be certified, as JSON, beside the arrays of the job.
    """

    kind: Kind = "solve"
    steps: tuple[int, ...] = ()
    t: tuple[float, ...] = ()
    rtol: float | None = None
    atol: float | None = None
    tolerance: float | None = None
    checks: bool = True
    stream: bool = False
    keeps_states: bool = False
    interval: float | None = None
    gain: float = 1.0
    question: str = ""


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """What a caller asks for, before it was checked against a manifest.

    Attributes:
        version: None for the newest.
        inputs: by name, without a batch dimension; views of the request's body.
        untyped: names of the inputs that came as plain JSON numbers, without an element type.
        t: times at which the solution is wanted; None for the manifest's.
        tolerance: of the relative residual, for iterative solvers; None for the manifest's.
        rtol: relative tolerance of an integration; None for the manifest's.
        atol: absolute tolerance of an integration; None for the manifest's.
        steps: how many to go, instead of `t`; None where that counts.
        save_every: of every so many steps a frame is wanted; None for what `steps` or `t` say.
        resume_from: frames up to the step of this number are known already; None for none.
        diagnostics: whether the answer says how far it can be trusted.
        terms: when, for whom and how urgently.
    """

    model: str
    version: str | None
    inputs: Mapping[str, Array]
    untyped: frozenset[str] = frozenset()
    parameters: Mapping[str, float] = field(default_factory=dict)
    t: tuple[float, ...] | None = None
    tolerance: float | None = None
    rtol: float | None = None
    atol: float | None = None
    steps: int | None = None
    save_every: int | None = None
    resume_from: int | None = None
    diagnostics: bool = True
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class DerivativeRequest:
    """Derivatives of a solution that a caller asks for, before they were checked.

    Attributes:
        kind: `jvp` or `vjp`.
        at: the solution.
        directions: of inputs (`jvp`) or outputs (`vjp`), by name, each of shape (direction, ...),
            or of the shape of one; those left out are zero.
        parameter_directions: of parameters (`jvp`), likewise.
    """

    kind: Kind
    at: SolveRequest
    directions: Mapping[str, Array]
    parameter_directions: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SolveContext:
    """What turns a worker's arrays back into the caller's solution.

    Attributes:
        t: times asked for.
        sizes: of every axis, as the caller sent it.
        resampled_from: sizes of the grid axes as sent, if the program ran on others.
        expected_error: measured at this resolution and horizon; None where none was.
        diagnostics: whether the caller wants them.
        out_of_range: in what the request exceeds what was validated: `resolution`, `horizon`.
    """

    t: tuple[float, ...]
    sizes: Mapping[str, int]
    resampled_from: Mapping[str, int] | None
    expected_error: float | None
    diagnostics: bool
    out_of_range: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SolveJob:
    """One admitted request, as the worker sees it.

    Attributes:
        id: unique, unguessable.
        context: what the answer must carry with it; opaque to the worker.
        inputs: one array per input of the manifest, in order, without a batch dimension; read-only.
        parameters: those with `program_input`, in the manifest's order.
        submitted_at: Unix seconds.
        terms: when, for whom and how urgently.
        work: what is asked beside the inputs.
        num_answer_bytes: size of the frames asked for; of use where the job is submitted alone, and
            not sent on.
        states: where a session stands, as an `Outcome` had them; empty to begin anew.
        directions: of a derivative, each of shape (direction, ...): one per input and then one per
            parameter for `jvp`, one per output for `vjp`, of shape (0, ...) for zero; empty
            otherwise.
    """

    id: str
    model: ModelKey
    inputs: tuple[Array, ...]
    parameters: tuple[float, ...]
    submitted_at: float
    context: SolveContext
    terms: Terms = Terms()
    work: Work = Work()
    num_answer_bytes: int = 0
    states: tuple[Array, ...] = ()
    directions: tuple[Array, ...] = ()

    @property
    def lane(self) -> Lane:
        """Who may share a batch with this job."""
        arrays = self.inputs + self.directions
        shapes = tuple(array.shape for array in arrays)
        dtypes = tuple(array.dtype.str for array in arrays)
        return Lane(self.model, shapes, dtypes, self.work.kind)

    @property
    def num_bytes(self) -> int:
        """What the job takes up: what is sent, and frames: a few bytes may ask for many."""
        sent = sum(array.nbytes for array in self.inputs + self.states + self.directions)
        return sent + self.num_answer_bytes


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds in each stage: waiting, assembling the batch, the forward pass."""

    queue_ms: float
    batch_ms: float
    compute_ms: float


#: Why an integration or a rollout ended early. `diverged`: the next frame would not be finite.
#: `max_steps`: more steps than the manifest allows. `dt_underflow`: the tolerance asks for steps
#: that time cannot resolve.
Ending = Literal["diverged", "max_steps", "dt_underflow"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of an answer, as soon as it is there.

    Attributes:
        index: of the frame among those wanted, from 0.
        t: its time; of a certificate, seconds of search.
        outputs: one array per output of the manifest, in order; of a certificate, its bytes.
    """

    index: int
    t: float
    outputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A worker's answer to one job.

    Attributes:
        model: which program answered.
        outputs: one array per output of the manifest, in order, without a batch dimension; with
            frames along the first axis where the model advances in time. Of a derivative, one more
            per output (`jvp`) or per input and parameter (`vjp`), with directions along the first.
            Of a certificate, its bytes alone, JSON in UTF-8.
        finite: whether every element of every output is finite.
        batch_size: jobs in the same forward pass.
        findings: about the answer, by name: `residual`, `conservation_defect`, `knot_excess`,
            `noise_gain`, `nfe`, `rejected_steps`, and `converged`, 0 or 1, of an iterative solver.
        t: times of the frames, where these are not all that were asked for, because it diverged.
        ending: why it ended early; empty for an answer that is whole.
        states: what a session goes on from; empty unless asked for.
        kind: what was asked.
    """

    model: ModelKey
    outputs: tuple[Array, ...]
    finite: bool
    timings: Timings
    batch_size: int
    context: SolveContext
    findings: Mapping[str, float] = field(default_factory=dict)
    t: tuple[float, ...] | None = None
    ending: Ending | None = None
    states: tuple[Array, ...] = ()
    kind: Kind = "solve"


class Timeline(NamedTuple):
    """When a job reached each stage, Unix seconds; None for one it has not reached."""

    submitted_at: float
    claimed_at: float | None = None
    started_at: float | None = None

    def account(self, now: float) -> str:
        """Where the time went until `now`, for people."""
        claimed_at = self.claimed_at or now
        started_at = self.started_at or now
        stages = [f"{claimed_at - self.submitted_at:.3f} s in the queue"]
        if self.claimed_at is not None:
            stages.append(f"{started_at - claimed_at:.3f} s waiting for the device")
        if self.started_at is not None:
            stages.append(f"{now - started_at:.3f} s running")
        return ", ".join(stages)


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job stands.

    Attributes:
        status: queued, running, succeeded, failed or cancelled.
        outcome: set when succeeded.
        error: set when failed or cancelled.
        timeline: when it reached each stage; None once that is forgotten.
        position: while queued, how many jobs of the same tenant, priority and lane go first.
        expected_wait_s: while queued, seconds until it is likely to start; None when unknown.
        progress: share of the work that is done, 0 to 1.
        latest: while running, the newest frame that its worker told since it is kept; None if none.
    """

    status: str
    outcome: Outcome | None = None
    error: ServingError | None = None
    timeline: Timeline | None = None
    position: int | None = None
    expected_wait_s: float | None = None
    progress: float = 0.0
    latest: Frame | None = None

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True)
class Artifact:
    """One version of one model on disk, its manifest checked, its files matched to their digests.

    Attributes:
        digest: SHA-256 in hex of `manifest.json`, which names that of every other file.
        directory: where the files lie, absolute.
    """

    manifest: Manifest
    digest: str
    directory: str

    @property
    def key(self) -> ModelKey:
        """Name, version and digest."""
        return ModelKey(self.manifest.name, self.manifest.version, self.digest)
