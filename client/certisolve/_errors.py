"""What calls raise.

CertisolveError
├── TransportError              no answer came
│   ├── ConnectionFailed        no connection, or it broke; also a ConnectionError
│   └── RequestTimeout          the caller's time was up; also a TimeoutError
├── InvalidReply                an answer came that is not certisolve's
├── MissingDependency           an extra is not installed; also an ImportError
└── ServerError                 the server answered with a problem
    ├── InvalidRequest          the request can never succeed as it is
    ├── NotFound                no such model, version, job, session or path
    ├── IdempotencyConflict     the key was used for another request
    ├── SessionConflict         another call changed the session meanwhile
    ├── ForecastDiverged        what a measurement would correct is not finite
    ├── PayloadTooLarge         more bytes than the server takes
    ├── Overloaded              the queue is full, or sessions are; later may do
    ├── Unavailable             it, its model or its queue is out of reach; later may do
    ├── DeadlineExceeded        the server gave up at the caller's deadline
    ├── Cancelled               the job was cancelled
    └── InternalServerError     a defect of the server or the model

`ServerError.code` is stable and the same over HTTP and gRPC; the classes group the codes by what
a program can do about them. Wrong use of the SDK itself is a plain `TypeError` or `ValueError`, or
`RuntimeError` once the client is closed.
"""

from collections.abc import Mapping
from typing import ClassVar


class CertisolveError(Exception):
    """Base of everything the SDK raises on purpose.

    Attributes:
        retryable: whether the same call may succeed a little later.
    """

    retryable: ClassVar[bool] = False


class TransportError(CertisolveError):
    """No answer came."""


class ConnectionFailed(TransportError, ConnectionError):
    """No connection could be made, or it broke.

    Attributes:
        sent: whether the request may have reached the server.
    """

    retryable = True

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message, sent)
        self.sent = sent

    def __str__(self) -> str:
        return str(self.args[0])


class RequestTimeout(TransportError, TimeoutError):
    """The answer did not come within the caller's time."""


class InvalidReply(CertisolveError):
    """The answer is not what a certisolve server sends; perhaps the URL is another program's."""


class MissingDependency(CertisolveError, ImportError):
    """An optional package is missing; the message has the command that installs it."""


class ServerError(CertisolveError):
    """The server answered with a problem.

    Attributes:
        code: stable name for programs, `wrong_shape`; empty when something other than certisolve
            answered, a proxy for instance.
        detail: for people: what is wrong and how to mend it.
        field: path of the offending field, `inputs.u0`; empty when none is to blame.
        retry_after_s: seconds after which the same call may succeed; None when unknown.
        status: HTTP status, or its equivalent over gRPC; None inside a job's outcome.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        field: str = "",
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code, detail, field, retry_after_s, status)
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        self.status = status

    def __str__(self) -> str:
        label = " ".join(part for part in (self.code or str(self.status), self.field) if part)
        return f"[{label}] {self.detail}"


class InvalidRequest(ServerError):
    """The request can never succeed as it is; `field` and `detail` say why."""


class NotFound(ServerError):
    """No such model, version, job or path."""


class IdempotencyConflict(ServerError):
    """The idempotency key was used for another request; draw a new key for a new request."""


class SessionConflict(ServerError):
    """Another call changed the session meanwhile; observe from one place only."""


class ForecastDiverged(ServerError):
    """The forecast that a measurement would correct is not finite; open a new session."""


class PayloadTooLarge(ServerError):
    """The request or the reply has more bytes than the limits allow."""


class Overloaded(ServerError):
    """More work is waiting than the server holds; try again after `retry_after_s`."""

    retryable = True


class Unavailable(ServerError):
    """The server, its model or its queue is starting, stopping or out of reach."""

    retryable = True


class DeadlineExceeded(ServerError):
    """The server stopped at the caller's deadline; `detail` says in which stage."""


class Cancelled(ServerError):
    """The job was cancelled."""


class InternalServerError(ServerError):
    """A defect of the server or of the model; its log has the cause.

    The code `dead_lettered` says that workers died whenever they ran the job.
    """


def from_problem(
    code: str,
    detail: str,
    field: str = "",
    retry_after_s: float | None = None,
    status: int | None = None,
) -> ServerError:
    """The exception for a problem: by its code, else by its status.

    A code that this release does not know, a newer server's, falls into the class of its status.
    """
    kind = _BY_CODE.get(code) or _by_status(status)
    return kind(code, detail, field, retry_after_s, status)


def _by_status(status: int | None) -> type[ServerError]:
    if status is None:
        return ServerError
    fallback = InvalidRequest if status < 500 else InternalServerError
    return _BY_STATUS.get(status, fallback)


_BY_CODE: Mapping[str, type[ServerError]] = {
    "malformed_body": InvalidRequest,
    "unsupported_media_type": InvalidRequest,
    "missing_input": InvalidRequest,
    "unknown_input": InvalidRequest,
    "wrong_shape": InvalidRequest,
    "wrong_dtype": InvalidRequest,
    "wrong_axis": InvalidRequest,
    "not_finite": InvalidRequest,
    "out_of_range": InvalidRequest,
    "unvalidated_resolution": InvalidRequest,
    "unknown_parameter": InvalidRequest,
    "unknown_option": InvalidRequest,
    "invalid_option": InvalidRequest,
    "not_differentiable": InvalidRequest,
    "unsupported_operator": InvalidRequest,
    "possibly_discontinuous": InvalidRequest,
    "not_certified": InvalidRequest,
    "method_not_allowed": InvalidRequest,
    "unknown_model": NotFound,
    "unknown_version": NotFound,
    "unknown_job": NotFound,
    "unknown_session": NotFound,
    "not_found": NotFound,
    "idempotency_conflict": IdempotencyConflict,
    "session_conflict": SessionConflict,
    "forecast_diverged": ForecastDiverged,
    "sessions_full": Overloaded,
    "body_too_large": PayloadTooLarge,
    "queue_full": Overloaded,
    "queue_unavailable": Unavailable,
    "model_not_ready": Unavailable,
    "shutting_down": Unavailable,
    "unavailable": Unavailable,
    "deadline_exceeded": DeadlineExceeded,
    "cancelled": Cancelled,
    "dead_lettered": InternalServerError,
    "internal": InternalServerError,
}

_BY_STATUS: Mapping[int, type[ServerError]] = {
    404: NotFound,
    408: DeadlineExceeded,
    413: PayloadTooLarge,
    429: Overloaded,
    499: Cancelled,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}
