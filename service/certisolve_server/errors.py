"""Everything that can go wrong for a caller, in the product's words; no HTTP or gRPC here.

ServingError
├── InvalidRequest       the request can never succeed as it is
│   ├── MalformedBody, UnsupportedMediaType, BodyTooLarge
│   ├── MissingInput, UnknownInput, WrongShape, WrongDtype, NotFinite
│   ├── OutOfRange, UnvalidatedResolution, UnknownParameter, InvalidOption
│   ├── NotDifferentiable
│   └── UnsupportedOperator, PossiblyDiscontinuous, NotCertified    of a certificate
├── NotFound             UnknownModel, UnknownVersion, UnknownJob, UnknownSession
├── IdempotencyConflict  the key was used for another request
├── SessionConflict, SessionsFull, ForecastDiverged               of a session
├── QueueFull, QueueUnavailable, ModelNotReady, ShuttingDown      it may succeed later
├── DeadlineExceeded, Cancelled
└── InternalError        a defect of ours
    └── DeadLettered     it ran whenever a worker died
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar

#: Errors quote what was sent, and over gRPC travel among headers, of which clients take 8 KiB.
_MOST_DETAIL_BYTES = 1024
_MOST_FIELD_BYTES = 256


class ErrorCode(StrEnum):
    """Stable names of the errors, the same over every protocol."""

    MALFORMED_BODY = "malformed_body"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BODY_TOO_LARGE = "body_too_large"
    MISSING_INPUT = "missing_input"
    UNKNOWN_INPUT = "unknown_input"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    UNVALIDATED_RESOLUTION = "unvalidated_resolution"
    UNKNOWN_PARAMETER = "unknown_parameter"
    INVALID_OPTION = "invalid_option"
    NOT_DIFFERENTIABLE = "not_differentiable"
    UNSUPPORTED_OPERATOR = "unsupported_operator"
    POSSIBLY_DISCONTINUOUS = "possibly_discontinuous"
    NOT_CERTIFIED = "not_certified"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_SESSION = "unknown_session"
    SESSION_CONFLICT = "session_conflict"
    SESSIONS_FULL = "sessions_full"
    FORECAST_DIVERGED = "forecast_diverged"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    QUEUE_FULL = "queue_full"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    MODEL_NOT_READY = "model_not_ready"
    SHUTTING_DOWN = "shutting_down"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    DEAD_LETTERED = "dead_lettered"
    INTERNAL = "internal"


class ServingError(Exception):
    """Base of all errors a caller may see.

    Attributes:
        code: the stable name.
        detail: what is wrong and how to mend it, for people.
        field: path of the offending field, `inputs.u0`; empty when none is to blame.
        retry_after_s: when the same request may succeed; None when waiting does not help.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, detail: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        self.detail = _brief(detail, _MOST_DETAIL_BYTES)
        self.field = _brief(field, _MOST_FIELD_BYTES)
        super().__init__(self.detail)
        self.retry_after_s = retry_after_s


class InvalidRequest(ServingError):
    """The request can never succeed as it is."""

    code = ErrorCode.MALFORMED_BODY


class MalformedBody(InvalidRequest):
    """The body is not what its media type says."""


class UnsupportedMediaType(InvalidRequest):
    """A Content-Type, Accept or Content-Encoding that is not spoken here."""

    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE


class BodyTooLarge(InvalidRequest):
    """More bytes than the server takes in one request."""

    code = ErrorCode.BODY_TOO_LARGE


class MissingInput(InvalidRequest):
    """An input of the manifest is not in the request."""

    code = ErrorCode.MISSING_INPUT


class UnknownInput(InvalidRequest):
    """An input that the manifest does not name."""

    code = ErrorCode.UNKNOWN_INPUT


class WrongShape(InvalidRequest):
    """Rank or sizes contradict the manifest's axes, or each other."""

    code = ErrorCode.WRONG_SHAPE


class WrongDtype(InvalidRequest):
    """An element type other than the manifest's."""

    code = ErrorCode.WRONG_DTYPE


class NotFinite(InvalidRequest):
    """NaN or infinity in an input."""

    code = ErrorCode.NOT_FINITE


class OutOfRange(InvalidRequest):
    """A value outside what the model was validated on."""

    code = ErrorCode.OUT_OF_RANGE


class UnvalidatedResolution(InvalidRequest):
    """A grid on which the model's error was never measured."""

    code = ErrorCode.UNVALIDATED_RESOLUTION


class UnknownParameter(InvalidRequest):
    """A parameter that the manifest does not name."""

    code = ErrorCode.UNKNOWN_PARAMETER


class InvalidOption(InvalidRequest):
    """An option, header or query value that is unknown or malformed."""

    code = ErrorCode.INVALID_OPTION


class NotDifferentiable(InvalidRequest):
    """Derivatives of a model whose program has none."""

    code = ErrorCode.NOT_DIFFERENTIABLE


class UnsupportedOperator(InvalidRequest):
    """A certificate of a program with an operator that has no rule; the detail names both."""

    code = ErrorCode.UNSUPPORTED_OPERATOR


class PossiblyDiscontinuous(InvalidRequest):
    """A certificate of a program whose output may jump; the detail names the operator."""

    code = ErrorCode.POSSIBLY_DISCONTINUOUS


class NotCertified(InvalidRequest):
    """A certificate that nothing can be proven for, of such a model or with such parameters."""

    code = ErrorCode.NOT_CERTIFIED


class NotFound(ServingError):
    """There is nothing under that path."""

    code = ErrorCode.NOT_FOUND


class MethodNotAllowed(ServingError):
    """The path exists, the method does not."""

    code = ErrorCode.METHOD_NOT_ALLOWED


class UnknownModel(NotFound):
    """No model of that name is in the repository."""

    code = ErrorCode.UNKNOWN_MODEL


class UnknownVersion(NotFound):
    """The model exists, that version does not."""

    code = ErrorCode.UNKNOWN_VERSION


class UnknownJob(NotFound):
    """No such job, or its result was forgotten after its time to live."""

    code = ErrorCode.UNKNOWN_JOB


class UnknownSession(NotFound):
    """No such session, or it was closed, or forgotten after its time to live."""

    code = ErrorCode.UNKNOWN_SESSION


class SessionConflict(ServingError):
    """Another call changed the session meanwhile."""

    code = ErrorCode.SESSION_CONFLICT


class SessionsFull(ServingError):
    """Sessions take more memory than the server is allowed to hold."""

    code = ErrorCode.SESSIONS_FULL


class ForecastDiverged(ServingError):
    """The forecast that a measurement would correct has no finite value there."""

    code = ErrorCode.FORECAST_DIVERGED


class IdempotencyConflict(ServingError):
    """An idempotency key came again with another request."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class QueueFull(ServingError):
    """More work is waiting than the server is allowed to hold."""

    code = ErrorCode.QUEUE_FULL


class QueueUnavailable(ServingError):
    """The queue between gateways and workers cannot be reached."""

    code = ErrorCode.QUEUE_UNAVAILABLE


class ModelNotReady(ServingError):
    """The model is still loading, or failed its checks at load."""

    code = ErrorCode.MODEL_NOT_READY


class ShuttingDown(ServingError):
    """The server is stopping and takes no new work."""

    code = ErrorCode.SHUTTING_DOWN


class DeadlineExceeded(ServingError):
    """The caller's deadline passed; the detail says in which stage."""

    code = ErrorCode.DEADLINE_EXCEEDED


class Cancelled(ServingError):
    """The job was cancelled by its owner."""

    code = ErrorCode.CANCELLED


class InternalError(ServingError):
    """A defect of the server or of a model; the log has the cause under the same id."""


class DeadLettered(InternalError):
    """Workers died whenever they ran the job; it is kept aside for the operator."""

    code = ErrorCode.DEAD_LETTERED


def error_of(code: str, detail: str, field: str, retry_after_s: float | None) -> ServingError:
    """The error of a code, as it was before it travelled; InternalError for an unknown code."""
    classes = {kind.code: kind for kind in _kinds(ServingError)}
    kind = classes.get(ErrorCode(code), InternalError) if code in set(ErrorCode) else InternalError
    return kind(detail, field=field, retry_after_s=retry_after_s)


def _brief(text: str, most_bytes: int) -> str:
    said = text.encode(errors="replace")
    return text if len(said) <= most_bytes else said[:most_bytes].decode(errors="ignore") + "…"


def _kinds(base: type[ServingError]) -> Iterator[type[ServingError]]:
    # Subclasses first, so that a code shared by both ends with its namesake, the base.
    for kind in base.__subclasses__():
        yield from _kinds(kind)
    yield base
