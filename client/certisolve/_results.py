"""What calls return: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ._arrays import Array
from ._errors import MissingDependency
from .manifest import Manifest

if TYPE_CHECKING:
    import xarray


class ModelRef(NamedTuple):
    """Which program answered.

    Attributes:
        digest: SHA-256 in hex of the manifest, which names that of every other file.
    """

    name: str
    version: str
    digest: str


class WorkerInfo(NamedTuple):
    """A process of the server that owns one device.

    Attributes:
        name: unique among the workers of a queue.
        device: `cpu`, `cuda:0`.
        grpc: `host:port` of its own gRPC services; empty when it has none.
    """

    name: str
    device: str
    grpc: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One version of one model on the server.

    Attributes:
        ready: whether it is loaded and has passed its checks.
        manifest: what the model says about itself: inputs, validated resolutions, baseline.
        workers: where it is loaded; empty when the server does not say.
    """

    name: str
    version: str
    digest: str
    ready: bool
    manifest: Manifest
    workers: tuple[WorkerInfo, ...] = ()


class Timings(NamedTuple):
    """Milliseconds on the server: waiting, assembling the batch, the forward pass."""

    queue: float
    batch: float
    compute: float


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How far an answer can be trusted.

    Attributes:
        in_validated_range: whether the answer lies where the model's error was measured.
        resampled_from: grid size of each axis as sent, when the fields were computed on another,
            validated grid; None when they were not.
        expected_error: error on unseen data at this resolution and horizon, in the metric of the
            manifest; None when it was never measured.
        out_of_range: in what the answer exceeds what was validated: `resolution`, `horizon`,
            `knots`.
        residual: of the equation, relative; here and below None where the model cannot tell.
        conservation_defect: of what the equation conserves, relative; before a projection mended
            it.
        knot_excess: how far activations left the grids of splines, relative; outside above 0.
        noise_gain: by which a forecast amplifies noise of the measurements.
        nfe: evaluations of the network for this answer.
        rejected_steps: steps of an integration that were tried and not taken.
    """

    in_validated_range: bool
    resampled_from: Mapping[str, int] | None
    expected_error: float | None
    out_of_range: tuple[str, ...] = ()
    residual: float | None = None
    conservation_defect: float | None = None
    knot_excess: float | None = None
    noise_gain: float | None = None
    nfe: int | None = None
    rejected_steps: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The fields a model computed, and how far to trust them.

    The arrays are read-only views of the reply; copy one (`fields["u"].copy()`) to change it.

    Attributes:
        fields: by the names of the manifest's outputs.
        axes: axis names of each field, in the order of its shape.
        t: times at which the fields hold, float64; empty for a stationary problem.
        coords: coordinates of each grid axis, float64.
        status: `ok`; `not_finite`: a field holds NaN or infinity; `not_converged`: the residual of
            an iterative solver stayed above its tolerance; `diverged`, `max_steps` or
            `dt_underflow`: a way in time ended at the last of `t`, because the next state is not
            finite, took too many steps, or asked for steps below the resolution of time.
        diagnostics: None when the call asked for none.
        timings_ms: where the server spent the time.
        batch_size: how many requests shared the forward pass.
        model: which program answered.
    """

    fields: Mapping[str, Array]
    axes: Mapping[str, tuple[str, ...]]
    t: Array
    coords: Mapping[str, Array]
    status: str
    diagnostics: Diagnostics | None
    timings_ms: Timings
    batch_size: int
    model: ModelRef

    def to_xarray(self) -> "xarray.Dataset":
        """The fields as a dataset with named dimensions and coordinates.

        A single time that is no axis of the fields becomes a scalar coordinate `t`. The attributes
        say which model answered and how far to trust it.

        Raises:
            MissingDependency: xarray is not installed.
        """
        # A model may have a grid axis of that name.
        dataset = _dataset(self.fields, self.axes, {"t": self.t, **self.coords})
        if "t" not in dataset.coords and self.t.size == 1:
            dataset = dataset.assign_coords(t=self.t[0])
        return dataset.assign_attrs(self._attributes())

    def _attributes(self) -> dict[str, Any]:
        attributes = _model_attributes(self.model)
        attributes["status"] = self.status
        if self.diagnostics is not None:
            attributes["in_validated_range"] = self.diagnostics.in_validated_range
            attributes["expected_error"] = self.diagnostics.expected_error
        return attributes


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A solution at one time, as soon as it is computed.

    The arrays are read-only views of what arrived; copy one to change it.

    Attributes:
        index: among the frames of the stream, from 0.
        num_frames: that were asked for; fewer come where the way in time ends early.
        step: that it follows; None for a model without steps of one size.
        t: its time; 0 for a stationary problem.
        fields: by the names of the manifest's outputs.
        axes: axis names of each field, in the order of its shape, without `t`.
        coords: coordinates of each grid axis, float64.
        model: which program answers.
    """

    index: int
    num_frames: int
    step: int | None
    t: float
    fields: Mapping[str, Array]
    axes: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, Array]
    model: ModelRef

    def to_xarray(self) -> "xarray.Dataset":
        """The fields as a dataset with named dimensions and coordinates, and `t` as a scalar one.

        Raises:
            MissingDependency: xarray is not installed.
        """
        dataset = _dataset(self.fields, self.axes, self.coords)
        return dataset.assign_coords(t=self.t).assign_attrs(_model_attributes(self.model))


class JobStatus(StrEnum):
    """Where a job stands; members equal their names as text."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Improvement(NamedTuple):
    """A better bound: seconds since the search began, and both bounds as they were then."""

    t: float
    upper: float
    lower: float


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as the server last described it.

    Attributes:
        id: names the job on the server.
        status: where it stands.
        position: while queued, how many jobs go before it; None when it is not queued or the
            server does not say.
        expected_wait_s: while queued, seconds until it is likely to start; None when unknown.
        progress: share of the work that is done, 0 to 1.
        bounds: of a certification that runs, the best so far; None for none.
    """

    id: str
    status: JobStatus
    position: int | None = None
    expected_wait_s: float | None = None
    progress: float = 0.0
    bounds: Improvement | None = None


def _dataset(
    fields: Mapping[str, Array],
    axes: Mapping[str, tuple[str, ...]],
    coords: Mapping[str, Array],
) -> "xarray.Dataset":
    """Fields with the coordinates of the axes that they have."""
    try:
        import xarray
    except ImportError as error:
        raise MissingDependency(
            "to_xarray needs xarray: pip install 'certisolve[xarray]'"
        ) from error
    used = {axis for name in fields for axis in axes[name]}
    labels = {axis: (axis, points) for axis, points in coords.items() if axis in used}
    return xarray.Dataset({name: (axes[name], field) for name, field in fields.items()}, labels)


def _model_attributes(model: ModelRef) -> dict[str, Any]:
    return {f"model_{key}": value for key, value in model._asdict().items()}
